"""Outcomes of runs (Done, Retry, Fail, Cancel, …), what is kept of them, and the delay before a retry."""

from __future__ import annotations

import builtins
import random
import traceback as tracebacks
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Raw

from conveyor.errors import BadCall, ConveyorError, JobCancelled, JobExpired, JobFailed, JobLost, TooLarge
from conveyor.wire import codec
from conveyor.wire.codec import SIZE_LIMIT
from conveyor.wire.redaction import redacted, without

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Max characters of a message and of a traceback.
MESSAGE_LIMIT, TRACEBACK_LIMIT = 2_000, 20_000
#: Max characters of an attempt's message.
ATTEMPT_LIMIT = 200
#: Max seconds before a retry, without jitter.
MAX_DELAY = 3600.0


class Done(msgspec.Struct, frozen=True, gc=False):
    """The task returned; `value` is its encoded result."""

    value: bytes


class Fail(msgspec.Struct, frozen=True, gc=False):
    """The task raised, and has no retries left; `error` describes the exception, `word` how the run ended."""

    error: bytes
    word: str = "failed"


class Retry(msgspec.Struct, frozen=True, gc=False):
    """The task raised and is retried in `delay` seconds; `word` is how the run ended."""

    error: bytes
    delay: float
    word: str = "retried"


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """The run ended by request."""


class Expire(msgspec.Struct, frozen=True, gc=False):
    """The job was not run, since it had expired before; `error` describes that."""

    error: bytes


class Release(msgspec.Struct, frozen=True, gc=False):
    """The run does not count: the job returns to its old position."""

    reason: str = "its consumer was stopped immediately"
    rest: float = 0.0
    """Seconds for which no job of its limit starts, or of its queue if it has none or `whole_queue` is true."""
    whole_queue: bool = False


class Suspend(msgspec.Struct, frozen=True, gc=False):
    """The run does not count: the job waits for a signal, or sleeps, and then runs again."""

    kind: Literal["wait", "sleep"]
    name: str
    reason: str


Outcome = Done | Fail | Retry | Cancel | Expire | Release | Suspend


class Run(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A job's last run, for people; kept with the outcome. It ended `Settled.elapsed` seconds after `started`."""

    task: str
    arguments: str
    """The beginning of its arguments as a string, without secrets; empty if unknown."""
    started: float
    """Seconds since 1970, by the worker's clock."""
    worker: str
    attempt: int
    """1 for the first, one more after each retry and each crash."""
    waited: float = 0.0
    """Seconds from the put to the start of the first attempt, by the clocks of producer and worker; otherwise 0."""


class Settled(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The outcome of a finished job, as it is kept."""

    state: str
    """done, failed, lost, cancelled or expired; gone if the job is unknown."""
    value: Raw
    elapsed: float = 0.0
    """Seconds the last run took."""
    run: Run | None = None
    """Details of the run; None if the server ended it, and for most jobs of a burst."""

    @property
    def was_killed(self) -> bool:
        """True if it was cancelled and its worker killed, since the run did not end in time."""
        return self.state == "cancelled" and bytes(self.value) == _KILLED

    def result(self) -> Any:
        """Return the task's result, or raise JobFailed, JobLost, JobCancelled or JobExpired.

        Raises UnknownClass if this process does not have the class of an object in it.
        """
        error = self.error()
        if error is not None:
            raise error
        return codec.decode(self.value)

    @property
    def cancel_reason(self) -> str:
        """Why the server cancelled it, such as the failure of a job before it; "" if it did not."""
        if self.state != "cancelled" or self.was_killed:
            return ""
        try:
            reason = codec.decode_data(self.value)
        except ValueError:
            reason = None
        return reason if isinstance(reason, str) else ""

    def result_data(self) -> Any:
        """Return the result for people, with ObjectData in place of objects. Raises ValueError if it is unreadable."""
        return codec.decode_data(self.value)

    def error(self) -> JobFailed | JobCancelled | None:
        """Return the outcome as an exception, or None if the task returned."""
        if self.state == "done":
            return None
        if self.state == "cancelled":
            reason = self.cancel_reason
            return JobCancelled(f"the job was cancelled: {reason}" if reason else "the job was cancelled")
        try:
            kind, message, traceback = _decode_error(self.value)
        except ValueError as error:
            kind, message, traceback = "Undecodable", f"the bytes of its error are invalid: {error}", ""
        if self.state == "expired":
            return JobExpired(message)
        return (JobLost if self.state == "lost" else JobFailed)(kind, message, traceback)


class Cancellation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who cancelled a job, and why, as far as known; for people."""

    who: str = ""
    reason: str = ""


class Note(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A finished run as the history keeps it, for people."""

    id: str
    task: str
    state: str
    elapsed: float
    worker: str
    attempt: int
    at: float
    """Seconds since 1970, by the worker's clock."""
    waited: float = 0.0
    """As in Run."""
    arguments: str = ""
    """As in Run."""


class Attempt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run after which the job was retried, released or dead, as it is kept with the job."""

    attempt: int
    started: float
    """Seconds since 1970, by the worker's clock; 0 if unknown."""
    elapsed: float
    worker: str
    state: str
    """retried, failed, lost, timed out; killed, given back or suspended if it does not count as an attempt."""
    kind: str = ""
    """Type of the error."""
    message: str = ""
    """Its message: at most 200 characters, without passwords in URLs."""


encode = msgspec.msgpack.Encoder().encode
decode_note = msgspec.msgpack.Decoder(Note).decode
decode_cancellation = msgspec.msgpack.Decoder(Cancellation).decode
decode_attempt = msgspec.msgpack.Decoder(Attempt).decode
_decoder = msgspec.msgpack.Decoder(Settled)
#: An error is text: nothing in it can be an object, let alone a signed one.
_decode_error = msgspec.msgpack.Decoder(tuple[str, str, str]).decode
#: States of runs that do not count: the next one has the same number.
UNCOUNTED = frozenset({"killed", "given back", "suspended"})
_STATES = ("done", "failed", "cancelled", "expired", "lost", "gone")
_HEADS = {state: b"\x93" + codec.encode(state) for state in _STATES}
_HEADS_WITH_RUN = {state: b"\x94" + codec.encode(state) for state in _STATES}
_NOTHING = codec.encode(None)
_KILLED = codec.encode("killed")


def decode_settled(data: bytes) -> Settled:
    """Return the outcome of its bytes. Raises msgspec.DecodeError if they are invalid."""
    try:
        return _decoder.decode(data)
    except RecursionError as error:
        raise msgspec.DecodeError("nested too deep") from error


def encode_settled(
    state: str, value: bytes = _NOTHING, elapsed: float = 0.0, run: Run | None = None
) -> bytes:
    """Return the bytes of an outcome; `value` is already encoded."""
    if run is not None:
        return _HEADS_WITH_RUN[state] + value + encode(elapsed) + encode(run)
    return _HEADS[state] + value + encode(elapsed)


def encode_killed(elapsed: float, run: Run) -> bytes:
    """Return the bytes of the outcome of a cancelled job whose worker had to be killed."""
    return encode_settled("cancelled", _KILLED, elapsed, run)


def note_of(job_id: str, state: str, run: Run, elapsed: float) -> bytes:
    """Return the bytes of the history's note on a finished run."""
    ended = round(run.started + elapsed, 3)
    return encode(
        Note(job_id, run.task, state, elapsed, run.worker, run.attempt, ended, run.waited, run.arguments)
    )


def attempt_of(state: str, run: Run, elapsed: float, error: bytes) -> bytes:
    """Return the bytes of the attempt of a run; `error` is from `describe_error`."""
    kind, message, _ = codec.decode(error)
    message = str(redacted(message))[:ATTEMPT_LIMIT]
    return encode(Attempt(run.attempt, run.started, elapsed, run.worker, state, kind, message))


def result_bytes(value: object, encode: Callable[[object], bytes] = codec.encode) -> Done | Fail:
    """Return Done with the encoded result, or Fail if it cannot be serialized."""
    try:
        data = encode(value)
    except (BadCall, TooLarge) as error:
        return Fail(describe_text(type(error).__name__, f"the result cannot be serialized: {error}"))
    if len(data) > SIZE_LIMIT:
        return Fail(
            describe_text("TooLarge", f"the result has {len(data):,} bytes, the limit is {SIZE_LIMIT:,}")
        )
    return Done(data)


def describe_error(error: BaseException, secrets: Sequence[str] = ()) -> bytes:
    """Return an exception as data: name of its type, message and traceback, all strings of limited length.

    The name has its module in front if it could be mistaken for a built-in one. They contain none of `secrets`, which
    `redaction.secret_texts` returns.
    """
    kind = type(error).__qualname__
    if type(error) is not getattr(builtins, kind, type(error)):
        kind = f"{type(error).__module__}.{kind}"
    try:
        message = str(error)
        if isinstance(error, ConveyorError) and error.hint:
            message = f"{message} ({error.hint})"
        text = "".join(tracebacks.format_exception(error))
        return describe_text(kind, without(message, secrets), without(text, secrets))
    except BaseException as unable:  # noqa: BLE001 - the error's own methods may raise anything
        message = f"(its message could not be read: {type(unable).__qualname__})"
        text = "".join(tracebacks.format_tb(error.__traceback__))
        return describe_text(kind, message, without(text, secrets))


def describe_timeout(seconds: float | None) -> bytes:
    """Return the error of a run over its time limit, in the same form."""
    return describe_text("TimeLimit", f"it ran longer than {seconds:g} s" if seconds else "it ran too long")


def describe_expiry(seconds: float) -> bytes:
    """Return the error of a job that expired `seconds` after its put, in the same form."""
    return describe_text("JobExpired", f"no worker started it within {seconds:,.6g} s of its put")


def describe_undecodable(error: Exception) -> bytes:
    """Return the error of a job with invalid bytes, in the same form."""
    return describe_text("Undecodable", f"the job's bytes are invalid: {error}")


def describe_text(kind: str, message: str, traceback: str = "") -> bytes:
    """Return an error that was no exception, in the same form."""
    texts = (kind, message[:MESSAGE_LIMIT], traceback[-TRACEBACK_LIMIT:])
    return codec.encode([text.encode(errors="backslashreplace").decode() for text in texts])


def delay_before(retry: int, first: float) -> float:
    """Return the seconds before the `retry`th retry (1, 2, …): doubling from `first`, plus up to 25 % of jitter.

    Jitter keeps jobs that failed together from coming back together. Does not use the program's own random numbers.
    """
    longest = min(MAX_DELAY, first * 2.0 ** min(retry - 1, 32))
    return longest * (1.0 + random.SystemRandom().random() / 4)
