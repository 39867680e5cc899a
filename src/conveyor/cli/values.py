"""Results as text for people: dataclasses and mappings field by field, lists of them as rows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec

from conveyor.cli.output import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Entries of a list or mapping that are shown, and letters of a text.
MOST_ENTRIES, MOST_LETTERS = 20, 2_000
#: Bits of a whole number that is written out.
LONGEST_NUMBER = 256
#: Numbers between these are written out.
SMALLEST, LARGEST = 1e-3, 1e15


def value_lines(value: Any) -> Iterator[str]:
    """Give a value as lines of text."""
    fields = _fields(value)
    if fields is not None:
        yield from _field_lines(fields)
    elif isinstance(value, list | tuple | set | frozenset) and value:
        entries = list(value)
        for entry in entries[:MOST_ENTRIES]:
            yield in_one_line(entry)
        if len(entries) > MOST_ENTRIES:
            yield f"… and {len(entries) - MOST_ENTRIES:,} more"
    else:
        yield in_one_line(value)


def in_one_line(value: Any) -> str:
    """Give a value as one line of text."""
    fields = _fields(value)
    if fields is not None:
        return ", ".join(f"{name} {in_one_line(one)}" for name, one in fields.items())
    if isinstance(value, list | tuple):
        return (
            "["
            + ", ".join(map(in_one_line, value[:MOST_ENTRIES]))
            + (", …]" if len(value) > MOST_ENTRIES else "]")
        )
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "nothing"}[value]
    text = clean(number_text(value) if isinstance(value, int | float) else str(value))
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}… ({len(text):,} letters)"


def number_text(value: float) -> str:
    """Give a number with marks between thousands, and three digits after the point at most where that says enough."""
    if isinstance(value, int):
        return (
            f"{value:,}"
            if value.bit_length() < LONGEST_NUMBER
            else f"a number of {value.bit_length():,} bits"
        )
    if value and not SMALLEST <= abs(value) < LARGEST:
        return f"{value:g}"
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def _field_lines(fields: Mapping[str, Any]) -> Iterator[str]:
    width = min(30, max((len(name) for name in fields), default=0))
    for place, (name, one) in enumerate(fields.items()):
        if place == MOST_ENTRIES:
            yield f"… and {len(fields) - MOST_ENTRIES:,} more"
            return
        inner = _fields(one)
        if inner or (isinstance(one, list | tuple) and one and _fields(one[0]) is not None):
            yield f"{name}"
            yield from (f"  {line}" for line in value_lines(one))
        else:
            yield f"{name.ljust(width)}  {in_one_line(one)}"


def _fields(value: Any) -> dict[str, Any] | None:
    """Give the fields of an object or mapping in the words of a person; None where it has none."""
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        named: dict[str, Any] = {
            field.name: getattr(value, field.name) for field in dataclasses.fields(value)
        }
    elif isinstance(value, msgspec.Struct):
        named = {name: getattr(value, name) for name in value.__struct_fields__}
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):
        named = value._asdict()
    elif isinstance(value, dict):
        return {clean(str(name)): one for name, one in value.items()}
    else:
        return None
    return {name.replace("_", " "): one for name, one in named.items() if one is not None and one != []}
