"""Testing aids: a server of its own, jobs that run in the test's process, and a clock to move.

The fixtures for pytest are in `pytest_plugin.py`.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import logging
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import conveyor.queue
from conveyor import clock, resources, schedules
from conveyor.consumer.execution import ClaimedBatch, OwnExecutor, RunningBatch, RunningJob
from conveyor.consumer.gathering import Gathering
from conveyor.consumer.log_lines import LogLines
from conveyor.consumer.scheduler import fire_due
from conveyor.consumer.settings import consumer_name
from conveyor.consumer.settlement import Settler
from conveyor.consumer.shared_status import SharedStatus
from conveyor.errors import BadCall, ConveyorError, JobFailed
from conveyor.held_items import holder_of
from conveyor.inbox import inbox_of
from conveyor.store import commands, connect, embedded, records
from conveyor.store import schedules as stored
from conveyor.store.command import Command, milliseconds
from conveyor.store.outbox import deliver
from conveyor.task_def import TASKS
from conveyor.tasks import registry
from conveyor.wire import codec, ids
from conveyor.wire.call import as_seconds
from conveyor.wire.checks import check_seconds
from conveyor.wire.control_messages import Progress, encode
from conveyor.wire.outcome import Cancel, Fail, Release, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta

    from conveyor.batch_tasks import BatchFunction
    from conveyor.consumer.execution import Runnable
    from conveyor.job import Job
    from conveyor.queue import BaseQueue, Calls, PutCalls
    from conveyor.store import Client
    from conveyor.store.command import Operation
    from conveyor.store.commands import Batch, Claimed
    from conveyor.wire.call import Call
    from conveyor.wire.outcome import Outcome

    #: A queue by its name, and the client of its server.
    Target: TypeAlias = tuple[Client, str]

T = TypeVar("T")

__all__ = ["PrivateServer", "advance", "inline", "override", "private_server", "run_jobs"]

__tracebackhide__ = True  # pytest shows the frames of the test and of the task, without those in between
#: Seconds that the lease of an inline run lasts. Nothing renews it, and the task may stop at a breakpoint.
LEASE = 3600.0
#: What a task may raise to fail. Anything else, such as Ctrl-C, is meant for the test.
_FAILURES = (Exception, SystemExit, GeneratorExit, asyncio.CancelledError)
#: Modules whose exceptions are also meant for the test: a debugger that is quit, `pytest.exit`.
_OF_TEST = {"bdb", "_pytest.outcomes"}
_log = logging.getLogger("conveyor")


# --- a server of its own


class PrivateServer:
    """A server for the tests of this process; `url` is its URL, and `key` a key for CONVEYOR_KEY."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = secrets.token_hex(32)

    def clear(self) -> None:
        """Remove all data from the server, and forget in this process what belonged to them."""
        client = connect(self.url)
        inbox_of(client).forget()
        holder_of(client).forget()
        client.run(Command(("FLUSHALL",)))


@contextlib.contextmanager
def private_server() -> Iterator[PrivateServer]:
    """Start an empty server, and stop it at the end of the block, or with this process if that is killed.

    It has nothing in common with the user's embedded server. Set CONVEYOR_URL to its `url`, or pass that as `store` of
    a queue. Raises StoreUnavailable if it does not start.
    """
    with embedded.separate_server() as url:
        yield PrivateServer(url)


# --- jobs that run in this process


def run_jobs(*queues: BaseQueue | str, limit: int | None = None, raise_failures: bool = True) -> int:
    """Run the waiting jobs in this process, and return how many were run.

    Each job is claimed from the server, decoded, run and settled as in a worker, one after the other, until no job is
    due; jobs that are submitted meanwhile run as well. The next job comes from the first of the queues that has one; by
    default they are all queues of the server. `limit` is the max number of jobs.

    If a job fails for good, what its task raised is raised here, once the job is dead; the jobs behind it stay. Without
    `raise_failures` it is logged, as is the error of a job that will be retried. What is meant for the test, such as
    Ctrl-C and `pytest.fail`, is always raised, and the job returns to the queue.

    The resources that tasks take are opened for the first job that needs them, and closed at the end; see `override`.

    In a coroutine the jobs run on another thread, for which the event loop waits. Raises BadCall if the server is the
    user's embedded one, whose jobs belong to no test.
    """

    def run() -> int:
        try:
            return _run_jobs(partial(_targets, queues), limit, raise_failures=raise_failures)
        finally:
            if conveyor.queue.submit_inline is None:
                _close_resources()

    return _beside_loop(run)


@contextlib.contextmanager
def inline(*, raise_failures: bool = False) -> Iterator[None]:
    """Run jobs in this process as soon as they are submitted, by any thread, until the end of the block.

    Each `submit` puts its job and then runs what is due in the queue, as `run_jobs` does; `submit_many` and `map` do so
    job by job. Failures are logged, and raised by `Job.result` as always; with `raise_failures` the submit raises them.
    A submit to a full queue raises Full immediately, since nothing would make room. Resources that tasks take stay open
    until the end of the block.
    """
    before = conveyor.queue.submit_inline
    conveyor.queue.submit_inline = partial(_submit_inline, raise_failures=raise_failures)
    try:
        yield
    finally:
        conveyor.queue.submit_inline = before
        if before is None:
            _beside_loop(_close_resources)


@contextlib.contextmanager
def override(resource: Callable[..., Any], value: object) -> Iterator[None]:
    """Hand this value to tasks instead of the resource, in jobs that this process runs, until the end of the block.

    The resource is not opened. Raises BadCall if the function is not a resource.
    """
    name = f"{resource.__module__}.{resource.__qualname__}"
    if name not in [one.name for one in resources.registered.resources]:
        raise BadCall(f"{name} is not a resource", hint="pass the function under @conveyor.resource")
    before = dict(resources.overrides)
    resources.overrides[name] = value
    try:
        yield
    finally:
        resources.overrides.clear()
        resources.overrides.update(before)


def _submit_inline(
    client: Client, queue: str, calls: Calls, put: PutCalls, *, raise_failures: bool
) -> Operation[list[Job[Any]]]:
    """Put calls, and run each before the next one is put: a queue with a limit has room for it then."""
    targets = [(_checked(client), queue)]
    run = partial(_run_jobs, lambda: targets, None, raise_failures=raise_failures)
    handles: list[Job[Any]] = []
    try:
        for job in chain(calls.jobs, chain.from_iterable(calls.further or ())):
            handles += yield from put(client, calls._replace(jobs=[job], further=None, deadline=None))
            yield partial(_beside_loop, run)
    except ConveyorError as error:
        error.accepted, error.ids = len(handles), [handle.id for handle in handles]
        raise
    return handles


def _targets(queues: Sequence[BaseQueue | str]) -> list[Target]:
    """Return the queues with their clients: those given, or else all of the server."""
    if not queues:
        client = _checked(connect())
        return [(client, name) for name in client.run(commands.queue_names())]
    names = [one if isinstance(one, str) else one.name for one in queues]
    clients = [connect() if isinstance(one, str) else one._connect() for one in queues]  # noqa: SLF001 - for asyncio, too
    return list(zip(map(_checked, clients), names, strict=True))


def _checked(client: Client) -> Client:
    if client.revive is not None:
        raise BadCall(
            "the embedded server of this user is not for tests",
            hint="use the fixture conveyor_queue, or set CONVEYOR_URL to a server for tests",
        )
    return client


def _beside_loop(function: Callable[[], T]) -> T:
    """Call a function, on another thread if an event loop runs on this one: a coroutine's job needs its own loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(contextvars.copy_context().run, function).result()
    return function()


def _run_jobs(targets: Callable[[], list[Target]], limit: int | None, *, raise_failures: bool) -> int:
    idle = _idle_workers()
    worker = idle.pop() if idle else _InlineWorker()  # another one if a job submits jobs
    done = 0
    try:
        while done != limit:
            most = float("inf") if limit is None else limit - done
            run = (worker.run_next(*target, most, raise_failures=raise_failures) for target in targets())
            some = next((count for count in run if count is not None), None)
            if some is None:
                break
            done += some
    finally:
        idle.append(worker)
    return done


class _InlineExecutor(OwnExecutor):
    """Runs jobs, and keeps what each of them raised, by its call."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.errors: dict[int, BaseException] = {}

    def judge(self, error: BaseException, job: Call, current: RunningJob, retries_used: int) -> Outcome:
        if not isinstance(error, _FAILURES) or type(error).__module__ in _OF_TEST:
            raise error
        self.errors[id(job)] = error
        return super().judge(error, job, current, retries_used)

    def _server_time(self, queue: str, client: Client) -> float:
        """Return the server's time as `advance` has moved it."""
        now, shift = client.run_all([commands.server_time(), records.due_shift(queue)])
        return float(now + (shift or 0) / 1000)

    def batch_function(self, name: str) -> BatchFunction | None:
        with contextlib.suppress(Exception):  # the run raises it again
            self._find(name)
        return super().batch_function(name)

    def _find(self, name: str) -> Runnable:
        self.registry.modules.add(name.rpartition(".")[0])  # functions of any imported module may run
        self._known.pop(
            name, None
        )  # a test may have registered another task of this name, or another resource
        return super()._find(name)


class _InlineJob(RunningJob):
    """A run without a supervisor: it reports its progress itself, and asks the server if it is to end."""

    @property
    def cancelled(self) -> bool:
        if self._is_over:
            return self._was_cancelled
        renewal = commands.renew(self._batch.queue, [(self.id, self._batch.token, commands.STARTED)], LEASE)
        return bool(self.client.run(renewal).cancelled)

    def progress(self, done: float, total: float = 1.0, message: str = "") -> None:
        super().progress(done, total, message)
        if not self._is_over:
            _, done, total, message = self._status.progress()  # without secrets
            report = encode(Progress(done, total, message))
            self.client.run(records.set_progress(self._batch.queue, [(self.id, report)]))


class _InlineBatch(RunningBatch, _InlineJob):
    """The run of a batch task, likewise."""

    of_one = _InlineJob

    @property
    def cancelled(self) -> bool:
        return self._was_cancelled if self._is_over else all(one.cancelled for one in self.each)


class _InlineWorker:
    """Claims, runs and settles one job or batch at a time, in the thread that calls it."""

    def __init__(self) -> None:
        registry.promise(TASKS)
        self.name = f"{consumer_name()}/1"
        self.executor = _InlineExecutor(registry)
        self.settler = Settler(self.name, self.executor.preview)
        self.status = SharedStatus()
        self.status.worker = self.name
        self.nonces = ids.Nonces()

    def run_next(self, client: Client, queue: str, most: float, *, raise_failures: bool) -> int | None:
        """Run the next job of a queue, or with it up to `most` of a batch task.

        Return how many were run, which may be 0 if messages were delivered, or None if there was nothing to do.
        """
        batch = client.run(commands.claim(queue, self.name, self.nonces.next(), 1, LEASE))
        outcomes: list[tuple[str, Call | None, Outcome]] = []
        if batch.jobs:
            gathering = self._gathered(client, queue, batch, most)
            if gathering is not None:
                outcomes = self._run_gathered(client, gathering)
            else:
                self.settler.begin(queue, batch.token, 1)
                job_id = batch.jobs[0].id
                outcomes = [(job_id, *self._run(client, ClaimedBatch(queue, batch.token, 0), batch.jobs[0]))]
        errors, self.executor.errors = self.executor.errors, {}
        for job_id, call, outcome in outcomes:
            self._report(job_id, outcome, errors.get(id(call)), raise_failures=raise_failures)
        if batch.has_messages:
            client.perform(deliver(queue))
        return len(outcomes) if batch.jobs or batch.has_messages else None

    def _gathered(self, client: Client, queue: str, batch: Batch, most: float) -> Gathering | None:
        """Return the first jobs of a batch task, without waiting for more, or None if the claimed job is of another."""
        decoded = self.executor.decode(batch.jobs[0].data)
        if isinstance(decoded, Fail) or batch.jobs[0].crashes:
            return None
        function = self.executor.batch_function(decoded.task)
        if function is None:
            return None
        gathering = Gathering(queue, decoded.task, function, most)
        gathering.take(batch.jobs, batch.token)
        while gathering.room:
            more = client.run(commands.claim(queue, self.name, self.nonces.next(), gathering.room, LEASE))
            if others := gathering.take(more.jobs, more.token):
                client.run(commands.release(queue, more.token, others))
            if more.has_messages:
                client.perform(deliver(queue))
            if not more.left:
                break
        client.run_all(gathering.confirm(client.run_all(gathering.renewals(LEASE))))
        return gathering

    def _run_gathered(self, client: Client, gathering: Gathering) -> list[tuple[str, Call | None, Outcome]]:
        """Run jobs together and settle them, as `_run` does one."""
        expired = self.executor.expired(gathering.jobs, client)
        ended: list[tuple[str, Call | None, Outcome]] = [
            (one.id, one.call, expired[one.id]) for one in gathering.jobs if one.id in expired
        ]
        settling = gathering.leave_out(self.settler, expired)
        self.settler.settled(settling, client.run_all(settling))
        if not gathering.jobs:
            return ended
        self.status.clear_progress()
        current = _InlineBatch(self.status, LogLines(client), self.executor, 0, gathering.jobs)
        began = clock.monotonic()
        outcomes: list[Outcome] = [Release()] * len(gathering.jobs)
        try:
            outcomes = self.executor.run_batch(gathering.jobs, gathering.limited(), current)
        finally:
            current.end_each(outcomes, cancelled=all(isinstance(one, Cancel) for one in outcomes))
            for settling in gathering.settle(self.settler, outcomes, clock.monotonic() - began):
                self.settler.settled(settling, client.run_all(settling))
            tallies = self.settler.tallies()
            self.settler.settled(tallies, client.run_all(tallies))
        run = zip(gathering.jobs, outcomes, strict=True)
        return [*ended, *((job.id, job.call, outcome) for job, outcome in run)]

    def _run(self, client: Client, batch: ClaimedBatch, job: Claimed) -> tuple[Call | None, Outcome]:
        """Run a job and settle it; what is meant for the test releases it, and is raised."""
        decoded = self.executor.decode(job.data)
        current = _InlineJob(self.status, LogLines(client), self.executor, batch, 0, job)
        self.status.clear_progress()
        began = clock.monotonic()
        call: Call | None = None
        outcome: Outcome = Release()
        try:
            if isinstance(decoded, Fail):
                outcome = decoded
            else:
                call = decoded
                outcome = self.executor.run(call, current, job.retries) or Release()
        finally:
            current.end(outcome, cancelled=isinstance(outcome, Cancel))
            self.settler.add(job.id, call, outcome, clock.monotonic() - began, job.retries + job.crashes)
            settling = [*self.settler.commands(counted=False), *self.settler.tallies()]
            self.settler.settled(settling, client.run_all(settling))
        return call, outcome

    def _report(
        self, job_id: str, outcome: Outcome, error: BaseException | None, *, raise_failures: bool
    ) -> None:
        """Log what a task raised, or raise it."""
        if not isinstance(outcome, Fail | Retry):
            return
        error = error or JobFailed(*codec.decode(outcome.error))
        if raise_failures and isinstance(outcome, Fail):
            raise error
        end = "is dead" if isinstance(outcome, Fail) else f"is retried in {outcome.delay:.1f} s"
        _log.warning("job %s failed and %s", job_id, end, exc_info=error)


#: Those of this process that run no job now. Each has an event loop, which stays for later jobs as in a worker.
_idle_workers: ids.PerProcess[[], list[_InlineWorker]] = ids.PerProcess(list)


def _close_resources() -> None:
    """Close the resources of the workers that run no job."""
    for worker in list(_idle_workers()):
        worker.executor.resources.close(report=_log_unclosed)


def _log_unclosed(name: str, error: BaseException) -> None:
    _log.warning("the resource %s was not closed in order", name, exc_info=error)


@atexit.register
def _close_loops() -> None:
    _close_resources()
    for worker in _idle_workers():
        worker.executor.close()


# --- a clock to move


def advance(seconds: float | timedelta, *queues: BaseQueue | str) -> int:
    """Make delayed and suspended jobs, retries and schedules due as if time had passed, and return how many became due.

    Of the given queues, or else all queues of the server. Schedules are those of the queue on the server, and of its
    tasks that this process has imported; each instant is fired in its time, as by a consumer. Jobs with an `expires`
    expire, too, for `run_jobs` and in `inline`. Other times stay: leases, which their holders would have renewed, the
    time for which outcomes are kept, and the clocks of this process. Raises BadCall for a negative number of seconds,
    and for the user's embedded server.
    """
    passed: float = as_seconds(seconds)
    check_seconds("seconds", passed)
    return sum(_advance(client, queue, passed) for client, queue in _targets(queues))


def _advance(client: Client, queue: str, left: float) -> int:
    """Move the clock of a queue from one instant to the next, and return how many jobs became due."""
    schedules.declare(client, [queue], registry)
    before = client.run(commands.count(queue))
    while True:
        wait = fire_due(client, queue)
        step = min(left, wait)
        shift = client.run(records.due_shift(queue))
        if shift is not None or before.live:
            client.run(records.set_due_shift(queue, (shift or 0) + milliseconds(step)))
        if wait < float("inf"):  # it has schedules
            client.run(stored.set_ahead(queue, step))
        while client.run(commands.promote(queue)):
            pass
        if left <= 0 < wait:
            break
        left -= step
    after = client.run(commands.count(queue))
    # Of the accepted jobs, those with jitter are delayed.
    return int(after.accepted - before.accepted - (after.delayed - before.delayed))
