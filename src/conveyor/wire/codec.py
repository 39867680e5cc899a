"""Values to bytes and back: msgpack, with extension types for what msgpack would change.

A round trip through `encode` and `decode` keeps types: a tuple stays a tuple, a set a set. Objects of the user's
classes (dataclasses, enums, named tuples, msgspec structs) travel as plain data and are rebuilt only if a type hint
names the class, never from a name in the bytes. Nothing here can run code; pickle is not used.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import importlib
import pathlib
import re
import sys
import uuid
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Raw
from msgspec.msgpack import Decoder, Encoder, Ext

from conveyor.errors import BadCall

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Raw", "carry", "convert", "convert_text", "decode", "encode", "try_decode"]

T = TypeVar("T")

#: Deeper nesting is refused: it is a loop, or an attack.
MAX_DEPTH = 100
#: Max bytes of an encoded job or result.
SIZE_LIMIT = 1 << 20

_encoder = Encoder()
(
    _TUPLE,
    _SET,
    _FROZENSET,
    _UUID,
    _DECIMAL,
    _PATH,
    _DATETIME,
    _DATE,
    _TIME,
    _DELTA,
    _COMPLEX,
    _INTEGER,
    _ARRAY,
    _MAP,
) = range(1, 15)


def encode(value: object, *, typed: bool = False) -> bytes:
    """Return the bytes of `value`.

    With `typed` the reader knows the class of each part from type hints, so objects of the user's classes are allowed.
    Raises BadCall if a value cannot be serialized.
    """
    try:
        return _encoder.encode(carry(value, typed=typed))
    except (TypeError, OverflowError, ValueError) as error:
        if isinstance(error, BadCall):
            raise
        raise BadCall(str(error)) from error


def encode_flat(tree: object) -> bytes:
    """Return the bytes of a tree that `carry` returned, or that `carry` would not change."""
    try:
        return _encoder.encode(tree)
    except OverflowError:  # an integer over 64 bits
        return _encoder.encode(carry(list(tree) if isinstance(tree, tuple) else tree))


def decode(data: bytes | memoryview | Raw) -> Any:
    """Return the value of bytes made by `encode`. Raises ValueError for others, whatever a type's reader raises."""
    try:
        return _decoder.decode(data)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"invalid bytes: {type(error).__name__}: {error}") from error


def try_decode(decode: Callable[[bytes], T], data: bytes | None) -> T | None:
    """Return what a decoder of messages makes of bytes, or None if they are missing or invalid."""
    try:
        return decode(data) if data else None
    except (msgspec.MsgspecError, ValueError):
        return None


def convert(value: object, hint: Any, *, strict: bool = True) -> Any:
    """Convert a decoded value to the type of `hint`. Raises msgspec.ValidationError if it does not fit.

    Without `strict`, strings are read as numbers and so on, for user input.
    """
    return msgspec.convert(value, hint, strict=strict, dec_hook=_rebuild)


def convert_text(text: str, hint: Any) -> Any:
    """Convert user input to the type of `hint`, as it is or else as JSON. Raises msgspec.MsgspecError."""
    try:
        return convert(text, hint, strict=False)
    except msgspec.ValidationError:
        return convert(msgspec.json.decode(text), hint, strict=False)


def carry(value: Any, *, typed: bool = False, depth: int = 0) -> Any:  # noqa: PLR0911 - one return per kind of value
    """Return a tree of plain msgpack values for `value`. Raises BadCall if it cannot be serialized."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is int:
        return value if -(1 << 63) <= value < 1 << 64 else Ext(_INTEGER, _integer_bytes(value))
    if depth > MAX_DEPTH:
        raise BadCall(f"nested more than {MAX_DEPTH} levels deep")
    if kind is list:
        return [carry(item, typed=typed, depth=depth + 1) for item in value]
    if kind is dict:
        return _carry_map(value, typed=typed, depth=depth + 1)
    collection = _COLLECTIONS.get(kind)
    if collection is not None:
        return Ext(collection, _encoder.encode([carry(item, typed=typed, depth=depth + 1) for item in value]))
    fold = _FOLDS.get(kind)
    if fold is not None:
        code, text = fold
        return Ext(code, text(value).encode())
    return _carry_object(value, typed=typed, depth=depth)


def _carry_map(value: dict[Any, Any], *, typed: bool, depth: int) -> Any:
    items = {key: carry(item, typed=typed, depth=depth) for key, item in value.items()}
    if all(_is_plain_key(key) for key in items):
        return items
    return Ext(
        _MAP, _encoder.encode([[carry(key, typed=typed, depth=depth), item] for key, item in items.items()])
    )


def _is_plain_key(key: Any) -> bool:
    return type(key) in _PLAIN_KEYS and (type(key) is not int or -(1 << 63) <= key < 1 << 64)


def _carry_object(value: Any, *, typed: bool, depth: int) -> Any:
    kind = type(value)
    if isinstance(value, pathlib.PurePath):
        return Ext(_PATH, str(value).encode(errors="surrogateescape"))
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        return _carry_numpy(value, typed=typed)
    if kind in {bytearray, memoryview}:
        return bytes(value)
    if not typed:
        raise BadCall(
            f"a {kind.__qualname__} needs a type hint that names its class",
            hint="annotate the parameter or the return value, or send plain data",
        )
    if isinstance(value, enum.Enum):
        return carry(value.value, typed=True, depth=depth + 1)
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
    elif is_dataclass(value):
        names = tuple(field.name for field in fields(value))
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        return [carry(item, typed=True, depth=depth + 1) for item in value]
    else:
        raise BadCall(
            f"a {kind.__qualname__} cannot be serialized",
            hint="send plain data, a dataclass, or a path to a file",
        )
    return {name: carry(getattr(value, name), typed=True, depth=depth + 1) for name in names}


def _carry_numpy(value: Any, *, typed: bool) -> Any:
    if typed and value.dtype.kind in "biufc" and not value.shape:
        plain = value.item()  # a hint has the type of the number
        if type(plain) in _NUMBERS:
            return carry(plain)
    return _carry_array(value)


def _carry_array(value: Any) -> Ext:
    if value.dtype.hasobject or value.dtype.names:
        raise BadCall(
            "a numpy array of Python objects or of records cannot be serialized", hint="use a numeric dtype"
        )
    head = _encoder.encode([value.dtype.str, list(value.shape)])
    return Ext(_ARRAY, len(head).to_bytes(2, "big") + head + value.tobytes())


def _restore_array(data: bytes) -> Any:
    numpy = importlib.import_module("numpy")
    size = int.from_bytes(data[:2], "big")
    dtype, shape = msgspec.msgpack.decode(data[2 : 2 + size])
    if not _DTYPE.fullmatch(dtype):  # numpy would parse, and in part evaluate, other strings
        raise ValueError(f"invalid dtype {dtype!r:.80}")
    array = numpy.frombuffer(data, dtype=numpy.dtype(dtype), offset=2 + size).reshape(shape)
    return array.copy() if shape else array[()]


def _integer_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _rebuild(hint: Any, value: Any) -> Any:
    """Convert to the classes that msgspec does not know."""
    if isinstance(hint, type):
        if isinstance(value, hint):
            return value
        if issubclass(hint, pathlib.PurePath) and isinstance(value, str):
            return hint(value)
        if hint is complex and isinstance(value, int | float):
            return complex(value)
        numpy = sys.modules.get("numpy")
        if (
            numpy is not None
            and issubclass(hint, numpy.number | numpy.bool_)
            and isinstance(value, int | float | complex)
        ):
            return hint(value)
    raise ValueError(f"Expected `{getattr(hint, '__name__', hint)}`, got `{type(value).__name__}`")


def _restore(code: int, data: memoryview) -> Any:
    raw = bytes(data)
    restore = _RESTORES.get(code)
    if restore is None:
        raise ValueError(f"unknown extension type {code}")
    return restore(raw)


_DTYPE = re.compile(r"[<>=|]?[biufcmMSUV]\d{1,9}(?:\[\d{0,9}[A-Za-z]{1,2}\])?")
_ATOMS = frozenset({str, float, bool, bytes, type(None)})
_NUMBERS = frozenset({int, float, bool, complex})
_PLAIN_KEYS = frozenset({str, int, bytes, bool, float, type(None)})
_COLLECTIONS: dict[type, int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}
_FOLDS: dict[type, tuple[int, Callable[[Any], str]]] = {
    uuid.UUID: (_UUID, str),
    decimal.Decimal: (_DECIMAL, str),
    dt.datetime: (_DATETIME, dt.datetime.isoformat),
    dt.date: (_DATE, dt.date.isoformat),
    dt.time: (_TIME, dt.time.isoformat),
    dt.timedelta: (_DELTA, lambda value: f"{value.days} {value.seconds} {value.microseconds}"),
    complex: (_COMPLEX, str),
}
_RESTORES: dict[int, Callable[[bytes], Any]] = {
    _TUPLE: lambda raw: tuple(decode(raw)),
    _SET: lambda raw: set(decode(raw)),
    _FROZENSET: lambda raw: frozenset(decode(raw)),
    _UUID: lambda raw: uuid.UUID(raw.decode()),
    _DECIMAL: lambda raw: decimal.Decimal(raw.decode()),
    _PATH: lambda raw: pathlib.Path(raw.decode(errors="surrogateescape")),
    _DATETIME: lambda raw: dt.datetime.fromisoformat(raw.decode()),
    _DATE: lambda raw: dt.date.fromisoformat(raw.decode()),
    _TIME: lambda raw: dt.time.fromisoformat(raw.decode()),
    _DELTA: lambda raw: dt.timedelta(*map(int, raw.split())),
    _COMPLEX: lambda raw: complex(raw.decode()),
    _INTEGER: lambda raw: int.from_bytes(raw, "big", signed=True),
    _ARRAY: _restore_array,
    _MAP: lambda raw: dict(decode(raw)),
}
_decoder: Decoder[Any] = Decoder(ext_hook=_restore)
