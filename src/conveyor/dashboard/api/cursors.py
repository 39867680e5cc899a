"""Cursors of lists that are known in full: the place at which a page begins."""

from __future__ import annotations

from conveyor.monitor.cursors import after, cursor_of, none

__all__ = ["after", "cursor_of", "place_after"]


def place_after(cursor: str) -> int:
    """Give the place in a list at which a page begins, 0 for the first page. Raises BadCall for what is none."""
    text = after(cursor) or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 8):  # noqa: PLR2004 - no list is that long
        raise none(cursor)
    return int(text)
