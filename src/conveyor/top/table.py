"""A table and lines that redraw only what changed, and the cells of numbers and progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rich.text import Text
from textual.binding import Binding
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Static

from conveyor.monitor import format as text_of
from conveyor.monitor.format import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.style import StyleType
    from textual.binding import BindingType

    from conveyor.wire.control_messages import Progress, WorkerReport

#: Free columns of the terminal on each side of a cell, and the width from which wide-only columns are shown.
PADDING, WIDE = 1, 110
#: Columns that a progress message needs.
_MIN_MESSAGE = 6


class Column(NamedTuple):
    """A column: its title, its minimum width, and what becomes of the rest of the width."""

    title: str
    width: int
    number: bool = False
    grows: int = 0
    """Shares of the free width."""
    wide_only: bool = False
    """True to leave it out of a terminal with fewer than 110 columns."""
    keep_end: bool = False
    """True to cut the beginning, for names that begin with a module or a host."""


class Row(NamedTuple):
    """A row: the key of what it is about, and the text of each column."""

    key: str
    cells: tuple[Text, ...]
    job: tuple[str, str] = ("", "")
    """Queue and id of the job that Enter opens; the id is empty if there is none."""


NO_ROW = Row("", ())


def right(text: str, style: StyleType = "") -> Text:
    """Return a cell that is aligned to the right."""
    return Text(text, style=style, justify="right")


def number(value: float, style: StyleType = "") -> Text:
    """Return the cell of a whole number; a zero is dim, so that other numbers stand out."""
    return right(text_of.short_number(value), style if value else "dim")


def rate(value: float) -> Text:
    """Return the cell of jobs per second."""
    return right(text_of.rate(value), "" if value else "dim")


def progress(of: Progress | WorkerReport, width: int) -> Text:
    """Return how far a job is: a bar and a percentage if the total is known, then its message."""
    text, share = Text(), of.fraction
    if share is not None:
        cells = min(8, max(3, width - 5))
        filled = round(share * cells)
        text.append("━" * filled, "green").append("─" * (cells - filled), "dim").append(f" {share:4.0%}")
    elif of.done:
        text.append(f"{of.done:,.6g}")
    if of.message and width - text.cell_len >= _MIN_MESSAGE:
        text.append(f"{' ' if text else ''}{safe(of.message)}")
    return text


def fitted(columns: Sequence[Column], width: int) -> list[int]:
    """Return the width of each column in a table of this width, 0 for a column that is left out."""
    kept = [column for column in columns if width >= WIDE or not column.wide_only]
    free = max(0, width - sum(column.width + 2 * PADDING for column in kept) - 1)
    shares = sum(column.grows for column in kept) or 1
    return [column.width + free * column.grows // shares if column in kept else 0 for column in columns]


class Line(Static):
    """One or two lines of text."""

    def __init__(self, name: str, text: str = "") -> None:
        super().__init__(text, id=name)
        self._drawn = Text(text)

    def show(self, text: Text | str) -> bool:
        """Show a text; return True if it differs from the one before."""
        text = Text(text) if isinstance(text, str) else text
        if text == self._drawn and text.style == self._drawn.style:
            return False
        self._drawn = text
        # As the style of a whole text, "yellow" would be that of style sheets; in a part it is the terminal's.
        self.update(Text.assemble(text, no_wrap=text.no_wrap, overflow=text.overflow))
        return True


class LiveTable(DataTable[Text]):
    """A table that keeps the cursor on its row while rows come and go."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        Binding("g", "scroll_top", show=False),
        Binding("G", "scroll_bottom", show=False),
    ]

    def __init__(self, name: str) -> None:
        super().__init__(id=name, cursor_type="row", cell_padding=PADDING, zebra_stripes=False)
        self._shown: list[Row] = []
        self._layout_key: Any = None

    @property
    def current(self) -> Row:
        """The row under the cursor, or NO_ROW."""
        return self._shown[self.cursor_row] if 0 <= self.cursor_row < len(self._shown) else NO_ROW

    def show(self, columns: Sequence[Column], widths: Sequence[int], rows: Sequence[Row]) -> None:
        """Show these rows."""
        layout = (tuple(column.title for column in columns), tuple(widths))
        kept = [at for at, width in enumerate(widths) if width]
        rows = [
            row._replace(cells=tuple(_cut(row.cells[at], columns[at], widths[at]) for at in kept))
            for row in rows
        ]
        if layout != self._layout_key:
            self._layout_key = layout
            self._fill(rows, self.cursor_row, {columns[at]: widths[at] for at in kept})
        elif [row.key for row in rows] != [row.key for row in self._shown]:
            keys, current = [row.key for row in rows], self.current.key
            follow = current in keys and self.cursor_row
            self._fill(rows, keys.index(current) if follow else self.cursor_row)
        else:
            for y, (old, new) in enumerate(zip(self._shown, rows, strict=True)):
                for x, (before, after) in enumerate(zip(old.cells, new.cells, strict=True)):
                    if before != after:
                        self.update_cell_at(Coordinate(y, x), after)
        self._shown = list(rows)

    def _fill(self, rows: Sequence[Row], cursor: int, columns: dict[Column, int] | None = None) -> None:
        top = self.scroll_y
        self.clear(columns=columns is not None)
        for column, width in (columns or {}).items():
            self.add_column(Text(column.title, justify="right" if column.number else "left"), width=width)
        for row in rows:
            self.add_row(*row.cells)  # without our key: two consumers may report workers of the same name
        self.move_cursor(row=max(0, min(cursor, len(rows) - 1)), scroll=False)
        self.scroll_to(y=top, animate=False, force=True)


def _cut(text: Text, column: Column, width: int) -> Text:
    if text.cell_len <= width:
        return text
    text = text.copy()
    if column.keep_end:
        return Text.assemble(("…", text.style), text[text.cell_len - width + 1 :])
    text.truncate(width, overflow="ellipsis")
    return text
