"""Values to bytes and back: msgpack, with extension types for what msgpack would change.

A round trip through `encode` and `decode` keeps types: a tuple stays a tuple, a set a set, and an object of a class of
the user comes back as one (`objects.py`). What cannot come back the same is refused. Nothing here imports a module that
the bytes name, and a pickle is read only if it was signed (`signed.py`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import functools
import importlib
import pathlib
import re
import sys
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Raw
from msgspec.msgpack import Decoder, Encoder, Ext

from conveyor.errors import BadCall, TooLarge, UnknownClass, Untrusted
from conveyor.wire import objects, signed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = [
    "Raw",
    "carry",
    "convert",
    "decode",
    "decode_data",
    "decode_signed",
    "decode_trusted",
    "decode_unsigned",
    "encode",
    "encode_any",
    "encode_pickled",
    "encode_signed",
    "has_arrays",
    "has_objects",
    "is_pickled",
    "is_signed",
    "split",
    "try_decode",
]

T = TypeVar("T")

#: Deeper nesting is refused: it is a loop, or an attack.
MAX_DEPTH = 100
#: Bytes of an integer beyond which it is shown as hexadecimal: Python writes no decimals of very long ones.
MAX_SHOWN_INTEGER = 1024
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
_SIGNED, _PICKLED, _OBJECT = 125, 126, 127
#: How the content of an object's extension begins: an array of nil, the name of its class, and its state.
_OBJECT_HEAD = b"\x93" + _encoder.encode(None)
#: Bytes without these hold no object: they are the extension's type and the beginning of its content.
_OBJECT_MARK = bytes((_OBJECT,)) + _OBJECT_HEAD
#: Bytes without these hold no array: they are the extension's type and the first byte of the size of its head.
_ARRAY_MARK = bytes((_ARRAY, 0))
_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
_FLATTEN = "send flatter data; a value must not contain itself"
#: What to do about a string with surrogates.
NOT_UNICODE = "send bytes, or replace what is not Unicode"


def encode(value: object) -> bytes:
    """Return the bytes of `value`. Raises BadCall if it cannot be serialized, and TooLarge if it has too many parts."""
    try:
        return _encoder.encode(carry(value))
    except (TypeError, OverflowError, ValueError) as error:
        if isinstance(error, BadCall | TooLarge):
            raise
        raise BadCall(
            str(error), hint=NOT_UNICODE if isinstance(error, UnicodeEncodeError) else ""
        ) from error


def encode_any(value: object) -> bytes:
    """Return the bytes of `value`: of a signed pickle if `encode` refuses it. Raises BadCall if that fails, too."""
    try:
        return encode(value)
    except BadCall:
        return encode_signed(encode_pickled(value), signed.VALUE)


def encode_within(what: str, value: object, encode: Callable[[object], bytes], hint: str) -> bytes:
    """Return the bytes of a value. Raises BadCall if it cannot be serialized, and TooLarge with this hint."""
    try:
        data = encode(value)
    except BadCall as error:
        raise BadCall(f"{what} cannot be serialized: {error}", hint=error.hint) from None
    if len(data) > SIZE_LIMIT:
        raise TooLarge(f"{what} has {len(data):,} bytes, the limit is {SIZE_LIMIT:,}", hint=hint)
    return data


def encode_pickled(value: object) -> bytes:
    """Return the bytes of a value's pickle, which is read only if they are signed. Raises BadCall."""
    return _encoder.encode(Ext(_PICKLED, _encoder.encode((signed.name_of(value), *signed.pickled(value)))))


def encode_signed(data: bytes, purpose: bytes) -> bytes:
    """Return the bytes of a value with their signature. Raises BadCall without a key."""
    return _encoder.encode(Ext(_SIGNED, signed.sign(data, purpose)))


def encode_flat(tree: object) -> bytes:
    """Return the bytes of a tree that `carry` returned, or that `carry` would not change."""
    try:
        return _encoder.encode(tree)
    except OverflowError:  # an integer over 64 bits
        return _encoder.encode(carry(list(tree) if isinstance(tree, tuple) else tree))


def decode(data: bytes | memoryview | Raw) -> Any:
    """Return the value of bytes made by `encode` or `encode_any`.

    Raises UnknownClass if this process does not have the class of an object, Untrusted if no key of this process has
    signed what was pickled, and ValueError for invalid bytes, whatever a type's reader raises.
    """
    return _decoded(_decoder, data)


def split(data: bytes) -> list[Raw]:
    """Return the bytes of the items of a list. Raises ValueError for invalid bytes."""
    return msgspec.msgpack.decode(data, type=list[Raw])


def decode_unsigned(data: bytes | Raw) -> Any:
    """Return the value of bytes made by `encode`, in which nothing is signed. Raises what `decode` raises."""
    return _decoded(_unsigned_decoder, data)


def decode_signed(data: bytes | Raw, purpose: bytes) -> Any:
    """Return the value of bytes that `encode_signed` made for this purpose. Raises what `decode` raises."""
    return _decoded(_signed_decoder, signed.opened(bytes(Decoder(Ext).decode(data).data), purpose))


def decode_trusted(data: bytes | Raw) -> Any:
    """Return the value of bytes to which a signature that was compared extends. Raises what `decode` raises."""
    return _decoded(_signed_decoder, data)


def _decoded(decoder: Decoder[Any], data: bytes | memoryview | Raw) -> Any:
    try:
        return decoder.decode(data)
    except (ValueError, UnknownClass, Untrusted):
        raise
    except Exception as error:
        raise _invalid(error) from error


def decode_data(data: bytes | memoryview | Raw) -> Any:
    """Return the value of bytes for people, with ObjectData in place of objects. Raises ValueError if it cannot."""
    try:
        return _data_decoder.decode(data)
    except ValueError:
        raise
    except Exception as error:
        raise _invalid(error) from error


def _invalid(error: Exception) -> ValueError:
    return ValueError(f"invalid bytes: {type(error).__name__}: {error}")


def decoder(hint: Any) -> Callable[[bytes | Raw], Any]:
    """Return a function that decodes and converts in one step, for a hint of which `hints.is_direct` is true."""
    return Decoder(hint, ext_hook=_restore_unsigned, dec_hook=_rebuild).decode


def has_objects(data: bytes | Raw) -> bool:
    """Return False if there is surely no object in these bytes, at any depth."""
    return _OBJECT_MARK in bytes(data)


def has_arrays(data: bytes | Raw) -> bool:
    """Return False if there is surely no array or number of numpy in these bytes."""
    return _ARRAY_MARK in bytes(data)


def is_signed(data: bytes | Raw) -> bool:
    """Return True if these are bytes of `encode_signed`."""
    return _is_extension(data, _SIGNED)


def is_pickled(data: bytes | Raw) -> bool:
    """Return True if these are bytes of `encode_pickled`."""
    return _is_extension(data, _PICKLED)


def _is_extension(data: bytes | Raw, code: int) -> bool:
    head = bytes(memoryview(data)[:6])
    place = _EXTENSION_HEADS.get(head[:1])
    return place is not None and head[place : place + 1] == bytes((code,))


def try_decode(decode: Callable[[bytes], T], data: bytes | None) -> T | None:
    """Return what a decoder of messages makes of bytes, or None if they are missing or invalid."""
    try:
        return decode(data) if data else None
    except (msgspec.MsgspecError, ValueError):
        return None


def carry(  # noqa: PLR0911 - one return per kind of value
    value: Any, depth: int = 0, room: list[int] | None = None
) -> Any:
    """Return a tree of plain msgpack values for `value`. Raises BadCall if it cannot be serialized, and TooLarge.

    `room` has the number of parts, of at least one byte each, that it may still have.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is int:
        return value if -(1 << 63) <= value < 1 << 64 else Ext(_INTEGER, _integer_bytes(value))
    if depth > MAX_DEPTH:
        raise BadCall(_TOO_DEEP, hint=_FLATTEN)
    room = room or [SIZE_LIMIT]
    if kind is list:
        return _carry_items(value, depth + 1, room)
    if kind is dict:
        return _carry_map(value, depth + 1, room)
    collection = _COLLECTIONS.get(kind)
    if collection is not None:
        return Ext(collection, _encoder.encode(_carry_items(value, depth + 1, room)))
    fold = _FOLDS.get(kind)
    if fold is not None and (text := fold[1](value)):
        return Ext(fold[0], text.encode())
    return _carry_object(value, depth + 1, room)


def _carry_items(value: Collection[Any], depth: int, room: list[int]) -> list[Any]:
    room[0] -= len(value)
    if room[0] < 0:
        raise _too_many()
    return [carry(item, depth, room) for item in value]


def _carry_map(value: dict[Any, Any], depth: int, room: list[int]) -> Any:
    room[0] -= len(value)
    if room[0] < 0:
        raise _too_many()
    items: dict[Any, Any] = {}
    for key, item in value.items():
        items[key] = carry(item, depth, room)
    if {*map(type, items)} <= _STR or all(map(_is_plain_key, items)):
        return items
    return Ext(_MAP, _encoder.encode([[carry(key, depth, room), item] for key, item in items.items()]))


def _too_many() -> TooLarge:
    """Return the error for a value that cannot be small enough, such as lists of the same list, many levels deep."""
    return TooLarge(
        f"the value has more than {SIZE_LIMIT:,} parts, and the limit is {SIZE_LIMIT:,} bytes",
        hint="send less; an object that occurs in several places travels several times",
    )


def _is_plain_key(key: Any) -> bool:
    return type(key) in _PLAIN_KEYS and (type(key) is not int or -(1 << 63) <= key < 1 << 64)


def _carry_object(value: Any, depth: int, room: list[int]) -> Any:
    kind = type(value)
    if kind is _PATH_TYPE:
        return Ext(_PATH, str(value).encode(errors="surrogateescape"))
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if kind is numpy.ndarray:
            return _carry_array(value, list(value.shape))
        # Strings are objects, since an array drops the zeros at their end.
        if isinstance(value, numpy.generic) and not isinstance(value, numpy.character):
            return _carry_array(value, None)
    name, state = objects.taken_apart(value)
    tree = _carry_attributes(kind, state, depth, room) if type(state) is dict else carry(state, depth, room)
    return Ext(_OBJECT, _OBJECT_HEAD + _encoder.encode(name) + _encoder.encode(tree))


def _carry_attributes(kind: type, state: dict[str, Any], depth: int, room: list[int]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    name = ""
    room[0] -= len(state)
    if room[0] < 0:
        raise _too_many()
    try:
        for name, item in state.items():
            tree[name] = carry(item, depth, room)
    except BadCall as error:
        if error.message == _TOO_DEEP:
            raise
        raise BadCall(f"{kind.__qualname__}.{name}: {error}", hint=error.hint) from None
    return tree


def _carry_array(value: Any, shape: list[int] | None) -> Ext:
    """Return an array or, if it has no shape, a number of numpy as plain msgpack."""
    if value.dtype.hasobject or value.dtype.names:
        raise BadCall(
            "a numpy array of Python objects or of records cannot be serialized", hint="use a numeric dtype"
        )
    head = _encoder.encode([value.dtype.str, shape])
    return Ext(_ARRAY, len(head).to_bytes(2, "big") + head + value.tobytes())


def _restore_array(data: bytes) -> Any:
    numpy = importlib.import_module("numpy")
    size = int.from_bytes(data[:2], "big")
    dtype, shape = msgspec.msgpack.decode(data[2 : 2 + size])
    if not _DTYPE.fullmatch(dtype):  # numpy would parse, and in part evaluate, other strings
        raise ValueError(f"invalid dtype {dtype!r:.80}")
    array = numpy.frombuffer(data, dtype=numpy.dtype(dtype), offset=2 + size)
    return array.reshape(())[()] if shape is None else array.reshape(shape).copy()


def _integer_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _rebuild(hint: Any, value: Any) -> Any:
    """Convert to the classes that msgspec does not know."""
    if isinstance(hint, type):
        if isinstance(value, hint):
            return value
        if isinstance(value, str) and objects.is_written_as_text(hint):
            return hint(value)
        if isinstance(value, dict) and is_validated(hint):
            return validated(hint, value)
        if type(value) in _numbers_for(hint):
            return _number(hint, value)
    raise ValueError(f"Expected `{getattr(hint, '__name__', hint)}`, got `{type(value).__name__}`")


def is_validated(hint: Any) -> bool:
    """Return True for models and dataclasses of pydantic."""
    return hasattr(hint, "__pydantic_validator__")


def validated(hint: Any, value: dict[str, Any]) -> Any:
    """Return what pydantic makes of a mapping. Raises msgspec.ValidationError if it does not fit."""
    try:
        return hint.__pydantic_validator__.validate_python(value)
    except ValueError as error:
        raise msgspec.ValidationError(_reasons(error)) from None


def _reasons(error: Any) -> str:
    """Return what is wrong with a value in one line; pydantic's own text has several, with the value and a link."""
    if not hasattr(error, "errors"):
        return str(error)
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return f"{error.title}: " + "; ".join(
        ": ".join([*filter(None, [".".join(map(str, one["loc"]))]), one["msg"]]) for one in found
    )


def _numbers_for(hint: type) -> set[type]:
    """Return the types whose numbers become those of a hint, as under the type of Python that is like it."""
    numpy = sys.modules.get("numpy")
    if hint is complex or (numpy is not None and issubclass(hint, numpy.complexfloating)):
        return {int, float, complex}
    if numpy is None or not issubclass(hint, numpy.number | numpy.bool_):
        return set()
    if issubclass(hint, numpy.floating):
        return {int, float}
    return {int} if issubclass(hint, numpy.integer) else {bool}


def _number(hint: type, value: Any) -> Any:
    """Return a number as one of a hint; only a `float` may be rounded. Raises ValueError if it is too large."""
    numpy = sys.modules.get("numpy")
    try:
        with contextlib.nullcontext() if numpy is None else numpy.errstate(over="raise"):
            made = hint(value)
    except ArithmeticError as error:
        raise ValueError(f"{type(value).__name__} too large for `{hint.__name__}`") from error
    if type(value) is int and int(made.real) != value:
        raise ValueError(f"`{hint.__name__}` cannot hold this `int` exactly")
    return made


def _iso(value: dt.datetime | dt.time) -> str:
    """Return a time as ISO 8601 has it, or "" if that would leave out a part of it."""
    zone = value.tzinfo
    if value.fold or not (zone is None or (type(zone) is dt.timezone and not objects.has_name(zone))):
        return ""
    return value.isoformat()


def _restore(code: int, data: memoryview) -> Any:
    if code == _SIGNED:
        return _signed_decoder.decode(signed.opened(bytes(data), signed.VALUE))
    return _restored(code, data, _decoder, objects.rebuilt)


def _restore_unsigned(code: int, data: memoryview) -> Any:
    return _restored(code, data, _unsigned_decoder, objects.rebuilt)


def _restore_signed(code: int, data: memoryview) -> Any:
    if code == _PICKLED:
        name, *pickle = msgspec.msgpack.decode(data)
        try:
            return signed.unpickled(*pickle)
        except (Exception, SystemExit) as error:  # whatever the object's own methods raise
            text = f"the pickle of {name} cannot be read: {type(error).__name__}: {error}"
            raise ValueError(text) from error
    return _restored(code, data, _signed_decoder, objects.rebuilt)


def _restore_data(code: int, data: memoryview) -> Any:
    if code == _SIGNED:
        return _data_decoder.decode(signed.content_of(bytes(data)))
    if code == _PICKLED:
        name, pickle, *_ = msgspec.msgpack.decode(data)
        return objects.ObjectData(str(name), {"pickled": f"{len(pickle):,} bytes"})
    if code == _INTEGER and len(data) > MAX_SHOWN_INTEGER:
        return objects.ObjectData("int", [hex(_RESTORES[code](bytes(data)))])
    return _restored(code, data, _data_decoder, objects.shown)


def _restored(code: int, data: memoryview, decoder: Decoder[Any], rebuilt: Callable[[str, Any], Any]) -> Any:
    if code == _OBJECT:
        _, name, state = decoder.decode(data)
        if type(name) is not str:
            raise ValueError(f"invalid name of a class: {name!r:.80}")
        return rebuilt(name, state)
    kind = _CONTAINERS.get(code)
    if kind is not None:
        return kind(decoder.decode(data))
    restore = _RESTORES.get(code)
    if restore is None:
        raise ValueError(f"unknown extension type {code}")
    return restore(bytes(data))


#: Converts a value of plain types to the type of a hint that msgspec knows; `hints.convert` is for all. Raises
#: msgspec.ValidationError if it does not fit, and TypeError for another hint. A string is never read as base64.
convert = functools.partial(msgspec.convert, builtin_types=(bytes, bytearray), dec_hook=_rebuild)
_DTYPE = re.compile(r"[<>=|]?[biufcmMSUV]\d{1,9}(?:\[\d{0,9}[A-Za-z]{1,2}\])?")
#: The first byte of an extension of any size, and where the byte with its type is.
_EXTENSION_HEADS = {b"\xc7": 2, b"\xc8": 3, b"\xc9": 5}
_ATOMS = frozenset({str, float, bool, bytes, type(None)})
_PATH_TYPE = type(pathlib.Path())
_STR = {str}
_PLAIN_KEYS = frozenset({str, int, bytes, bool, float, type(None)})
_COLLECTIONS: dict[type, int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}
_CONTAINERS: dict[int, type] = {code: kind for kind, code in _COLLECTIONS.items()} | {_MAP: dict}
_FOLDS: dict[type, tuple[int, Callable[[Any], str]]] = {
    uuid.UUID: (_UUID, str),
    decimal.Decimal: (_DECIMAL, str),
    dt.datetime: (_DATETIME, _iso),
    dt.date: (_DATE, dt.date.isoformat),
    dt.time: (_TIME, _iso),
    dt.timedelta: (_DELTA, lambda value: f"{value.days} {value.seconds} {value.microseconds}"),
    complex: (_COMPLEX, str),
}
#: Types that msgspec, or an extension of its own, has.
PLAIN = frozenset({*_ATOMS, int, list, dict, *_COLLECTIONS, *_FOLDS})
_RESTORES: dict[int, Callable[[bytes], Any]] = {
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
}
_decoder: Decoder[Any] = Decoder(ext_hook=_restore)
_unsigned_decoder: Decoder[Any] = Decoder(ext_hook=_restore_unsigned)
_signed_decoder: Decoder[Any] = Decoder(ext_hook=_restore_signed)
_data_decoder: Decoder[Any] = Decoder(ext_hook=_restore_data)
