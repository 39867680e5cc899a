"""The handle of a job: what its producer, or anyone who knows its id, can do with it."""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar, cast, overload

from conveyor import events
from conveyor.clock import Deadline
from conveyor.context import current_job
from conveyor.errors import (
    BadCall,
    JobCancelled,
    JobFailed,
    JobGone,
    StoreError,
    StoreUnavailable,
    WaitTimeout,
)
from conveyor.inbox import inbox_of
from conveyor.store import commands, connect, control_channel, outbox, records, server_of
from conveyor.store.command import Exchange
from conveyor.store.streams import ABSENT, GONE, next_items
from conveyor.wire import codec, control_messages, ids
from conveyor.wire.call import KEEP, MAX_SIZE
from conveyor.wire.checks import check_whole
from conveyor.wire.outcome import Cancellation, Settled, decode_settled, describe_text, encode, encode_settled
from conveyor.wire.terms import Input

if TYPE_CHECKING:
    import asyncio
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Generator,
        Iterable,
        Iterator,
        Sequence,
    )
    from pathlib import Path

    from conveyor.context import CurrentJob
    from conveyor.restoring import Kept
    from conveyor.store import Client
    from conveyor.store.command import Command, Operation
    from conveyor.store.streams import NextItems

R = TypeVar("R")
T = TypeVar("T")

_CANCELLED = encode_settled("cancelled")
_GONE = encode_settled("gone")
_UNREADABLE = encode_settled("failed", describe_text("BadOutcome", "the outcome of this job is unreadable"))
#: Seconds after which a job that waits for another one of its queue reports that no worker has taken that one. More
#: than an idle worker needs to take a job, even if its wake-up was lost.
UNTAKEN_AFTER = 3.0
#: Coroutines that are woken in one turn of the event loop.
MAX_WOKEN = 32
#: Max seconds to find that out.
_LOOK_WITHIN = 1.0
_log = logging.getLogger("conveyor")
_BY_INDEX = {
    "ready": "waiting",
    "deferred": "deferred",
    "delayed": "delayed",
    "leased": "running",
    "gone": "gone",
}


class Submission(NamedTuple):
    """What jobs that were put together have in common."""

    client: Client
    queue: str
    jobs: list[Job[Any]]
    """In the order of the put; empty if there is only one, which would keep itself alive."""
    kept: Kept | None = None
    """Their bytes, in case the server loses them."""


class _Submits(Protocol[T]):
    """A task."""

    def submit(self, *args: Any, **kwargs: Any) -> Job[T]: ...


class Job(Generic[R]):
    """A job, by its id. The result is pushed as soon as the worker has settled the job, without polling.

    The methods are those of `concurrent.futures.Future`, and a job can be awaited in asyncio. A pickled handle refers
    to the same job on the same server, with the password of the server's URL. Like a future, a handle is equal to no
    other one, even of the same job: compare their ids.

    A handle keeps the outcome that it has seen: if a dead job is retried, another handle,
    `Job(id, queue)`, waits for what comes of it then.
    """

    __slots__ = ("_callbacks", "_place", "_submission", "covered", "id", "settled")

    def __init__(
        self,
        id: str,  # noqa: A002 - the word for it
        queue: str = "default",
        *,
        client: Client | None = None,
    ) -> None:
        if not isinstance(id, str):
            raise BadCall(f"the id of a job must be a str, got {id!r:.80}")
        self.id = id
        self.settled: Settled | None = None
        self.covered = 0  # the opening of the inbox before the job could have finished
        self._callbacks: list[Callable[[Job[R]], object]] | None = None
        self._submission = Submission(client or connect(), queue, [])
        self._place = 0

    @property
    def queue_name(self) -> str:
        """The queue it was put on."""
        return self._submission.queue

    def __repr__(self) -> str:
        state = "" if self.settled is None else f" {self.settled.state}"
        return f"<Job {self.id} on {self.queue_name}{state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what identifies the job."""
        one = self._submission
        return _refer_to, (self.id, one.queue, server_of(one.client))

    def result(self, timeout: float | None = None) -> R:
        """Wait for the job to finish and return its result.

        While the server is unavailable, it keeps waiting. Raises JobFailed if the task raised, JobLost if its workers
        crashed, JobCancelled, JobExpired if it was not started in time, JobGone if the job is unknown, UnknownClass if
        this process does not have the class of an object in the result, and WaitTimeout after `timeout` seconds, which
        does not affect the job.
        """
        return cast("R", self._wait(timeout).result())

    def exception(self, timeout: float | None = None) -> JobFailed | JobCancelled | None:
        """Wait for the job to finish and return its error, or None if the task returned."""
        return self._wait(timeout).error()

    def done(self) -> bool:
        """Return True if the job has finished, whatever its outcome. May query the server."""
        if self.settled is None:
            inbox_of(self._submission.client).expect(self)
        return self.settled is not None

    def running(self) -> bool:
        """Return True if a worker has the job now. Queries the server."""
        return self.status() == "running"

    def then(self, task: _Submits[T], /, *args: Any, **kwargs: Any) -> Job[T]:
        """Submit a job of a task that comes after this one, with its result as the first argument.

        Raises BadCall for a function that is not a task, and what `Task.submit` raises.
        """
        if not hasattr(task, "submit"):
            name = getattr(task, "__name__", "function")
            raise BadCall(
                f"{name} is not a task",
                hint=f"decorate it with @task, or use `queue.submit({name}, result_of(job))`",
            )
        return task.submit(result_of(self), *args, **kwargs)

    def cancelled(self) -> bool:
        """Return True if the job was cancelled, or has expired. May query the server."""
        return self.done() and self.settled is not None and self.settled.state in {"cancelled", "expired"}

    def cancel(self, reason: str = "") -> bool:
        """Cancel the job immediately if it is waiting, or request its worker to stop it.

        Return False if it had finished already.
        """
        (state,) = cancel_jobs(self._submission.client, self.queue_name, [self.id], reason)
        return state in {"cancelled", "running"}

    def signal(self, name: str, value: object = None) -> bool:
        """Send a signal to the job: `wait_for(name)` in its task returns the value, also if it comes to that later.

        The first value of a name counts. Return False if there was another one before, if the wait has timed out, or if
        the job has finished. Raises JobGone if the job is unknown, BadCall if the value cannot be serialized, and
        TooLarge if it has more than 1 MiB, or if the steps of the job would keep more than 1,000 values or 16 MiB.
        """
        return _is_signalled(self, self._submission.client.run(self._signal(name, value)))

    async def signal_async(self, name: str, value: object = None) -> bool:
        """Send a signal to the job, as `signal` does, in asyncio."""
        from conveyor.store.async_client import async_client_of  # noqa: PLC0415 - imports asyncio, as below

        client, command = async_client_of(self._submission.client), self._signal(name, value)

        def send() -> Operation[str]:
            (word,) = yield Exchange((command,))
            return cast("str", word)

        return _is_signalled(self, await client.perform(send()))

    def _signal(self, name: str, value: object) -> Command:
        hint = "write it to a file and send its path"
        data = codec.encode_within("the value", value, codec.encode, hint)
        return commands.signal(self.queue_name, self.id, ids.checked_step(name), data)

    def add_done_callback(self, function: Callable[[Job[R]], object]) -> None:
        """Call `function(job)` when the job has finished: immediately if it has, or else on a thread for callbacks.

        That one thread runs all callbacks of this process in the order in which jobs finish. A slow callback delays
        later ones but no result, so a callback may wait for other jobs. Exceptions of callbacks are logged.
        """
        if self.settled is None:
            self._call_later(function)
            if not self.done() or not self._take_back(function):
                return
        try:
            function(self)
        except Exception:  # noqa: BLE001 - the user's own code
            _log.exception("a callback of %r raised", self)

    def status(self) -> str:
        """Return the job's state.

        waiting, deferred, delayed, running, done, failed, lost, cancelled, expired or gone.
        """
        if self.settled is not None:
            return self.settled.state
        state: commands.State = self._submission.client.run(commands.state(self.queue_name, self.id))
        if state.state in {"over", "dead"}:
            return decode_settled(cast("bytes", state.detail)).state
        return _BY_INDEX[state.state]

    def progress(self) -> control_messages.Progress | None:
        """Return the latest progress of a running job, or None if it has reported none, or has finished."""
        data = self._submission.client.run(records.progress(self.queue_name, [self.id]))[0]
        return None if data is None else control_messages.decode_progress(data)

    @overload
    def stream(self: Job[Generator[T, Any, Any]], start: int = 0) -> Iterator[T]: ...
    @overload
    def stream(self: Job[Iterator[T]], start: int = 0) -> Iterator[T]: ...
    @overload
    def stream(self: Job[Iterable[T]], start: int = 0) -> Iterator[T]: ...
    @overload
    def stream(self: Job[AsyncGenerator[T, Any]], start: int = 0) -> Iterator[T]: ...
    @overload
    def stream(self: Job[AsyncIterator[T]], start: int = 0) -> Iterator[T]: ...
    @overload
    def stream(self, start: int = 0) -> Iterator[Any]: ...
    def stream(self, start: int = 0) -> Iterator[Any]:
        """Yield the items that the task yields, as they come, from item number `start` on, until the job has finished.

        Any number of readers get all items, also after the job has finished, as long as its outcome is kept. While the
        server is unavailable, it keeps waiting, and then continues at its position; so does a retried job. At the end
        it raises what `result` would raise, and BadCall if the task does not yield.
        """
        check_whole("start", start, MAX_SIZE)
        return self._stream(start)

    def _stream(self, position: int) -> Iterator[Any]:
        while True:
            was_settled = self.settled is not None
            found = self._submission.client.perform(self._next_items(position))
            for item in found.items:
                position += 1
                yield item
            if found.items:
                continue
            if was_settled:
                self._end_stream(found.end)
                return
            # If the server has lost the job, it is put again meanwhile, and then there is more to read.
            self._wait(None)

    def _next_items(self, position: int) -> Operation[NextItems]:
        return next_items(self.queue_name, self.id, position)

    def _end_stream(self, end: str) -> None:
        """Raise why a stream has ended, unless the job has succeeded and all items were read."""
        error = self._wait(None).error()
        if error is not None:
            raise error
        if end == ABSENT:
            raise BadCall(f"the task of job {self.id} does not yield", hint="use its result()")
        if end == GONE:
            raise JobGone(
                f"the items of job {self.id} are no longer kept",
                hint="read them within an hour of its end, or put jobs with a longer `keep`",
            )

    @overload
    def stream_async(self: Job[Generator[T, Any, Any]], start: int = 0) -> AsyncIterator[T]: ...
    @overload
    def stream_async(self: Job[Iterator[T]], start: int = 0) -> AsyncIterator[T]: ...
    @overload
    def stream_async(self: Job[Iterable[T]], start: int = 0) -> AsyncIterator[T]: ...
    @overload
    def stream_async(self: Job[AsyncGenerator[T, Any]], start: int = 0) -> AsyncIterator[T]: ...
    @overload
    def stream_async(self: Job[AsyncIterator[T]], start: int = 0) -> AsyncIterator[T]: ...
    @overload
    def stream_async(self, start: int = 0) -> AsyncIterator[Any]: ...
    def stream_async(self, start: int = 0) -> AsyncIterator[Any]:
        """Yield the items in asyncio, as `stream` does; needs no thread."""
        check_whole("start", start, MAX_SIZE)
        return self._stream_async(start)

    async def _stream_async(self, position: int) -> AsyncIterator[Any]:
        from conveyor.store.async_client import async_client_of  # noqa: PLC0415 - imports asyncio, as below

        client = async_client_of(self._submission.client)
        while True:
            was_settled = self.settled is not None
            found = await client.perform(self._next_items(position))
            for item in found.items:
                position += 1
                yield item
            if found.items:
                continue
            if was_settled:
                self._end_stream(found.end)
                return
            await self._wait_async()

    async def result_async(self) -> R:
        """Wait in asyncio for the job to finish and return its result, as `result` does; needs no thread.

        `await job` is the same. This is a coroutine, as `asyncio.create_task` and task groups want it.
        """
        await self._wait_async()
        return self.result()

    async def _wait_async(self) -> None:
        # A caller that awaits has imported asyncio; for others it is a sixth of the import of this package.
        from conveyor.store.async_client import running_loop  # noqa: PLC0415

        if self.settled is None:
            loop = running_loop()
            waker = _Waker(loop)
            self._call_later(waker)
            current, report = current_job(), None
            if current.queue == self.queue_name:
                report = loop.call_later(
                    UNTAKEN_AFTER, loop.run_in_executor, None, self._report_untaken, current
                )
            try:
                inbox_of(self._submission.client).expect_soon(self)
                if self.settled is None:
                    await waker.ready
            finally:
                self._take_back(waker)
                if report is not None:
                    report.cancel()

    def __await__(self) -> Generator[Any, None, R]:
        """Wait in asyncio for the job to finish and return its result, as `result` does."""
        return self.result_async().__await__()

    # --- called by the inbox

    @property
    def kept(self) -> tuple[Kept | None, int]:
        """The bytes kept in case the server loses the job, and its number among them."""
        return self._submission.kept, self._place

    def neighbors(self, most: int) -> Sequence[Job[Any]]:
        """Return this job and those put together with it right after it, which are looked up together."""
        return self._submission.jobs[self._place : self._place + most] or [self]

    def forget(self) -> None:
        """Stop keeping its bytes: the server need not get them again."""
        if (kept := self._submission.kept) is not None:
            kept.drop(self._place)

    def settle(self, outcome: bytes) -> None:
        """Set the outcome; empty bytes mean that the job is unknown."""
        self.forget()
        try:
            self.settled = decode_settled(outcome or _GONE)
        except ValueError:
            self.settled = decode_settled(_UNREADABLE)

    def wake(self) -> bool:
        """Wake the coroutines that await the job. Return True if callbacks are left to run."""
        for one in list(self._callbacks or ()):
            if isinstance(one, _Waker) and self._take_back(one):
                one(self)
        return bool(self._callbacks)

    def refuse(self, error: Exception) -> None:
        """Raise an error in the coroutines that await the job."""
        for one in list(self._callbacks or ()):
            if isinstance(one, _Waker) and self._take_back(one):
                one.wake(error)

    def call_back(self) -> None:
        """Run the callbacks, each once, and log their exceptions. Called on the thread for callbacks."""
        while self._callbacks:
            try:
                function = self._callbacks.pop(0)
            except IndexError:  # another thread took the last one
                return
            try:
                function(self)
            except BaseException:  # noqa: BLE001 - the user's own code; not even SystemExit may end this thread
                with contextlib.suppress(Exception):  # the program's own logging raised
                    _log.exception("a callback of %r raised", self)

    def _call_later(self, function: Callable[[Job[R]], object]) -> None:
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(function)

    def _take_back(self, function: Callable[[Job[R]], object]) -> bool:
        """Remove a callback. Return False if another thread has started it."""
        try:
            cast("list[Callable[[Job[R]], object]]", self._callbacks).remove(function)
        except ValueError:
            return False
        return True

    def _report_untaken(self, current: CurrentJob) -> None:
        """Report, also on the job that waits for this one of its own queue, if no worker has taken this one."""
        state = commands.state(self.queue_name, self.id)
        with contextlib.suppress(StoreError):
            if self._submission.client.run(state, patience=0.0, within=_LOOK_WITHIN).state == "ready":
                event = events.WaitsForWorker(current.id, self.id, self.queue_name, UNTAKEN_AFTER)
                events.emit(event)
                current.log(str(event))

    def _wait(self, timeout: float | None) -> Settled:
        if self.settled is None:
            deadline = Deadline(timeout)
            inbox = inbox_of(self._submission.client)
            with contextlib.suppress(StoreUnavailable):  # the inbox retries until the server is back
                inbox.expect(self, deadline)
            current = current_job()
            if current.queue == self.queue_name:
                inbox.wait(self, Deadline(deadline.left(UNTAKEN_AFTER)))
                if self.settled is None and not deadline.passed():
                    self._report_untaken(current)
            if self.settled is None and not inbox.wait(self, deadline):
                raise WaitTimeout(f"job {self.id} has not finished after {timeout} s")
        settled = cast("Settled", self.settled)
        if settled.state == "gone":
            raise JobGone(
                f"unknown job {self.id} on the queue {self.queue_name}",
                hint="ask within an hour of its end, or put jobs with a longer `keep`",
            )
        return settled


def _is_signalled(job: Job[Any], word: str) -> bool:
    """Return True if the server has taken a signal. Raises JobGone."""
    if word == "gone":
        raise JobGone(
            f"unknown job {job.id} on the queue {job.queue_name}",
            hint="check its id and the name of its queue",
        )
    return word == "OK"


def _refer_to(job_id: str, queue: str, server: str | Path) -> Job[Any]:
    """Return the handle of a pickled one."""
    return Job(job_id, queue, client=connect(server))


def as_completed(jobs: Iterable[Job[R]], timeout: float | None = None) -> Iterator[Job[R]]:
    """Yield jobs as they finish, each once; those that have finished come first.

    Raises WaitTimeout if they have not all finished `timeout` seconds after the first was asked for. While the server
    is unavailable, it keeps waiting. In asyncio, `asyncio.as_completed` does this.
    """
    deadline = Deadline(timeout)
    finished: SimpleQueue[Job[R]] = SimpleQueue()
    awaited = list(dict.fromkeys(jobs))
    own = [job for job in awaited if job.queue_name == current_job().queue]
    for number, job in enumerate(awaited):
        job._call_later(finished.put)  # noqa: SLF001 - of the same module
        inbox = inbox_of(job._submission.client)  # noqa: SLF001
        if number == 0:  # it raises why this process may not ask
            with contextlib.suppress(StoreUnavailable):  # the inbox retries until the server is back
                inbox.expect(job, deadline)
        else:
            inbox.expect_soon(job)
        if job.settled is not None and job._take_back(finished.put):  # noqa: SLF001
            finished.put(job)
    for number in range(len(awaited)):
        try:
            yield _next_finished(finished, deadline, own)
        except Empty:
            raise WaitTimeout(
                f"{len(awaited) - number} of {len(awaited)} jobs have not finished after {timeout} s"
            ) from None


def _next_finished(finished: SimpleQueue[Job[R]], deadline: Deadline, own: list[Job[R]]) -> Job[R]:
    """Return the next finished job, or raise Empty after the deadline.

    If that takes a while, report, once, the first unfinished job of the current job's `own` queue that is untaken.
    """
    if own:
        with contextlib.suppress(Empty):
            return finished.get(timeout=deadline.left(UNTAKEN_AFTER))
        if not deadline.passed() and (untaken := [job for job in own if job.settled is None]):
            own.clear()
            untaken[0]._report_untaken(current_job())  # noqa: SLF001 - of the same module
    return finished.get(timeout=None if deadline.at is None else deadline.left(float("inf")))


class _Waker:
    """A callback that wakes a coroutine. It never blocks, so the thread that receives results may run it."""

    __slots__ = ("ready", "wakes")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ready: asyncio.Future[None] = loop.create_future()
        self.wakes = _wakes.setdefault(loop, _Wakes())

    def __call__(self, _: Job[Any]) -> None:
        self.wake()

    def wake(self, error: Exception | None = None) -> None:
        """Wake the coroutine, and raise the error in it if there is one."""
        self.wakes.add(self.ready, error)


class _Wakes:
    """Futures of one event loop that are to be set: few in each of its turns, so that its other tasks go on."""

    __slots__ = ("_is_scheduled", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[tuple[asyncio.Future[None], Exception | None]] = deque()
        self._is_scheduled = False

    def add(self, ready: asyncio.Future[None], error: Exception | None) -> None:
        """Set a future, or raise an error in it. Thread-safe."""
        self._waiting.append((ready, error))
        if not self._is_scheduled:
            self._is_scheduled = True
            loop = ready.get_loop()
            with contextlib.suppress(RuntimeError):  # the loop was closed, so no coroutine waits
                loop.call_soon_threadsafe(self._set_some, loop)

    def _set_some(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(MAX_WOKEN, len(self._waiting))):
            ready, error = self._waiting.popleft()
            if ready.done():
                continue
            if error is None:
                ready.set_result(None)
            else:
                ready.set_exception(error)
        self._is_scheduled = (
            False  # before the look at what is left, which another thread may add to meanwhile
        )
        if self._waiting:
            self._is_scheduled = True
            loop.call_soon(self._set_some, loop)


_wakes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Wakes] = weakref.WeakKeyDictionary()


def cancel_jobs(  # noqa: PLR0913 - which jobs, on whose behalf, and how
    client: Client,
    queue: str,
    ids: Sequence[str],
    reason: str = "",
    *,
    order: str = "",
    who: str = "",
    only_waiting: bool = False,
) -> list[str]:
    """Cancel jobs in one round trip, and request the workers of running ones to stop them in another.

    Return for each: cancelled, running (its worker was requested to stop it), over, dead or gone. `order` is the id of
    the control command, which the supervisor then acknowledges. With `only_waiting`, claimed jobs are left as they are.
    """
    note = encode(Cancellation(who, reason)) if who or reason else b""
    replies: list[commands.CancelReply] = client.run_all(
        [commands.cancel(queue, job, _CANCELLED, KEEP, note, only_waiting) for job in ids]
    )
    requests: list[Command] = []
    for job, reply in zip(ids, replies, strict=True):
        if reply.owner:
            command = control_messages.ControlCommand(
                id=order or job,
                verb="cancel",
                workers=[reply.owner],
                job=job,
                reason=reason,
                queue=queue,
                token=reply.token,
            )
            # Without the right to send it, the holder learns it from its next renewal, within 5 s.
            consumer = control_messages.consumer_of(reply.owner)
            requests.append(
                control_channel.send(consumer, control_messages.encode(command), optional=not order)
            )
    if requests:
        client.run_all(requests)
    client.perform(outbox.deliver_soon(queue))  # jobs of other queues may come after them
    return [reply.state for reply in replies]


def reference_of(job: object) -> str:
    """Return how jobs name each other: by queue and id. Raises BadCall for anything but a job."""
    if not isinstance(job, Job):
        own = (
            "pass its `job`" if isinstance(getattr(job, "job", None), Job) else "pass what `submit` returned"
        )
        raise BadCall(f"expected a Job, got {type(job).__name__}", hint=own)
    return f"{job.queue_name} {job.id}"


def references_of(jobs: Iterable[Job[Any]]) -> tuple[str, ...]:
    """Return how several jobs are named. Raises BadCall for a single one."""
    if isinstance(jobs, Job):
        raise BadCall("expected several jobs, got a Job", hint="put it into a list")
    return tuple(map(reference_of, jobs))


def result_of(job: Job[R]) -> R:
    """Return what stands for a job's result in the arguments of another one, which then comes after it.

    `resize.submit(result_of(download.submit(url)))`: the worker fills it in.
    """
    return cast("R", Input((reference_of(job),), many=False))


def results_of(jobs: Iterable[Job[R]]) -> list[R]:
    """Return what stands for the list of several jobs' results in the arguments of another one."""
    return cast("list[R]", Input(references_of(jobs), many=True))


def make_jobs(jobs: Sequence[tuple[str, bytes]], submission: Submission, covered: int) -> list[Job[Any]]:
    """Return handles of jobs that are put together.

    `covered` is the inbox's opening before the put. Made without __init__, or a hundred thousand handles would be half
    of the producer's work.
    """
    new = Job.__new__
    handles: list[Job[Any]] = []
    for place, (name, _) in enumerate(jobs):
        job: Job[Any] = new(Job)
        job.id = name
        job.settled = job._callbacks = None  # noqa: SLF001 - this is the constructor
        job.covered = covered
        job._submission = submission  # noqa: SLF001
        job._place = place  # noqa: SLF001
        handles.append(job)
    if len(handles) > 1:
        submission.jobs.extend(handles)
    return handles
