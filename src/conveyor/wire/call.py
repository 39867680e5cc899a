"""The call: a job as it travels, with the task's name, its arguments and its options, as immutable bytes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Raw, structs

from conveyor import clock
from conveyor.errors import BadCall, TooLarge
from conveyor.wire import codec, redaction
from conveyor.wire.checks import check_seconds, check_whole
from conveyor.wire.codec import SIZE_LIMIT
from conveyor.wire.durability import read_durability
from conveyor.wire.ids import checked_queue
from conveyor.wire.redaction import Labels
from conveyor.wire.signature import Signature, signature_of
from conveyor.wire.signed import PickledFunction, call_function
from conveyor.wire.terms import Hook, Limit, Place, Unique, policy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")

#: Headers as they travel.
Headers = tuple[tuple[str, str], ...]
#: Seconds that an outcome is kept by default.
KEEP = 3600.0
#: Seconds before the first retry by default.
FIRST_DELAY = 1.0
#: Highest priority; 0 is the lowest and the default.
MAX_PRIORITY = 255
#: The task name of a plain item, which `Queue.put` puts and only `Queue.get` returns.
ITEM = ""
#: Its name for people, in place of a task.
ITEM_WORD = "item"
#: The task name of a function that travels with its call.
FUNCTION = "conveyor.call"
#: The task name of the join of an order.
JOIN = "conveyor.join"
#: How values travel that are not data: not at all, or as signed pickles.
MSGPACK, PICKLE = "msgpack", "pickle"
#: Max retries of a job.
MAX_RETRIES = 1_000_000
#: Max headers of a job, and max bytes of their names and values together.
MAX_HEADERS, MAX_HEADER_BYTES = 64, 8192
#: Max `maxsize` of a queue: the last number up to which a server's script counts exactly.
MAX_SIZE = 1 << 53
#: The last valid `put_at`: the end of the year 9999.
_LAST_TIME = 253_402_300_799.0
#: Bytes of a `put_at`.
_TIME_BYTES = 9


def check_serializer(name: object) -> None:
    """Raise BadCall if there is no such serializer."""
    if name not in {MSGPACK, PICKLE}:
        raise BadCall(f'the serializer must be "{MSGPACK}" or "{PICKLE}", got {name!r:.80}')


def header_pairs(headers: object) -> Headers:
    """Return a mapping of headers as it travels. Raises BadCall if it is invalid, or has too many or too long ones."""
    if not isinstance(headers, Mapping):
        raise BadCall(
            f"headers must be a dict of strings, got {type(headers).__name__}", hint='use {"name": "value"}'
        )
    pairs = tuple(headers.items())
    _check_headers(pairs)
    return pairs


def _check_headers(pairs: tuple[tuple[Any, Any], ...]) -> None:
    """Raise BadCall for headers that must not travel. The message holds no value: it may be a secret."""
    for name, value in pairs:
        if not (isinstance(name, str) and isinstance(value, str)):
            wrong = type(value if isinstance(name, str) else name).__name__
            raise BadCall(
                f"names and values of headers must be str, got {wrong} in {name!r:.80}", hint="use str()"
            )
        if not name:
            raise BadCall("the name of a header must not be empty")
    try:
        size = sum(len(one.encode()) for pair in pairs for one in pair)
    except UnicodeEncodeError:
        raise BadCall("a header holds what is not Unicode", hint=codec.NOT_UNICODE) from None
    if len(pairs) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise BadCall(
            f"a job may have {MAX_HEADERS} headers with {MAX_HEADER_BYTES:,} bytes, got {len(pairs)} with {size:,}",
            hint="pass what the task works on as arguments",
        )


def as_seconds(value: Any) -> Any:
    """Return a timedelta as a number of seconds, and any other value as it is."""
    return value.total_seconds() if isinstance(value, timedelta) else value


class RunOptions(msgspec.Struct, frozen=True, array_like=True, gc=False, cache_hash=True):
    """Options of the run. They travel with the job, so that all workers treat it alike."""

    retries: int = 0
    """Max retries after the task raised."""
    first_delay: float = FIRST_DELAY
    """Seconds before the first retry, doubled for each further one."""
    timeout: float | None = None
    """Max seconds of a run, after which it is ended, if necessary with its process; None for no limit."""
    keep: float = KEEP
    """Seconds that its outcome is kept."""
    serializer: str | None = None
    """For values that are not data: "msgpack" refuses them, "pickle" sends their signed pickles; None is the former."""
    soft_timeout: float | None = None
    """Seconds of a run after which SoftTimeout is raised in the task, once; None for never."""
    headers: Headers = ()
    """Names and values of what travels beside the arguments, for middleware."""
    expires: float | None = None
    """Seconds from `put_at` after which the job is not started, if it never was; None for never."""
    inputs: tuple[Place, ...] = ()
    """Arguments that are results of the jobs before: where each goes, whether it is a list, and of which jobs."""

    def __post_init__(self) -> None:
        check_whole("retries", self.retries, MAX_RETRIES)
        check_seconds("first_delay", self.first_delay)
        check_seconds("keep", self.keep)
        if self.serializer is not None:
            check_serializer(self.serializer)
        if self.timeout is not None:
            check_seconds("timeout", self.timeout)
            if self.timeout == 0:
                raise BadCall("timeout must be more than 0 seconds, or None")
        if self.soft_timeout is not None:
            check_seconds("soft_timeout", self.soft_timeout)
            if self.soft_timeout == 0:
                raise BadCall("soft_timeout must be more than 0 seconds, or None")
            if self.timeout is not None and self.soft_timeout >= self.timeout:
                raise BadCall(
                    f"soft_timeout must be less than timeout, got {self.soft_timeout:g} and {self.timeout:g} seconds",
                    hint="soft_timeout raises SoftTimeout in the task, before timeout ends the run",
                )
        if self.headers:
            _check_headers(self.headers)
        if self.expires is not None:
            check_seconds("expires", self.expires)


class PutOptions(msgspec.Struct, frozen=True):
    """Options of the put, for the server; the worker does not need them."""

    queue: str = "default"
    priority: int = 0
    delay: float | datetime = 0.0
    """Seconds before it may run, or the time from which it may, by this host's clock."""
    id: str | None = None
    """The caller's own id. Further puts with it are refused while the job is known."""
    durability: str | None = None
    """The level of durability; None for that of the `Queue` object."""
    wait: float | None = None
    """Max seconds to wait for room in a full queue; 0 for not at all, None for no limit."""
    expires: float | datetime | None = None
    """Seconds from when it may run, or the time by this host's clock, after which it is not started; None for never."""
    limit: Limit | None = None
    """How many jobs of its key may run at a time, or start within a period."""
    unique: Unique | None = None
    """The key of which there is only one job at a time."""
    after: tuple[str, ...] = ()
    """The jobs that must have ended before it may run, each as queue and id."""
    when: str = "done"
    """How they must have ended: done, failed, or ended in any way; otherwise it is cancelled."""
    on_success: Hook | None = None
    """What is submitted once it has returned a result."""
    on_failure: Hook | None = None
    """What is submitted once it has failed for good, or was lost."""

    def __post_init__(self) -> None:
        checked_queue(self.queue)
        check_whole("priority", self.priority, MAX_PRIORITY)
        check_seconds("delay", self.seconds_left())
        if self.expires is not None:
            check_seconds("expires", self.seconds_to_expiry())
            if self.expires == 0:
                raise BadCall("expires must be more than 0 seconds, or None")
        if self.wait is not None:
            check_seconds("wait", self.wait)
        if self.durability is not None:
            read_durability(self.durability)
        policy_of(self.when, takes_inputs=False)
        for name, value, kind in (("limit", self.limit, Limit), ("unique", self.unique, Unique)):
            if not (value is None or isinstance(value, kind)):
                raise BadCall(f"{name} must be a {kind.__name__}, got {value!r:.80}")
        if self.limit is not None and self.limit.limits_nothing:
            raise BadCall("this Limit limits nothing", hint="set running, starts, in_order or by")
        for name, hook in (("on_success", self.on_success), ("on_failure", self.on_failure)):
            if hook is not None and isinstance(options := getattr(hook.function, "put", None), PutOptions):
                _check_hook(name, getattr(hook.function, "name", "task"), options)

    def seconds_left(self) -> float:
        """Return the seconds from now before it may run. Raises BadCall for a time without a time zone."""
        return _seconds_until("delay", self.delay) if isinstance(self.delay, datetime) else self.delay

    def seconds_to_expiry(self) -> Any:
        """Return the seconds from now after which it is not started; None for never. Raises BadCall likewise."""
        if isinstance(self.expires, int | float):
            return self.seconds_left() + self.expires if self.expires >= 0 else self.expires
        return _seconds_until("expires", self.expires) if isinstance(self.expires, datetime) else self.expires


def _check_hook(name: str, task: str, options: PutOptions) -> None:
    """Raise BadCall if a task has options that a hook cannot have.

    Its bytes are those of the put of its job, which may end much later, or several times; and its arguments are not
    known then.
    """
    has = {
        "id": options.id is not None,
        "after": options.after,
        "when": options.when != "done",
        "expires": options.expires is not None,
        "delay": isinstance(options.delay, datetime),
        "unique": options.unique is not None,
        "limit": options.limit is not None and options.limit.by is not None,
        "on_success": options.on_success is not None,
        "on_failure": options.on_failure is not None,
    }
    if refused := next((option for option, is_there in has.items() if is_there), None):
        what = {"delay": "delay until a time", "limit": "limit with by"}.get(refused, refused)
        without = {"id": "id=None", "after": "after=()", "when": 'when="done"', "delay": "delay=0"}
        hint = f"pass {name}={task.rpartition('.')[2]}.options({without.get(refused, f'{refused}=None')})"
        raise BadCall(f"{name}: a hook cannot have the option {what}", hint=hint)


def _seconds_until(name: str, time: datetime) -> float:
    """Return the seconds until a time, 0 if it has passed. Raises BadCall if it has no time zone."""
    if time.utcoffset() is None:
        raise BadCall(
            f"{name} must be a number of seconds or a time with a time zone, got {time!r}",
            hint=f"for a local time pass `{name}=time.astimezone()`",
        )
    return max(0.0, time.timestamp() - clock.wall())


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A decoded job. `args` and `kwargs` stay bytes until the task is known."""

    task: str
    args: Raw
    kwargs: Raw
    put_at: float
    """Seconds since 1970 by the producer's clock; for people."""
    options: RunOptions = RunOptions()
    labels: Labels = Labels()
    """The labels of its arguments by the producer; empty for a plain item, and if no argument can be secret."""

    def item(self) -> Any:
        """Return the item that was put. Raises UnknownClass if this process does not have the class of an object."""
        return codec.decode(self.args)

    def item_data(self) -> Any:
        """Return the item for people. Raises ValueError if the bytes are invalid."""
        return codec.decode_data(self.args)

    @property
    def headers(self) -> Headers:
        """Names and values of its headers."""
        return self.options.headers

    @property
    def inputs(self) -> tuple[Place, ...]:
        """The arguments that are results of other jobs."""
        return self.options.inputs

    def positional(self) -> list[Any]:
        """Return the positional arguments as they travelled, for people: with ObjectData in place of objects.

        Raises ValueError if the bytes are invalid.
        """
        return _read(self.args, list)

    def named(self) -> dict[str, Any]:
        """Return the keyword arguments likewise. Raises ValueError if the bytes are invalid."""
        return _read(self.kwargs, dict)


def _read(data: Raw, kind: type[T]) -> T:
    value = codec.decode_data(data)
    if not isinstance(value, kind):
        message = f"the arguments must be a {kind.__name__}, got a {type(value).__name__}"
        raise ValueError(message)  # noqa: TRY004 - the bytes are wrong, not a caller's argument
    return value


_decoder = msgspec.msgpack.Decoder(Call)
#: The options of a function that is not a task.
DEFAULTS = RunOptions()
_DEFAULT_VALUES = structs.astuple(DEFAULTS)
#: Options up to and with `keep`, which travel whenever any does.
_FIRST_OPTIONS = RunOptions.__struct_fields__.index("keep") + 1
_NO_LABELS = Labels()


def decode_call(data: bytes) -> Call:
    """Return the job of its bytes. Raises msgspec.DecodeError if they are invalid."""
    try:
        job = _decoder.decode(data)
    except RecursionError as error:
        raise msgspec.DecodeError("nested too deep") from error
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"invalid UTF-8: {error}") from error
    if not 0 <= job.put_at <= _LAST_TIME:
        raise msgspec.DecodeError(f"invalid put_at: {job.put_at!r}")
    return job


def put_again(data: bytes, at: float) -> bytes:
    """Return the bytes of a job that is put again, at another time. Raises msgspec.DecodeError if they are invalid."""
    call = decode_call(data)
    time = 1 + len(codec.encode(call.task)) + len(call.args) + len(call.kwargs)
    return data[:time] + codec.encode_flat(round(at, 3)) + data[time + _TIME_BYTES :]


def encode_calls(
    function: Any,
    name: str,
    calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]],
    options: RunOptions = DEFAULTS,
    headers: Sequence[Headers] | None = None,
    inputs: Sequence[tuple[Place, ...]] | None = None,
) -> list[bytes]:
    """Return the bytes of calls of one task. Raises BadCall or TooLarge for the first invalid one.

    `headers` and `inputs` are those of each call, in place of those in the options.
    """
    signature = signature_of(function)
    labels = _labels_of(function, calls)
    if options.serializer == PICKLE:
        encoded = [signature.encode_any(args, kwargs, name) for args, kwargs in calls]
    else:
        encoded = signature.encode_all(calls)
    if headers is None and inputs is None:
        head, tail = _frame(name, options, labels)
        made = _checked([head + arguments + tail for arguments in encoded])
    else:
        own_headers = headers or [options.headers] * len(calls)
        own_inputs = inputs or [options.inputs] * len(calls)
        frames = (
            _frame(name, structs.replace(options, headers=one, inputs=places), labels)
            for one, places in zip(own_headers, own_inputs, strict=True)
        )
        made = _checked(
            [head + arguments + tail for (head, tail), arguments in zip(frames, encoded, strict=True)]
        )
    return [_with_formatted(data, labels) for data in made] if redaction.has_formatters() else made


def _labels_of(function: Any, calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> Labels:
    """Return the labels of the arguments of calls, which may take their function along."""
    first = calls[0][0][:1] if function is call_function and calls else ()
    if not (first and isinstance(first[0], PickledFunction)):
        return signature_of(function).labels(getattr(function, "redact", ()))
    redact = getattr(
        first[0].function, "redact", ()
    )  # of a task; another object may have anything of this name
    own = Signature(first[0].function).labels(redact if isinstance(redact, tuple) else ())
    return own._replace(names=("function", *own.names))


def encoder(serializer: str | None) -> Callable[[object], bytes]:
    """Return the function that encodes an item or a result."""
    return codec.encode_any if serializer == PICKLE else codec.encode


def encode_items(items: Iterable[object], serializer: str = MSGPACK) -> list[bytes]:
    """Return the bytes of plain items. Raises BadCall or TooLarge for the first invalid one."""
    head, tail = _frame(ITEM, DEFAULTS)
    empty = codec.encode({})
    encode = encoder(serializer)
    made = _checked([head + encode(item) + empty + tail for item in items])
    return [_with_formatted(data, _NO_LABELS) for data in made] if redaction.has_formatters() else made


def _with_formatted(data: bytes, labels: Labels) -> bytes:
    """Return the bytes of a call with labels for the arguments that formatters of this process show otherwise."""
    call = decode_call(data)
    formatted = redaction.formatted_names(call, labels)
    if not formatted:
        return data
    head, tail = _frame(call.task, call.options, labels._replace(formatted=formatted))
    return _checked([b"".join((head, call.args, call.kwargs, tail))])[0]


def _frame(name: str, options: RunOptions, labels: Labels = _NO_LABELS) -> tuple[bytes, bytes]:
    """Return the bytes before and after the arguments; the same for all calls that are put together.

    Defaults are left out: the options after `keep`, the labels if nothing can be secret, then the other options. A
    `keep` that is not the default comes last, as the last option or again after the labels: there the server's scripts
    find it.
    """
    # They may differ from call to call, as does what is left until a time, and would push all else out of the cache.
    is_own = options.headers or options.inputs or options.expires is not None
    make = _fixed_parts.__wrapped__ if is_own else _fixed_parts
    head, tail = make(name, options, labels)
    return head, codec.encode_flat(round(clock.wall(), 3)) + tail


@functools.lru_cache(maxsize=1024)
def _fixed_parts(name: str, options: RunOptions, labels: Labels) -> tuple[bytes, bytes]:
    """Return the bytes before the arguments, and those after the time that follows them."""
    fields: list[bytes] = []
    values = structs.astuple(structs.replace(options, keep=float(options.keep)))
    while len(values) > _FIRST_OPTIONS and values[-1] == _DEFAULT_VALUES[len(values) - 1]:
        values = values[:-1]
    if labels.may_hide or len(values) > _FIRST_OPTIONS:
        fields += msgspec.msgpack.encode(values), msgspec.msgpack.encode(labels)
        if options.keep != KEEP:
            fields.append(codec.encode(float(options.keep)))
    elif options != DEFAULTS:
        fields.append(msgspec.msgpack.encode(values))
    return bytes((0x94 + len(fields),)) + codec.encode(name), b"".join(fields)


def _checked(made: list[bytes]) -> list[bytes]:
    size = max(map(len, made), default=0)
    if size > SIZE_LIMIT:
        raise TooLarge(
            f"the job has {size:,} bytes, the limit is {SIZE_LIMIT:,}",
            hint="store large data in a file or an object store, and send its path or URL",
        )
    return made
