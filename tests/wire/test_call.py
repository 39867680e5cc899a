"""A job as sent: bounded, immutable, and readable only as far as its task is known."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor import Queue, clock, task
from conveyor.errors import BadCall, TooLarge
from conveyor.monitor import job_data
from conveyor.wire import call, codec, redaction
from conveyor.wire.redaction import Labels

MOMENT = dt.datetime(2030, 1, 1)  # noqa: DTZ001 - one without a zone
#: Numbers that are no duration a job may have.
UNUSABLE_SECONDS = (math.nan, math.inf, -math.inf, -0.1, 1e12)


def work(data: bytes, *, times: int = 1) -> None: ...


def job_bytes(put_at: float, options: list[Any] | None = None) -> bytes:
    """Return the bytes of a job as a careless or hostile producer may write them."""
    return msgspec.msgpack.encode(["x", [], {}, put_at, *([options] if options is not None else [])])


def item_of(size: int) -> bytes:
    """Return an item whose job has exactly `size` bytes."""
    (empty,) = call.encode_items([b"x" * 100_000])
    return b"x" * (size - len(empty) + 100_000)


def test_call_without_options_is_compact_and_complete() -> None:
    (data,) = call.encode_calls(work, "work", [((b"abc",), {"times": 2})], call.RunOptions())
    job = call.decode_call(data)
    assert (job.task, job.positional(), job.named()) == ("work", [b"abc"], {"times": 2})
    assert job.options == call.RunOptions()
    assert job.put_at > 1_700_000_000
    assert len(data) < 40


def test_call_carries_its_own_options() -> None:
    options = call.RunOptions(retries=3, first_delay=0.5, timeout=9.0, keep=60.0)
    (data,) = call.encode_calls(work, "work", [((b"",), {})], options)
    assert call.decode_call(data).options == options


def log_in(user: str, password: str, **more: Any) -> None: ...


class OldCall(msgspec.Struct, array_like=True):
    """A job as read by releases before labels."""

    task: str
    args: codec.Raw
    kwargs: codec.Raw
    put_at: float
    options: call.RunOptions = call.RunOptions()


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("ada", "hunter2"), {}),
        (("ada",), {"password": "hunter2"}),
        ((), {"user": "ada", "password": "hunter2"}),
    ],
)
def test_call_carries_parameter_names_if_one_is_secret(args: Any, kwargs: Any) -> None:
    (data,) = call.encode_calls(log_in, "log_in", [(args, kwargs)])
    job = call.decode_call(data)
    assert job.labels == Labels(("user", "password"))
    assert redaction.preview(job) == "user='ada', password=•••"
    old = msgspec.msgpack.decode(data, type=OldCall)
    assert (old.task, codec.decode(old.args), old.options) == (
        "log_in",
        ["ada", "hunter2"],
        call.RunOptions(),
    )


@pytest.mark.parametrize(("function", "args"), [(work, (b"a",)), (log_in, ("ada", "hunter2"))])
def test_job_ends_with_its_keep_time(function: Any, args: Any) -> None:
    (data,) = call.encode_calls(function, "task", [(args, {})], call.RunOptions(keep=60))
    assert data[-9:] == msgspec.msgpack.encode(60.0)
    assert call.decode_call(data).options.keep == 60.0


class OldRunOptions(msgspec.Struct, array_like=True):
    """Options as read by releases before headers."""

    retries: int = 0
    first_delay: float = 1.0
    timeout: float | None = None
    keep: float = 3600.0
    serializer: str | None = None


HEADERS = (("tenant", "7"), ("trace", "ä" * 10))


@pytest.mark.parametrize(("function", "args"), [(work, (b"a",)), (log_in, ("ada", "hunter2"))])
@pytest.mark.parametrize("keep", [3600.0, 60.0])
@pytest.mark.parametrize("serializer", [None, "pickle"])
def test_headers_travel_last_and_old_releases_read_the_rest(
    function: Any, args: Any, keep: float, serializer: str | None
) -> None:
    options = call.RunOptions(retries=2, keep=keep, serializer=serializer, headers=HEADERS)
    (data,) = call.encode_calls(function, "task", [(args, {})], options)
    assert call.decode_call(data).options == options
    parts = msgspec.msgpack.decode(data)
    assert parts[4][-1] == [list(one) for one in HEADERS]
    assert data[:1] == (b"\x96" if keep == 3600.0 else b"\x97")
    if keep != 3600.0:
        assert data[-9:] == msgspec.msgpack.encode(keep)
    old = msgspec.msgpack.decode(msgspec.msgpack.encode(parts[4]), type=OldRunOptions)
    assert (old.retries, old.keep, old.serializer) == (2, keep, serializer)


def test_each_call_has_its_own_headers() -> None:
    own = [(), (("number", "1"),), HEADERS]
    calls: list[Any] = [((b"a",), {}), ((b"b",), {"times": 3}), ((b"c",), {})]
    made = call.encode_calls(work, "work", calls, call.RunOptions(retries=1), own)
    assert [call.decode_call(data).headers for data in made] == own
    assert [call.decode_call(data).positional() for data in made] == [[b"a"], [b"b"], [b"c"]]


def test_secret_headers_are_hidden() -> None:
    headers = call.header_pairs({"Authorization": "Bearer abcdef", "cookie": "crumbs", "tenant": "7"})
    (data,) = call.encode_calls(work, "work", [((b"",), {})], call.RunOptions(headers=headers))
    job = call.decode_call(data)
    assert redaction.redacted_headers(job) == {"Authorization": "•••", "cookie": "•••", "tenant": "7"}
    assert redaction.secret_texts(job) == ["Bearer abcdef", "crumbs"]


@pytest.mark.parametrize(
    "headers",
    [
        [("a", "b")],
        {"a": 1},
        {1: "a"},
        {"": "a"},
        {"a": "\ud800"},
        {"a": "b" * 10_000},
        {str(number): "" for number in range(100)},
    ],
    ids=lambda one: str(one)[:30],
)
def test_invalid_headers_are_refused(headers: Any) -> None:
    with pytest.raises(BadCall, match="header"):
        call.header_pairs(headers)


@pytest.mark.parametrize("keep", [3600.0, 60.0])
def test_abbreviated_job_with_secrets_shows_no_arguments(keep: float) -> None:
    @task(name="pay.cut", redact=["card"])
    def pay(card: str) -> None: ...

    (data,) = call.encode_calls(pay, "pay.cut", [(("4000" * 50,), {})], call.RunOptions(keep=keep))
    assert job_data.preview(data[:100], len(data)).arguments == f"… ({len(data):,} bytes)"


def test_call_without_secrets_carries_no_names() -> None:
    (data,) = call.encode_calls(work, "work", [((b"abc",), {"times": 2})])
    assert msgspec.msgpack.decode(data)[:3] == ["work", [b"abc"], {"times": 2}]
    assert len(msgspec.msgpack.decode(data)) == 4
    assert call.decode_call(data).labels == Labels()


def test_names_redacted_by_a_task_are_sent_with_its_calls() -> None:
    @task(name="pay.wire", redact=["card"])
    def pay(card: str, more: dict[str, Any]) -> None: ...

    (data,) = call.encode_calls(pay, "pay", [(("4000", {"card": "4001", "sum": 5}), {})])
    assert redaction.preview(call.decode_call(data)) == "card=•••, more={'card': •••, 'sum': 5}"


class Account(NamedTuple):
    name: str
    password: str


class Owner(msgspec.Struct):
    accounts: list[Account]


def open_account(account: Account, owner: Owner | None = None) -> None: ...


def test_named_tuple_with_a_secret_field_is_hidden() -> None:
    account = Account("ada", "hunter2")
    (data,) = call.encode_calls(open_account, "open", [((account, Owner([account])), {})])
    assert redaction.preview(call.decode_call(data)) == "account=•••, owner=•••"


def test_value_changed_by_a_formatter_is_hidden_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_formatters", [])
    redaction.register(lambda name, value: f"…{value[-2:]!r}" if name in {"iban", "data"} else value)
    calls = call.encode_calls(work, "work", [((b"DE12",), {})]) + call.encode_items([{"iban": "DE34"}])
    seen = [redaction.preview(call.decode_call(data)) for data in calls]
    assert seen == ["data=\"…b'12'\"", "{'iban': \"…'34'\"}"]
    redaction._formatters.clear()
    seen = [redaction.preview(call.decode_call(data)) for data in calls]
    assert seen == ["data=•••", "{'iban': •••}"]


@pytest.mark.parametrize("item", [None, 5, "x", {"any": ("value", {1})}, [1, [2]]])
def test_item_is_a_call_without_a_task(item: Any) -> None:
    (data,) = call.encode_items([item])
    job = call.decode_call(data)
    assert job.task == call.ITEM
    assert job.item() == item


def test_job_of_a_mebibyte_is_accepted_and_a_larger_one_refused() -> None:
    (data,) = call.encode_items([item_of(1 << 20)])
    assert len(data) == 1 << 20
    with pytest.raises(TooLarge, match="1,048,577 bytes") as refusal:
        call.encode_items([item_of((1 << 20) + 1)])
    assert isinstance(refusal.value, ValueError)
    assert "file" in refusal.value.hint


def test_oversized_call_is_refused() -> None:
    with pytest.raises(TooLarge):
        call.encode_calls(work, "work", [((b"x" * (1 << 20),), {})])


def test_invalid_call_among_many_is_found_before_any_is_put() -> None:
    with pytest.raises(BadCall, match="data"):
        call.encode_calls(work, "work", [((b"",), {}), (("no bytes",), {})])


@pytest.mark.parametrize(
    "wrong",
    [
        {"retries": -1},
        {"retries": 1.5},
        {"retries": 10**9},
        {"timeout": 0.0},
        *({name: value} for name in ("first_delay", "keep", "timeout") for value in UNUSABLE_SECONDS),
    ],
    ids=str,
)
def test_invalid_run_options_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadCall, match=next(iter(wrong))):
        call.RunOptions(**wrong)
    with pytest.raises(BadCall, match=next(iter(wrong))):
        msgspec.structs.replace(call.RunOptions(), **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"priority": -1},
        {"priority": 256},
        {"priority": 0.5},
        {"priority": math.nan},
        *({name: value} for name in ("delay", "wait") for value in UNUSABLE_SECONDS),
        {"delay": MOMENT},
        {"delay": "tomorrow"},
        {"wait": "long"},
        {"queue": "two words"},
        {"queue": None},
    ],
    ids=str,
)
def test_invalid_put_options_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadCall, match=next(iter(wrong))):
        call.PutOptions(**wrong)


def test_naive_time_is_refused_with_what_to_do() -> None:
    with pytest.raises(BadCall, match="time zone") as refusal:
        call.PutOptions(delay=MOMENT)
    assert "astimezone()" in refusal.value.hint


def test_delay_until_a_time_is_what_is_left_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    due = dt.datetime(2029, 12, 31, 19, tzinfo=dt.UTC)
    options = call.PutOptions(delay=due.astimezone(dt.timezone(dt.timedelta(hours=5))))
    for wall, left in ((due.timestamp() - 90.0, 90.0), (due.timestamp() + 90.0, 0.0)):
        monkeypatch.setattr(clock, "wall", lambda wall=wall: wall)
        assert options.seconds_left() == left
    assert call.PutOptions(delay=5).seconds_left() == 5


@given(st.binary())
def test_arbitrary_bytes_are_a_decode_error(data: bytes) -> None:
    try:
        job = call.decode_call(data)
    except msgspec.DecodeError:
        return
    assert isinstance(job.task, str)


@pytest.mark.parametrize(
    "data",
    [
        b"\x94\xa1x" + b"\x91" * 400_000 + b"\x01\x80\x00",
        codec.encode(["x", [], {}, "no time"]),
        codec.encode(["x", [], {}, 0.0, [-1]]),
        *(job_bytes(put_at) for put_at in (math.inf, -math.inf, math.nan, -1.0, 1e15)),
        *(job_bytes(0.0, [0, 1.0, None, keep]) for keep in (math.inf, math.nan, 1e12)),
        job_bytes(0.0, [0, math.inf]),
        job_bytes(0.0, [0, 1.0, math.nan]),
        job_bytes(0.0, [1 << 62]),
    ],
)
def test_hostile_bytes_are_a_decode_error(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        call.decode_call(data)


@pytest.mark.parametrize("maxsize", [math.nan, math.inf, 1.5, 1 << 60, True])
def test_invalid_maxsize_is_refused_by_name(maxsize: Any) -> None:
    with pytest.raises(BadCall, match="maxsize"):
        Queue("work", maxsize)


def test_nan_timeout_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        clock.Deadline(math.nan)
