"""What a run amounts to, as values (Done, Retry, Fail, Release), and what is kept of it (Settled)."""

from __future__ import annotations

import traceback as tracebacks
from typing import Any

import msgspec
from msgspec import Raw

from conveyor import codec
from conveyor.call import SIZE_LIMIT
from conveyor.errors import BadCall, ConveyorError, JobCancelled, JobFailed, JobLost

#: Characters of a message and of a traceback that are kept.
MESSAGE_LIMIT, TRACEBACK_LIMIT = 2_000, 20_000


class Done(msgspec.Struct, frozen=True, gc=False):
    """The task returned; `value` is its encoded result."""

    value: bytes


class Fail(msgspec.Struct, frozen=True, gc=False):
    """The task raised for the last time; `error` tells of it."""

    error: bytes


class Retry(msgspec.Struct, frozen=True, gc=False):
    """The task raised and is tried again in `delay` seconds."""

    error: bytes
    delay: float


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """The run ended because somebody asked for it."""


class Release(msgspec.Struct, frozen=True, gc=False):
    """The run did not count: the job goes back to its old place."""


Outcome = Done | Fail | Retry | Cancel | Release


class Settled(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The kept outcome of a job that has ended."""

    state: str
    """done, failed, cancelled or lost; gone where nothing is known of the job."""
    value: Raw
    elapsed: float = 0.0
    """Seconds the last run took."""

    def result(self) -> Any:
        """Give the task's result, or raise what the outcome says: JobFailed, JobLost or JobCancelled."""
        error = self.error()
        if error is not None:
            raise error
        return codec.decode(self.value)

    def error(self) -> JobFailed | JobCancelled | None:
        """Give the outcome as an exception; None where the task returned."""
        if self.state == "done":
            return None
        if self.state == "cancelled":
            return JobCancelled("the job was cancelled")
        kind, message, traceback = codec.decode(self.value)
        return (JobLost if self.state == "lost" else JobFailed)(kind, message, traceback)


class Note(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A finish as the history keeps it, for people."""

    id: str
    task: str
    state: str
    elapsed: float
    worker: str
    attempt: int
    at: float
    """Seconds since 1970, by the worker's clock."""


decode_note = msgspec.msgpack.Decoder(Note).decode
_decoder = msgspec.msgpack.Decoder(Settled)
_HEADS = {state: b"\x93" + codec.encode(state) for state in ("done", "failed", "cancelled", "lost", "gone")}
_NOTHING = codec.encode(None)


def decode_settled(data: bytes) -> Settled:
    """Give the kept outcome of its bytes; raises msgspec.DecodeError on bytes that are none."""
    try:
        return _decoder.decode(data)
    except RecursionError as error:
        message = "nested too deep"
        raise msgspec.DecodeError(message) from error


def encode_settled(state: str, value: bytes = _NOTHING, elapsed: float = 0.0) -> bytes:
    """Give the bytes that are kept of an outcome; `value` is already encoded."""
    return _HEADS[state] + value + codec.encode(elapsed)


def result_bytes(value: object, *, typed: bool) -> Done | Fail:
    """Give Done with the encoded result, or Fail where it cannot be carried."""
    try:
        data = codec.encode(value, typed=typed)
    except BadCall as error:
        return Fail(describe_text("BadCall", f"the result cannot be carried: {error}"))
    if len(data) > SIZE_LIMIT:
        return Fail(
            describe_text("TooLarge", f"the result has {len(data):,} bytes, the limit is {SIZE_LIMIT:,}")
        )
    return Done(data)


def describe_error(error: BaseException) -> bytes:
    """Give an exception as data: its type's name, message and traceback, all text and of bounded length."""
    try:
        message = str(error)
        text = "".join(tracebacks.format_exception(error))
    except BaseException as unable:  # noqa: BLE001 - the error's own __str__, which may do anything
        message = f"(its text could not be made: {type(unable).__qualname__})"
        text = "".join(tracebacks.format_tb(error.__traceback__))
    hint = getattr(error, "hint", "")
    if isinstance(error, ConveyorError) and hint:
        message = f"{message} ({hint})"
    return describe_text(type(error).__qualname__, message, text)


def describe_text(kind: str, message: str, traceback: str = "") -> bytes:
    """Give an error that was no exception in the same form."""
    texts = (kind, message[:MESSAGE_LIMIT], traceback[-TRACEBACK_LIMIT:])
    return codec.encode([text.encode(errors="backslashreplace").decode() for text in texts])
