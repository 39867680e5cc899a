"""Every supported type is decoded as encoded, and any other is an error."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import pathlib
import pickle
import uuid
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.travel_kit import same

from conveyor.errors import BadCall, Untrusted
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


@given(values)
def test_value_is_decoded_with_its_type(value: Any) -> None:
    assert same(codec.decode(codec.encode(value)), value)


#: Bytes of values as every version writes and reads them.
KNOWN = [
    ([1, -1, 2.5, "a", b"b", None, True], "9701ffcb4004000000000000a161c40162c0c3"),
    ({"a": [1, {"b": None}]}, "81a161920181a162c0"),
    ((1, {2}, frozenset()), "c709019301d5029102d40390"),
    ({(1,): 2**64}, "c7120e9192d5019101c7090c010000000000000000"),
    (uuid.UUID(int=5), "c72404" + b"00000000-0000-0000-0000-000000000005".hex()),
    (decimal.Decimal("0.10"), "d605302e3130"),
    (pathlib.Path("a/b"), "c70306612f62"),
    (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "c71907" + b"2026-01-02T03:04:05+00:00".hex()),
    (dt.date(2026, 1, 2), "c70a08" + b"2026-01-02".hex()),
    (dt.timedelta(1, 2, 3), "c7050a3120322033"),
    (1 + 2j, "c7060b28312b326a29"),
]


@pytest.mark.parametrize(("value", "data"), KNOWN, ids=repr)
def test_bytes_of_plain_values_do_not_change(value: Any, data: str) -> None:
    assert codec.encode(value).hex() == data
    assert same(codec.decode(bytes.fromhex(data)), value)


@given(st.binary())
def test_arbitrary_bytes_return_a_value_or_raise_value_error(data: bytes) -> None:
    with suppress(ValueError):
        codec.decode(data)


@given(st.integers(0, 127), st.one_of(st.binary(), values.map(codec.encode)))
def test_any_extension_returns_a_value_or_raises_value_error(code: int, data: bytes) -> None:
    with suppress(ValueError, Untrusted):
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
        with suppress(ValueError, Untrusted):
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
    assert same(codec.decode(codec.encode(np.longdouble(2.5))), np.longdouble(2.5))
