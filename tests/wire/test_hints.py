"""What a hint does with a value: it lets its instances pass as they are, converts plain data, and refuses the rest."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import ipaddress
import pathlib
import typing
from collections.abc import Iterable, Iterator, Mapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, NewType, NotRequired, TypedDict, TypeVar

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.travel_kit import (
    Account,
    Box,
    Color,
    Film,
    Key,
    Order,
    Outer,
    Pair,
    Pixel,
    Point,
    Record,
    Row,
    Size,
    Stamp,
    Tone,
    same,
    through,
)

from conveyor.errors import BadCall
from conveyor.wire import hints

UserId = NewType("UserId", int)
Number = TypeVar("Number", int, float)
SomePoint = TypeVar("SomePoint", bound=Point)


class Protocol(typing.Protocol):
    x: int


class Shape:
    """A base without data."""


@dataclasses.dataclass
class Circle(Shape):
    radius: float


@dataclasses.dataclass
class Square(Shape):
    side: float


@dataclasses.dataclass
class Line:
    points: list[Point]


@dataclasses.dataclass
class Cube(Shape):
    side: float
    name: str = ""


class Entry(TypedDict):
    """With annotations that are strings."""

    name: str
    point: NotRequired[Point]


class Corner(Point, enum.Enum):
    """With values that msgspec refuses."""

    ORIGIN = 0, 0.0


@dataclasses.dataclass
class Half:
    known: int = 0
    unknown: NoSuchName = None  # noqa: F821


class Whole(Half):
    further: Point


UNCHANGED = [
    (Point, Pixel(1, 2.0, "red")),
    (list[Point], [Pixel(1), Point(2)]),
    (Shape, Circle(1.5)),
    (Circle | Square, Square(1.0)),
    (dict[str, Circle | Square | None], {"a": Circle(1.0), "b": None}),
    (list[Any], [Pair(1), Color.RED, Point(1)]),
    (list, [Pair(1)]),
    (dict, {"a": Point(1)}),
    (dict[str, Any], {"a": Size.SMALL}),
    (tuple, Pair(1, 2)),
    (tuple[int, int], Pair(1, 2)),
    (Sequence[int], Pair(1, 2)),
    (Any, Pair(1, Pixel(1))),
    (int, Size.SMALL),
    (str, Tone.LOW),
    (list[int], [1, Size.LARGE]),
    (dict[str, int], {Tone.LOW: Size.SMALL}),
    (float, np.float64(1.5)),
    (str, np.str_("a\0")),
    (bytes, np.bytes_(b"a\0")),
    (list[bytes], [np.bytes_(b"")]),
    (np.ndarray, np.array(3)),
    (np.float64, np.float64(1.5)),
    (Color | str, "red"),
    (Color | str, Color.RED),
    (Color, Color.PATTERN),
    (str | Color | None, None),
    (int | float, 3),
    (Iterable[int], (1, 2)),
    (Iterable[int], range(10**12)),
    (Iterable[int], collections.deque([1])),
    (Iterable[str], {"a": 1}),
    (Iterable[str], "word"),
    (Sequence[int], [1]),
    (Sequence[Any], (1, "a")),
    (MutableSequence[int], [1]),
    (AbstractSet[str], frozenset({"a"})),
    (Mapping[str, int], collections.OrderedDict(a=1)),
    (dict[str, int], collections.Counter("ab")),
    (dict[str, list[int]], collections.defaultdict(list, a=[1])),
    (collections.abc.Hashable, 3),
    (Row, {"name": "a", "further": 1}),
    (Row, {"point": Pixel(1)}),
    (Entry, {"name": "a"}),
    (UserId, 3),
    (Number, 3),
    (SomePoint, Pixel(1)),
    (Box[int], Box(3)),
    (Box[Point], Box(Pixel(1))),
    (Literal["a", 3], 3),
    (Literal[Color.RED], Color.RED),
    (Protocol, Point(1)),
    (dt.date, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
    (pathlib.PurePath, pathlib.PurePosixPath("a")),
    (Point, Point(1, 2)),
    ("NoSuchName", Point(1)),
    (Half, Half(1, Point(1))),
    (list[Half], [Half(1)]),
]


@pytest.mark.parametrize(("hint", "value"), UNCHANGED, ids=repr)
def test_instance_of_a_hint_arrives_as_it_is(hint: Any, value: Any) -> None:
    assert same(through(hint, value), value)


CONVERTED = [
    (float, 3, 3.0),
    (list[float], [1, 2.5], [1.0, 2.5]),
    (pathlib.Path, "a/b", pathlib.Path("a/b")),
    (Sequence[pathlib.Path], ("a", "b"), (pathlib.Path("a"), pathlib.Path("b"))),
    (Mapping[str, float], collections.OrderedDict(a=1), collections.OrderedDict(a=1.0)),
    (list[int], (1, 2), [1, 2]),
    (list[Point], (Pixel(1),), [Pixel(1)]),
    (set[int], [1, 1], {1}),
    (tuple[int, ...], [1], (1,)),
    (collections.deque[int], [1], collections.deque([1])),
    (collections.Counter[str], {"a": 1}, collections.Counter("a")),
    (collections.OrderedDict, {"a": 1}, collections.OrderedDict(a=1)),
    (Tone, "low", Tone.LOW),
    (Color, "PAIR", Color.PAIR),
    (Color | None, "PAIR", Color.PAIR),
    (Point, {"x": 1}, Point(1)),
    (Circle | Square, {"side": 2.0}, Square(2.0)),
    (Point | None, {"x": 1}, Point(1)),
    (Record, {"name": "a"}, Record("a")),
    (Film, {"title": "a"}, Film("a")),
    (Order, {"number": 1}, Order(number=1)),
    (Stamp, {"value": 3}, Stamp(3)),
    (list[Stamp | None], [{"value": "3", "marks": ["a"]}], [Stamp(3, ["a"])]),
    (Pair, [1, 2], Pair(1, 2)),
    (list[Any], (Pixel(1),), [Pixel(1)]),
    (int, np.int64(3), 3),
    (float, np.float32(1.5), 1.5),
    (list[int], [np.int64(3)], [3]),
    (bool, np.bool_(1), True),
    (pathlib.Path, np.str_("a"), pathlib.Path("a")),
    (np.uint8, 255, np.uint8(255)),
    (np.float32, 0.1, np.float32(0.1)),
    (np.float64, 3, np.float64(3.0)),
    (np.complex128, 3, np.complex128(3)),
    (np.bool_, True, np.bool_(1)),
    (complex, 3, 3 + 0j),
    (ipaddress.IPv4Address, "1.2.3.4", ipaddress.IPv4Address("1.2.3.4")),
    (decimal.Decimal, "0.1", decimal.Decimal("0.1")),
    (dt.date, "2026-01-02", dt.date(2026, 1, 2)),
    (float | None, 3, 3.0),
]


@pytest.mark.parametrize(("hint", "value", "expected"), CONVERTED, ids=repr)
def test_plain_data_is_converted_to_the_type_of_its_hint(hint: Any, value: Any, expected: Any) -> None:
    assert same(through(hint, value), expected)


REFUSED = [
    (list, Point(1)),
    (list, Pair(1)),
    (list, Color.RED),
    (list[int], Pair(1, 2)),
    (dict, Point(1)),
    (dict[str, Any], Point(1)),
    (dict, Pair(1)),
    (tuple, Point(1)),
    (str, Color.RED),
    (float, Size.SMALL),
    (int, np.float64(2.0)),
    (np.int64, 1.5),
    (np.int64, True),
    (np.bool_, 2),
    (np.uint8, 256),
    (np.uint8, np.int64(-1)),
    (np.float32, 1e300),
    (complex, 10**400),
    (complex, True),
    (dict[str, int], np.int64(1)),
    (Corner, 1),
    (int, True),
    (Pixel, Point(1)),
    (Point, Record("a")),
    (Circle | Square, Cube(1.0)),
    (Square | Cube, {"side": 1.0}),
    (Iterable[int], ["a"]),
    (Sequence[int], Pair(1, "a")),
    (Sequence[int], 3),
    (Iterator[int], [1]),
    (Mapping[str, int], {"a": "b"}),
    (dict[str, int], {Color.RED: 1}),
    (list[Point], [Point(1), {"x": Size.SMALL}]),
    (tuple[int, str], (1, "a", 2)),
    (tuple[Point, str], (Point(1),)),
    (Row, {"point": 3}),
    (Entry, {"point": Point(1)}),
    (Row, [("name", "a")]),
    (bytes, "aGVsbG8="),
    (Color, "no such color"),
    (Point, Point("a")),  # type: ignore[arg-type]
    (Shape | Box[int], Point(1)),
    (Record, Record("a", ["b"])),  # type: ignore[list-item]
    (Pair, Pair("a")),  # type: ignore[arg-type]
    (Literal[1], Size.SMALL),
    (UserId, "a"),
    (Number, "a"),
    (SomePoint, Key("a")),
    (collections.deque[int], collections.deque(["a"])),
    (collections.defaultdict[str, int], {"a": 1}),
    (type[Point], Point(1)),
    (set[Any], [[1]]),
    (Half, {"known": 1}),
    (Stamp, {"value": "a"}),
    (Half, Half("a")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("hint", "value"), REFUSED, ids=repr)
def test_unfitting_value_is_refused_with_its_type(hint: Any, value: Any) -> None:
    with pytest.raises(BadCall, match="argument 'value'"):
        through(hint, value)


def test_refusal_names_the_field_of_an_object() -> None:
    with pytest.raises(BadCall, match=r"'value': Line.points: Point.x: Expected `int`, got `str`"):
        through(Line, Line([Point(1), Point("a")]))  # type: ignore[arg-type]


def test_unresolvable_hint_leaves_the_others_checked() -> None:
    def function(one: NoSuchName, two: int, three: list[AlsoMissing], four: Sequence[Point]) -> Missing: ...  # noqa: F821

    found = hints.resolve(function)
    assert found == {"two": int, "four": Sequence[Point]}


def test_hints_of_a_class_are_resolved_one_by_one() -> None:
    assert hints.resolve(Whole) == {"known": int, "further": Point}


@pytest.mark.parametrize("owner", [3, len, functools.partial(print, 1)])
def test_what_has_no_hints_resolves_to_none(owner: Any) -> None:
    assert hints.resolve(owner) == {}


PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=6,
)
NATIVE = [
    int,
    float,
    str,
    bool,
    None,
    list,
    dict,
    tuple,
    list[int],
    list[float],
    dict[str, int],
    dict[str, list[float]],
    tuple[int, str],
    tuple[int, ...],
    set[int],
    int | None,
    float | str | None,
    list[int | str],
    Literal["a", 1],
    Point,
    Size,
    decimal.Decimal,
]


@given(PLAIN, st.sampled_from(NATIVE))
def test_native_hint_is_fitted_as_msgspec_converts_it(value: Any, hint: Any) -> None:
    assert hints.is_native(hint)
    try:
        expected = hints.convert(value, hint)
    except msgspec.ValidationError:
        with pytest.raises(msgspec.ValidationError):
            hints.fit(value, hint)
    else:
        assert same(hints.fit(value, hint), expected)


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (Sequence[int], "[1, 2]", [1, 2]),
        (Iterable[str], '["a"]', ["a"]),
        (Color | str, "red", "red"),
        (Circle | Square, '{"radius": 1.0}', Circle(1.0)),
        (Color, "PATTERN", Color.PATTERN),
        (Mapping[str, int], '{"a": 1}', {"a": 1}),
        (ipaddress.IPv4Address, "1.2.3.4", ipaddress.IPv4Address("1.2.3.4")),
        (Order, '{"number": 1}', Order(number=1)),
        (bytes, "aGk=", b"hi"),
    ],
)
def test_typed_text_is_converted_for_any_hint(hint: Any, text: str, value: Any) -> None:
    assert same(hints.convert_text(text, hint), value)


def test_objects_under_a_hint_are_not_made_anew() -> None:
    given = Account("ada", 3)
    assert same(through(Account, given), given)
    assert through(Outer.Inner, {"value": 3}) == Outer.Inner(3)


class Level(enum.Enum):
    """With values that msgspec takes."""

    HIGH = 1


def test_enum_is_made_of_its_value() -> None:
    assert through(Level, 1) is Level.HIGH
