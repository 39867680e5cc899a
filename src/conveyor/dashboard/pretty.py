"""Values as text over several lines, for people; of a large one only the beginning is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.wire.redaction import MORE

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Characters of a line up to which a container stays on it.
LINE = 72
#: Nesting that is shown.
DEEPEST = 20
#: Characters of one text that are shown before the rest is left out.
TEXT = 2000
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def pretty(value: Any, room: int = 4000) -> str:
    """Return a value as Python would write it, indented, in at most about `room` characters. Never raises."""
    text = ""
    for piece in _pieces(value, "", room):
        text += piece
        if len(text) > room:
            return f"{text[:room]}{MORE}"
    return text


def _pieces(value: Any, indent: str, room: int) -> Iterator[str]:
    kind = type(value)
    if kind is not dict and kind not in _BRACKETS:
        yield _plain(value)
        return
    if len(indent) > 2 * DEEPEST:
        yield MORE
        return
    first, last = ("{", "}") if kind is dict else _BRACKETS[kind]
    if not value:
        yield "set()" if kind is set else first + last
        return
    if len(value) <= LINE:
        flat = _flat(value)
        if len(flat) <= LINE:
            yield flat
            return
    inner = f"{indent}  "
    yield first
    for item in value:
        yield f"\n{inner}"
        if kind is dict:
            yield f"{_plain(item)}: "
        yield from _pieces(value[item] if kind is dict else item, inner, room)
        yield ","
    yield f"\n{indent}{last}"


def _flat(value: Any) -> str:
    """Return a small container as one line, or a text longer than a line if it has a long item."""
    if any(len(item) > LINE for item in _texts(value)):
        return " " * (LINE + 1)
    return _plain(value)


def _texts(value: Any) -> Iterator[Any]:
    """Return the items of a container that may be long."""
    items = [*value, *value.values()] if type(value) is dict else value
    return (item for item in items if hasattr(item, "__len__"))


def _plain(value: Any) -> str:
    if isinstance(value, str | bytes) and len(value) > TEXT:
        return f"{value[:TEXT]!r}{MORE} ({len(value):,})"
    if hasattr(value, "dtype") and getattr(value, "shape", None):
        return f"array({value.dtype}, {'x'.join(map(str, value.shape))})"
    try:
        return repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits
        return f"<{type(value).__name__}>"
