"""One run of one job: what a task sees of it, and the steps from the job's bytes to an outcome."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import os
import threading
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from conveyor import errors, retry_policy
from conveyor.consumer import stack
from conveyor.consumer.interruption import raise_here
from conveyor.consumer.item_stream import ItemStream, run_async_generator, run_generator
from conveyor.consumer.sending import RunLostError, of_run
from conveyor.consumer.settlement import TIMED_OUT
from conveyor.consumer.shared_status import NO_REQUEST, NO_RETRY, USUAL_DELAY
from conveyor.consumer.soft_limit import SoftLimit
from conveyor.consumer.steps import Steps
from conveyor.context import SAVE_EVERY, CurrentJob, is_async, running
from conveyor.errors import (
    BadCall,
    ConveyorError,
    JobCancelled,
    JobGone,
    JobSuspended,
    ResourceUnavailable,
    SoftTimeout,
    StoreError,
    Throttle,
    UnknownTask,
    WaitTimeout,
)
from conveyor.middleware import runs
from conveyor.resources import Resources, needs_of
from conveyor.store import commands, records
from conveyor.store.async_client import async_client_of
from conveyor.store.server_clock import ServerClock
from conveyor.wire import call, codec, ids
from conveyor.wire.checks import check_seconds
from conveyor.wire.outcome import (
    Cancel,
    Expire,
    Fail,
    Outcome,
    Release,
    Retry,
    Suspend,
    decode_settled,
    delay_before,
    describe_error,
    describe_expiry,
    describe_text,
    describe_timeout,
    describe_undecodable,
    result_bytes,
)
from conveyor.wire.redaction import Labels, preview, secret_texts, without
from conveyor.wire.signature import NO_INPUTS, Signature, signature_of
from conveyor.wire.terms import JobEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta

    from conveyor.batch_tasks import BatchFunction
    from conveyor.consumer.gathering import GatheredJob
    from conveyor.consumer.log_lines import LogLines
    from conveyor.consumer.shared_status import SharedStatus
    from conveyor.resources import Resource
    from conveyor.retry_policy import RetryPolicy
    from conveyor.store import Client
    from conveyor.store.command import Command
    from conveyor.store.commands import Claimed, Look, WaitKind
    from conveyor.tasks import Registry, Task
    from conveyor.wire.terms import InputKind

    RunInLoop = Callable[[Coroutine[Any, Any, Any]], Any]
    #: Positional and named arguments of jobs, by their positions in a batch.
    _Arguments = dict[int, tuple[tuple[Any, ...], dict[str, Any]]]

#: Characters of a traceback that are kept with a log line, the last ones.
MAX_TRACEBACK = 4000
#: Seconds for tasks that a coroutine has left in its event loop to end once they are cancelled.
ENDING = 1.0
#: Seconds for the server to take the cursor of a run that did not return.
KEEP_WITHIN = 1.0
#: Jobs whose inputs, or inputs of several jobs, that are read in one round trip.
MAX_READ = 20
#: In place of middleware.
_NOTHING = contextlib.nullcontext()


class ClaimedBatch(NamedTuple):
    """The batch that a worker runs now."""

    queue: str
    token: str
    number: int
    """Its number in the shared status."""


class RunningJob(CurrentJob):
    """The run a task sees through `current_job()`. Its progress goes to the shared status, without a round trip."""

    lines_logged = 0
    gathered: Sequence[RunningJob] = ()
    _printed: dict[tuple[str, int], str] | None = None  # by label and thread, what has no line break yet
    _on_outcome: tuple[Callable[[Outcome], object], ...] = ()

    def __init__(
        self,
        status: SharedStatus,
        lines: LogLines,
        executor: Executor,
        batch: ClaimedBatch,
        position: int,
        job: Claimed,
    ) -> None:
        self.id, self.queue = job.id, batch.queue
        self.attempt = job.retries + job.crashes + 1
        self.token = int(batch.token)
        self._status = status
        self._lines = lines
        self._executor = executor
        self._batch = batch
        self._position = position
        self._is_over = self._was_cancelled = False
        self._data = job.data
        self._secrets: list[str] | None = None

    @functools.cached_property
    def _call(self) -> call.Call:
        """The job itself, decoded again only if something asks for it."""
        return call.decode_call(self._data)

    @property
    def task(self) -> str:  # type: ignore[override]
        """The name of the task."""
        return self._call.task

    @property
    def worker(self) -> str:  # type: ignore[override]
        """The name of the worker that runs it."""
        return self._status.worker

    @property
    def put_at(self) -> float:
        """When it was put, by the producer's clock."""
        return self._call.put_at

    @property
    def headers(self) -> dict[str, str]:
        """The headers that travelled with the job."""
        return dict(self._call.headers)

    @property
    def cancelled(self) -> bool:
        """True if this job is to end."""
        if self._is_over:
            return self._was_cancelled
        return self._status.request_for(self._batch.number, self._position) != NO_REQUEST

    def on_outcome(self, function: Callable[[Outcome], object]) -> None:
        """Call a function with the outcome once the run has ended."""
        self._on_outcome += (function,)

    def end_each(self, outcomes: Sequence[Outcome | None], *, cancelled: bool) -> None:
        """Note the end, with the outcome of each of its jobs: here of the only one."""
        self.end(*outcomes, cancelled=cancelled)

    def end(self, outcome: Outcome | None, *, cancelled: bool) -> None:
        """Note the end, with an outcome unless the supervisor has released the job before the run began.

        Keep whether it was to end: a thread of the task may ask when the request is for another run.
        """
        if self._printed is not None:
            self._end_lines(self._printed)
        if self._on_outcome and outcome is not None:
            for function in self._on_outcome:
                with contextlib.suppress(Exception):
                    function(outcome)
        self._was_cancelled = cancelled
        self._is_over = True

    def progress(self, done: float, total: float = 1.0, message: str = "") -> None:
        """Report progress. Does nothing after the run, since the status may be about the next one."""
        if not self._is_over:
            self._status.set_progress(done, total, self._redacted(message) if message else "")

    def log(self, text: str) -> None:
        """Keep a line of text with the job; a job does not fail if the server cannot take the line."""
        self.keep("INFO", text)

    def keep(self, level: str, text: str, trace: str = "") -> None:
        """Keep a line of a level with the job, and the end of a traceback."""
        line = self._redacted(text)
        if trace:
            end = self._redacted(trace)  # before it is cut, or a part of a secret could be left
            end = end if len(end) <= MAX_TRACEBACK else f"…{end[-MAX_TRACEBACK:]}"
            line = f"{line[: records.MAX_LINE - len(end) - 1]}\n{end}"
        self._lines.add(self, level, line)

    def keep_printed(self, label: str, text: str) -> None:
        """Keep what the task prints with the job, line by line, without those that are blank or overwritten."""
        if self._printed is None:
            self._printed = {}
        of = label, threading.get_ident()
        *lines, rest = (self._printed.pop(of, "") + text).split("\n")
        for line in lines:
            self._keep_printed_line(label, line)
        rest = rest[rest.rfind("\r", 0, -1) + 1 :]  # at its end, it may belong to the line break that follows
        if len(rest) > records.MAX_LINE:
            self._keep_printed_line(label, rest)
        elif rest:
            self._printed[of] = rest

    def _keep_printed_line(self, label: str, line: str) -> None:
        if line := line.rstrip().rpartition("\r")[2]:
            self.keep(label, line)

    def _end_lines(self, printed: dict[tuple[str, int], str]) -> None:
        """Keep what was printed without a line break at the end."""
        while printed:
            (label, _), rest = printed.popitem()
            with contextlib.suppress(Exception):  # a formatter of the user's
                self._keep_printed_line(label, rest)

    def inputs(self, job: call.Call) -> dict[int | str, Any]:
        """Return the arguments that are results of jobs before, by position or name.

        Raises RunLostError, and JobGone if one is missing.
        """
        (known,) = _read_inputs(self.client, self.queue, [self.id])
        return _inputs(job, known)

    @property
    def origin(self) -> tuple[int, str, Client]:
        """The number of the attempt, and where the job is from: the queue, and the client of its server."""
        return self.attempt, self.queue, self.client

    @property
    def client(self) -> Client:
        """The client of its server."""
        return self._lines.client

    def open_stream(self) -> ItemStream:
        """Return what takes the items that the task yields."""
        return ItemStream(self.client, self.queue, self.id, self._batch.token)

    # --- steps

    def was_started(self) -> bool:
        """Return True if there was an earlier run, even one that does not count. Raises RunLostError."""
        if self.client.perform(of_run(records.has_attempts(self.queue, self.id))):
            return True
        # Attempts are kept for a day, but a job may sleep longer.
        fields = self.client.perform(of_run(records.step_fields(self.queue, self.id)))
        return any(not one.startswith("signal ") for one in fields)

    @functools.cached_property
    def _steps(self) -> Steps:
        """What the steps of the job keep."""
        return Steps(self.queue, self.id, self._batch.token)

    def _encoded(self, what: str, value: object) -> bytes:
        """Return the bytes of a value to be kept. Raises BadCall and TooLarge."""
        encode = call.encoder(self._call.options.serializer)
        return codec.encode_within(what, value, encode, "write it to a file and keep its path")

    def step(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function and keep its result, or return what an earlier run has kept."""
        field = f"step {ids.checked_step(name)}"
        if is_async(function):
            return self._step_async(name, field, function, args, kwargs)
        kept = self.client.perform(self._steps.find(field))
        if kept is None:
            value = function(*args, **kwargs)
            if isinstance(value, CoroutineType):
                value.close()
                raise BadCall(
                    f"step {name!r} returned a coroutine",
                    hint="pass the asynchronous function itself, with its arguments behind it, and await the step",
                )
            kept = self.client.perform(
                self._steps.keep(field, self._encoded(f"the result of step {name!r}", value))
            )
            if kept is None:
                return value
        return codec.decode(kept)

    async def _step_async(
        self,
        name: str,
        field: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        client = async_client_of(self.client)
        kept = await client.perform(self._steps.find(field))
        if kept is None:
            value = await function(*args, **kwargs)
            kept = await client.perform(
                self._steps.keep(field, self._encoded(f"the result of step {name!r}", value))
            )
            if kept is None:
                return value
        return codec.decode(kept)

    def sleep(self, seconds: float | timedelta, name: str = "") -> None:
        """Return if the time has passed, or else end the run."""
        name, limit = self._sleep_of(name), _checked_seconds("seconds", seconds)
        _end_sleep(self.client.perform(self._steps.look("sleep", name, limit)), name)

    async def sleep_async(self, seconds: float | timedelta, name: str = "") -> None:
        """Sleep likewise."""
        name, limit = self._sleep_of(name), _checked_seconds("seconds", seconds)
        _end_sleep(await async_client_of(self.client).perform(self._steps.look("sleep", name, limit)), name)

    def wait_for(self, name: str, timeout: float | timedelta | None = None) -> Any:
        """Return the value of a signal, or end the run."""
        limit = None if timeout is None else _checked_seconds("timeout", timeout)
        return _signalled(self.client.perform(self._steps.look("wait", ids.checked_step(name), limit)), name)

    async def wait_for_async(self, name: str, timeout: float | timedelta | None = None) -> Any:  # noqa: ASYNC109
        """Wait likewise."""
        limit = None if timeout is None else _checked_seconds("timeout", timeout)
        looking = self._steps.look("wait", ids.checked_step(name), limit)
        return _signalled(await async_client_of(self.client).perform(looking), name)

    def _sleep_of(self, name: str) -> str:
        """Return the name of a sleep: without one, its number in this run."""
        if name:
            return ids.checked_step(name)
        self._steps.sleeps += 1
        return str(self._steps.sleeps)

    def cursor(self, default: Any) -> Any:
        """Return what was saved last."""
        self.client.perform(self._steps.read_cursor())
        return self._cursor_or(default)

    async def cursor_async(self, default: Any) -> Any:
        """Return it likewise."""
        await async_client_of(self.client).perform(self._steps.read_cursor())
        return self._cursor_or(default)

    def _cursor_or(self, default: Any) -> Any:
        cursor = self._steps.cursor
        return default if cursor is None else codec.decode(cursor)

    def save(self, cursor: object, every: float = SAVE_EVERY) -> None:
        """Save the cursor if that is due, and end the run if the worker is to stop."""
        if self._set_cursor(cursor, every):
            self.client.perform(self._steps.save_cursor())
            self._stop_if_asked()

    async def save_async(self, cursor: object, every: float = SAVE_EVERY) -> None:
        """Save it likewise."""
        if self._set_cursor(cursor, every):
            await async_client_of(self.client).perform(self._steps.save_cursor())
            self._stop_if_asked()

    def _set_cursor(self, cursor: object, every: float) -> bool:
        """Set the cursor. Return True if it is to be saved now."""
        steps = self._steps
        steps.set_cursor(self._encoded("the cursor", cursor))
        return self._status.stop_requested != 0 or steps.is_due(every)

    def _stop_if_asked(self) -> None:
        if self._status.stop_requested and not self._is_over:
            raise JobSuspended("its worker was to stop; the next run goes on at the cursor")

    def keep_cursor(self) -> None:
        """Save the cursor of a run that did not return, if the server replies soon."""
        steps: Steps | None = self.__dict__.get("_steps")
        if steps is not None and steps.is_unsaved:
            with contextlib.suppress(ConveyorError):
                self.client.perform(steps.save_cursor(KEEP_WITHIN))

    async def keep_cursor_async(self) -> None:
        """Save it likewise."""
        steps: Steps | None = self.__dict__.get("_steps")
        if steps is not None and steps.is_unsaved:
            with contextlib.suppress(ConveyorError):
                await async_client_of(self.client).perform(steps.save_cursor(KEEP_WITHIN))

    def _redacted(self, text: object) -> str:
        """Return a text without the secrets among the job's arguments. Raises BadCall if it is not a str."""
        if not isinstance(text, str):
            message = f"a log line or a progress message must be a str, got {type(text).__name__}"
            raise BadCall(message, hint="decode bytes, and convert other values with str()")
        if self._secrets is None:
            self._secrets = self._executor.secrets(self._call)
        return without(str.__str__(text), self._secrets)  # a subclass may override any method


def _no_steps() -> BadCall:
    return BadCall(
        "the jobs of a batch have no steps, cursors, sleeps and signals", hint="use a task without `batch`"
    )


class RunningInBatch(RunningJob):
    """One of the jobs that run together. It may be cancelled alone, or with all others."""

    @property
    def cancelled(self) -> bool:
        """True if this job is to end."""
        if self._is_over:
            return self._was_cancelled
        number, status = self._batch.number, self._status
        return status.request_for(number, 0) != NO_REQUEST or status.is_ended(number, self._position)

    @property
    def _steps(self) -> Steps:
        raise _no_steps()


class RunningBatch(RunningJob):
    """The run of a batch task, as that of its first job; it is cancelled once all of its jobs are.

    `number` is that of the batch in the shared status. Of `each` of its jobs, those in `gathered` take part in the run.
    """

    of_one: type[RunningJob] = RunningInBatch

    def __init__(
        self,
        status: SharedStatus,
        lines: LogLines,
        executor: Executor,
        number: int,
        jobs: Sequence[GatheredJob],
    ) -> None:
        batches = [ClaimedBatch(one.queue, one.token, number) for one in jobs]
        super().__init__(status, lines, executor, batches[0], 0, jobs[0].claimed)
        self.each = self.gathered = [
            self.of_one(status, lines, executor, batch, place, one.claimed)
            for place, (batch, one) in enumerate(zip(batches, jobs, strict=True))
        ]

    @property
    def _steps(self) -> Steps:
        raise _no_steps()

    def leave_only(self, places: Collection[int]) -> None:
        """Leave out all jobs but those at these positions, before the task's own code runs."""
        if places and len(places) < len(self.each):
            self.gathered = [self.each[place] for place in places]
            first = self.gathered[0]
            self.id, self.attempt, self.token = first.id, first.attempt, first.token
            self._data = first._data  # noqa: SLF001 - it stands for that job
            vars(self).pop("_call", None)

    def end_each(self, outcomes: Sequence[Outcome | None], *, cancelled: bool) -> None:
        """Note the end of each job, with its own outcome, and then of all, with that of the first one."""
        ended = dict(zip(self.each, outcomes, strict=True))
        for one, outcome in ended.items():
            one.end(outcome, cancelled=cancelled or one.cancelled)
        self.end(ended[self.gathered[0]], cancelled=cancelled)


def _read_inputs(client: Client, queue: str, ids: Sequence[str]) -> list[Mapping[str, bytes]]:
    """Return the outcomes that jobs get of those before them, for each by queue and id. Raises RunLostError."""
    try:
        found = _read_all(client, [commands.inputs(queue, one) for one in ids])
        names = [*dict.fromkeys(name for one in found for name in one.shared)]
        outcomes = _read_all(client, [commands.shared_input(queue, name) for name in names])
    except StoreError as error:
        raise RunLostError(f"the results of the jobs before it could not be read: {error}") from None
    shared = {name: outcome for name, outcome in zip(names, outcomes, strict=True) if outcome is not None}
    return [one.outcomes | {name: shared[name] for name in one.shared if name in shared} for one in found]


def _read_all(client: Client, sent: Sequence[Command]) -> list[Any]:
    """Run commands, a few in one round trip. Raises StoreError."""
    return [
        reply
        for first in range(0, len(sent), MAX_READ)
        for reply in client.run_all(sent[first : first + MAX_READ])
    ]


def _inputs(job: call.Call, known: Mapping[str, bytes]) -> dict[int | str, Any]:
    """Return the arguments that are results of jobs before, by position or name. Raises JobGone if one is missing."""
    try:
        return {place: _input(kind, jobs, known) for place, kind, jobs in job.options.inputs}
    except KeyError as error:
        raise JobGone(f"the result of the job {error.args[0]}, which this one takes, is not there") from None


def _input(kind: InputKind, jobs: Sequence[str], known: Mapping[str, bytes]) -> Any:
    """Return the argument that is made of jobs before: a result or an error, several, or how one has ended."""
    ends = [decode_settled(known[job]) for job in jobs]
    values = [one.error() or one.result() for one in ends]
    if kind == "list":
        return values
    if kind == "one":
        return values[0]
    (one,), (queue, _, job_id) = ends, jobs[0].partition(" ")
    task, error = one.run.task if one.run else "", one.error()
    return JobEnd(job_id, queue, task, one.state, None if error else values[0], error, one.elapsed)


class Runnable(NamedTuple):
    """A task as a worker needs it."""

    function: Callable[..., Any]
    signature: Signature
    is_async: bool
    """True for a coroutine function or an asynchronous generator, which an event loop runs."""
    labels: Labels
    needs: dict[str, Resource]
    """The resources that it takes, by parameter."""
    batch: BatchFunction | None
    """What takes the arguments of several jobs, if it is a batch task."""
    retry_policy: RetryPolicy = retry_policy.DEFAULT


class Executor:
    """Runs jobs, one at a time, in the thread that calls it; and any number in an event loop.

    `like` is another one that runs the same tasks. `resources` are those of another event loop than its own, or make
    them of a function that runs coroutines in its own.
    """

    def __init__(
        self,
        registry: Registry,
        like: Executor | None = None,
        resources: Resources | Callable[[RunInLoop], Resources] = Resources,
    ) -> None:
        self.registry = registry
        self._owns_resources = not isinstance(resources, Resources)
        self.resources = resources if isinstance(resources, Resources) else resources(self._run_in_loop)
        self._known: dict[str, Runnable] = {} if like is None else like._known  # noqa: SLF001
        self._runner: asyncio.Runner | None = None
        self._awaited: asyncio.Task[Any] | None = None
        self._wakeup: tuple[int, int, int] | None = None  # the file that wakes the event loop
        self._abandoned: list[asyncio.Runner] = []
        self._lasting: set[asyncio.Task[Any]] = set()
        """Tasks of resources in the event loop, which outlast a job."""
        self._is_finding = False
        self._server_clock: ServerClock | None = None
        self._soft_limit = SoftLimit()

    def decode(self, data: bytes) -> call.Call | Fail:
        """Decode a job. Undecodable bytes are a failure, and are kept."""
        try:
            return call.decode_call(data)
        except (msgspec.MsgspecError, ValueError) as error:
            return Fail(describe_undecodable(error))

    def run(
        self,
        job: call.Call,
        current: RunningJob,
        retries_used: int,
        found: Callable[[], None] | None = None,
    ) -> Outcome | None:
        """Find the task, decode the arguments, run the task, and return the outcome; catches whatever user code raises.

        Calls `found`, if given, once the task is known, which may require the import of its module. If that shows that
        it is a batch task, returns None: the worker is to gather jobs first.
        """
        try:
            if job.options.expires is not None and self._is_too_late(job, current):
                return Expire(describe_expiry(job.options.expires))
            if found is not None:
                was_known = self.knows(job.task)
                self._find_whole(job.task)
                if not was_known and self.batch_function(job.task) is not None:
                    return None
                found()
                if current.cancelled:
                    return Cancel()
            inputs = current.inputs(job) if job.options.inputs else NO_INPUTS
            runnable, args, kwargs, encode = self._prepared(job, inputs)
            if runnable.needs:
                kwargs |= self._values(runnable.needs)
            mark = running.set(current)
            try:
                if runs.functions:
                    with runs.enter(current):
                        value = self._value(runnable, args, kwargs, job, current)
                else:
                    value = self._value(runnable, args, kwargs, job, current)
            finally:
                running.reset(mark)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is the job's outcome
            current.keep_cursor()
            return self._ended_by(error, job, current, retries_used)
        return _carried(value, encode)

    async def run_async(self, job: call.Call, current: RunningJob, retries_used: int) -> Outcome:
        """Run a job of a task that is known to be asynchronous in the running event loop; otherwise as `run`."""
        try:
            # On another thread, since it may ask the server.
            if job.options.expires is not None and await asyncio.to_thread(self._is_too_late, job, current):
                return Expire(describe_expiry(job.options.expires))
            inputs = await asyncio.to_thread(current.inputs, job) if job.options.inputs else NO_INPUTS
            runnable, args, kwargs, encode = self._prepared(job, inputs)
            if runnable.needs:
                kwargs |= await self._values_async(runnable.needs)
            mark = running.set(current)
            try:
                with runs.enter(current) if runs.functions else _NOTHING:
                    value = runnable.function(*args, **kwargs)
                    if isinstance(value, AsyncGeneratorType):
                        items = current.open_stream()
                        running_all = self._limited(run_async_generator(value, items, encode), job, current)
                        value = None
                        await _close_after(running_all, items)
                    else:
                        value = await self._limited(value, job, current)
            finally:
                running.reset(mark)
        except BaseException as error:  # noqa: BLE001 - as in `run`
            await current.keep_cursor_async()
            return self._ended_by(error, job, current, retries_used)
        return _carried(value, encode)

    def expired(self, jobs: Iterable[GatheredJob], client: Client) -> dict[str, Outcome]:
        """Return the outcomes of gathered jobs that have expired, by id; the others are to run."""
        late = [
            (one, expires)
            for one in jobs
            if (expires := one.call.options.expires) is not None
            and self._has_expired(one.call, one.tries + 1, one.queue, client)
        ]
        try:
            started = late and client.run_all([records.has_attempts(one.queue, one.id) for one, _ in late])
        except StoreError:
            return {}  # they may have been started
        return {
            one.id: Expire(describe_expiry(expires))
            for (one, expires), was_started in zip(late, started, strict=True)
            if not was_started
        }

    def run_batch(
        self, jobs: Sequence[GatheredJob], limited: call.Call, current: RunningBatch
    ) -> list[Outcome]:
        """Run the jobs of a known batch task together, and return the outcome of each, as `run` does.

        `limited` is a call with the limits of the run, and `current` the run, of these jobs.
        """
        arguments: _Arguments = {}
        outcomes: dict[int, Outcome] = {}
        try:
            known = _known_inputs(jobs, current) if _take_inputs(jobs) else {}
            runnable = self._decode_all(jobs, current, known, arguments, outcomes)
            if arguments:
                needs = self._values(runnable.needs) if runnable.needs else {}
                mark = running.set(current)
                try:
                    with runs.enter(current) if runs.functions else _NOTHING:
                        value = self._batch_value(runnable, arguments, needs, limited, current)
                finally:
                    running.reset(mark)
                outcomes |= self._outcomes(runnable, value, jobs, current, arguments)
        except BaseException as error:  # noqa: BLE001 - as in `run`
            return self._all_ended_by(error, jobs, current, outcomes)
        return [outcomes[place] for place in range(len(jobs))]

    async def run_batch_async(
        self, jobs: Sequence[GatheredJob], limited: call.Call, current: RunningBatch
    ) -> list[Outcome]:
        """Run the jobs of an asynchronous batch task in the running event loop; otherwise as `run_batch`."""
        arguments: _Arguments = {}
        outcomes: dict[int, Outcome] = {}
        try:
            known = await asyncio.to_thread(_known_inputs, jobs, current) if _take_inputs(jobs) else {}
            runnable = self._decode_all(jobs, current, known, arguments, outcomes)
            if arguments:
                needs = await self._values_async(runnable.needs) if runnable.needs else {}
                mark = running.set(current)
                try:
                    with runs.enter(current) if runs.functions else _NOTHING:
                        function, lists = _call_of(runnable, arguments)
                        value = await self._limited(function(*lists, **needs), limited, current)
                finally:
                    running.reset(mark)
                outcomes |= self._outcomes(runnable, value, jobs, current, arguments)
        except BaseException as error:  # noqa: BLE001 - as in `run`
            return self._all_ended_by(error, jobs, current, outcomes)
        return [outcomes[place] for place in range(len(jobs))]

    def _batch_value(
        self,
        runnable: Runnable,
        arguments: _Arguments,
        needs: dict[str, Any],
        limited: call.Call,
        current: RunningJob,
    ) -> Any:
        """Return what a batch task returns. Raises what it raises."""
        function, lists = _call_of(runnable, arguments)
        if limited.options.soft_timeout is None:
            value = function(*lists, **needs)
        else:
            value = self._soft_limit.call(function, *lists, **needs)
        if runnable.is_async or isinstance(value, CoroutineType):
            return self._await(self._limited(value, limited, current))
        return value

    def _decode_all(
        self,
        jobs: Sequence[GatheredJob],
        current: RunningBatch,
        known: Mapping[int, Mapping[str, bytes]],
        arguments: _Arguments,
        outcomes: dict[int, Outcome],
    ) -> Runnable:
        """Decode the arguments of each job, by position, or note the outcome of one that has none which fit.

        That job is left out of the run. `known` are the outcomes of jobs before, for each job that takes some.
        """
        runnable = self._find(jobs[0].call.task)
        for place, (job, own) in enumerate(zip(jobs, current.each, strict=True)):
            try:
                inputs = _inputs(job.call, known[place]) if place in known else NO_INPUTS
                arguments[place] = runnable.signature.decode(
                    job.call.args, job.call.kwargs, job.call.task, inputs
                )
            except JobCancelled:
                raise
            except Exception as error:  # noqa: BLE001 - the failure of this job
                outcomes[place] = self._ended_by(error, job.call, own, job.claimed.retries)
        current.leave_only(arguments)
        return runnable

    def _outcomes(
        self,
        runnable: Runnable,
        returned: object,
        jobs: Sequence[GatheredJob],
        current: RunningBatch,
        places: Collection[int],
    ) -> dict[int, Outcome]:
        """Return the outcome of each job at these positions, by what a batch task has returned."""
        assert runnable.batch is not None
        outcomes: dict[int, Outcome] = {}
        for place, value in zip(places, runnable.batch.results(returned, len(places)), strict=True):
            job = jobs[place]
            if isinstance(value, BaseException):
                own = current.each[place]
                outcomes[place] = self._ended_by(value, job.call, own, job.claimed.retries)
            else:
                outcomes[place] = _carried(value, call.encoder(job.call.options.serializer))
        return outcomes

    def _all_ended_by(
        self,
        error: BaseException,
        jobs: Sequence[GatheredJob],
        current: RunningBatch,
        outcomes: dict[int, Outcome],
    ) -> list[Outcome]:
        """Return the outcome of each job of a run that raised, or was cancelled."""
        return [
            outcomes.get(place) or self._ended_by(error, job.call, own, job.claimed.retries)
            for place, (job, own) in enumerate(zip(jobs, current.each, strict=True))
        ]

    def _is_too_late(self, job: call.Call, current: RunningJob) -> bool:
        """Return True if a job has expired; a run that was throttled, suspended or ended was one, if uncounted."""
        return self._has_expired(job, *current.origin) and not current.was_started()

    def _has_expired(self, job: call.Call, attempt: int, queue: str, client: Client) -> bool:
        """Return True if a job, none of whose runs counts, should no longer be started."""
        expires = job.options.expires
        if expires is None or attempt > 1:
            return False
        # 0: the time had passed when the job was put, whatever the clocks say now.
        return expires == 0 or self._server_time(queue, client) >= job.put_at + expires

    def _server_time(self, queue: str, client: Client) -> float:  # noqa: ARG002 - in tests, each queue has its own
        """Return the server's time. That of this host would do, until the clock of one worker is wrong and ends all."""
        if self._server_clock is None:
            self._server_clock = ServerClock(client)
        return self._server_clock.now()

    def _value(
        self,
        runnable: Runnable,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        job: call.Call,
        current: RunningJob,
    ) -> Any:
        """Return what a task returns. Raises what it raises."""
        if job.options.soft_timeout is None:
            value = runnable.function(*args, **kwargs)
        else:
            value = self._soft_limit.call(runnable.function, *args, **kwargs)
        if isinstance(value, GeneratorType | AsyncGeneratorType):
            return self._stream(value, job, current)
        if runnable.is_async or isinstance(value, CoroutineType):
            return self._await(self._limited(value, job, current))
        return value

    def _prepared(
        self, job: call.Call, inputs: Mapping[int | str, Any]
    ) -> tuple[Runnable, tuple[Any, ...], dict[str, Any], Callable[[object], bytes]]:
        """Return the task of a job, its arguments, and what encodes its result."""
        runnable = self._find(job.task)
        args, kwargs = runnable.signature.decode(job.args, job.kwargs, job.task, inputs)
        return runnable, args, kwargs, call.encoder(job.options.serializer)

    def _ended_by(
        self, error: BaseException, job: call.Call, current: RunningJob, retries_used: int
    ) -> Outcome:
        """Return the outcome of a run that raised, or was cancelled."""
        # Unless the job is cancelled, even a cancellation is an error: of something the task waited for.
        if current.cancelled:
            return Cancel()
        if (suspended := _suspension(error)) is not None:
            reason = str(suspended)
            if suspended.kind in {"wait", "sleep"}:
                return Suspend(cast("WaitKind", suspended.kind), suspended.name, reason)
            return Release(reason)
        if isinstance(error, RunLostError):
            return Release(error.message)
        if isinstance(error, Throttle):
            return Release(error.message, error.seconds, error.whole_queue)
        return self.judge(error, job, current, retries_used)

    def timed_out(self, job: call.Call, retries_used: int, limit: float | None) -> Outcome:
        """Return the outcome of a job whose run ended because it was over its time limit."""
        data = describe_timeout(limit)
        if retries_used < job.options.retries:
            delay = self._policy_of(job).delay_after_limit(retries_used + 1, job.options.first_delay)
            if delay is not None:
                return Retry(data, delay, TIMED_OUT)
        return Fail(data, TIMED_OUT)

    def delay_after_limit(self, job: call.Call, retries_used: int) -> float:
        """Return the same for the supervisor, before the run, as `SharedStatus.limit_delay`."""
        policy = self._policy_of(job)
        if policy is retry_policy.DEFAULT:
            return USUAL_DELAY
        delay = policy.delay_after_limit(retries_used + 1, job.options.first_delay)
        return NO_RETRY if delay is None else delay

    def longest_delay_after_limit(self, jobs: Iterable[GatheredJob]) -> float:
        """Return it for jobs that run together: the longest, with which all of them are retried together."""
        return max(self.delay_after_limit(one.call, one.claimed.retries) for one in jobs)

    def judge(self, error: BaseException, job: call.Call, current: RunningJob, retries_used: int) -> Outcome:
        """Return the outcome of a run that raised."""
        policy, data = self._policy_of(job), describe_error(error, self.secrets(job))
        if not policy.retries(error):
            return Fail(data)
        if retries_used < job.options.retries:
            return Retry(data, self._delay(policy, error, job, current, retries_used + 1))
        if isinstance(error, errors.Retry):
            kind, message, traceback = codec.decode(data)
            data = describe_text(
                kind, f"no retry is left (retries={job.options.retries}): {message}", traceback
            )
        return Fail(data)

    def _delay(
        self, policy: RetryPolicy, error: BaseException, job: call.Call, current: RunningJob, retry: int
    ) -> float:
        """Return the seconds before a retry: the usual ones if the task's own code fails to compute them."""
        try:
            return policy.delay(retry, error, job.options.first_delay)
        except JobCancelled:
            raise
        except BaseException as failed:  # noqa: BLE001 - code of the task
            delay = delay_before(retry, job.options.first_delay)
            kind, message, traceback = codec.decode(describe_error(failed, self.secrets(job)))
            text = f"backoff failed, so the retry comes in {delay:.3g} s: {kind}: {message}"
            with contextlib.suppress(Exception):  # a formatter of the user's
                current.keep("ERROR", text, traceback)
            return delay

    def _policy_of(self, job: call.Call) -> RetryPolicy:
        """Return which errors of a job are retried: what its task says here, if that was found."""
        known = self._known.get(job.task)
        return retry_policy.DEFAULT if known is None else known.retry_policy

    def preview(self, job: call.Call) -> str | None:
        """Return the arguments as one line, or None before the task is found, since its secrets are not known.

        It imports nothing, since an import belongs to the run. Thread-safe.
        """
        known = self._known.get(job.task)
        try:
            return None if known is None else preview(job, known.labels)
        except BaseException:  # noqa: BLE001 - formatters of users may raise anything; the run reports it
            return ""

    def batch_function(self, name: str) -> BatchFunction | None:
        """Return what takes the arguments of several jobs, if it is known that this is a batch task."""
        known = self._known.get(name)
        return None if known is None else known.batch

    def knows(self, name: str) -> bool:
        """Return True if the task has been found before."""
        return name in self._known

    def is_async(self, name: str) -> bool:
        """Return True if a task is asynchronous. Finds it, which may import its module; raises what that raises."""
        self._find_whole(name)
        return self._known[name].is_async

    @property
    def is_finding(self) -> bool:
        """True while an import is under way, which must not be interrupted."""
        return self._is_finding

    def awaited_stack(self) -> str:
        """Return the stack of the coroutine that `run` awaits, or an empty string if there is none. Thread-safe."""
        awaited = self._awaited
        return "" if awaited is None else stack.of_task(awaited)

    def cancel_awaited(self) -> bool:
        """Cancel the coroutine that `run` awaits. Return False if there is none. Thread-safe."""
        awaited = self._awaited
        if awaited is None:
            return False
        awaited.get_loop().call_soon_threadsafe(awaited.cancel)
        return True

    def pass_soft_limit(self, status: SharedStatus) -> None:
        """Raise SoftTimeout in the task that another thread runs, and note it. Does nothing outside the task's code."""
        if self._soft_limit.pass_to_coroutine() or self._soft_limit.pass_to_thread():
            status.soft_limit = 0.0

    def raise_soft_limit(self, status: SharedStatus) -> None:
        """Raise SoftTimeout in the running task, as `pass_soft_limit` does; called as `interrupt` is."""
        if self._soft_limit.pass_to_coroutine():
            status.soft_limit = 0.0
        elif self._soft_limit.is_in_thread():
            status.soft_limit = 0.0
            raise_here(SoftTimeout())

    def secrets(self, job: call.Call) -> list[str]:
        """Return the secrets among a job's arguments, to be hidden in everything the task writes."""
        known = self._known.get(job.task)
        try:
            return secret_texts(job) if known is None else secret_texts(job, known.labels)
        except JobCancelled:
            raise
        except BaseException:  # noqa: BLE001 - formatters of users may raise anything
            return []

    def interrupt(self) -> None:
        """Interrupt the running task; called by a signal handler, in the thread that runs it."""
        if self._is_finding:  # an interrupted import would stay half done for the jobs after this one
            return
        if self.cancel_awaited():
            return
        raise_here(JobCancelled("the job was cancelled"))

    def close_own(self, within: float | None = None) -> None:
        """Close the resources of its own event loop, each in the given seconds."""
        if self._owns_resources:
            self.resources.close(within)

    def close(self) -> None:
        """Close the event loop, if a coroutine has started one."""
        if self._runner is not None:
            with contextlib.suppress(OSError, RuntimeError):  # a task has closed it, or its files
                self._runner.close()
            self._forget_runner()

    def _find_whole(self, name: str) -> None:
        """Find a task, which may import its module, and open what that registers; an interruption waits for the end."""
        with self._uninterrupted():
            self._find(name)
            with contextlib.suppress(ResourceUnavailable, BadCall):  # raised again if the task needs it
                self.resources.open()

    @contextlib.contextmanager
    def _uninterrupted(self) -> Iterator[None]:
        self._is_finding = True
        try:
            yield
        finally:
            self._is_finding = False

    def _values(self, needs: dict[str, Resource]) -> dict[str, Any]:
        """Return the values of resources. Those whose event loop a task has closed are opened again."""
        if self._owns_resources and self.resources.has_async():
            self._usable_runner()
        if self.resources.are_open(needs):
            return self.resources.values(needs)
        with self._uninterrupted():
            return self.resources.values(needs)

    async def _values_async(self, needs: dict[str, Resource]) -> dict[str, Any]:
        """Return the values of resources in the running event loop, which goes on while they are opened."""
        values = self.resources.values
        return values(needs) if self.resources.are_open(needs) else await asyncio.to_thread(values, needs)

    def _find(self, name: str) -> Runnable:
        known = self._known.get(name)
        if known is None:
            if name == call.ITEM:
                message = "an item that was put with Queue.put names no task"
                raise UnknownTask(message, hint="take items with Queue.get, and put work with submit")
            known = self._known[name] = _runnable(self.registry.find(name))
        return known

    def _stream(
        self,
        generator: GeneratorType[Any, Any, Any] | AsyncGeneratorType[Any, Any],
        job: call.Call,
        current: RunningJob,
    ) -> Any:
        """Run a generator, and return what it returns once the server has all its items."""
        encode = call.encoder(job.options.serializer)
        items = current.open_stream()
        try:
            if isinstance(generator, AsyncGeneratorType):
                return self._await(self._limited(run_async_generator(generator, items, encode), job, current))
            if job.options.soft_timeout is None:
                return run_generator(generator, items, encode)
            return self._soft_limit.call(run_generator, generator, items, encode)
        finally:
            items.close()

    def _limited(self, coroutine: Any, job: call.Call, current: RunningJob) -> Any:
        """Return a coroutine of a task, such that its soft time limit applies if it has one."""
        return coroutine if job.options.soft_timeout is None else self._soft_limit.drive(coroutine, current)

    def _usable_runner(self) -> asyncio.Runner:
        """Return what runs the event loop of the tasks: a new one if a task has closed the last one."""
        if self._runner is not None and self._wakeup != _wakeup_of(self._runner):
            # A task has closed the loop or its files. Closing the loop would close files that reuse their descriptors.
            self._abandoned.append(self._runner)
            self._forget_runner()
        if self._runner is None:
            self._runner = asyncio.Runner()
            self._wakeup = _wakeup_of(self._runner)
        return self._runner

    def _forget_runner(self) -> None:
        self._runner = None
        self._lasting = set()
        if self._owns_resources:
            self.resources.forget_async()

    def _run_in_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine of a resource in the event loop of the tasks; what it leaves there stays."""
        runner = self._usable_runner()
        try:
            return runner.run(coroutine, context=contextvars.Context())
        finally:
            self._lasting = asyncio.all_tasks(runner.get_loop())

    def _await(self, coroutine: Any) -> Any:
        runner = self._usable_runner()
        is_over = is_abandoned = False

        async def watched() -> Any:
            nonlocal is_over, is_abandoned
            self._awaited = asyncio.current_task()
            try:
                return await coroutine
            except GeneratorExit:  # the loop was stopped, and by now another one may run, with other tasks
                is_abandoned = True
                raise
            finally:
                if not is_abandoned:
                    is_over = await _end_others(self._lasting)

        try:
            # A separate context: the runner would reuse that of the first job, and its current_job().
            return runner.run(watched(), context=contextvars.copy_context())
        finally:
            self._awaited = None
            if not is_over:
                # It was stopped in the middle, or something in it does not end: the next job gets a new loop.
                with contextlib.suppress(OSError, RuntimeError):
                    runner.get_loop().close()
                self._forget_runner()


class OwnExecutor(Executor):
    """Runs jobs in a program that goes on changing: a test may register another task, a cell may be run again."""

    def _find(self, name: str) -> Runnable:
        if name != call.ITEM:
            task, known = self.registry.find(name), self._known.get(name)
            if known is not None and known.function is not task.function:
                self._known[name] = _runnable(task)
        return super()._find(name)


def _runnable(task: Task[..., Any]) -> Runnable:
    function, signature = task.function, signature_of(task)
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    labels = signature.labels(task.redact)
    return Runnable(function, signature, is_async, labels, needs_of(function), task.batch, task.retry_policy)


def _take_inputs(jobs: Iterable[GatheredJob]) -> bool:
    """Return True if some of the jobs take results of others."""
    return any(one.call.options.inputs for one in jobs)


def _known_inputs(jobs: Sequence[GatheredJob], current: RunningBatch) -> dict[int, Mapping[str, bytes]]:
    """Return the outcomes that jobs of a batch get of those before them, by position. Raises RunLostError."""
    places = [place for place, one in enumerate(jobs) if one.call.options.inputs]
    found = _read_inputs(current.client, current.queue, [jobs[place].id for place in places])
    return dict(zip(places, found, strict=True))


def _call_of(runnable: Runnable, arguments: _Arguments) -> tuple[Callable[..., Any], list[list[Any]]]:
    """Return the function of a batch task, and the lists that it takes."""
    assert runnable.batch is not None
    return runnable.batch.function, runnable.batch.arguments(list(arguments.values()))


def _checked_seconds(what: str, value: float | timedelta) -> float:
    """Return a number of seconds. Raises BadCall if it is invalid."""
    seconds: float = call.as_seconds(value)
    check_seconds(what, seconds)
    return seconds


def _end_sleep(found: Look, name: str) -> None:
    """Return if a sleep has ended. Raises JobSuspended."""
    if found.state == "WAIT":
        raise JobSuspended("it sleeps", kind="sleep", name=name)


def _signalled(found: Look, name: str) -> Any:
    """Return the value of a signal. Raises JobSuspended and WaitTimeout."""
    if found.state == "WAIT":
        raise JobSuspended(f"it waits for the signal {name}", kind="wait", name=name)
    if found.state == "OVER":
        raise WaitTimeout(
            f"no signal {name!r} came in time", hint="send it with `conveyor signal` or `Job.signal`"
        )
    return codec.decode(found.value)


def _suspension(error: BaseException) -> JobSuspended | None:
    """Return why the job goes on later, also if a task group of the task has raised it."""
    if isinstance(error, JobSuspended):
        return error
    if isinstance(error, BaseExceptionGroup):
        found, others = error.split(JobSuspended)
        if found is not None and others is None:
            return _suspension(found.exceptions[0])
    return None


async def _close_after(running: Coroutine[Any, Any, None], items: ItemStream) -> None:
    """Run an asynchronous generator in the running event loop until the server has all its items."""
    try:
        await running
    finally:
        await asyncio.to_thread(items.close)


async def _end_others(lasting: set[asyncio.Task[Any]]) -> bool:
    """Cancel what a job has left in the event loop, as `asyncio.run` does. Return False if that does not end soon."""
    others = asyncio.all_tasks() - {asyncio.current_task()} - lasting
    for one in others:
        one.cancel()
    return not others or not (await asyncio.wait(others, timeout=ENDING))[1]


def _wakeup_of(runner: asyncio.Runner) -> tuple[int, int, int] | None:
    """Return descriptor and identity of the file that wakes an event loop, or None if the loop is closed."""
    loop = runner.get_loop()
    wakeup = getattr(loop, "_ssock", None)
    if loop.is_closed():
        return None
    if wakeup is None:  # a loop of another library
        return (0, 0, 0)
    try:
        found = os.fstat(wakeup.fileno())
    except OSError:
        return None
    return wakeup.fileno(), found.st_dev, found.st_ino


def _carried(value: Any, encode: Callable[[object], bytes]) -> Outcome:
    try:
        return result_bytes(value, encode)
    except JobCancelled:
        raise
    except BaseException as error:  # noqa: BLE001 - reading an object may run user code
        kind, message, traceback = codec.decode(describe_error(error))
        text = f"the result cannot be serialized: {kind}: {message}"
        return Fail(describe_text("BadCall", text, traceback))
