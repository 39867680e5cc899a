"""Results as text for people: dataclasses and mappings field by field, sequences item by item."""

from __future__ import annotations

import dataclasses
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from conveyor.monitor.format import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
