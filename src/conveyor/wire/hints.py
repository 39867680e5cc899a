"""Type hints: reading those of a function or class, and fitting values to them.

A value that is an instance of its hint stays as it is, with its own type: a subclass under its base, a tuple under
`Sequence`. Plain data of another type is converted if the hint says to what: 3 under `float`, "a/b" under `Path`, a
dict under a dataclass. All else is refused.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import datetime as dt
import decimal
import enum
import functools
import inspect
import itertools
import operator
import pathlib
import sys
import types
import typing
import uuid
from typing import Any, Literal, TypeVar

import msgspec

from conveyor.wire import codec, objects

# Python 3.14 evaluates annotations when they are read, and fails unless it may leave out what it cannot find.
if sys.version_info >= (3, 14):
    from annotationlib import Format

    _LENIENT = {"format": Format.FORWARDREF}
else:
    _LENIENT: dict[str, Any] = {}

#: Types whose values msgspec checks and converts as `fit` does, as long as they contain no objects.
_NATIVE = frozenset(
    {
        *(Any, type(None), bool, int, float, str, bytes, list, tuple, set, frozenset, dict),
        *(dt.datetime, dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID, complex, pathlib.Path),
    }
)
_NATIVE_CONTAINERS = frozenset({list, tuple, set, frozenset, dict})
_UNIONS = (typing.Union, types.UnionType)
_SEQUENCES = (list, tuple, set, frozenset, collections.deque)
_MAPPINGS = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)
#: Types whose items are all of one type, so that the first shows whether all fit.
_UNIFORM = (str, bytes, bytearray, range)
_FIELD_MARKS = ("__dataclass_fields__", "__struct_fields__", "__attrs_attrs__", "_fields")
_ATOMS = frozenset({str, int, float, bool, bytes})
_SCALARS = _ATOMS | {complex}
_DIRECT = _ATOMS | {type(None), list, dict}
_UNSET = object()


def signature(function: Any) -> inspect.Signature:
    """Return the signature of a function. Raises TypeError or ValueError if it has none."""
    return inspect.signature(function, **{f"annotation_{name}": value for name, value in _LENIENT.items()})


def resolve(owner: Any) -> dict[str, Any]:
    """Return the type hints of a function or class by name, without those that cannot be resolved."""
    with contextlib.suppress(Exception):
        return typing.get_type_hints(owner)
    hints: dict[str, Any] = {}
    for part in reversed(getattr(owner, "__mro__", (owner,))):
        with contextlib.suppress(Exception):  # what has no annotations, has no hints
            scope = getattr(inspect.unwrap(part), "__globals__", None) or vars(sys.modules[part.__module__])
            for name, hint in inspect.get_annotations(part, **_LENIENT).items():
                one = types.SimpleNamespace(
                    __annotations__={name: hint}, __type_params__=getattr(part, "__type_params__", ())
                )
                with contextlib.suppress(Exception):  # a name that only a type checker knows
                    hints |= typing.get_type_hints(one, scope, dict(vars(part)))
    return hints


def is_native(hint: Any) -> bool:
    """Return True if msgspec, which is faster, does with plain data what `fit` does."""
    origin = typing.get_origin(hint)
    if origin in _NATIVE_CONTAINERS or origin in _UNIONS:
        known = all(is_native(one) for one in typing.get_args(hint) if one not in (..., ()))
    elif origin is None and isinstance(hint, type):
        kind: Any = hint
        known = kind in _NATIVE or issubclass(kind, enum.Enum) or _has_fields(kind)
    else:
        known = hint is Any or hint is None or origin is Literal
    return known and _is_known(hint)


def is_direct(hint: Any) -> bool:
    """Return True if values of a native hint are made of strings, numbers, lists and dicts, and Any."""
    origin = typing.get_origin(hint)
    if origin in {list, dict, *_UNIONS}:
        return all(map(is_direct, typing.get_args(hint))) and _is_known(hint)
    return hint is Any or (isinstance(hint, type) and hint in _DIRECT)


def _is_known(hint: Any) -> bool:
    """Return True if msgspec takes a hint."""
    try:
        codec.convert(None, hint)
    except msgspec.ValidationError:
        return True
    except Exception:  # noqa: BLE001 - it resolves the hints of classes of users
        return False
    return True


def convert(value: Any, hint: Any, *, strict: bool = True) -> Any:
    """Return plain data as the type of a hint. Raises msgspec.ValidationError if it does not fit.

    Without `strict`, strings are read as numbers and so on, for user input.
    """
    return _natively(value, hint, strict=strict) if is_native(hint) else fit(value, hint, strict=strict)


def _natively(value: Any, hint: Any, *, strict: bool) -> Any:
    return (
        codec.convert(value, hint) if strict else codec.convert(value, hint, strict=False, builtin_types=())
    )


def convert_text(text: str, hint: Any) -> Any:
    """Convert user input to the type of `hint`, as it is or else as JSON. Raises msgspec.MsgspecError."""
    try:
        return convert(text, hint, strict=False)
    except msgspec.ValidationError:
        return convert(msgspec.json.decode(text), hint, strict=False)


def fit(value: Any, hint: Any, *, strict: bool = True) -> Any:  # noqa: PLR0911 - one return per kind of hint
    """Return a value if it is an instance of its hint, or else what the hint makes of plain data.

    Items of containers are fitted as well; fields of objects are checked, but left as they are. Raises
    msgspec.ValidationError if it does not fit.
    """
    if hint is Any or (type(value) is hint and hint in _ATOMS):
        return value
    kind: Any = hint
    inner: tuple[Any, ...] = ()
    if not isinstance(hint, type):
        hint = _core(hint)
        origin, inner = typing.get_origin(hint), typing.get_args(hint)
        if origin in _UNIONS:
            return _fit_union(value, hint, inner, strict=strict)
        if origin is Literal:
            is_one = any(type(value) is type(one) and value == one for one in inner)
            return value if is_one else _converted(value, hint, strict=strict)
        kind = origin or hint
    if typing.is_typeddict(kind):
        return _fit_typed_dict(value, kind, strict=strict)
    if not isinstance(kind, type) or kind is object:
        return value  # anything, or a hint that only a type checker understands
    if not _is_instance(value, kind, strict=strict):
        return _made(value, hint, kind, strict=strict)
    if inner and isinstance(value, (*_SEQUENCES, *_UNIFORM, dict)):
        return _fit_items(value, inner, strict=strict, is_row=kind is tuple and inner[-1] is not ...)
    if _has_fields(kind):
        _check_fields(value)
    return value


@functools.lru_cache(maxsize=1024)
def _has_fields(kind: Any) -> bool:
    """Return True for classes that msgspec makes from a mapping of their fields.

    It would make dataclasses of pydantic, too, but without what pydantic knows of them.
    """
    return any(hasattr(kind, mark) for mark in _FIELD_MARKS) and not codec.is_validated(kind)


def _core(hint: Any) -> Any:
    """Return what a hint stands for: of a variable its bound, of a new type or an alias its origin."""
    if isinstance(hint, TypeVar):
        return _core(hint.__bound__ or (typing.Union[hint.__constraints__] if hint.__constraints__ else Any))  # noqa: UP007 - of as many as there are
    if hint is None:
        return type(None)
    is_alias = type(hint).__name__ == "TypeAliasType"  # of Python 3.12 or typing_extensions
    further = hint.__value__ if is_alias else getattr(hint, "__supertype__", None)
    return hint if further is None else _core(further)


def _is_instance(value: Any, kind: type, *, strict: bool) -> bool:
    if type(value) is bool and kind is int:
        return False
    if type(value) is str and kind is not str and not strict:
        return False  # typed text is not meant as the collection of its characters
    try:
        return isinstance(value, kind)
    except TypeError:  # a protocol that does not exist at run time
        return True


def _fit_union(value: Any, hint: Any, members: tuple[Any, ...], *, strict: bool) -> Any:
    """Return a value as it is if a member of the union allows it, or else what the first makes of it."""
    made: list[Any] = []
    for member in members:
        with contextlib.suppress(msgspec.ValidationError):
            made.append(fit(value, member, strict=strict))
            if made[-1] is value:
                return value
    if not made or (len(made) > 1 and type(value) is dict):  # it is unclear which class the mapping is for
        raise _misfit(value, hint)
    return made[0]


def _fit_typed_dict(value: Any, kind: Any, *, strict: bool) -> Any:
    """Return a mapping whose values fit. Keys that the type does not have stay."""
    if not isinstance(value, dict) or not _required_keys(kind) <= value.keys():
        raise _misfit(value, kind)
    hints = resolve(kind)
    items = [fit(item, hints.get(key, Any), strict=strict) for key, item in value.items()]
    return _mapping_like(value, list(value), items)


@functools.lru_cache(maxsize=1024)
def _required_keys(kind: Any) -> frozenset[str]:
    """Return the keys that a mapping must have; of annotations that are strings, the type itself reads no marks."""
    marked: dict[str, Any] = {}
    with contextlib.suppress(Exception):
        marked = typing.get_type_hints(kind, include_extras=True)
    optional = {name for name, hint in marked.items() if typing.get_origin(hint) is typing.NotRequired}
    return frozenset(kind.__required_keys__ - optional)


def _fit_items(value: Any, inner: tuple[Any, ...], *, strict: bool, is_row: bool) -> Any:
    """Return a container whose items fit the arguments of its hint, in a row one for each item."""
    if isinstance(value, dict):
        item_hint = inner[1] if len(inner) > 1 else Any
        keys = [fit(key, inner[0], strict=strict) for key in value]
        return _mapping_like(value, keys, [fit(item, item_hint, strict=strict) for item in value.values()])
    if is_row and len(value) != len(inner):
        raise msgspec.ValidationError(f"Expected {len(inner)} items, got {len(value)}")
    old = value[:1] if isinstance(value, _UNIFORM) else value
    if not is_row and isinstance(inner[0], type) and inner[0] in _ATOMS and {*map(type, old)} <= {inner[0]}:
        return value
    hints = inner if is_row else itertools.repeat(inner[0])
    new = [fit(item, hint, strict=strict) for item, hint in zip(old, hints, strict=False)]
    if all(map(operator.is_, new, old)):
        return value
    if isinstance(value, collections.deque):
        return collections.deque(new, value.maxlen)
    if type(value) not in _SEQUENCES:
        raise _misfit(value, inner[0])
    return type(value)(new)


def _mapping_like(value: dict[Any, Any], keys: list[Any], items: list[Any]) -> Any:
    """Return a mapping itself if it has these keys and items, or else one of its type with them."""
    if all(map(operator.is_, keys, value)) and all(map(operator.is_, items, value.values())):
        return value
    made = copy.copy(value)
    made.clear()
    made.update(dict(zip(keys, items, strict=True)))
    return made


def _check_fields(value: Any) -> None:
    """Raise msgspec.ValidationError if a field of an object does not fit its hint."""
    kind: Any = type(value)
    for name, hint in _field_hints(kind).items():
        item = getattr(value, name, _UNSET)
        if item is not _UNSET:
            try:
                fit(item, hint)
            except msgspec.ValidationError as error:
                raise msgspec.ValidationError(f"{kind.__qualname__}.{name}: {error}") from None


@functools.lru_cache(maxsize=1024)
def _field_hints(kind: Any) -> dict[str, Any]:
    """Return the hints of the fields of a class that are checked."""
    hints = resolve(kind)
    return {name: hints[name] for name in objects.checked_fields(kind) if name in hints}


def _made(value: Any, hint: Any, kind: type, *, strict: bool) -> Any:
    """Return what a hint makes of a value that is not its instance. Raises msgspec.ValidationError."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic) and type(item := value.item()) in _SCALARS:
        return fit(item, hint, strict=strict)
    is_items = kind in _SEQUENCES and type(value) in _NATIVE_CONTAINERS - {dict}
    if is_items or (kind in _MAPPINGS and type(value) is dict and kind is not collections.defaultdict):
        try:
            return fit(kind(value), hint, strict=strict)
        except TypeError:  # items that a set cannot hold
            raise _misfit(value, hint) from None
    if issubclass(kind, enum.Enum) and type(value) is str and not is_native(kind):
        value = kind.__members__.get(value, value)  # msgspec knows no enums of such values
        return value if isinstance(value, kind) else _converted(value, hint, strict=strict)
    return _converted(value, hint, strict=strict)


def _converted(value: Any, hint: Any, *, strict: bool) -> Any:
    """Return what msgspec makes of plain data, with no objects in it, which it could change."""
    is_container = type(value) in _NATIVE_CONTAINERS
    if type(value) in codec.PLAIN and not (is_container and codec.has_objects(codec.encode(value))):
        if type(value) is dict and codec.is_validated(hint):
            return codec.validated(hint, value)
        with contextlib.suppress(TypeError, NameError, RuntimeError):  # a hint that it does not know
            return _natively(value, hint, strict=strict)
    raise _misfit(value, hint)


def _misfit(value: Any, hint: Any) -> msgspec.ValidationError:
    name = hint.__qualname__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    return msgspec.ValidationError(f"Expected `{name}`, got `{type(value).__qualname__}`")
