"""Every supported type is decoded as encoded, and any other is an error."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import pathlib
import pickle
import uuid
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.errors import BadCall
from conveyor.wire import codec

HOSTILE_PATH = pathlib.Path("caught.txt")
zones = st.one_of(
    st.none(), st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
)
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.datetimes(timezones=zones),
    st.dates(),
    st.times(timezones=zones),
    st.timedeltas(),
    st.complex_numbers(allow_nan=False),
    st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"])).map(pathlib.Path),
)
hashable = st.recursive(
    atoms, lambda inner: st.one_of(st.lists(inner).map(tuple), st.frozensets(inner, max_size=4)), max_leaves=5
)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.sets(hashable, max_size=4),
        st.frozensets(hashable, max_size=4),
        st.dictionaries(hashable, inner, max_size=4),
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Compare values and types all the way down: 1, 1.0 and True are equal, but not the same."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return len(left) == len(right) and all(
            same(key, other) and same(left[key], right[other]) for key, other in zip(left, right, strict=True)
        )
    return left == right


@given(values)
def test_value_is_decoded_with_its_type(value: Any) -> None:
    assert same(codec.decode(codec.encode(value)), value)


@given(values)
def test_typed_value_of_plain_types_is_encoded_identically(value: Any) -> None:
    assert codec.encode(value, typed=True) == codec.encode(value)


@given(st.binary())
def test_arbitrary_bytes_return_a_value_or_raise_value_error(data: bytes) -> None:
    with suppress(ValueError):
        codec.decode(data)


@given(st.integers(0, 127), st.one_of(st.binary(), values.map(codec.encode)))
def test_any_extension_returns_a_value_or_raises_value_error(code: int, data: bytes) -> None:
    with suppress(ValueError):
        codec.decode(msgspec.msgpack.encode(msgspec.msgpack.Ext(code, data)))


class Trap:
    """Writes a file if it is ever unpickled."""

    def __reduce__(self) -> Any:
        return HOSTILE_PATH.touch, ()


@pytest.mark.parametrize("code", range(128))
def test_pickle_is_never_loaded(code: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(Trap())
    for wrapped in (data, msgspec.msgpack.encode(msgspec.msgpack.Ext(code, data))):
        with suppress(ValueError):
            codec.decode(wrapped)
    assert not HOSTILE_PATH.exists()


@pytest.mark.parametrize(
    "dtype", ["(,i4", "i4,f8", "O", "|O8", "(2,)i4", "x", "__import__('os')", "i4" * 5000]
)
def test_array_of_foreign_dtype_is_a_value_error(dtype: str) -> None:
    head = msgspec.msgpack.encode([dtype, [2]])
    data = len(head).to_bytes(2, "big") + head + bytes(8)
    with pytest.raises(ValueError, match="dtype"):
        codec.decode(msgspec.msgpack.encode(msgspec.msgpack.Ext(13, data)))


def nested(levels: int) -> bytes:
    data = codec.encode(1)
    for _ in range(levels):
        data = msgspec.msgpack.encode(msgspec.msgpack.Ext(1, b"\x91" + data))
    return data


@pytest.mark.parametrize(
    "data",
    [
        b"\x91" * 400_000 + b"\x01",
        nested(3_000),
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
    ],
    ids=["deep lists", "deep extensions", "a list of billions", "a map of billions", "gigabytes"],
)
def test_resource_exhausting_bytes_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        codec.decode(data)


@pytest.mark.parametrize(
    "value", [math.nan, decimal.Decimal("NaN"), decimal.Decimal("sNaN"), complex("nan+infj")]
)
def test_value_unequal_to_itself_is_decoded(value: Any) -> None:
    assert str(codec.decode(codec.encode(value))) == str(value)


@pytest.mark.parametrize("value", [0, -1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**500])
def test_integers_of_any_size_are_encoded_as_values_and_keys(value: int) -> None:
    assert codec.decode(codec.encode([value, {value: value}])) == [value, {value: value}]
    assert codec.decode(codec.encode_flat((value,))) == [value]


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: float


class Pair(NamedTuple):
    left: int
    right: Point


class Record(msgspec.Struct):
    point: Point
    colors: set[Color]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Color.RED, Color),
        (Point(1, 2.5), Point),
        (Pair(1, Point(2, 3.0)), Pair),
        (Record(Point(1, 1.0), {Color.RED}), Record),
        ([Point(1, 2.0), Point(3, 4.0)], list[Point]),
        ({"a": Point(1, 2.0)}, dict[str, Point]),
        ((Color.RED, Point(0, 0.0)), tuple[Color, Point]),
        (np.int64(3), int),
        (np.float32(1.5), float),
        (np.int64(3), np.int64),
        (pathlib.Path("a/b"), pathlib.Path),
        (uuid.UUID(int=5), uuid.UUID),
        (None, Point | None),
    ],
    ids=repr,
)
def test_objects_are_encoded_if_a_hint_names_their_class(value: Any, hint: Any) -> None:
    back = codec.convert(codec.decode(codec.encode(value, typed=True)), hint)
    assert back == value
    assert hint is float or isinstance(back, type(value) if not isinstance(value, np.generic) else hint)


@pytest.mark.parametrize(
    "value", [Color.RED, Point(1, 2.0), Pair(1, Point(1, 1.0)), object(), len, {1: [Point]}]
)
def test_object_without_a_hint_is_refused_with_advice(value: Any) -> None:
    with pytest.raises(BadCall) as refusal:
        codec.encode(value)
    assert refusal.value.hint


@pytest.mark.parametrize("value", [object(), len, lambda: None, range(3), iter([]), ValueError("x")])
def test_non_data_value_is_refused_even_with_a_hint(value: Any) -> None:
    with pytest.raises(BadCall):
        codec.encode(value, typed=True)


def test_cyclic_value_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(BadCall, match="nested"):
        codec.encode(loop)


def test_invalid_unicode_text_is_refused() -> None:
    with pytest.raises(BadCall, match="surrogates"):
        codec.encode(["\udcff"])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.arange(6).reshape(2, 3).T,
        np.zeros((0, 3)),
        np.array([], dtype="f4"),
        np.array(["ab", "c"]),
        np.array([1, 2], dtype="M8[s]"),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.arange(3, dtype=">i2"),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_numpy_array_keeps_dtype_and_shape_and_is_writable(array: np.ndarray) -> None:
    back = codec.decode(codec.encode({"array": array}))["array"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert (back == array).all()
    assert back.flags.writeable


@pytest.mark.parametrize("scalar", [np.int64(3), np.float64(2.5), np.bool_(1), np.datetime64("2020-01-01")])
def test_numpy_scalars_are_decoded_as_numpy_scalars(scalar: Any) -> None:
    assert same(codec.decode(codec.encode(scalar)), scalar)


@pytest.mark.parametrize("array", [np.array([object()]), np.zeros(2, dtype=[("a", "i4"), ("b", "f8")])])
def test_numpy_arrays_that_would_lose_data_are_refused(array: np.ndarray) -> None:
    with pytest.raises(BadCall):
        codec.encode(array)


def test_wide_numpy_numbers_stay_numpy_numbers() -> None:
    for typed in (False, True):
        assert same(codec.decode(codec.encode(np.longdouble(2.5), typed=typed)), np.longdouble(2.5))
