"""Hostile bytes of objects: nothing they name is imported or called, and nothing is restored but data."""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
from typing import Any, NamedTuple

import msgspec
import pytest

from conveyor.errors import UnknownClass
from conveyor.wire import codec

CALLED: list[str] = []


@pytest.fixture(autouse=True)
def _uncalled() -> None:
    CALLED.clear()


def hostile(name: Any, state: Any) -> bytes:
    """Return the bytes of an object as an attacker may write them."""
    content = b"\x93" + b"".join(map(msgspec.msgpack.encode, (None, name, state)))
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(127, content))


@dataclasses.dataclass
class Watched:
    """Notes every call of its code."""

    value: int = 0

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        CALLED.append("__new__")
        return super().__new__(cls)


@dataclasses.dataclass
class Quiet:
    value: Any = 0

    def __init__(self, value: Any = 0) -> None:
        CALLED.append("__init__")
        self.value = value

    def __post_init__(self) -> None:
        CALLED.append("__post_init__")

    def __setattr__(self, name: str, value: Any) -> None:
        CALLED.append("__setattr__")
        object.__setattr__(self, name, value)

    def __setstate__(self, state: Any) -> None:
        CALLED.append("__setstate__")

    def __reduce__(self) -> Any:
        CALLED.append("__reduce__")
        return Quiet, ()

    def __getstate__(self) -> Any:
        CALLED.append("__getstate__")
        return {}

    @property
    def door(self) -> int:
        return 0

    @door.setter
    def door(self, value: Any) -> None:
        CALLED.append("setter")


@dataclasses.dataclass(slots=True)
class Slotted:
    value: int = 0


@dataclasses.dataclass
class Resource:
    path: str = ""

    def __del__(self) -> None:
        CALLED.append(f"__del__ {self.path}")


@dataclasses.dataclass
class Wrapper(dict[str, Any]):
    value: int = 0


class Plain:
    def __init__(self) -> None:
        CALLED.append("Plain")


class Level(enum.Enum):
    LOW = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        CALLED.append("_missing_")


class Pair(NamedTuple):
    left: int
    right: int


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("os:system", {"command": "true"}),
        ("os:system", ["true"]),
        ("builtins:eval", ["1"]),
        ("builtins:exec", {}),
        ("eval", ["1"]),
        ("subprocess:Popen", {"args": "true"}),
        ("builtins:object", {}),
        ("builtins:dict", {}),
        ("builtins:type", {}),
        ("builtins:Exception", {}),
        ("pathlib:Path", {}),
        ("conveyor.wire.objects:rebuilt", {}),
        ("", {}),
        (":", {}),
        (f"{__name__}:", {}),
        (f"{__name__}:CALLED", {}),
        (f"{__name__}:Plain", {}),
        (f"{__name__}:Plain.__init__", {}),
        (f"{__name__}:Quiet.__class__", {}),
        (f"{__name__}:dataclasses.Field", {}),
        (f"{__name__}:Watched", {"value": 1}),
        (f"{__name__}:Resource", {"path": "x"}),
        (f"{__name__}:Wrapper", {"value": 1}),
        (f"{__name__}:Quiet", {1: 2}),
        (f"{__name__}:Quiet", ["value"]),
        (f"{__name__}:Quiet", "value"),
        (f"{__name__}:Slotted", {"value": 1, "further": 2}),
        (f"{__name__}:Level", "HIGH"),
        (f"{__name__}:Level", "__class__"),
        (f"{__name__}:Level", 2),
        (f"{__name__}:Level", {}),
        (f"{__name__}:Pair", [1, 2]),
        (f"{__name__}:Pair", {"left": 1}),
        (None, {}),
        (["os:system"], {}),
        ("range", {"stop": 1}),
        ("range", "12"),
        ("bytearray", [10**12]),
        ("Fraction", ["1e999999999"]),
        ("Fraction", ["1e999999999", 1]),
        ("Fraction", [1, 0]),
        ("defaultdict", ["eval", {}]),
        ("defaultdict", ["open", {}]),
        ("deque", [1, 2, 3]),
        ("ZoneInfo", ["../../../etc/passwd"]),
        ("ZoneInfo", ["/etc/passwd"]),
        ("ZoneInfo", ["Nowhere/Land"]),
        ("datetime", ["2026-01-01T00:00:00", 2, None]),
        ("datetime", ["2026-01-01T00:00:00", 0, "Europe/Berlin"]),
        ("IPv4Address", ["1.2.3.4.5"]),
        ("timezone", [1]),
    ],
    ids=repr,
)
def test_nothing_but_data_is_restored(name: Any, state: Any) -> None:
    data = hostile(name, state)
    with pytest.raises((ValueError, UnknownClass)):
        codec.decode(data)
    assert isinstance(repr(codec.decode_data(data)) if isinstance(name, str) else "", str)
    assert CALLED == []


def test_object_is_restored_without_code_of_its_class() -> None:
    data = hostile(f"{__name__}:Quiet", {"value": 5, "door": 6, "__class__": 7})
    made = codec.decode(data)
    assert (type(made), made.value, made.door) == (Quiet, 5, 0)
    assert CALLED == []
    assert codec.encode(made)
    assert CALLED == []


def test_no_module_is_imported_for_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            CALLED.append(name)
            raise AttributeError(name)

    monkeypatch.setitem(sys.modules, "lazy_module", Lazy("lazy_module"))
    for name in ("this:Zen", "antigravity:Comic", "lazy_module:Thing", "lazy_module.inner:Thing"):
        with pytest.raises(UnknownClass, match=name.replace(":", r"\.")) as unknown:
            codec.decode(hostile(name, {}))
        assert unknown.value.hint
    assert CALLED == []
    assert {"this", "antigravity"}.isdisjoint(sys.modules)


@pytest.mark.parametrize("depth", [50, 3_000])
def test_deeply_nested_objects_are_a_value_or_a_value_error(depth: int) -> None:
    data = b"\xc0"
    for _ in range(depth):
        content = b"\x93\xc0" + msgspec.msgpack.encode(f"{__name__}:Quiet") + b"\x81\xa5value" + data
        data = msgspec.msgpack.encode(msgspec.msgpack.Ext(127, content))
    if depth < 100:
        assert codec.encode(codec.decode(data)) == data
    else:
        with pytest.raises(ValueError, match="Recursion"):
            codec.decode(data)
