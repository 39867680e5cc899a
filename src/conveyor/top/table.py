"""A table that is always up to date: it changes the cells that changed, and keeps the cursor on its row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rich.text import Text
from textual.binding import Binding
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Static

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.binding import BindingType

#: Columns of the terminal left free on each side of a cell.
PADDING = 1


class Column(NamedTuple):
    """A column: its title, how wide it is at least, whether it takes a share of the room that is left."""

    title: str
    width: int
    number: bool = False
    grows: int = 0
    """Parts of the room that is left."""
    roomy: bool = False
    """Left out where the terminal is narrower than 110 columns."""
    end: bool = False
    """Whether the end tells more than the beginning, where it must be cut: of names with a module or a host."""


class Row(NamedTuple):
    """A row: what it is about, and a text for each column."""

    key: str
    cells: tuple[Text, ...]


ROOMY = 110


def fitted(columns: Sequence[Column], width: int) -> list[int]:
    """Give the width of each column in a table of this width; 0 for those that are left out."""
    kept = [column for column in columns if width >= ROOMY or not column.roomy]
    spare = max(0, width - sum(column.width + 2 * PADDING for column in kept) - 1)
    parts = sum(column.grows for column in kept) or 1
    return [column.width + spare * column.grows // parts if column in kept else 0 for column in columns]


class Line(Static):
    """A line or two of text that are drawn again only when they have changed."""

    def __init__(self, name: str, text: str = "") -> None:
        super().__init__(text, id=name)
        self._drawn = Text(text)

    def say(self, text: Text) -> bool:
        """Show this text; gives whether that is another one."""
        if text == self._drawn and text.style == self._drawn.style:
            return False
        self._drawn = text
        # As a style of all the text, "yellow" would be that of style sheets; of a part it is the terminal's.
        self.update(Text.assemble(text, no_wrap=text.no_wrap, overflow=text.overflow))
        return True


class LiveTable(DataTable[Text]):
    """One table of the screen."""

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
    def current(self) -> str:
        """The key of the row under the cursor; empty where there is none."""
        return self._shown[self.cursor_row].key if 0 <= self.cursor_row < len(self._shown) else ""

    def show(self, columns: Sequence[Column], widths: Sequence[int], rows: Sequence[Row]) -> None:
        """Show these rows."""
        layout = (tuple(column.title for column in columns), tuple(widths))
        kept = [place for place, width in enumerate(widths) if width]
        rows = [
            Row(row.key, tuple(_cut(row.cells[place], columns[place], widths[place]) for place in kept))
            for row in rows
        ]
        if layout != self._layout_key:
            self._layout_key = layout
            self._build([columns[place] for place in kept], [widths[place] for place in kept], rows)
        elif [row.key for row in rows] != [row.key for row in self._shown]:
            self._refill(rows)
        else:
            for y, (old, new) in enumerate(zip(self._shown, rows, strict=True)):
                for x, (before, after) in enumerate(zip(old.cells, new.cells, strict=True)):
                    if before != after:
                        self.update_cell_at(Coordinate(y, x), after)
        self._shown = list(rows)

    def _build(self, columns: Sequence[Column], widths: Sequence[int], rows: Sequence[Row]) -> None:
        place, top = self.cursor_row, self.scroll_y
        self.clear(columns=True)
        for column, width in zip(columns, widths, strict=True):
            self.add_column(Text(column.title, justify="right" if column.number else "left"), width=width)
        self._fill(rows, place, top)

    def _refill(self, rows: Sequence[Row]) -> None:
        """Put other rows there; the cursor stays on its row, or where that was."""
        current, place, top = self.current, self.cursor_row, self.scroll_y
        self.clear()
        keys = [row.key for row in rows]
        self._fill(rows, keys.index(current) if current in keys and place else place, top)

    def _fill(self, rows: Sequence[Row], place: int, top: float) -> None:
        for row in rows:
            self.add_row(*row.cells)  # without our key: two consumers may have told of workers of one name
        self.move_cursor(row=max(0, min(place, len(rows) - 1)), scroll=False)
        self.scroll_to(y=top, animate=False, force=True)


def _cut(text: Text, column: Column, width: int) -> Text:
    if text.cell_len <= width:
        return text
    text = text.copy()
    if column.end:
        return Text.assemble(("…", text.style), text[text.cell_len - width + 1 :])
    text.truncate(width, overflow="ellipsis")
    return text
