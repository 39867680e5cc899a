"""What travels arrives equal and of the same type, whatever is known of its type; what cannot is refused."""

from __future__ import annotations

import collections
import datetime as dt
import functools
import io
import re
import struct
import threading
import zoneinfo
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from tests.wire import travel_kit as kit
from tests.wire.travel_kit import Color, Pair, Point, fitted, same, through

from conveyor.errors import BadCall
from conveyor.wire import call, codec, objects, outcome


@given(fitted())
def test_value_arrives_unchanged_under_a_fitting_hint(one: tuple[Any, Any]) -> None:
    hint, value = one
    assert same(through(hint, value), value)


@given(fitted())
def test_value_arrives_unchanged_under_any(one: tuple[Any, Any]) -> None:
    for hint in (Any, object):
        assert same(through(hint, one[1]), one[1])


@given(fitted())
def test_item_and_result_arrive_unchanged_without_a_hint(one: tuple[Any, Any]) -> None:
    value = one[1]
    (item,) = call.encode_items([value])
    assert same(call.decode_call(item).item(), value)
    done = outcome.result_bytes(value)
    assert isinstance(done, outcome.Done)
    assert same(outcome.decode_settled(outcome.encode_settled("done", done.value)).result(), value)


@given(fitted())
def test_any_value_can_be_shown_without_its_class(one: tuple[Any, Any]) -> None:
    data = codec.encode(one[1])
    shown = codec.decode_data(data)
    assert isinstance(repr(shown), str)
    assert codec.has_objects(data) or same(shown, one[1])


class Words(list[str]):
    pass


class Plain:
    pass


class Resource(Point):
    def __del__(self) -> None:
        pass


class Cut(np.ndarray):
    pass


class Zone(dt.tzinfo):
    def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)


def local_class() -> Any:
    class Point(kit.Point):
        pass

    return Point(1)


def impostor() -> Any:
    made: Any = type("Point", (kit.Point,), {"__module__": kit.__name__, "__qualname__": "Point"})
    return made(1)


def with_more(pair: Any) -> Any:
    class_ = type("Extended", (Pair,), {"__module__": __name__})
    globals()["Extended"] = class_
    made = class_(*pair)
    made.more = 1
    return made


def counter_with_more() -> Any:
    made: Any = collections.Counter("ab")
    made.more = 1
    return made


def holding(value: Any) -> Point:
    made = Point(1)
    made.more = value  # type: ignore[attr-defined]
    return made


ZONE_FILE = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + bytes(6) + b"UTC\0"
UNFIT = {
    "an object": object(),
    "a class": Point,
    "a function": len,
    "a generator": (one for one in ()),
    "an iterator": iter([]),
    "a view": {}.keys(),
    "an exception": ValueError("x"),
    "a file": io.BytesIO(),
    "a memoryview": memoryview(b"x"),
    "an ellipsis": ...,
    "a pattern": re.compile("x"),
    "a subclass of list": Words(),
    "an object of a plain class": Plain(),
    "one that owns a resource": Resource(1),
    "one of a class in a function": local_class(),
    "one of a class that is replaced": impostor(),
    "a named tuple with an attribute": with_more((1, 2)),
    "a counter with an attribute": counter_with_more(),
    "a dataclass without a field": Point.__new__(Point),
    "a dataclass with a lock": holding(threading.Lock()),
    "a defaultdict with its own factory": collections.defaultdict(Plain),
    "a chain of mappings": collections.ChainMap(),
    "a masked array": np.ma.array([1], mask=[True]),
    "an array of a subclass": np.arange(3).view(Cut),
    "an array of objects": np.array([object()]),
    "a datetime in a foreign zone": dt.datetime(2026, 1, 1, tzinfo=Zone()),
    "a zone from a file": zoneinfo.ZoneInfo.from_file(io.BytesIO(ZONE_FILE)),
    "text that is not Unicode": "\udcff",
}


@pytest.mark.parametrize("value", UNFIT.values(), ids=UNFIT)
def test_value_that_cannot_arrive_the_same_is_refused(value: Any) -> None:
    for one in (
        value,
        [value],
        {"a": value},
        (value,),
        Pair(1, value),
        kit.Box(value),
        {1: [Point(1, value)]},
    ):
        with pytest.raises(BadCall):
            codec.encode(one)
        with pytest.raises(BadCall):
            call.encode_items([one])
        for hint in (Any, object, type(one), type(one) | None):
            with pytest.raises(BadCall, match="value"):
                through(hint, one)
        failed = outcome.result_bytes(one)
        assert isinstance(failed, outcome.Fail)
        kind, message, _ = codec.decode(failed.error)
        assert (kind, "cannot be serialized" in message) == ("BadCall", True)


def test_refusal_names_the_attribute_and_says_what_to_do() -> None:
    with pytest.raises(BadCall, match=r"Point\.more: a lock cannot be serialized") as refusal:
        codec.encode([holding(threading.Lock())])
    assert "dataclass" in refusal.value.hint
    with pytest.raises(BadCall, match="in a function") as refusal:
        codec.encode(local_class())
    assert "module level" in refusal.value.hint
    with pytest.raises(BadCall, match="Zone") as refusal:
        codec.encode(dt.datetime(2026, 1, 1, tzinfo=Zone()))
    assert "zoneinfo" in refusal.value.hint


def test_object_in_itself_is_refused() -> None:
    loop = kit.Box(None)
    loop.content = loop  # type: ignore[assignment]
    with pytest.raises(BadCall, match="nested") as refusal:
        codec.encode(loop)
    assert len(refusal.value.message) < 100
    assert "itself" in refusal.value.hint


def test_refusal_of_a_string_that_is_not_unicode_says_what_to_do() -> None:
    for encode in (codec.encode, functools.partial(through, Any), functools.partial(through, str)):
        with pytest.raises(BadCall, match="surrogates") as refusal:
            encode("\udcff")
        assert "bytes" in refusal.value.hint


def test_cached_properties_are_computed_again() -> None:
    given = kit.account("ada", 3)
    back = codec.decode(codec.encode(given))
    assert (back.owner, back.balance, back.log) == ("ada!", 3, [3])
    assert "lock" not in vars(back)
    assert back.lock is not given.lock


def test_hash_that_attrs_keeps_is_computed_again() -> None:
    label = kit.Label("a")
    hashed = {label: 1}  # notes the hash in the object
    shown = codec.decode_data(codec.encode(label))
    assert shown.state == {"text": "a", "_attrs_cached_hash": None}
    assert repr(shown) == "Label(text='a')"
    assert codec.decode(codec.encode(hashed)) == hashed


def test_object_made_with_a_generic_alias_travels() -> None:
    assert codec.decode(codec.encode(kit.Box[int](3))) == kit.Box(3)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"x": 1}, kit.Pixel(1)),
        ({"left": 1}, Pair(1)),
        ({"name": "a"}, kit.Record("a")),
        ({"name": "a"}, kit.Key("a")),
        ({"title": "a"}, kit.Film("a")),
    ],
    ids=repr,
)
def test_new_field_of_a_class_has_its_default_in_older_objects(state: dict[str, Any], expected: Any) -> None:
    assert same(objects.rebuilt(f"{kit.__name__}:{type(expected).__name__}", state), expected)


def test_older_objects_without_a_default_are_invalid() -> None:
    assert objects.rebuilt(f"{kit.__name__}:Order", {"number": 1}).lines == []
    for name, state in (("Pixel", {"y": 1.0}), ("Order", {}), ("Pair", {}), ("Record", {}), ("Film", {})):
        with pytest.raises((ValueError, TypeError)):
            objects.rebuilt(f"{kit.__name__}:{name}", state)


def test_object_with_a_removed_field_is_invalid_or_keeps_it() -> None:
    assert vars(objects.rebuilt(f"{kit.__name__}:Point", {"x": 1, "y": 2.0, "z": 3}))["z"] == 3
    for name, state in (("Pair", {"left": 1, "right": 2}), ("Record", {"name": "a"}), ("Key", {"name": "a"})):
        with pytest.raises(ValueError, match=r"field|attribute"):
            objects.rebuilt(f"{kit.__name__}:{name}", {**state, "removed": 3})


def test_times_with_zones_are_shown_as_times() -> None:
    berlin = dt.datetime(2026, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    data = codec.encode([berlin, dt.time(1, fold=1)])
    assert same(codec.decode_data(data), [berlin, dt.time(1, fold=1)])
    assert objects.plain(berlin.tzinfo) == "Europe/Berlin"
    unknown = objects.shown("ZoneInfo", ["Nowhere/Land"])
    assert repr(unknown) == "ZoneInfo('Nowhere/Land')"


@pytest.mark.parametrize(
    ("name", "state"), [("a:\x1b[31m", {}), ("a:B", "\x1b[31m"), ("a:B", {"\n": 1}), ("a:B", {"x": "\n"})]
)
def test_hostile_names_control_no_terminal(name: str, state: Any) -> None:
    assert repr(objects.ObjectData(name, state)).isprintable()


def test_member_of_an_enum_stays_the_one_member() -> None:
    assert codec.decode(codec.encode([Color.PATTERN, kit.Right.READ])) == [Color.PATTERN, kit.Right.READ]
    assert codec.decode(codec.encode(Color.PATTERN)) is Color.PATTERN


def test_plain_values_have_no_mark_of_an_object() -> None:
    value = {"a": [1, (2, {3}), None, 2.5, b"x", dt.datetime(2026, 1, 1, tzinfo=dt.UTC)], "b": 10**30}
    assert not codec.has_objects(codec.encode(value))
    assert codec.has_objects(codec.encode([{"a": (1, [Color.RED])}]))
