"""Objects as data: the name of their class and their state, and the objects again from both.

An object is rebuilt with the class of its name if this process has imported that class already: nothing that arrives
can import a module. Only data can be rebuilt, and without code of the class: the attributes are restored as they were,
neither `__init__` nor `__post_init__` runs. What does run is what Python needs to hold the value: `__hash__` and
`__eq__` of keys and of items of sets, the lookup of combined flags, and `__post_init__` of msgspec's structs, which is
made for data that arrives.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import functools
import importlib
import operator
import pathlib
import sys
from collections import defaultdict
from dataclasses import MISSING, fields
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.errors import BadCall, UnknownClass
from conveyor.task_loading import main_name

if TYPE_CHECKING:
    from collections.abc import Callable

_MAIN = {"__main__", "__mp_main__"}
#: The alias, such as Box[int], that typing notes in an object made with it.
_ALIAS = "__orig_class__"
_ATTRS_HASH = "_attrs_cached_hash"


class ObjectData:
    """An object as it travels, for people: it needs no class, so every process can show it."""

    __slots__ = ("name", "state")

    def __init__(self, name: str, state: Any) -> None:
        self.name = name
        self.state = state

    def __repr__(self) -> str:
        if self.parts is None:
            return self.title
        return f"{self.title}({', '.join(f'{label_of(name)}{value!r}' for name, value in self.parts)})"

    @property
    def title(self) -> str:
        """The name of the class without its module; of a member of an enum, all there is to show."""
        name = self.name.rpartition(":")[2]
        return _printable(name if self.parts is not None else f"{name}.{self.state}")

    @property
    def parts(self) -> list[tuple[str | None, Any]] | None:
        """Name and value of each attribute, or None and each argument; None for a member of an enum."""
        if isinstance(self.state, str):
            return None
        if isinstance(self.state, dict):  # without what a library keeps for itself
            own = ("__", _ATTRS_HASH)
            return [(str(name), one) for name, one in self.state.items() if not str(name).startswith(own)]
        return [(None, one) for one in (self.state if isinstance(self.state, list) else [self.state])]


def label_of(name: str | None) -> str:
    """Return what precedes a part of an object in a text: `name=`, or nothing."""
    return "" if name is None else f"{_printable(name)}="


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)


def plain(value: Any) -> Any:
    """Return what JSON shows of an object: its attributes, the name of an enum's member, or the arguments.

    Raises TypeError for anything else, as the hook of an encoder does.
    """
    if isinstance(value, dt.tzinfo):
        return str(value)
    if not isinstance(value, ObjectData):
        raise TypeError(f"a {type(value).__qualname__} has no form in JSON")
    if value.parts is None:
        return value.state
    if isinstance(value.state, dict):
        return dict(value.parts)
    arguments = [one for _, one in value.parts]
    return arguments[0] if len(arguments) == 1 else arguments


def shown(name: str, state: Any) -> Any:
    """Return an object for people: times and time zones themselves if they are valid, ObjectData otherwise."""
    if name in _TIMES:
        with contextlib.suppress(Exception):  # invalid, or a zone that this system does not have
            return rebuilt(name, state)
    return ObjectData(name, state)


def taken_apart(value: Any) -> tuple[str, Any]:
    """Return the name of an object's class and its state. Raises BadCall if the object is not data.

    The state is a mapping of the attributes; for a member of an enum, its name or, for combined flags, a number; for a
    type of the standard library, a list of arguments.
    """
    cls: Any = type(value)
    standard = _STANDARD.get(cls.__name__)
    if standard is not None and _of_module(standard.module, cls.__name__) is cls:
        return cls.__name__, standard.arguments(value)
    layout = _layout(cls)
    if _look_up(layout.name) is not cls:
        raise _unreachable(layout.name)
    if layout.kind is enum.Enum:
        return layout.name, _member_state(value)
    state = _attributes(value)
    if layout.kind is tuple:
        if state:
            raise BadCall(
                f"{_readable(layout.name)} with attributes other than its fields cannot be serialized"
            )
        return layout.name, dict(zip(layout.fields, value, strict=True))
    for field in layout.fields:
        if field not in state:  # a default may be in the class only
            if not hasattr(value, field):
                raise BadCall(f"{_readable(layout.name)} without its field {field!r} cannot be serialized")
            state = {**state, field: getattr(value, field)}
    kept = {name: state[name] for name in state if name not in layout.left_out}
    if _ATTRS_HASH in kept:
        kept[_ATTRS_HASH] = None  # attrs computes it again; hashes of strings differ between processes
    return layout.name, kept


def rebuilt(name: str, state: Any) -> Any:
    """Return the object of a class name and a state.

    Raises UnknownClass if this process does not have the class, and ValueError or TypeError if the state is invalid.
    """
    standard = _STANDARD.get(name)
    if standard is not None:
        if type(state) is not list:
            raise ValueError(f"invalid arguments of {name}")
        return (standard.build or getattr(importlib.import_module(standard.module), name))(*state)
    cls = find_class(name)
    layout = _layout(cls)
    if layout.kind is enum.Enum:
        return _member(cls, state)
    if type(state) is not dict or set(map(type, state)) - {str}:
        raise ValueError(f"invalid state of {name}")
    if layout.kind is msgspec.Struct:
        return _rebuilt_struct(cls, state)
    for field in layout.fields:
        if field not in state:
            state[field] = _default(cls, field)
    if layout.kind is tuple:
        if len(state) > len(layout.fields):
            raise ValueError(f"{name} has fewer fields than the object")
        return tuple.__new__(cls, [state[field] for field in layout.fields])
    made: Any = object.__new__(cls)
    _restore(made, state, layout)
    return made


def find_class(name: str) -> type:
    """Return the class of a name, `module:Qualified.Name`. Imports nothing. Raises UnknownClass."""
    found = _look_up(name)
    if found is not None:
        return found
    module = name.partition(":")[0]
    if module in sys.modules or module == main_name():
        reason, hint = f"{module} has no such class here", "use the same version of the module everywhere"
    else:
        reason, hint = f"this process has not imported {module}", f"import {module} first"
    raise UnknownClass(f"unknown class {_readable(name)}: {reason}", hint=hint)


def checked_fields(cls: type) -> tuple[str, ...]:
    """Return the fields of a class that fit its type hints if it is used as intended; none for other classes.

    Libraries that validate do so by rules of their own, so none for their classes.
    """
    is_checked = hasattr(cls, "__dataclass_fields__") or issubclass(cls, tuple | msgspec.Struct)
    return _layout(cls).fields if is_checked and not hasattr(cls, "__pydantic_fields__") else ()


def is_written_as_text(cls: type) -> bool:
    """Return True for types of the standard library whose values people write as text: paths, IP addresses, zones."""
    standard = _STANDARD.get(cls.__name__)
    if standard is not None and standard.arguments in {_text, _zone_key}:
        return _of_module(standard.module, cls.__name__) is cls
    return issubclass(cls, pathlib.PurePath)


class _Layout(NamedTuple):
    """How objects of a class are taken apart and rebuilt."""

    name: str
    kind: type
    """Enum, tuple, Struct, or object for those that are their attributes."""
    fields: tuple[str, ...]
    """The attributes that every object has."""
    slots: dict[str, MemberDescriptorType]
    left_out: set[str]
    """Cached properties, whose values are attributes too, and what typing notes in an object."""


@functools.lru_cache(maxsize=1024)
def _layout(cls: Any) -> _Layout:
    """Return the layout of a class. Raises BadCall if its objects are not data."""
    kind = next((one for one in (enum.Enum, tuple, msgspec.Struct) if issubclass(cls, one)), object)
    names = _field_names(cls, kind)
    if names is None or hasattr(cls, "__del__"):
        raise BadCall(
            f"a {cls.__qualname__} cannot be serialized",
            hint='send plain data, a dataclass, or a path to a file, or use a queue with serializer="pickle"',
        )
    members: dict[str, Any] = {}
    slots: dict[str, MemberDescriptorType] = {}  # a class may hide those of its bases
    for base in reversed(cls.__mro__):
        members |= vars(base)
        slots |= {name: one for name, one in vars(base).items() if type(one) is MemberDescriptorType}
    return _Layout(
        _name_of(cls),
        kind,
        names,
        slots,
        {_ALIAS, *(name for name, one in members.items() if isinstance(one, functools.cached_property))},
    )


def _field_names(cls: Any, kind: type) -> tuple[str, ...] | None:
    """Return the attributes that every object of a class has, or None if its objects are not data."""
    if kind is enum.Enum:
        return ()
    if kind is not object:
        return getattr(cls, "_fields" if kind is tuple else "__struct_fields__", None)
    # With a `__new__`, its own or that of a base such as dict, there may be more than attributes.
    if cls.__new__ is not object.__new__:
        return None
    found = fields(cls) if hasattr(cls, "__dataclass_fields__") else getattr(cls, "__attrs_attrs__", None)
    if found is not None:
        return tuple(one.name for one in found if one.init)
    return tuple(cls.__pydantic_fields__) if hasattr(cls, "__pydantic_fields__") else None


def _name_of(cls: type) -> str:
    return f"{main_name() if cls.__module__ in _MAIN else cls.__module__}:{cls.__qualname__}"


def _look_up(name: str) -> type | None:
    """Return the class of a name if an imported module defines it. Not even `__getattr__` of the module runs."""
    module, _, path = name.partition(":")
    main = main_name()
    found: Any = sys.modules.get("__main__" if module == main else module)
    for part in path.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    if not isinstance(found, type) or found.__qualname__ != path:
        return None
    return found if found.__module__ == module or (module == main and found.__module__ in _MAIN) else None


def _unreachable(name: str) -> BadCall:
    """Return the error for a class that other processes cannot find under its name."""
    hint = "define it with class at module level, under its own name"
    if "<locals>" in name:
        return BadCall(f"{_readable(name)} is defined in a function, so workers cannot find it", hint=hint)
    return BadCall(f"{_readable(name)} is another class than that of the object", hint=hint)


def _readable(name: str) -> str:
    return name.replace(":", ".")


def _attributes(value: object) -> dict[str, Any]:
    """Return the attributes of an object, those in slots too."""
    state: Any = object.__getstate__(value)
    if isinstance(state, tuple):
        return {**(state[0] or {}), **state[1]}
    return state or {}


def _restore(made: Any, state: dict[str, Any], layout: _Layout) -> None:
    """Set the attributes of an object. Raises ValueError for one that it cannot have."""
    for name, value in state.items():
        slot = layout.slots.get(name)
        if slot is not None:
            slot.__set__(made, value)
        elif type(made).__dictoffset__:
            made.__dict__[name] = value
        else:
            raise ValueError(f"{layout.name} has no attribute {name!r}")


def _rebuilt_struct(cls: Any, state: dict[str, Any]) -> Any:
    names = [name for name in cls.__struct_fields__ if name in state]
    made = cls(**{name: state[name] for name in names})
    for name in names:
        msgspec.structs.force_setattr(made, name, state.pop(name))  # __post_init__ may have changed it
    _restore(made, state, _layout(cls))
    return made


def _default(cls: Any, name: str) -> Any:
    """Return the default of a field that the class has got since the object was put. Raises ValueError without one."""
    if name in getattr(cls, "_field_defaults", ()):
        return cls._field_defaults[name]
    for one in fields(cls) if hasattr(cls, "__dataclass_fields__") else ():
        if one.name == name and one.default is not MISSING:
            return one.default
        if one.name == name and one.default_factory is not MISSING:
            return one.default_factory()
    for one in getattr(cls, "__attrs_attrs__", ()):
        attr = sys.modules["attr"]
        if one.name == name and one.default is not attr.NOTHING:
            if not isinstance(one.default, attr.Factory):
                return one.default
            if not one.default.takes_self:
                return one.default.factory()
    known = getattr(cls, "__pydantic_fields__", {}).get(name)
    if known is not None and not known.is_required():
        return known.get_default(call_default_factory=True)
    raise ValueError(f"a {cls.__qualname__} without {name!r}")


def _member_state(value: Any) -> str | int:
    """Return the name of an enum's member, or the value of combined flags."""
    if type(value).__members__.get(value._name_) is value:
        return str(value._name_)
    if isinstance(value, enum.Flag):
        return operator.index(value._value_)
    raise BadCall(f"a {type(value).__qualname__} that is not a member of it cannot be serialized")


def _member(cls: Any, state: Any) -> Any:
    if type(state) is str and state in cls.__members__:
        return cls.__members__[state]
    if type(state) is int and issubclass(cls, enum.Flag):
        return cls(state)
    raise ValueError(f"{cls.__qualname__} has no member {state!r:.80}")


# --- types of the standard library


class _Standard(NamedTuple):
    """How objects of a type are written as a call of it."""

    module: str
    arguments: Callable[[Any], list[Any]]
    build: Callable[..., Any] | None = None
    """In place of the type, for those that take more than what `arguments` returns."""


def _of_module(module: str, name: str) -> Any:
    """Return what a module has under a name, or None if it is not imported."""
    return getattr(sys.modules.get(module), name, None)


def _text(value: object) -> list[Any]:
    return [str(value)]


def _bounds(value: Any) -> list[Any]:
    return [value.start, value.stop, value.step]


def _mapping_arguments(value: Any) -> list[Any]:
    if vars(value):
        raise BadCall(
            f"a {type(value).__name__} with attributes cannot be serialized", hint="use a dataclass"
        )
    return [dict(value)]


def _deque_arguments(value: Any) -> list[Any]:
    return [list(value)] if value.maxlen is None else [list(value), value.maxlen]


def _defaultdict_arguments(value: Any) -> list[Any]:
    for name, factory in _FACTORIES.items():
        if value.default_factory is factory:
            return [name, dict(value)]
    known = ", ".join(filter(None, _FACTORIES))
    raise BadCall(
        f"a defaultdict with the factory {value.default_factory!r:.80} cannot be serialized",
        hint=f"send dict(value), or use one of {known}",
    )


def _zone_key(zone: Any) -> list[Any]:
    if zone.key is None:
        raise BadCall("a ZoneInfo without a key cannot be serialized", hint="make it with ZoneInfo(key)")
    return [zone.key]


def _zone(key: str) -> Any:
    zoneinfo = importlib.import_module("zoneinfo")
    try:
        return zoneinfo.ZoneInfo(key)
    except zoneinfo.ZoneInfoNotFoundError:
        raise ImportError(f"this system does not have the time zone {key!r:.80}; install tzdata") from None


def has_name(zone: dt.timezone) -> bool:
    """Return True if a fixed offset was made with a name."""
    return zone.tzname(None) != dt.timezone(zone.utcoffset(None)).tzname(None)


def _offset_and_name(zone: dt.timezone) -> list[Any]:
    offset = zone.utcoffset(None)
    return [offset, zone.tzname(None)] if has_name(zone) else [offset]


def _wall_time(value: dt.datetime | dt.time) -> list[Any]:
    zone = value.tzinfo
    if zone is not None and type(zone) not in {dt.timezone, _of_module("zoneinfo", "ZoneInfo")}:
        raise BadCall(
            f"a {type(value).__name__} with a {type(zone).__module__}.{type(zone).__qualname__} cannot be serialized",
            hint="use zoneinfo.ZoneInfo or datetime.timezone",
        )
    return [value.replace(tzinfo=None).isoformat(), value.fold, zone]


def _datetime(text: str, fold: int, zone: dt.tzinfo | None) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(fold=fold, tzinfo=zone)


def _time(text: str, fold: int, zone: dt.tzinfo | None) -> dt.time:
    return dt.time.fromisoformat(text).replace(fold=fold, tzinfo=zone)


def _fraction(numerator: Any, denominator: Any) -> Any:
    # A string of few characters could be a number with a billion digits.
    fraction = importlib.import_module("fractions").Fraction
    return fraction(operator.index(numerator), operator.index(denominator))


#: The factories that a defaultdict may have: nothing else that arrives is called.
_FACTORIES: dict[str | None, Any] = {
    None: None,
    **{kind.__name__: kind for kind in (list, dict, set, tuple, int, float, str, bool, bytes)},
}
_TIMES = {"datetime", "time", "timezone", "ZoneInfo"}
_STANDARD = {
    "bytearray": _Standard("builtins", lambda value: [bytes(value)], lambda raw: bytearray(memoryview(raw))),
    "range": _Standard("builtins", _bounds),
    "slice": _Standard("builtins", _bounds),
    "deque": _Standard("collections", _deque_arguments),
    "Counter": _Standard("collections", _mapping_arguments),
    "OrderedDict": _Standard("collections", _mapping_arguments),
    "defaultdict": _Standard(
        "collections", _defaultdict_arguments, lambda name, items: defaultdict(_FACTORIES[name], items)
    ),
    "datetime": _Standard("datetime", _wall_time, _datetime),
    "time": _Standard("datetime", _wall_time, _time),
    "timezone": _Standard("datetime", _offset_and_name),
    "ZoneInfo": _Standard("zoneinfo", _zone_key, _zone),
    "Fraction": _Standard("fractions", lambda value: [value.numerator, value.denominator], _fraction),
    "str_": _Standard("numpy", lambda value: [str.__str__(value)]),
    "bytes_": _Standard("numpy", lambda value: [bytes(value)]),
    "PurePosixPath": _Standard("pathlib", _text),
    "PureWindowsPath": _Standard("pathlib", _text),
    **{
        f"IPv{version}{kind}": _Standard("ipaddress", _text)
        for version in (4, 6)
        for kind in ("Address", "Interface", "Network")
    },
}
