"""How everything looks: tables and documents on standard output, notes on standard error."""

from __future__ import annotations

import datetime as dt
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Columns where standard output is no terminal: nothing is cut off for a program.
ENDLESS = 10_000
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class Column(NamedTuple):
    """A column: its title, whether it holds numbers, and whether it may be cut where the terminal is narrow."""

    title: str
    number: bool = False
    may_shrink: bool = False


def is_terminal() -> bool:
    """Tell whether somebody sits there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def is_lively() -> bool:
    """Tell whether standard error can show something that moves."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}


def screen() -> Console:
    """Give the console for data."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else ENDLESS)


def margin() -> Console:
    """Give the console for everything that is no data."""
    return Console(stderr=True, highlight=False, markup=False)


def note(text: str = "") -> None:
    """Write a line for a person to standard error."""
    print(text, file=sys.stderr, flush=True)


def document(schema: str, **body: Any) -> None:
    """Write one JSON document; `schema` is its name and version, such as `queues/v1`."""
    data = msgspec.json.encode({"schema": f"conveyor.{schema}", **body}, enc_hook=_plain)
    sys.stdout.write(msgspec.json.format(data, indent=2).decode() + "\n")
    sys.stdout.flush()


def table(columns: Sequence[Column], rows: Iterable[Sequence[str | Text]]) -> None:
    """Write a table."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(
            column.title,
            justify="right" if column.number else "left",
            no_wrap=not column.may_shrink,
            overflow="ellipsis",
        )
    for row in rows:
        made.add_row(*map(cell, row))
    show = screen()
    with show.capture() as written:
        show.print(made)
    for line in written.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def cell(value: str | Text, style: str = "") -> Text:
    """Give text for one cell, in one line and without anything that could steer a terminal."""
    text = value if isinstance(value, Text) else Text(clean(value), style=style)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def clean(text: str) -> str:
    """Replace what is not printable, line ends included."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def count_of(number: int, one: str, many: str = "") -> str:
    """Give a number and its noun: `1 job`, `1,000 jobs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Give a time span the way people say it, in two units at most."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - tenths matter below ten
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def moment(at: float) -> dt.datetime:
    """Give seconds since 1970 as a time in UTC; in a document it becomes RFC 3339."""
    return dt.datetime.fromtimestamp(round(at, 3), dt.UTC)


def _plain(value: Any) -> Any:
    """Give a value that JSON has no words for as one that it has."""
    if hasattr(value, "tolist"):  # numpy
        return value.tolist()
    return str(value)
