"""Classes of all kinds that travel, and strategies of values, each with a hint that fits it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import pathlib
import re
import typing
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network
from typing import Any, NamedTuple, TypedDict

import attrs
import msgspec
import numpy as np
import pydantic
import pydantic.dataclasses
from hypothesis import strategies as st

from conveyor.wire import codec
from conveyor.wire.signature import Signature


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


@dataclasses.dataclass
class Pixel(Point):
    color: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    name: str
    number: int = 0


@dataclasses.dataclass
class Account:
    """Its constructor is not to run twice."""

    owner: str
    start: dataclasses.InitVar[int] = 0
    balance: int = dataclasses.field(init=False)

    def __post_init__(self, start: int) -> None:
        self.owner += "!"
        self.balance = start
        self.log = [start]

    @functools.cached_property
    def lock(self) -> object:
        return object()


class Color(enum.Enum):
    RED = "red"
    PATTERN = re.compile("x")  # a value that cannot travel itself
    PAIR = (1, 2)


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Tone(enum.StrEnum):
    LOW = "low"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Pair(NamedTuple):
    left: int
    right: Any = None


class Record(msgspec.Struct, frozen=True):
    name: str
    parts: list[int] = []


class Tagged(msgspec.Struct, tag=True, dict=True):
    number: int

    def __post_init__(self) -> None:
        self.number += 1


@attrs.define
class Film:
    title: str
    tags: list[str] = attrs.Factory(list)


@attrs.frozen(cache_hash=True)
class Label:
    text: str


class Order(pydantic.BaseModel):
    number: int
    lines: list[str] = []
    _seen: int = pydantic.PrivateAttr(default=3)


class Numbers(pydantic.RootModel[list[int]]):
    pass


@pydantic.dataclasses.dataclass
class Stamp:
    value: int
    marks: list[str] = pydantic.Field(default_factory=list)


class Row(TypedDict, total=False):
    name: str
    point: Point


class Outer:
    @dataclasses.dataclass
    class Inner:
        value: int


T = typing.TypeVar("T")


@dataclasses.dataclass
class Box(typing.Generic[T]):
    content: T


def same(left: Any, right: Any) -> bool:  # noqa: PLR0911 - one return per kind of value
    """Compare values and types all the way down: 1, 1.0 and True are equal, but not the same."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        extra = getattr(left, "default_factory", None) is getattr(right, "default_factory", None)
        return extra and same(list(left.items()), list(right.items()))
    if isinstance(left, list | tuple | deque):
        extra = getattr(left, "maxlen", None) == getattr(right, "maxlen", None)
        return extra and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dt.datetime | dt.time):
        return all(
            repr(getattr(left, name)) == repr(getattr(right, name)) for name in ("fold", "tzinfo")
        ) and (left.replace(tzinfo=None) == right.replace(tzinfo=None))
    if isinstance(
        left, Point | Key | Account | Record | Tagged | Film | Order | Numbers | Stamp | Outer.Inner | Box
    ):
        return same(_state(left), _state(right))
    if isinstance(left, np.character):  # which are equal without the zeros at their end
        return left == right and len(left) == len(right)
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and bool((left == right).all())
    return bool(left == right or (left != left and right != right))  # noqa: PLR0124 - not a number


def _state(value: Any) -> Any:
    """Return all attributes of an object but what a cached property computes again."""
    state = object.__getstate__(value)
    if isinstance(value, Point):
        state = {**vars(value), "y": value.y}  # msgspec leaves a default in the class
    return {name: state[name] for name in sorted(state) if name != "lock"} if type(state) is dict else state


def through(hint: Any, value: Any) -> Any:
    """Return an argument with this hint as the task gets it."""

    def function(value: Any) -> None: ...

    function.__annotations__ = {"value": hint}
    signature = Signature(function)
    data = b"\x92" + signature.encode((value,), {})
    (back,), _ = signature.decode(*msgspec.msgpack.decode(data, type=tuple[codec.Raw, codec.Raw]))
    return back


def account(owner: str, start: int) -> Account:
    made = Account(owner, start)
    assert made.lock
    return made


zones = st.one_of(
    st.none(),
    st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes))),
    st.sampled_from(
        [
            zoneinfo.ZoneInfo("Europe/Berlin"),
            zoneinfo.ZoneInfo("UTC"),
            dt.timezone(dt.timedelta(hours=1), "CET"),
        ]
    ),
)
folds = st.integers(0, 1)
Fitted = tuple[Any, st.SearchStrategy[Any]]
HASHABLE: list[Fitted] = [
    (type(None), st.none()),
    (bool, st.booleans()),
    (int, st.integers()),
    (float, st.floats(allow_nan=False)),
    (str, st.text()),
    (bytes, st.binary()),
    (dt.datetime, st.builds(lambda at, fold: at.replace(fold=fold), st.datetimes(timezones=zones), folds)),
    (dt.date, st.dates()),
    (dt.time, st.builds(lambda at, fold: at.replace(fold=fold), st.times(timezones=zones), folds)),
    (dt.timedelta, st.timedeltas()),
    (dt.timezone, zones.filter(lambda zone: isinstance(zone, dt.timezone))),
    (zoneinfo.ZoneInfo, zones.filter(lambda zone: isinstance(zone, zoneinfo.ZoneInfo))),
    (decimal.Decimal, st.decimals(allow_nan=False)),
    (complex, st.complex_numbers(allow_nan=False)),
    (Fraction, st.fractions()),
    (range, st.builds(range, st.integers(), st.integers(), st.integers().filter(bool))),
    (pathlib.Path, st.sampled_from([pathlib.Path("a/b"), pathlib.Path()])),
    (pathlib.PurePath, st.sampled_from([pathlib.PurePosixPath("/a"), pathlib.PureWindowsPath("c:/a")])),
    (IPv4Address, st.ip_addresses(v=4)),
    (IPv6Address, st.one_of(st.ip_addresses(v=6), st.just(IPv6Address("fe80::1%eth0")))),
    (IPv4Network, st.just(IPv4Network("10.0.0.0/8"))),
    (IPv6Network, st.just(IPv6Network("::/0"))),
    (IPv4Interface, st.just(IPv4Interface("10.0.0.1/8"))),
    (Color, st.sampled_from(Color)),
    (Size, st.sampled_from(Size)),
    (int, st.sampled_from(Size)),
    (str, st.sampled_from(Tone)),
    (Right, st.sampled_from([Right(0), Right.READ, Right.READ | Right.WRITE])),
    (Key, st.builds(Key, st.text(), st.integers())),
    (Label, st.builds(Label, st.text())),
    (np.float64, st.floats(allow_nan=False).map(np.float64)),
    (typing.Literal["low", 3], st.sampled_from(["low", 3])),
]
hashables = st.one_of([values for _, values in HASHABLE])
LEAVES: list[Fitted] = [
    *HASHABLE,
    (bytearray, st.binary().map(bytearray)),
    (slice, st.builds(slice, st.none() | st.integers(), st.integers())),
    (np.ndarray, st.lists(st.integers(-9, 9), max_size=3).map(np.array)),
    (np.ndarray, st.integers(-9, 9).map(np.array)),
    (str, st.text().map(np.str_)),
    (bytes, st.binary().map(np.bytes_)),
    (set, st.sets(hashables, max_size=3)),
    (frozenset, st.frozensets(hashables, max_size=3)),
    (dict, st.dictionaries(hashables, hashables, max_size=3)),
    (Counter[str], st.builds(Counter, st.text(max_size=5))),
    (Point, st.builds(Point, st.integers(), st.floats(allow_nan=False))),
    (Point, st.builds(Pixel, st.integers(), st.integers(), hashables)),
    (Account, st.builds(account, st.text(), st.integers())),
    (Pair, st.builds(Pair, st.integers(), hashables)),
    (tuple, st.builds(Pair, st.integers(), hashables)),
    (Record, st.builds(Record, st.text(), st.lists(st.integers()))),
    (Tagged, st.builds(Tagged, st.integers(0, 9))),
    (Film, st.builds(Film, st.text(), st.lists(st.text(), max_size=2))),
    (Order, st.builds(Order, number=st.integers(), lines=st.lists(st.text(), max_size=2))),
    (Numbers, st.builds(Numbers, st.lists(st.integers(), max_size=2))),
    (Stamp, st.builds(Stamp, st.integers(), st.lists(st.text(), max_size=2))),
    (Outer.Inner, st.builds(Outer.Inner, st.integers())),
    (Row, st.fixed_dictionaries({}, optional={"name": st.text(), "point": st.builds(Pixel, st.integers())})),
]


def containers(inner: Fitted) -> list[Fitted]:
    """Return containers of values, with their hints."""
    hint, values = inner
    lists = st.lists(values, max_size=3)
    mappings = st.dictionaries(st.text(max_size=3), values, max_size=3)
    return [
        (list[hint], lists),
        (tuple[hint, ...], lists.map(tuple)),
        (tuple[hint, int], st.tuples(values, st.integers())),
        (dict[str, hint], mappings),
        (deque[hint], st.builds(deque, lists, st.sampled_from([None, 5]))),
        (OrderedDict[str, hint], mappings.map(OrderedDict)),
        (defaultdict[str, hint], mappings.map(lambda items: defaultdict(list, items))),
        (Iterable[hint], st.one_of(lists, lists.map(tuple), lists.map(deque))),
        (Sequence[hint], st.one_of(lists, lists.map(tuple))),
        (Collection[hint], lists),
        (Mapping[str, hint], st.one_of(mappings, mappings.map(OrderedDict))),
        (typing.Union[hint, None], st.one_of(st.none(), values)),  # noqa: UP007
        (typing.Union[Point, hint, Record], st.one_of(values, st.builds(Point, st.integers()))),  # noqa: UP007
        (Box[hint], values.map(Box)),
        (list[Any], lists),
        (list, lists),
        (dict, mappings),
    ]


@st.composite
def fitted(draw: st.DrawFn, depth: int = 2) -> tuple[Any, Any]:
    """Draw a hint and a value that fits it."""
    inner = draw(st.sampled_from(LEAVES))
    for _ in range(draw(st.integers(0, depth))):
        inner = draw(st.sampled_from(containers(inner)))
    return inner[0], draw(inner[1])
