"""Several workers in one process, which run their jobs in threads or as coroutines.

To its supervisor each is a worker like one with a process of its own: it has its own name, claims, leases and shared
status. The main thread claims for those that are free and settles what has finished, both in one round trip; it runs no
user code. A plain task runs in a thread of its worker. In a crew of coroutines, asynchronous ones run in one event
loop, which has a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import queue
import select
import signal
import sys
import threading
import traceback
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from conveyor import clock, events
from conveyor.consumer import shared_status, stack
from conveyor.consumer.execution import ENDING, ClaimedBatch, Executor, RunningBatch, RunningJob
from conveyor.consumer.gathering import Gathering
from conveyor.consumer.interruption import await_raised, raise_in
from conveyor.consumer.log_lines import LogLines
from conveyor.consumer.process_state import undo_in_forks
from conveyor.consumer.process_usage import ProcessLimits
from conveyor.consumer.sending import Sender
from conveyor.consumer.settings import FEW_QUEUES, LAST_TALLY, LEASE, POLL_EMPTY, SURE
from conveyor.consumer.settlement import Settler, Tally
from conveyor.consumer.shared_status import (
    NO_REQUEST,
    REQUEST_CANCEL,
    REQUEST_RETURN,
    REQUEST_TIMEOUT,
    HeldBatch,
)
from conveyor.context import running
from conveyor.errors import JobCancelled, StoreError
from conveyor.resources import CLOSE_WITHIN, Resources
from conveyor.store import commands
from conveyor.store.client import Listener
from conveyor.store.outbox import deliver_last, deliver_soon
from conveyor.store.waiting import MAX_BLOCK
from conveyor.wire import ids
from conveyor.wire.outcome import Cancel, Fail, Release, Suspend, describe_error

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from conveyor.consumer.settings import ConsumerSettings
    from conveyor.consumer.shared_status import SharedStatus
    from conveyor.context import CurrentJob
    from conveyor.store import Client
    from conveyor.store.command import Command
    from conveyor.store.commands import Batch, Claimed
    from conveyor.tasks import Registry
    from conveyor.wire.call import Call
    from conveyor.wire.outcome import Outcome

#: Seconds between two polls of the supervisor's requests, in case a signal did not arrive.
POLL_EVERY = 0.5
#: Seconds for which the event loop may be blocked before it is said which job does so.
BLOCKED_AFTER = 1.0
#: Crashes after which a job shares its process with no other such job. All jobs of a process count its crash, and the
#: third one is the last: those that were only near the cause must not be with it each time.
SUSPECT_AFTER = 2
#: Seconds before the server is asked again after it did not reply to a wait for jobs.
AGAIN = 0.5


class _Run(NamedTuple):
    """One run of a worker; of a batch task with all its jobs in `gathering`, and the first one and its limits here."""

    worker: _CrewWorker
    job: Claimed
    call: Call
    current: RunningJob
    gathering: Gathering | None = None


class _Finished(NamedTuple):
    """A run that has ended, on its way to the main thread."""

    worker: _CrewWorker
    job: Claimed
    call: Call | None
    outcome: Outcome | None
    """None if it was not run, since it turned out to be of a batch task."""
    elapsed: float
    gathering: Gathering | None = None
    outcomes: Sequence[Outcome] = ()
    """Of each job in `gathering`."""


class _CrewWorker:
    """One worker: at most one job at a time, in its thread or in the event loop of the crew."""

    def __init__(self, name: str, status: SharedStatus, crew: Crew) -> None:
        self.name = name
        self.status = status
        self.status.worker = name
        self.crew = crew
        of_crew = crew.executor.resources
        own = partial(Resources, outer=of_crew)  # asynchronous ones, in the event loop of its thread
        resources = own if crew.loop is None else of_crew
        self.executor = crew.executor_type(crew.registry, crew.executor, resources)
        self.settler = Settler(name, crew.executor.preview, crew.tally)
        self.nonces = ids.Nonces()
        self.jobs_done = 0
        self.batch: ClaimedBatch | None = None
        """What it holds; None if it is free."""
        self.gathering: Gathering | None = None
        """The jobs of a batch task that it gathers."""
        self.task: asyncio.Task[None] | None = None
        """Its run in the event loop."""
        self._inbox: queue.SimpleQueue[_Run | None] = queue.SimpleQueue()  # None: there are no more
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._running_thread = 0
        """The thread in which user code may be interrupted, or 0."""
        self._interrupted: int | None = None
        self._is_leaving = False
        self._sure_until = 0.0
        """Until when the lease of the last claim cannot have expired."""

    # --- the main thread

    def claim(self, queue_name: str, want: int = 1, first: Literal["S", "H"] = commands.STARTED) -> Command:
        """Return the next claim, and note it for the supervisor in case that its reply does not arrive."""
        nonce = self.nonces.next()
        self.status.set_claim(queue_name, nonce)
        self._sure_until = clock.boottime() + SURE
        self.status.begin_wait(clock.boottime())
        return commands.claim(queue_name, self.name, nonce, want, LEASE, first)

    def may_begin(self) -> bool:
        """Return True if the lease of what it has claimed is still sure, and the supervisor has not taken it back.

        Another job may have held the GIL while the reply was on its way, or the process was suspended.
        """
        return self.status.end_wait() and clock.boottime() < self._sure_until

    def begin(self, queue_name: str, claimed: Batch) -> None:
        """Begin the job of a claim."""
        (job,) = claimed.jobs
        nonce = self.status.claim()[0]
        number = self.status.hold(HeldBatch(queue_name, claimed.token, nonce, [job.id]))
        self.batch = ClaimedBatch(queue_name, claimed.token, number)
        self.settler.begin(queue_name, claimed.token, 1)
        self.status.state = shared_status.BUSY
        if job.crashes < SUSPECT_AFTER or self.crew.may_begin_suspect(self, job):
            self.start(job)

    def start(self, job: Claimed) -> None:
        """Start a job that it holds."""
        assert self.batch is not None
        self.status.last = 0  # counts as crashed if the process dies now
        try:
            self._start(job, self.batch)
        except Exception as error:  # noqa: BLE001 - nothing is known of such a job
            self.status.end(self.jobs_done)
            self.crew.finished(_Finished(self, job, None, Fail(describe_error(error)), 0.0))

    def _start(self, job: Claimed, batch: ClaimedBatch) -> None:
        call = self.executor.decode(job.data)
        if isinstance(call, Fail):
            self.crew.finished(_Finished(self, job, None, call, 0.0))
            return
        function = None if job.crashes else self.executor.batch_function(call.task)
        if function is not None:
            self.gathering = Gathering(batch.queue, call.task, function, self.crew.jobs_left)
            self.gathering.take([job], batch.token)
            self.hold(self.gathering)
            return
        self.status.task = call.task
        self.status.clear_progress()
        current = RunningJob(self.status, self.crew.lines, self.crew.executor, batch, 0, job)
        # Without a time limit until the task is found, which may take long; the lease is renewed from now on.
        self.status.soft_limit = 0.0
        self.status.start(0, clock.monotonic(), 0.0, current.attempt)
        run = _Run(self, job, call, current)
        if self.crew.loop is None or self.executor.knows(call.task):
            self.place(run)
        else:
            self.crew.find(run)

    def hold(self, gathering: Gathering) -> None:
        """Hold these jobs, as far as they are gathered."""
        number = self.status.hold(gathering.held(self.status.claim()[0]))
        self.batch = ClaimedBatch(gathering.queue, "", number)

    def leave_out_expired(self, gathering: Gathering) -> list[Command]:
        """Leave out the gathered jobs that have expired. Return the commands that settle them."""
        expired = self.executor.expired(gathering.jobs, self.crew.client)
        self.jobs_done += len(expired)
        self.status.end(self.jobs_done)
        return gathering.leave_out(self.settler, expired)

    def start_gathered(self, gathering: Gathering) -> None:
        """Start the gathered jobs together."""
        self.hold(gathering)
        assert self.batch is not None
        call = gathering.limited()
        self.status.task = call.task
        self.status.clear_progress()
        current = RunningBatch(
            self.status, self.crew.lines, self.crew.executor, self.batch.number, gathering.jobs
        )
        self.status.soft_limit = 0.0
        self.status.start(0, clock.monotonic(), 0.0, current.attempt)
        self.place(_Run(self, gathering.jobs[0].claimed, call, current, gathering))

    def place(self, run: _Run) -> None:
        """Start a run in the event loop, or in the worker's thread. Thread-safe."""
        task = run.call.task
        if run.gathering is None and not run.job.crashes and self.executor.batch_function(task) is not None:
            self._finish(run, None, 0.0)  # found only now; it is claimed again
        elif self.crew.loop is not None and self.executor.knows(task) and self.executor.is_async(task):
            self.crew.loop.start(self._run_in_loop(run))
        elif self._has_thread():
            self._inbox.put(run)
        else:
            self._finish(run, Release("no thread could be started"), 0.0)

    def settle(self, finished: _Finished) -> list[Command]:
        """Return the commands that settle its run."""
        if finished.outcome is None:
            self.settler.release([finished.job.id])
            return self.settler.commands(counted=False)
        tries = finished.job.retries + finished.job.crashes
        self.settler.add(finished.job.id, finished.call, finished.outcome, finished.elapsed, tries)
        return self.settler.commands(counted=False)

    def rest(self, state: int = shared_status.IDLE) -> None:
        """Be free, now that its run is settled."""
        self.batch = None
        self.status.hold_nothing()
        self.status.state = state

    def interrupt(self) -> None:
        """Raise in the running job, once, if the supervisor requests its end, or its soft time limit has passed.

        Called by a signal handler.
        """
        batch = self.batch
        if batch is None or self._interrupted == batch.number:
            return
        if self.status.request_for(batch.number, 0) == NO_REQUEST:
            if self.status.is_over_soft_limit(clock.monotonic()):
                self.executor.pass_soft_limit(self.status)
            return
        if self.task is not None and self.crew.loop is not None:
            self._interrupted = batch.number
            self.crew.loop.cancel(self.task)
            return
        with self._lock:
            if not self._running_thread or self.executor.is_finding:
                return  # the supervisor asks again
            self._interrupted = batch.number
            if not self.executor.cancel_awaited():
                raise_in(self._running_thread, JobCancelled)

    def stack(self) -> str:
        """Return the stack of its job, or an empty string between two jobs."""
        with contextlib.suppress(Exception):  # it goes on meanwhile
            if self.task is not None:
                return stack.of_task(self.task)
            if awaited := self.executor.awaited_stack():
                return awaited
            frame = _frames().get(self._running_thread)
            return "" if frame is None else "".join(traceback.format_stack(frame))
        return ""

    def report_blocking(self) -> None:
        """Report that its job blocks the event loop."""
        batch = self.status.held()
        if batch is not None and batch.ids:
            events.emit(events.LoopBlocked(self.name, batch.ids[0], self.status.task))

    def close(self) -> threading.Thread | None:
        """Close the resources of its own event loop, in its thread, which ends then. Return the thread, if any."""
        self._inbox.put(None)
        return self._thread

    def leave(self) -> None:
        """Close its event loop and end its thread, if any, since the process goes on without it."""
        self._is_leaving = True
        self._inbox.put(None)

    def _has_thread(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._serve, name=self.name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                events.emit(events.ThreadRefused(self.name, str(error)))
                return False
            self._thread = thread
        return True

    # --- its thread

    def _serve(self) -> None:
        while (run := self._inbox.get()) is not None:
            began = clock.monotonic()
            try:
                self._run_in_thread(run)
            except Exception as error:  # noqa: BLE001 - an error of ours, about this job only
                self._finish(run, Fail(describe_error(error)), clock.monotonic() - began)
        self.executor.close_own(CLOSE_WITHIN)
        if self._is_leaving or self.crew.shares_process:
            self.executor.close()

    def _run_in_thread(self, run: _Run) -> None:
        began = clock.monotonic()
        # If the request comes in the moment before or after the task's own code.
        outcome: Outcome | list[Outcome] | None = Cancel()
        try:
            try:
                with self._lock:
                    self._running_thread = threading.get_ident()
                if run.gathering is None:
                    found = partial(self._found, run)
                    outcome = self.executor.run(run.call, run.current, run.job.retries, found)
                else:
                    assert isinstance(run.current, RunningBatch)
                    self._found(run)
                    outcome = self.executor.run_batch(run.gathering.jobs, run.call, run.current)
            finally:
                self._close_to_interruptions()
            await_raised()
        except JobCancelled:
            self._close_to_interruptions()
        self._finish(run, outcome, clock.monotonic() - began)

    def _close_to_interruptions(self) -> None:
        with self._lock:
            self._running_thread = 0

    # --- the event loop

    async def _run_in_loop(self, run: _Run) -> None:
        assert self.crew.loop is not None
        began = clock.monotonic()
        outcome: Outcome | list[Outcome] = Cancel()
        try:
            self.task = asyncio.current_task()
            self._found(run)
            if not run.current.cancelled:
                if run.gathering is None:
                    outcome = await self.executor.run_async(run.call, run.current, run.job.retries)
                else:
                    assert isinstance(run.current, RunningBatch)
                    outcome = await self.executor.run_batch_async(run.gathering.jobs, run.call, run.current)
                await self.crew.loop.end_children(run.current)
        finally:
            self.task = None
            self._finish(run, outcome, clock.monotonic() - began)

    # --- both

    def _found(self, run: _Run) -> None:
        """Start the time limits, and note the arguments, now that the task is known."""
        self.status.set_arguments(run.job.id, self.settler.preview(run.call) or "")
        self.status.soft_limit = run.call.options.soft_timeout or 0.0
        limit = run.call.options.timeout or 0.0
        if limit and run.gathering is not None:
            self.status.limit_delay = self.executor.longest_delay_after_limit(run.gathering.jobs)
        elif limit:
            self.status.limit_delay = self.executor.delay_after_limit(run.call, run.job.retries)
        self.status.start(0, clock.monotonic(), limit, run.current.attempt)

    def _finish(self, run: _Run, outcome: Outcome | list[Outcome] | None, elapsed: float) -> None:
        """End a run with its outcome, or with that of each of its jobs."""
        if os.getpid() != self.crew.pid:
            os._exit(0)  # a task that forks and returns twice: there is only one crew
        assert self.batch is not None
        request = self.status.request_for(self.batch.number, 0)
        jobs = [(run.job, run.call)]
        if run.gathering is not None:
            jobs = [(one.claimed, one.call) for one in run.gathering.jobs]
        ended: list[Outcome | None] = [*outcome] if isinstance(outcome, list) else [outcome for _ in jobs]
        if request == REQUEST_RETURN:
            # Even if the task has returned: after its clean-up, that may be half a result.
            ended = [Release() for _ in jobs]
        elif request == REQUEST_TIMEOUT:
            limit = run.call.options.timeout
            ended = [
                self.executor.timed_out(call, job.retries, limit) if isinstance(one, Cancel) else one
                for one, (job, call) in zip(ended, jobs, strict=True)
            ]
        run.current.end_each(ended, cancelled=request != NO_REQUEST)
        outcomes = [one for one in ended if one is not None]
        self.jobs_done += sum(not isinstance(one, Release | Suspend) for one in outcomes)
        self.status.end(self.jobs_done)
        self.crew.finished(_Finished(self, run.job, run.call, ended[0], elapsed, run.gathering, outcomes))


class Crew:
    """The workers of one process."""

    executor_type = Executor
    shares_process = False
    """True if the process has other purposes."""

    def __init__(
        self,
        workers: Mapping[str, SharedStatus],
        settings: ConsumerSettings,
        client: Client,
        registry: Registry,
    ) -> None:
        self.settings = settings
        self.client = client
        self.registry = registry
        self.pid = os.getpid()
        self.limits = ProcessLimits(settings)
        self.loop = _Loop(self) if settings.kind == "coroutine" else None
        self.executor = self.executor_type(
            registry, resources=Resources(None if self.loop is None else self.loop.run_and_wait)
        )
        self.tally = Tally(next(iter(workers)))
        self.lines = LogLines(client)
        self.workers = [_CrewWorker(name, status, self) for name, status in workers.items()]
        """Those that have not left."""
        self._begun = 0
        """Jobs that were begun so far."""
        self._free = deque(self.workers)
        self._gathering: list[_CrewWorker] = []
        """Those that gather jobs of a batch task, and wait for more."""
        self._paused: list[_CrewWorker] = []
        self._finished: deque[_Finished] = deque()
        self._suspects: deque[tuple[_CrewWorker, Claimed]] = deque()
        """Jobs that have crashed often, and their workers: the first one runs, the others wait for its end."""
        self._unknown: queue.SimpleQueue[_Run | None] = queue.SimpleQueue()
        self._finder: threading.Thread | None = None
        """The thread that finds the tasks of runs, which may import their modules."""
        self._bell = Listener(client)
        self._reading, self._writing = os.pipe()
        self._left = dict.fromkeys(settings.queues, 1)
        """Jobs that each queue may have waiting, by the last claim from it."""
        self._due = clock.Deadline(0.0)
        """When a job may be due, or a lease expire, without a wake-up."""
        self._poll_at = clock.Deadline(0.0)
        self._unsure: list[Command] = []
        """Commands that release what was claimed too long ago to begin it."""
        self._spent = ""
        """The limit of the process that is reached, or an empty string."""
        self._is_stopping = self._was_signalled = self._is_requested = self._is_woken = False
        self._has_requests = self._is_interrupting = False
        self._statuses = list(workers.values())
        self._first_status = self._statuses[0]
        self._send = Sender(client, self._first_status, lambda: self._is_stopping, self._starve).send

    def work(self) -> None:
        """Claim and run jobs until all workers are to stop or, with `until_empty`, until the queues are empty.

        Raises ResourceUnavailable before the first claim if a resource cannot be opened.
        """
        self._prepare()
        workers = [*self.workers]
        with self.executor.resources:
            self._open()
            try:
                while self._has_workers():
                    if not self._exchange() and not self._finished:
                        self._sleep()
                self.lines.flush(exiting=True)
            finally:
                seconds = CLOSE_WITHIN + 2 * ENDING
                until = clock.Deadline(seconds)
                for thread in filter(None, [worker.close() for worker in workers]):
                    thread.join(until.left(seconds))
                    if thread.is_alive():
                        events.emit(events.ResourceUnclosed(f"of {thread.name}", "its thread does not end"))
        self.client.perform(deliver_last(self.settings.queues))
        with contextlib.suppress(StoreError):  # not worth waiting for
            self.client.run_all(self.tally.commands(resting=True), patience=0.0, within=LAST_TALLY)
        if self._spent:
            for status in self._statuses:
                status.error, status.spent = self._spent, self.limits.reached
        elif self._was_signalled and self.settings.until_empty:
            # The queues may not be empty, so this process is replaced.
            self._first_status.error = "it received a stop signal"

    def close(self) -> None:
        """End what is left after `work`: threads and connections. A process that exits need not."""
        self._unknown.put(None)
        self.lines.stop_gathering()
        if self.loop is not None:
            self.loop.close()
        self._bell.close()
        self.client.close()

    def finished(self, one: _Finished) -> None:
        """Take a run that has ended. Thread-safe."""
        self._finished.append(one)
        self._wake()

    def may_begin_suspect(self, worker: _CrewWorker, job: Claimed) -> bool:
        """Return True if a job that has crashed often may begin now; if not, it begins after those before it."""
        self._suspects.append((worker, job))
        return len(self._suspects) == 1

    def _begin_next_suspect(self) -> None:
        """Begin the next job that has crashed often, since the one that ran is settled."""
        self._suspects.popleft()
        if self._suspects:
            worker, job = self._suspects[0]
            worker.start(job)

    def _return_suspects(self) -> None:
        """End the runs that wait for the end of another, of workers that are to leave, and on request."""
        for worker, job in list(self._suspects)[1:]:
            assert worker.batch is not None
            request = worker.status.request_for(worker.batch.number, 0)
            if self._is_stopping or worker.status.stop_requested or request != NO_REQUEST:
                self._suspects.remove((worker, job))
                outcome = Cancel() if request == REQUEST_CANCEL else Release()
                self._finished.append(_Finished(worker, job, None, outcome, 0.0))

    def find(self, run: _Run) -> None:
        """Find the task of a run, and place it then. Raises RuntimeError if no thread can be started."""
        if self._finder is None:
            finder = threading.Thread(target=self._find_tasks, name="conveyor-finder", daemon=True)
            finder.start()
            self._finder = finder
        self._unknown.put(run)

    def _find_tasks(self) -> None:
        while (run := self._unknown.get()) is not None:
            with contextlib.suppress(BaseException):  # the run will raise the same
                self.executor.is_async(run.call.task)
            run.worker.place(run)

    def _prepare(self) -> None:
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        self._take_process()
        self.lines.gather()
        if self.loop is not None:
            self.loop.thread.start()
        self._interrupt_opening()  # the signal may have come too early

    def _take_process(self) -> None:
        """Take the signals of this process, which has no other purpose."""
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGUSR1, self._on_request)
        stack.take_signal(self._first_status, self._write_stacks)
        os.register_at_fork(after_in_child=self.lines.begin)
        undo_in_forks()

    def _are_all_leaving(self) -> bool:
        return all(worker.status.stop_requested for worker in self.workers)

    def _interrupt_opening(self) -> None:
        if self._are_all_leaving():
            self.executor.resources.interrupt()

    def _open(self) -> None:
        """Be ready for jobs."""
        for worker in self.workers:
            worker.status.stack_file = self._first_status.stack_file
            worker.status.state = shared_status.IDLE

    def _wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(BlockingIOError):
                os.write(self._writing, b"!")

    # --- requests of the supervisor

    def _on_stop(self, *_: Any) -> None:
        self._is_requested = self._is_stopping = self._was_signalled = True
        self.executor.resources.interrupt()

    def _on_request(self, *_: Any) -> None:
        self._interrupt_opening()
        self._is_requested = self._has_requests = True
        if self._is_interrupting:
            return  # this signal has interrupted the handler of another, which goes on
        self._is_interrupting = True
        try:
            while self._has_requests:
                self._has_requests = False
                for worker in self.workers:
                    worker.interrupt()
        finally:
            self._is_interrupting = False

    def _has_workers(self) -> bool:
        """Make the free workers leave, pause or go on, as the supervisor requests. Return False once all have left."""
        if self._is_requested or self._poll_at.passed():
            self._is_requested, self._poll_at = False, clock.Deadline(POLL_EVERY)
            free, self._free = [*self._paused, *self._free], deque()
            self._paused = []
            for worker in free:
                self._return(worker)
            self._return_suspects()
        return bool(self.workers)

    def _return(self, worker: _CrewWorker) -> None:
        """Note that a worker is free, unless it is to leave or to pause."""
        if self._leaves(worker):
            worker.rest(shared_status.LEAVING)
            self.workers.remove(worker)
            if not (self._is_stopping or self._spent or self._are_all_leaving()):
                worker.leave()
        elif worker.status.pause_requested:
            if worker.status.state != shared_status.PAUSED:
                worker.rest(shared_status.PAUSED)
            self._paused.append(worker)
        else:
            if worker.status.state != shared_status.IDLE:
                worker.rest()
            self._free.append(worker)

    # --- claiming and settling

    def _exchange(self) -> bool:
        """Settle what has finished and claim for the free workers, together. Return False if nothing was claimed."""
        if self._gathering:
            if self._due.passed():
                self._expect_jobs()
            self._gather()
        finished = self._take_finished()
        settling = [command for one in finished for command in self._settling(one)]
        if any(command.leads for command in settling):  # no claim must overtake it
            self._settle(settling)
            settling = []
        settling += self.tally.commands()
        done = [one.worker for one in finished]
        for worker in done:
            worker.batch = None
        # Noted now, since its worker may claim the next one.
        is_suspect_over = bool(self._suspects) and self._suspects[0][0] in done
        ready = deque([*self._free, *(one for one in done if self._goes_on(one))])
        if self.limits.are_set:
            self._check_limits(ready)
        has_claimed = self._claim(ready, settling)
        self._free = deque(one for one in self._free if one.batch is None)
        for worker in done:
            if worker.batch is None:
                self._return(worker)
        if is_suspect_over:
            self._begin_next_suspect()
        return has_claimed

    def _claim(self, ready: deque[_CrewWorker], settling: list[Command]) -> bool:
        """Claim for workers, and send what settles runs in the same round trip. Return False if nothing was claimed."""
        has_claimed = False
        if ready and self._due.passed():
            self._expect_jobs()
        for queue_name in self._queues_to_ask() if ready and any(self._left.values()) else ():
            while ready and self._left[queue_name]:
                some = [ready.popleft() for _ in range(min(len(ready), self._left[queue_name]))]
                claims = [worker.claim(queue_name) for worker in some]
                *replies, last = self._send([*settling, *claims], patience=LEASE)
                self._settled(settling, replies)
                batches: list[Batch] = [*replies[len(settling) :], last]
                if any(batch.has_messages for batch in batches):
                    self.client.perform(deliver_soon(queue_name))
                ready.extend(self._begin(queue_name, some, batches))
                settling, self._unsure = self._unsure, []
                self._left[queue_name] = last.left if last.jobs else 0
                has_claimed = has_claimed or bool(batches[0].jobs)
                if not last.jobs:
                    self._due = clock.Deadline(min(self._due.left(last.wait), last.wait))
                if self._gathering:
                    self._settle(settling)
                    settling = []
                    self._gather()
        self._settle(settling)
        return has_claimed

    def _settling(self, finished: _Finished) -> list[Command]:
        """Return the commands that settle a run; those of many jobs are sent already."""
        if finished.gathering is None:
            self._begun -= finished.outcome is None
            return finished.worker.settle(finished)
        settler = finished.worker.settler
        for some in finished.gathering.settle(settler, finished.outcomes, finished.elapsed):
            self._settle(some)
        return []

    def _gather(self) -> None:
        """Claim more for workers that gather jobs, before others may claim, and start those that wait no longer."""
        for worker in [*self._gathering]:
            gathering = worker.gathering
            assert gathering is not None
            goes_on = self._goes_on(worker)
            while goes_on and gathering.room and (self._left[gathering.queue] or not gathering.may_wait):
                self._claim_more(worker, gathering)
            if goes_on and gathering.room:
                continue
            self._gathering.remove(worker)
            worker.gathering = None
            settling = gathering.releases()
            if goes_on:
                settling = gathering.confirm(self._send(gathering.renewals(), patience=LEASE))
                settling += worker.leave_out_expired(gathering)
            self._settle(settling)
            if goes_on and gathering.jobs:
                self._begun += len(gathering.jobs) - 1
                worker.start_gathered(gathering)
            else:
                worker.rest()
                self._return(worker)

    def _claim_more(self, worker: _CrewWorker, gathering: Gathering) -> None:
        """Claim more jobs of a batch task for a worker, and release those of others."""
        queue_name = gathering.queue
        claim = worker.claim(queue_name, gathering.room, first=commands.HELD)
        batch: Batch
        (batch,) = self._send([claim], patience=LEASE)
        gathering.asked(batch.left)
        self._left[queue_name] = batch.left if batch.jobs else 0
        others = [job.id for job in batch.jobs]
        if worker.may_begin():
            others = gathering.take(batch.jobs, batch.token)
        else:
            self._due = clock.Deadline(0.0)  # the server may have jobs
        if others:
            self._settle([commands.release(queue_name, batch.token, others)])
            self._left[queue_name] = max(1, self._left[queue_name])
        if not batch.jobs:
            self._due = clock.Deadline(min(self._due.left(batch.wait), batch.wait))
        worker.hold(gathering)  # not sooner, or the others would not be released if this process died
        if batch.has_messages:
            self.client.perform(deliver_soon(queue_name))

    def _take_finished(self) -> list[_Finished]:
        """Return the runs that have ended, once their lines are sent: these are there when the outcomes are."""
        finished = [self._finished.popleft() for _ in range(len(self._finished))]
        if finished:
            self.lines.flush()
        return finished

    def _begin(self, queue_name: str, some: list[_CrewWorker], batches: list[Batch]) -> list[_CrewWorker]:
        """Begin the jobs that workers have claimed, and return the workers whose claims brought none to begin."""
        idle = []
        for worker, batch in zip(some, batches, strict=True):
            is_sure = worker.may_begin()
            if not is_sure:
                self._due = clock.Deadline(0.0)  # the server may have jobs
                if batch.jobs:
                    self._unsure.append(commands.release(queue_name, batch.token, [batch.jobs[0].id]))
            if batch.jobs and is_sure:
                self._begun += 1
                worker.begin(queue_name, batch)
                if worker.gathering is not None:
                    self._gathering.append(worker)
            else:
                worker.status.set_claim("", "")
                idle.append(worker)
        return idle

    def _check_limits(self, ready: deque[_CrewWorker]) -> None:
        """Begin no more jobs than this process may run, and exit after the running ones if a limit is reached."""
        if not self._spent and (spent := self.limits.exceeded(self._begun)):
            self._spent, self._is_requested = spent, True
            self._wake()
        most = 0 if self._spent else self.limits.max_jobs - self._begun
        while len(ready) > most:
            ready.pop()

    @property
    def jobs_left(self) -> float:
        """How many jobs this process may run, with one that has just begun."""
        return self.limits.max_jobs - self._begun + 1

    def _goes_on(self, worker: _CrewWorker) -> bool:
        return not (self._leaves(worker) or worker.status.pause_requested)

    def _leaves(self, worker: _CrewWorker) -> bool:
        return bool(self._is_stopping or self._spent or worker.status.stop_requested)

    def _expect_jobs(self) -> None:
        """Note that each queue may have a job."""
        self._left = {name: max(1, left) for name, left in self._left.items()}
        self._due = clock.Deadline(None)

    def _queues_to_ask(self) -> list[str]:
        """Return the queues to claim from; of many only those that have jobs, found in one round trip."""
        names = [name for name in self.settings.order() if self._left[name]]
        if len(names) <= FEW_QUEUES:
            return names
        found = self._send([commands.any_work([name]) for name in names])
        return [name for name, has_work in zip(names, found, strict=True) if has_work]

    def _settle(self, settling: list[Command]) -> None:
        if settling:
            self._settled(settling, self._send(settling, patience=LEASE))

    def _settled(self, settling: list[Command], replies: list[Any]) -> None:
        """Process the replies to what was settled."""
        self.lines.resume()
        self.workers[0].settler.settled(settling, replies[: len(settling)])

    def _starve(self, lack: str) -> None:
        self._first_status.error = f"it cannot open a connection: {lack}"
        self._is_stopping = True

    # --- waiting

    def _sleep(self) -> None:
        """Wait until a run has finished, a job may be there, or a signal arrives; half a second at most."""
        may_claim = bool(self._free or self._gathering)
        if may_claim and self._bell.fileno() < 0:
            self._ask()
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        if self._bell.fileno() >= 0:
            poll.register(self._bell.fileno(), select.POLLIN)
        seconds = self._due.left(POLL_EVERY) if may_claim else POLL_EVERY
        for worker in self._gathering:
            seconds = worker.gathering.left(seconds) if worker.gathering is not None else seconds
        readable = {file for file, _ in poll.poll(max(0.0, seconds) * 1000)}
        if self._reading in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self._reading, 4096)
            self._is_woken = False  # not sooner, or the byte of a later run could be read here
        if self._bell.fileno() in readable:
            self._read_bell()
        if self.loop is not None:
            self.loop.check()
        if self.settings.until_empty and len(self._free) == len(self.workers):
            self._leave_if_empty()

    def _ask(self) -> None:
        try:
            self._bell.ask(commands.await_bell(self.settings.queues, MAX_BLOCK))
        except StoreError:
            self._due = clock.Deadline(AGAIN)

    def _read_bell(self) -> None:
        """Read the reply to the wait for jobs, and look for some even if it brought no wake-up: one may be lost."""
        with contextlib.suppress(StoreError):  # the claim waits until the server is back
            self._bell.reply()
        self._expect_jobs()

    def _leave_if_empty(self) -> None:
        if self._send([commands.any_work(self.settings.queues)])[0]:
            self._due = clock.Deadline(POLL_EMPTY)
        else:
            self._is_stopping = self._is_requested = True

    def _write_stacks(self, *_: Any) -> None:
        """Write the stacks of the workers for which the supervisor wants them."""
        for worker in self.workers:
            if worker.status.stack_requested:
                worker.status.stack_requested = 0
                stack.write_section(worker.status, worker.stack(), worker.name)


class _Loop:
    """The event loop of a crew, in a thread of its own."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(self._make_task)
        self._children: dict[CurrentJob, set[asyncio.Task[Any]]] = {}
        """Tasks that jobs have started in it."""
        self._asked: float | None = None
        """Since when the loop has not reacted."""
        self._is_reported = self._is_closing = False
        self.thread = threading.Thread(target=self._run, name="conveyor-loop", daemon=True)

    def _run(self) -> None:
        """Run the loop until it is closed, also after a task has stopped it, or raised in it what ends a program."""
        while not self._is_closing:
            with contextlib.suppress(SystemExit, KeyboardInterrupt):
                self._loop.run_forever()
        self._loop.close()

    def run_and_wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine of a resource, which belongs to no job, and return what it returns. From other threads."""
        context = contextvars.Context()
        future = context.run(asyncio.run_coroutine_threadsafe, coroutine, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()  # if this thread was interrupted

    def start(self, run: Coroutine[Any, Any, None]) -> None:
        """Start the run of a job. Thread-safe."""
        self._loop.call_soon_threadsafe(self._start, run)

    def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel the run of a job. Thread-safe."""
        self._loop.call_soon_threadsafe(task.cancel)

    def close(self) -> None:
        """End the loop, once no job runs in it. Thread-safe."""
        self._is_closing = True
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def end_children(self, current: CurrentJob) -> None:
        """Cancel what a job has started in the loop and left there, as `asyncio.run` does."""
        try:
            if children := self._children.get(current):
                for one in children:
                    one.cancel()
                await asyncio.wait(children, timeout=ENDING)
        finally:
            self._children.pop(current, None)

    def check(self) -> None:
        """Report which job blocks the loop, if one does. Raises RuntimeError if the loop has ended."""
        if not self.thread.is_alive():
            message = "the event loop has ended: a task may have closed its files"
            raise RuntimeError(message)
        if self._asked is None:
            self._asked = clock.monotonic()
            self._is_reported = False
            self._loop.call_soon_threadsafe(self._react)
        elif not self._is_reported and clock.monotonic() - self._asked > BLOCKED_AFTER:
            task = asyncio.current_task(self._loop)
            worker = None if task is None else self._worker_of(task)
            if worker is not None:
                self._is_reported = True
                worker.report_blocking()

    def _worker_of(self, task: asyncio.Task[Any]) -> _CrewWorker | None:
        """Return the worker whose job is this task, or has started it."""
        current = next((one for one, tasks in self._children.copy().items() if task in tasks), None)
        for worker in self.crew.workers:
            held = worker.status.held()
            if worker.task is task or (current is not None and held is not None and current.id in held.ids):
                return worker
        return None

    def _react(self) -> None:
        self._asked = None

    def _start(self, run: Coroutine[Any, Any, None]) -> None:
        self._loop.create_task(run, context=contextvars.Context())

    def _make_task(self, loop: asyncio.AbstractEventLoop, run: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(run, loop=loop, **options)
        current = running.get()
        if current.id:
            children = self._children.setdefault(current, set())
            children.add(task)
            task.add_done_callback(children.discard)
        return task


#: Of all threads, by their identifiers.
_frames = sys._current_frames  # noqa: SLF001 - the documented way to them
