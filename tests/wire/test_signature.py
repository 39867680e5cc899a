"""An invalid call fails at the caller's line, and the message names the argument."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import inspect
import math
import pathlib
import uuid
from collections.abc import Sequence  # noqa: TC003 - a hint that is resolved
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from conveyor.errors import BadCall
from conveyor.tasks import task
from conveyor.wire import codec, hints
from conveyor.wire.signature import Signature, name_of, signature_of


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


class Row(NamedTuple):
    x: int
    y: int


def plain(first: int, second: str = "two", *, third: float = 3.0) -> int:
    return first


def many(first: int, *rest: int, **named: float) -> list[int]:
    return [first, *rest]


def untyped(first, second=2):  # noqa: ANN001, ANN201
    return first


def travelled(function: Any, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Encode a call and read it as a worker does."""
    signature = Signature(function)
    data = b"\x92" + signature.encode(args, kwargs)
    return signature.decode(*msgspec.msgpack.decode(data, type=tuple[codec.Raw, codec.Raw]))


def bound(function: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return the arguments that the function would see, by name."""
    call = inspect.signature(function).bind(*args, **kwargs)
    call.apply_defaults()
    return call.arguments


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1,), {}),
        ((1, "x"), {}),
        ((1,), {"second": "x"}),
        ((), {"first": 1, "third": 2.5}),
        ((1,), {"third": 2}),
    ],
)
def test_call_arrives_as_a_local_call_would(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    back_args, back_kwargs = travelled(plain, *args, **kwargs)
    assert bound(plain, *back_args, **back_kwargs) == bound(plain, *args, **kwargs)


def test_any_number_of_arguments_arrives() -> None:
    assert travelled(many, 1, 2, 3, half=0.5) == ((1, 2, 3), {"half": 0.5})
    assert travelled(many, 1) == ((1,), {})


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "words"),
    [
        (plain, ("one",), {}, ["plain", "first", "int", "str"]),
        (plain, (1, 2), {}, ["plain", "second", "str", "int"]),
        (plain, (1,), {"third": "x"}, ["plain", "third", "float"]),
        (plain, (True,), {}, ["plain", "first", "bool"]),
        (plain, (), {}, ["plain", "missing", "first"]),
        (plain, (1, "x", 3), {}, ["plain", "too many"]),
        (plain, (1,), {"fourth": 4}, ["plain", "fourth"]),
        (plain, (1,), {"first": 1}, ["plain", "first", "multiple"]),
        (many, (1, 2, "three"), {}, ["many", "rest", "int"]),
        (many, (1,), {"half": "x"}, ["many", "half", "float"]),
        (untyped, (object(),), {}, ["untyped", "first", "object"]),
        (untyped, (1,), {"second": object()}, ["untyped", "second", "object"]),
        (untyped, ("\udcff",), {}, ["untyped", "first", "surrogates"]),
        (untyped, ([1, "\udcff"],), {}, ["untyped", "first", "surrogates"]),
        (plain, (1,), {"second": "\udcff"}, ["plain", "second", "surrogates"]),
        (untyped, (Point(1), {"lock": object()}), {}, ["untyped", "second", "object"]),
    ],
)
def test_invalid_call_is_a_type_error_with_the_reason(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(TypeError) as refusal:
        Signature(function).encode(args, kwargs)
    assert isinstance(refusal.value, BadCall)
    assert [word for word in words if word not in str(refusal.value)] == []


MOMENT = dt.datetime(2024, 2, 29, 12, 30, 5, 7)  # noqa: DTZ001 - one without a zone is a case of its own
CARRIED = [
    (int, 5),
    (int, 10**30),
    (float, 2.5),
    (str, "ü"),
    (bytes, b"\xff"),
    (bool, True),
    (None, None),
    (list[int], [1, 2]),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (set[str], {"a"}),
    (frozenset[int], frozenset({1})),
    (dict[str, list[int]], {"a": [1]}),
    (dict[str, tuple[int, set[int]]], {"a": (1, {2})}),
    (list[tuple[int, frozenset[str]]], [(1, frozenset({"a"}))]),
    (int | None, None),
    (str | int, 4),
    (dt.datetime, MOMENT),
    (dt.datetime, MOMENT.replace(tzinfo=dt.UTC)),
    (dt.datetime, MOMENT.replace(tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30)))),
    (dt.date, dt.date(2024, 2, 29)),
    (dt.time, dt.time(1, 2, 3)),
    (dt.timedelta, dt.timedelta(days=-1, microseconds=1)),
    (uuid.UUID, uuid.UUID(int=7)),
    (decimal.Decimal, decimal.Decimal("0.10")),
    (complex, 1 + 2j),
    (pathlib.Path, pathlib.Path("a/b")),
    (Color, Color.RED),
    (Point, Point(1, 2.0)),
    (list[Point], [Point(1), Point(2)]),
    (dict[str, Color], {"a": Color.RED}),
    (Any, {"a": [(1, {2})]}),
]


@pytest.mark.parametrize(("hint", "value"), CARRIED, ids=repr)
@pytest.mark.parametrize("named", [False, True])
def test_value_arrives_with_the_type_of_its_hint(hint: Any, value: Any, *, named: bool) -> None:
    def function(value: Any) -> None: ...

    function.__annotations__ = {"value": hint}
    args, kwargs = travelled(function, value=value) if named else travelled(function, value)
    back = kwargs["value"] if kwargs else args[0]
    assert back == value
    assert type(back) is type(value)


def test_abbreviated_argument_is_converted() -> None:
    def function(path: pathlib.Path, color: Color, amount: float) -> None: ...

    function.__annotations__ = {"path": pathlib.Path, "color": Color, "amount": float}
    assert travelled(function, "a/b", "red", 3) == ((pathlib.Path("a/b"), Color.RED, 3.0), {})


def test_numpy_values_are_sent_with_and_without_a_hint() -> None:
    def function(numbers: Any, count: Any) -> None: ...

    for hint in (np.ndarray, Any):
        function.__annotations__ = {"numbers": hint, "count": int}
        (numbers, count), _ = travelled(function, np.arange(3), np.int64(2))
        assert (numbers == np.arange(3)).all()
        assert (count, type(count)) == (2, int)


def test_objects_of_the_caller_are_not_changed_or_kept() -> None:
    argument = [1, 2]
    (back,), _ = travelled(untyped, argument)
    assert back == argument
    assert back is not argument


def test_unresolvable_hints_mean_any_value() -> None:
    def function(value: NoSuchName) -> AlsoMissing: ...  # noqa: F821

    assert travelled(function, {"a": (1,)}) == (({"a": (1,)},), {})


def test_function_without_a_signature_accepts_any_arguments() -> None:
    assert travelled(max, 1, 2) == ((1, 2), {})


def test_unresolvable_hint_leaves_the_others_checked() -> None:
    def function(one: NoSuchName, two: int, *rest: list[Point], **named: Point | NoSuchName) -> None: ...  # noqa: F821

    assert travelled(function, Point(1), 2, [Point(3)], four=4) == ((Point(1), 2, [Point(3)]), {"four": 4})
    for args in ((1, "two"), (1, 2, [3])):
        with pytest.raises(BadCall, match=r"two|rest"):
            travelled(function, *args)


def sequences(first: Sequence[int], second: float = 1.0, /, *, third: Color | str = "red") -> None: ...


def test_hints_of_all_kinds_may_be_mixed() -> None:
    assert travelled(sequences, (1, 2)) == (((1, 2),), {})
    assert travelled(sequences, [1], 2, third=Color.RED) == (([1], 2.0), {"third": Color.RED})
    for args, kwargs, name in (
        ((["a"],), {}, "first"),
        (([1], "a"), {}, "second"),
        (([1],), {"third": 1}, "third"),
    ):
        with pytest.raises(BadCall, match=name):
            travelled(sequences, *args, **kwargs)


def test_data_class_of_earlier_bytes_is_read_by_its_hint() -> None:
    def function(points: list[Point], color: Color) -> None: ...

    function.__annotations__ = {"points": list[Point], "color": Color}
    data = msgspec.msgpack.encode([[{"x": 1, "y": 2.0}], "red"])
    back = Signature(function).decode(codec.Raw(data), codec.Raw(codec.encode({})))
    assert back == (([Point(1, 2.0)], Color.RED), {})


@pytest.mark.parametrize(
    ("args", "kwargs"), [({"a": 1}, {}), ([1], [2]), (3, {}), (["x"], {}), ([1], {"third": "x"})]
)
def test_invalid_bytes_of_a_call_are_a_bad_call(args: Any, kwargs: Any) -> None:
    with pytest.raises(BadCall):
        Signature(plain).decode(codec.Raw(codec.encode(args)), codec.Raw(codec.encode(kwargs)))


def test_keyword_may_have_the_name_of_a_positional_parameter() -> None:
    def function(first: float, /, *rest: int, **named: int | str) -> None: ...

    args, kwargs = travelled(function, 1.5, 2, first=3, rest="a", named=4)
    assert (args, repr(kwargs)) == ((1.5, 2), "{'first': 3, 'rest': 'a', 'named': 4}")
    with pytest.raises(BadCall, match=r"argument 'first': Expected `int \| str`, got `float`"):
        travelled(function, 1.5, first=2.5)


def test_numbers_of_numpy_are_sent_as_what_the_hint_says() -> None:
    def function(count: int, more: list[float]) -> None: ...

    function.__annotations__ = {"count": int, "more": list[float]}
    signature = Signature(function)
    data = signature.encode((np.int64(3), [np.float32(0.5)]), {})
    assert data == signature.encode((3, [0.5]), {})  # the worker may have no numpy


def test_integer_that_a_float_cannot_hold_is_refused_in_any_call() -> None:
    def function(amount: float, count: int = 0) -> None: ...

    function.__annotations__ = {"amount": float, "count": int}
    signature = Signature(function)
    assert travelled(function, 2**53, 2**53 + 1) == ((2.0**53, 2**53 + 1), {})
    calls = [((1, 2), {}), ((2**53 + 1, 2), {})]
    for encode in (lambda: signature.encode(*calls[1]), lambda: signature.encode_all(calls)):
        with pytest.raises(BadCall, match="argument 'amount': Expected `float`, got `int`"):
            encode()
    assert signature.encode_all([calls[0], calls[0]]) == [signature.encode(*calls[0])] * 2


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("first", "12", 12), ("second", "12", "12"), ("third", "1e3", 1000.0)],
)
def test_typed_text_gets_the_type_of_the_parameter(name: str, text: str, value: Any) -> None:
    assert hints.convert_text(text, signature_of(plain).hints[name]) == value


def test_typed_text_may_be_json_if_plain_text_is_insufficient() -> None:
    assert hints.convert_text("2.5", float) == 2.5
    assert hints.convert_text('[{"x": 1}]', list[Point]) == [Point(1)]


@pytest.mark.parametrize("text", ["x", '{"x": 1}', "1.5"])
def test_invalid_typed_text_is_refused(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        hints.convert_text(text, int)


@task(name="the.registered.name")
def registered(count: int) -> int:
    return count


def test_function_is_named_by_module_and_task_by_registered_name() -> None:
    assert name_of(plain) == f"{__name__}.plain"
    assert name_of(registered) == "the.registered.name"


class Shop:
    def sell(self) -> None: ...

    @staticmethod
    def close() -> None: ...


NAMELESS = {
    "lambda": (lambda: None, "<lambda> is not at module level"),
    "partial": (functools.partial(plain, 1), "a functools.partial has no name"),
    "class": (Shop, "Shop is a class"),
    "object": (Point(1), "Point(x=1, y=0.0) is not a function"),
    "method": (Shop().sell, "Shop.sell is a method"),
    "method of the class": (Shop.sell, "Shop.sell is a method"),
    "static method": (Shop.close, "Shop.close is a method"),
    "method of a builtin": ("abc".upper, "str.upper is a method"),
    "builtin": (len, "len is built into Python"),
    "builtin of a module": (math.sqrt, "sqrt is built into Python"),
    "builtin without a signature": (max, "max is built into Python"),
}


@pytest.mark.parametrize("what", NAMELESS)
def test_function_that_workers_cannot_find_is_refused(what: str) -> None:
    function, message = NAMELESS[what]
    with pytest.raises(BadCall) as refusal:
        name_of(function)
    assert message in str(refusal.value)
    assert "def at module level" in refusal.value.hint


@pytest.mark.parametrize("row", [5, None, "ab", b"ab", {"first": 1}, iter([1])])
@pytest.mark.parametrize("others", [[], [(1, "two")]])
def test_row_that_is_no_tuple_is_refused(row: Any, others: list[Any]) -> None:
    with pytest.raises(BadCall, match="must be a tuple, got"):
        Signature(untyped).encode_all([(args, {}) for args in [*others, row]])


@pytest.mark.parametrize("row", [[1, 2], np.array([1, 2]), Row(1, 2)])
def test_other_sequence_is_a_row(row: Any) -> None:
    signature = Signature(untyped)
    assert signature.encode_all([(row, {})]) == [signature.encode(tuple(row), {})]


def test_signature_is_read_once() -> None:
    assert signature_of(plain) is signature_of(plain)
    assert signature_of(registered) is signature_of(registered.function)
