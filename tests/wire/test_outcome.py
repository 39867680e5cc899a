"""The outcome of a job, as stored, read and raised."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.travel_kit import Color, Point

from conveyor.errors import JobCancelled, JobExpired, JobFailed, JobLost
from conveyor.wire import codec, outcome


def settled(state: str, value: object = None, elapsed: float = 0.0) -> outcome.Settled:
    return outcome.decode_settled(outcome.encode_settled(state, codec.encode(value), elapsed))


@pytest.mark.parametrize("value", [None, 5, "text", [1, (2, {3})], b"x" * 1000])
def test_result_is_returned_unchanged(value: object) -> None:
    one = settled("done", value, 1.5)
    assert one.result() == value
    assert one.error() is None
    assert one.elapsed == 1.5


@pytest.mark.parametrize(("state", "kind"), [("failed", JobFailed), ("lost", JobLost)])
def test_failure_is_raised_with_type_message_and_traceback(state: str, kind: type[JobFailed]) -> None:
    one = settled(state, ["ValueError", "no such film", "Traceback …"])
    with pytest.raises(kind) as error:
        one.result()
    assert type(error.value) is kind
    assert (error.value.kind, error.value.reason, error.value.traceback) == (
        "ValueError",
        "no such film",
        "Traceback …",
    )
    assert str(error.value) == "ValueError: no such film"
    assert str(one.error()) == str(error.value)


def test_cancellation_is_raised_as_cancelled_error() -> None:
    with pytest.raises(JobCancelled):
        settled("cancelled").result()


def test_expiry_is_raised_as_a_cancellation_with_its_reason() -> None:
    one = outcome.decode_settled(outcome.encode_settled("expired", outcome.describe_expiry(60.0)))
    with pytest.raises(JobCancelled, match=r"^no worker started it within 60 s of its put$") as error:
        one.result()
    assert type(error.value) is JobExpired


def test_exception_is_described_with_its_traceback() -> None:
    try:
        {}["film"]
    except KeyError as error:
        kind, message, traceback = codec.decode(outcome.describe_error(error))
    assert (kind, message) == ("KeyError", "'film'")
    assert "in test_exception_is_described" in traceback
    assert traceback.rstrip().endswith("KeyError: 'film'")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "error",
    [
        Unspeakable(),
        FileNotFoundError(2, "no such file", "caf\udce9.txt"),
        ValueError("x" * 1_000_000),
        ExceptionGroup("several", [ValueError("one"), KeyError("two")]),
        ValueError(),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_exception_is_described_in_bounded_length(error: BaseException) -> None:
    kind, message, traceback = codec.decode(outcome.describe_error(error))
    assert kind == type(error).__qualname__
    assert len(message) <= outcome.MESSAGE_LIMIT
    assert len(traceback) <= outcome.TRACEBACK_LIMIT


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_error_text_can_be_stored(kind: str, message: str) -> None:
    assert len(codec.decode(outcome.describe_text(kind, message))) == 3


def test_unserializable_result_is_a_failure_with_a_reason() -> None:
    for value, kind in ((object(), "BadCall"), (b"x" * (1 << 20), "TooLarge")):
        failed = outcome.result_bytes(value)
        assert isinstance(failed, outcome.Fail)
        assert codec.decode(failed.error)[0] == kind


def test_object_in_a_result_is_readable_without_its_class() -> None:
    done = outcome.result_bytes([Point(1), Color.RED])
    assert isinstance(done, outcome.Done)
    one = outcome.decode_settled(outcome.encode_settled("done", done.value))
    assert one.result() == [Point(1), Color.RED]
    assert repr(one.result_data()) == "[Point(x=1, y=0.0), Color.RED]"


@pytest.mark.parametrize(
    "value", [Color.RED, [Color.RED, "", ""], ["a", "b"], "text", None, [b"a", b"b", b"c"]]
)
def test_error_is_text_and_nothing_else_in_its_place_is_rebuilt(value: object) -> None:
    error = settled("failed", value).error()
    assert isinstance(error, JobFailed)
    assert (error.kind, error.traceback) == ("Undecodable", "")
    assert error.reason.startswith("the bytes of its error are invalid: Expected `")


@pytest.mark.parametrize(
    "data", [b"", b"\x93", b"\xc1", b"no", b"\x93\xa4done" + b"\x91" * 400_000 + b"\x01"]
)
def test_invalid_outcome_bytes_are_a_decode_error(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        outcome.decode_settled(data)


RUN = outcome.Run("films.cut", "name='it'", 1700.0, "host/1", 2, 0.5)


def test_outcome_keeps_its_run_and_is_unchanged_by_it() -> None:
    plain = outcome.decode_settled(outcome.encode_settled("done", codec.encode(5), 1.5))
    known = outcome.decode_settled(outcome.encode_settled("done", codec.encode(5), 1.5, RUN))
    assert (plain.run, known.run) == (None, RUN)
    assert (plain.result(), plain.elapsed) == (known.result(), known.elapsed) == (5, 1.5)


def test_note_has_the_run_and_older_notes_are_readable() -> None:
    note = outcome.decode_note(outcome.note_of("id", "done", RUN, 2.0))
    assert note == outcome.Note("id", "films.cut", "done", 2.0, "host/1", 2, 1702.0, 0.5, "name='it'")
    old = outcome.decode_note(outcome.encode(["id", "films.cut", "done", 2.0, "host/1", 2, 1702.0]))
    assert (old.at, old.waited, old.arguments) == (1702.0, 0.0, "")


def test_attempt_keeps_the_message_start_without_passwords() -> None:
    error = outcome.describe_text("OSError", "cannot reach https://ann:hunter2@example.org" + "!" * 500)
    attempt = outcome.decode_attempt(outcome.attempt_of("retried", RUN, 2.0, error))
    assert (attempt.attempt, attempt.started, attempt.elapsed, attempt.worker) == (2, 1700.0, 2.0, "host/1")
    assert (attempt.state, attempt.kind) == ("retried", "OSError")
    assert len(attempt.message) == 200
    assert attempt.message.startswith("cannot reach https://ann:•••@example.org!")
