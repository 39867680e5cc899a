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
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.consumer import stack
from conveyor.consumer.interruption import raise_here
from conveyor.consumer.item_stream import ItemStream, RunLostError, run_async_generator, run_generator
from conveyor.consumer.settlement import TIMED_OUT
from conveyor.consumer.shared_status import NO_REQUEST
from conveyor.consumer.soft_limit import SoftLimit
from conveyor.context import CurrentJob, running
from conveyor.errors import (
    BadCall,
    BadInput,
    JobCancelled,
    ResourceUnavailable,
    SoftTimeout,
    TooLarge,
    UnknownTask,
)
from conveyor.middleware import runs
from conveyor.resources import Resources, needs_of
from conveyor.store.records import MAX_LINE
from conveyor.wire import call, codec
from conveyor.wire.outcome import (
    Cancel,
    Fail,
    Outcome,
    Release,
    Retry,
    delay_before,
    describe_error,
    describe_text,
    describe_timeout,
    describe_undecodable,
    result_bytes,
)
from conveyor.wire.redaction import Labels, preview, secret_texts, without
from conveyor.wire.signature import Signature, signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence

    from conveyor.batch_tasks import BatchFunction
    from conveyor.consumer.gathering import GatheredJob
    from conveyor.consumer.log_lines import LogLines
    from conveyor.consumer.shared_status import SharedStatus
    from conveyor.resources import Resource
    from conveyor.store.commands import Claimed
    from conveyor.tasks import Registry, Task

    RunInLoop = Callable[[Coroutine[Any, Any, Any]], Any]
    #: Positional and named arguments of jobs, by their positions in a batch.
    _Arguments = dict[int, tuple[tuple[Any, ...], dict[str, Any]]]

#: Characters of a traceback that are kept with a log line, the last ones.
MAX_TRACEBACK = 4000
#: Seconds for tasks that a coroutine has left in its event loop to end once they are cancelled.
ENDING = 1.0
#: In place of middleware.
_NOTHING = contextlib.nullcontext()
#: Errors that the same input causes again; a retry would be a waste.
_HOPELESS = (BadInput, BadCall, TooLarge, UnknownTask)


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
    def headers(self) -> dict[str, str]:
        """The headers that travelled with the job."""
        return dict(self._call.headers)

    @property
    def cancelled(self) -> bool:
        """True if this job is to end."""
        if self._is_over:
            return self._was_cancelled
        return self._status.request_for(self._batch.number, self._position) != NO_REQUEST

    def end(self, *, cancelled: bool) -> None:
        """Keep whether it was to end: a thread of the task may ask when the request is for another run."""
        if self._printed is not None:
            self._end_lines(self._printed)
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
            line = f"{line[: MAX_LINE - len(end) - 1]}\n{end}"
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
        if len(rest) > MAX_LINE:
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

    def open_stream(self) -> ItemStream:
        """Return what takes the items that the task yields."""
        return ItemStream(self._lines.client, self.queue, self.id, self._batch.token)

    def _redacted(self, text: object) -> str:
        """Return a text without the secrets among the job's arguments. Raises BadCall if it is not a str."""
        if not isinstance(text, str):
            message = f"a log line or a progress message must be a str, got {type(text).__name__}"
            raise BadCall(message, hint="decode bytes, and convert other values with str()")
        if self._secrets is None:
            self._secrets = self._executor.secrets(self._call)
        return without(str.__str__(text), self._secrets)  # a subclass may override any method


class RunningInBatch(RunningJob):
    """One of the jobs that run together. It may be cancelled alone, or with all others."""

    @property
    def cancelled(self) -> bool:
        """True if this job is to end."""
        if self._is_over:
            return self._was_cancelled
        number, status = self._batch.number, self._status
        return status.request_for(number, 0) != NO_REQUEST or status.is_ended(number, self._position)


class RunningBatch(RunningJob):
    """The run of a batch task, as that of its first job; it is cancelled once all of its jobs are.

    `number` is that of the batch in the shared status.
    """

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
        self.gathered = [
            RunningInBatch(status, lines, executor, batch, place, one.claimed)
            for place, (batch, one) in enumerate(zip(batches, jobs, strict=True))
        ]

    def end(self, *, cancelled: bool) -> None:
        """Keep, for each of its jobs, whether it was to end."""
        super().end(cancelled=cancelled)
        for one in self.gathered:
            one.end(cancelled=cancelled or one.cancelled)


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
            if found is not None:
                was_known = self.knows(job.task)
                self._find_whole(job.task)
                if not was_known and self.batch_function(job.task) is not None:
                    return None
                found()
                if current.cancelled:
                    return Cancel()
            runnable, args, kwargs, encode = self._prepared(job)
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
            return self._ended_by(error, job, current, retries_used)
        return _carried(value, encode)

    async def run_async(self, job: call.Call, current: RunningJob, retries_used: int) -> Outcome:
        """Run a job of a task that is known to be asynchronous in the running event loop; otherwise as `run`."""
        try:
            runnable, args, kwargs, encode = self._prepared(job)
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
            return self._ended_by(error, job, current, retries_used)
        return _carried(value, encode)

    def run_batch(
        self, jobs: Sequence[GatheredJob], limited: call.Call, current: RunningJob
    ) -> list[Outcome]:
        """Run the jobs of a known batch task together, and return the outcome of each, as `run` does.

        `limited` is a call with the limits of the run, and `current` the run, with each job in `gathered`.
        """
        arguments: _Arguments = {}
        outcomes: dict[int, Outcome] = {}
        try:
            runnable = self._decode_all(jobs, current, arguments, outcomes)
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
        self, jobs: Sequence[GatheredJob], limited: call.Call, current: RunningJob
    ) -> list[Outcome]:
        """Run the jobs of an asynchronous batch task in the running event loop; otherwise as `run_batch`."""
        arguments: _Arguments = {}
        outcomes: dict[int, Outcome] = {}
        try:
            runnable = self._decode_all(jobs, current, arguments, outcomes)
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
        current: RunningJob,
        arguments: _Arguments,
        outcomes: dict[int, Outcome],
    ) -> Runnable:
        """Decode the arguments of each job, by position, or note the outcome of one whose arguments do not fit."""
        runnable = self._find(jobs[0].call.task)
        for place, (job, own) in enumerate(zip(jobs, current.gathered, strict=True)):
            try:
                arguments[place] = runnable.signature.decode(job.call.args, job.call.kwargs, job.call.task)
            except JobCancelled:
                raise
            except Exception as error:  # noqa: BLE001 - the failure of this job
                outcomes[place] = self._ended_by(error, job.call, own, job.claimed.retries)
        return runnable

    def _outcomes(
        self,
        runnable: Runnable,
        returned: object,
        jobs: Sequence[GatheredJob],
        current: RunningJob,
        places: Collection[int],
    ) -> dict[int, Outcome]:
        """Return the outcome of each job at these positions, by what a batch task has returned."""
        assert runnable.batch is not None
        outcomes: dict[int, Outcome] = {}
        for place, value in zip(places, runnable.batch.results(returned, len(places)), strict=True):
            job = jobs[place]
            if isinstance(value, BaseException):
                own = current.gathered[place]
                outcomes[place] = self._ended_by(value, job.call, own, job.claimed.retries)
            else:
                outcomes[place] = _carried(value, call.encoder(job.call.options.serializer))
        return outcomes

    def _all_ended_by(
        self,
        error: BaseException,
        jobs: Sequence[GatheredJob],
        current: RunningJob,
        outcomes: dict[int, Outcome],
    ) -> list[Outcome]:
        """Return the outcome of each job of a run that raised, or was cancelled."""
        return [
            outcomes.get(place) or self._ended_by(error, job.call, own, job.claimed.retries)
            for place, (job, own) in enumerate(zip(jobs, current.gathered, strict=True))
        ]

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
        self, job: call.Call
    ) -> tuple[Runnable, tuple[Any, ...], dict[str, Any], Callable[[object], bytes]]:
        """Return the task of a job, its arguments, and what encodes its result."""
        runnable = self._find(job.task)
        args, kwargs = runnable.signature.decode(job.args, job.kwargs, job.task)
        return runnable, args, kwargs, call.encoder(job.options.serializer)

    def _ended_by(
        self, error: BaseException, job: call.Call, current: RunningJob, retries_used: int
    ) -> Outcome:
        """Return the outcome of a run that raised, or was cancelled."""
        # Unless the job is cancelled, even a cancellation is an error: of something the task waited for.
        if current.cancelled:
            return Cancel()
        if isinstance(error, RunLostError):
            return Release(error.message)
        return self.judge(error, job, retries_used)

    def timed_out(self, job: call.Call, retries_used: int, limit: float | None) -> Outcome:
        """Return the outcome of a job whose run ended because it was over its time limit."""
        data = describe_timeout(limit)
        if retries_used < job.options.retries:
            return Retry(data, delay_before(retries_used + 1, job.options.first_delay), TIMED_OUT)
        return Fail(data, TIMED_OUT)

    def judge(self, error: BaseException, job: call.Call, retries_used: int) -> Outcome:
        """Return the outcome of a run that raised."""
        data = describe_error(error, self.secrets(job))
        if retries_used < job.options.retries and not isinstance(error, _HOPELESS):
            return Retry(data, delay_before(retries_used + 1, job.options.first_delay))
        return Fail(data)

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
    return Runnable(function, signature, is_async, labels, needs_of(function), task.batch)


def _call_of(runnable: Runnable, arguments: _Arguments) -> tuple[Callable[..., Any], list[list[Any]]]:
    """Return the function of a batch task, and the lists that it takes."""
    assert runnable.batch is not None
    return runnable.batch.function, runnable.batch.arguments(list(arguments.values()))


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
