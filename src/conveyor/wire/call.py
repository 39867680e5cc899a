"""A job as it travels: the task's name, its arguments and how it wants to be run, as one immutable string of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Raw

from conveyor import clock
from conveyor.errors import BadCall, TooLarge
from conveyor.wire import codec, redaction
from conveyor.wire.codec import SIZE_LIMIT
from conveyor.wire.durability import read_durability
from conveyor.wire.redaction import Labels
from conveyor.wire.signature import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

#: Seconds that an outcome is kept unless the job says otherwise.
KEEP = 3600.0
#: Seconds before the first retry, unless the task says otherwise.
FIRST_DELAY = 1.0
#: Highest priority; 0 is the lowest and the default.
MAX_PRIORITY = 255
#: The task name of what `Queue.put` puts: a plain item that only `Queue.get` takes.
ITEM = ""
#: What people call it, in the place of a task.
ITEM_WORD = "item"
#: Seconds of the longest duration (ten years), and retries of one job at most.
MAX_SECONDS, MAX_RETRIES = 315_360_000.0, 1_000_000
#: Jobs that the bound of a queue may allow: the last number up to which a server's script counts exactly.
MAX_SIZE = 1 << 53
#: The last `put_at` that is a time: the end of the year 9999.
_LAST_TIME = 253_402_300_799.0


def check_seconds(name: str, value: object) -> None:
    """Raise BadCall if an argument is not a finite number of seconds from 0 to MAX_SECONDS."""
    if not (isinstance(value, int | float) and 0 <= value <= MAX_SECONDS):  # NaN is on no side of any number
        message = f"{name} must be between 0 and {MAX_SECONDS:.0f} seconds, got {value!r:.80}"
        raise BadCall(message)


def check_whole(name: str, value: object, most: int) -> None:
    """Raise BadCall if an argument is not a whole number from 0 to `most`."""
    if not (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most):
        message = f"{name} must be a whole number between 0 and {most}, got {value!r:.80}"
        raise BadCall(message)


class RunOptions(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a job wants to be run; travels with the job, so every worker treats it alike."""

    retries: int = 0
    """How often it is tried again after the task raised."""
    first_delay: float = FIRST_DELAY
    """Seconds before the first retry; doubles with each."""
    timeout: float | None = None
    """Seconds one run may take before its worker is killed; None for no limit."""
    keep: float = KEEP
    """Seconds its outcome is kept."""

    def __post_init__(self) -> None:
        check_whole("retries", self.retries, MAX_RETRIES)
        check_seconds("first_delay", self.first_delay)
        check_seconds("keep", self.keep)
        if self.timeout is not None:
            check_seconds("timeout", self.timeout)
            if self.timeout == 0:
                message = "timeout must be more than 0 seconds, or None"
                raise BadCall(message)


class PutOptions(msgspec.Struct, frozen=True):
    """Where and when a job is put; the server needs these, the worker does not."""

    queue: str = "default"
    priority: int = 0
    delay: float = 0.0
    """Seconds before it may run."""
    id: str | None = None
    """The caller's own id: a second put with it is refused while the first is known."""
    durability: str | None = None
    """The level of durability; None for that of the `Queue` object."""

    def __post_init__(self) -> None:
        check_whole("priority", self.priority, MAX_PRIORITY)
        check_seconds("delay", self.delay)
        if self.durability is not None:
            read_durability(self.durability)


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A decoded job. `args` and `kwargs` stay bytes until the task that reads them is known."""

    task: str
    args: Raw
    kwargs: Raw
    put_at: float
    """Seconds since 1970 by the producer's clock; for people."""
    options: RunOptions = RunOptions()
    labels: Labels = Labels()
    """What the producer knows of its arguments; empty if no argument can be secret, and of a plain item."""

    def item(self) -> Any:
        """Give what `Queue.put` was given."""
        return codec.decode(self.args)

    def positional(self) -> list[Any]:
        """Give the positional arguments as they travelled, without the types that the task asks for.

        Raises ValueError where the bytes are no list of arguments.
        """
        return _read(self.args, list)

    def named(self) -> dict[str, Any]:
        """Give the keyword arguments as they travelled; raises ValueError where they are no mapping."""
        return _read(self.kwargs, dict)


def _read(data: Raw, kind: type[T]) -> T:
    value = codec.decode(data)
    if not isinstance(value, kind):
        message = f"the arguments are a {type(value).__name__} and no {kind.__name__}"
        raise ValueError(message)  # noqa: TRY004 - the bytes are wrong, not a caller's argument
    return value


_decoder = msgspec.msgpack.Decoder(Call)
_DEFAULTS = RunOptions()
_NO_LABELS = Labels()


def decode_call(data: bytes) -> Call:
    """Return the job of its bytes. Raises msgspec.DecodeError for invalid bytes."""
    try:
        job = _decoder.decode(data)
    except RecursionError as error:
        message = "nested too deep"
        raise msgspec.DecodeError(message) from error
    except UnicodeDecodeError as error:
        message = f"a text in it is not UTF-8: {error}"
        raise msgspec.DecodeError(message) from error
    if not 0 <= job.put_at <= _LAST_TIME:
        message = f"invalid put_at: {job.put_at!r}"
        raise msgspec.DecodeError(message)
    return job


def encode_calls(
    function: Any,
    name: str,
    calls: Iterable[tuple[tuple[Any, ...], dict[str, Any]]],
    options: RunOptions = _DEFAULTS,
) -> list[bytes]:
    """Give the bytes of calls of one task; raises BadCall or TooLarge for the first that cannot travel."""
    signature = signature_of(function)
    encode, labels = signature.encode, signature.labels(getattr(function, "redact", ()))
    head, tail = _frame(name, options, labels)
    made = _checked([head + encode(args, kwargs) + tail for args, kwargs in calls])
    return [_with_formatted(data, labels) for data in made] if redaction.has_formatters() else made


def encode_items(items: Iterable[object]) -> list[bytes]:
    """Give the bytes of plain items; raises BadCall or TooLarge for the first that cannot travel."""
    head, tail = _frame(ITEM, _DEFAULTS)
    empty = codec.encode({})
    encode: Callable[[object], bytes] = codec.encode
    made = _checked([head + encode(item) + empty + tail for item in items])
    return [_with_formatted(data, _NO_LABELS) for data in made] if redaction.has_formatters() else made


def _with_formatted(data: bytes, labels: Labels) -> bytes:
    """Return the bytes of a call that tell which of its arguments formatters of this process show otherwise."""
    call = decode_call(data)
    formatted = redaction.formatted_names(call, labels)
    if not formatted:
        return data
    head, tail = _frame(call.task, call.options, labels._replace(formatted=formatted))
    return _checked([b"".join((head, call.args, call.kwargs, tail))])[0]


def _frame(name: str, options: RunOptions, labels: Labels = _NO_LABELS) -> tuple[bytes, bytes]:
    """Return the bytes before and after the arguments; the same for all calls that are put together.

    What is as usual is left out: the labels if nothing can be secret, then the options. A `keep` that is not as usual
    ends the job, as the last of its options or once more behind its labels: there the server's scripts find it.
    """
    fields = [codec.encode(round(clock.wall(), 3))]
    if labels.may_hide:
        fields += msgspec.msgpack.encode(options), msgspec.msgpack.encode(labels)
        if options.keep != KEEP:
            fields.append(codec.encode(float(options.keep)))
    elif options != _DEFAULTS:
        fields.append(msgspec.msgpack.encode(msgspec.structs.replace(options, keep=float(options.keep))))
    return bytes((0x93 + len(fields),)) + codec.encode(name), b"".join(fields)


def _checked(made: list[bytes]) -> list[bytes]:
    size = max(map(len, made), default=0)
    if size > SIZE_LIMIT:
        message = f"the job has {size:,} bytes, the limit is {SIZE_LIMIT:,}"
        raise TooLarge(message, hint="put large data in a file or an object store and send its address")
    return made
