"""Output: tables and JSON documents on standard output, notes and progress on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from conveyor.monitor.format import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

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
    """Write a line to standard error."""
    print(text, file=sys.stderr, flush=True)


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
    if hasattr(value, "tolist"):  # numpy
        return value.tolist()
    return str(value)
