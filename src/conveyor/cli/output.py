"""Output: tables and JSON documents on standard output, notes and progress on standard error."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from conveyor import logs
from conveyor.monitor.format import printable
from conveyor.wire import objects
from conveyor.wire.objects import ObjectData

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence


#: Columns if standard output is not a terminal: programs get every cell in full.
ENDLESS = 10_000
#: Steps below which a progress bar would be gone before it can be read.
MIN_BAR_STEPS = 2_000


def is_terminal() -> bool:
    """Return True if a user can be prompted."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def is_lively() -> bool:
    """Return True if standard error can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}


def screen() -> Console:
    """Return the console for data."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else ENDLESS)


def margin() -> Console:
    """Return the console for everything but data."""
    return Console(stderr=True, highlight=False, markup=False)


def note(text: str = "") -> None:
    """Write a line to standard error; as JSON, if that is chosen, without blank ones."""
    if text or not logs.is_json():
        print(logs.as_line(text), file=sys.stderr, flush=True)


def document(schema: str, **body: Any) -> None:
    """Write one JSON document; `schema` is its name and version, such as `queues/v1`."""
    data = msgspec.json.encode({"schema": f"conveyor.{schema}", **body}, enc_hook=_plain)
    sys.stdout.write(msgspec.json.format(data, indent=2).decode() + "\n")
    sys.stdout.flush()


def table(
    rows: Sequence[Mapping[str, str | Text]],
    *,
    numbers: Collection[str] = (),
    may_shrink: Collection[str] = (),
) -> None:
    """Write rows of title to cell; `numbers` are aligned right, and what `may_shrink` is cut to fit the terminal."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in rows[0]:
        justify: Literal["right", "left"] = "right" if title in numbers else "left"
        made.add_column(title, justify=justify, no_wrap=title not in may_shrink, overflow="ellipsis")
    for row in rows:
        made.add_row(*map(_cell, row.values()))
    show = screen()
    with show.capture() as written:
        show.print(made)
    for line in written.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def _cell(value: str | Text) -> Text:
    """Return the text of one cell, in one line and without characters that control the terminal."""
    text = value if isinstance(value, Text) else Text(printable(value))
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


@contextlib.contextmanager
def progress_bar(title: str, steps: int) -> Iterator[Callable[[int], None]]:
    """Show a bar during many steps, on a terminal; yield a function to call with the number of further steps done."""
    if steps < MIN_BAR_STEPS or not is_lively():
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=margin(), transient=True) as bars:
        bar = bars.add_task(title, total=steps)
        yield lambda number: bars.advance(bar, number)


def _plain(value: Any) -> Any:
    """Return a value that JSON cannot hold as one that it can."""
    if isinstance(value, ObjectData):
        return objects.plain(value)
    if hasattr(value, "tolist") and type(made := value.tolist()) is not type(value):  # numpy
        return made
    return str(value).encode(errors="backslashreplace").decode()


#: Items shown of a sequence or mapping, and characters of a string.
MAX_ITEMS, MAX_LENGTH = 20, 2_000
#: Bits of a whole number that is written in full.
MAX_BITS = 256
#: Range of numbers that are written without an exponent.
SMALLEST, LARGEST = 1e-3, 1e15
_MAX_NAME = 30


def value_lines(value: Any) -> Iterator[str]:
    """Yield a value as lines of text."""
    fields = _fields(value)
    if fields is not None:
        yield from _first(_field_lines(fields), len(fields))
    elif isinstance(value, list | tuple | set | frozenset) and value:
        yield from _first(([in_one_line(one)] for one in value), len(value))
    else:
        yield in_one_line(value)


def in_one_line(value: Any) -> str:
    """Return a value as one line of text."""
    fields = _fields(value)
    if fields is not None:
        return ", ".join(f"{name} {in_one_line(one)}" for name, one in fields.items())
    if isinstance(value, list | tuple):
        more = ", …" if len(value) > MAX_ITEMS else ""
        return f"[{', '.join(map(in_one_line, value[:MAX_ITEMS]))}{more}]"
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "nothing"}[value]
    text = printable(_number(value) if isinstance(value, int | float) else str(value))
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}… ({len(text):,} characters)"


def _number(value: float) -> str:
    """Return a number with thousands separators and at most three decimals if these are enough."""
    if isinstance(value, int):
        bits = value.bit_length()
        return f"{value:,}" if bits < MAX_BITS else f"a number of {bits:,} bits"
    if value and not SMALLEST <= abs(value) < LARGEST:
        return f"{value:g}"
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def _first(items: Iterable[list[str]], count: int) -> Iterator[str]:
    """Yield the lines of the first items, and how many more there are."""
    for lines in islice(items, MAX_ITEMS):
        yield from lines
    if count > MAX_ITEMS:
        yield f"… and {count - MAX_ITEMS:,} more"


def _field_lines(fields: dict[str, Any]) -> Iterator[list[str]]:
    width = min(_MAX_NAME, max(map(len, fields), default=0))
    for name, value in fields.items():
        is_table = isinstance(value, list | tuple) and value and _fields(value[0]) is not None
        if _fields(value) or is_table:
            yield [name, *(f"  {line}" for line in value_lines(value))]
        else:
            yield [f"{name.ljust(width)}  {in_one_line(value)}"]


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of an object or mapping by readable name, or None if it has none."""
    if isinstance(value, dict):
        return {printable(str(name)): one for name, one in value.items()}
    if isinstance(value, ObjectData):
        return _fields(objects.plain(value)) if isinstance(value.state, dict) else None
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        names = tuple(field.name for field in dataclasses.fields(value))
    elif isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        names = value._fields
    else:
        return None
    named = {name.replace("_", " "): getattr(value, name) for name in names}
    return {name: one for name, one in named.items() if one is not None and one != []}
