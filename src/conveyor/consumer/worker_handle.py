"""Workers and their processes as the supervisor sees them: child processes, shared status, and requests.

`GroupWatcher` is the process that outlives a supervisor for a moment to end what tasks of its workers have started.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import mmap
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

from conveyor import clock
from conveyor.consumer import stack
from conveyor.consumer.process_usage import ProcessUsage
from conveyor.consumer.settings import GRACE, STOP_SIGNALS
from conveyor.consumer.shared_status import (
    REQUEST_CANCEL,
    REQUEST_RETURN,
    STATE_NAMES,
    HeldBatch,
    SharedStatus,
    StatusReading,
)
from conveyor.errors import StoreError
from conveyor.wire.control_messages import ControlCommand, WorkerReport

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds after which a run that goes on is asked to end again.
REMIND_EVERY = 1.0
#: Signals by which the supervisor asks a worker to stop, or to end a run.
REQUEST_SIGNALS = {signal.SIGTERM, signal.SIGUSR1}
#: Signals that must reach a worker even if the caller of the consumer had blocked them.
_NEEDED = {*REQUEST_SIGNALS, stack.SIGNAL}
_HANDLED = (*_NEEDED, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_PR_SET_PDEATHSIG = 1
#: Process groups that can be noted at a time, with room to spare.
_SLOTS = 4096


class ChildProcess:
    """A child process with one worker, or with a crew: workers that run their jobs in threads or as coroutines."""

    def __init__(self, workers: list[WorkerHandle], *, is_crew: bool = False) -> None:
        self.workers = workers
        self.is_crew = is_crew
        for worker in workers:
            worker.process = self
        self.pid = 0
        self.started = clock.monotonic()
        self.slot = 0
        """Where the group watcher has its process group."""
        self.usage = ProcessUsage()
        self.why_killed = ""

    def start(self, work: Callable[[ChildProcess], int]) -> None:
        """Fork; the child runs `work` and exits with the status it returns.

        The parent must have one thread and no user code: then a fork copies nothing half done. A signal that arrives
        meanwhile stays pending until the child has its own handlers: those of its parent would swallow it.
        """
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                self._run_child(work, parent, before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run_child(
        self, work: Callable[[ChildProcess], int], parent: int, mask: set[int | signal.Signals]
    ) -> NoReturn:
        exit_status = 1
        status = self.workers[0].status
        try:
            _become_child(parent)
            stack.take_signal(status)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask - _NEEDED)
            exit_status = work(self)
        except StoreError as error:  # the supervisor reports it
            status.error = f"{error}; {error.hint}" if error.hint else str(error)
        except BaseException:  # noqa: BLE001 - a bug of ours; reported, and the worker is replaced
            traceback.print_exc()
        finally:
            _exit(exit_status)

    def kill(self, why: str = "") -> None:
        """Kill it and every process it started. The jobs of its workers return to the queue, without blame."""
        self.why_killed = self.why_killed or why
        for worker in self.workers:
            worker.killed = True
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # it has no group yet, or only zombies are left
            self.signal(signal.SIGKILL)

    def end_group(self, number: int) -> None:
        """Signal the processes it left behind: after a crash they must not continue alongside the next run."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def stack_of(self, _: str) -> str:
        """Return the stack of a worker's job, if that can be had without asking its process, or an empty string."""
        return ""

    def signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):  # it has ended, and SIGCHLD is pending
            os.kill(self.pid, number)


class WorkerHandle:
    """One worker; a replacement is another WorkerHandle of the same name. At first it has a process of its own."""

    process: ChildProcess

    def __init__(self, name: str, grace: float = GRACE) -> None:
        self.name = name
        self.grace = grace
        """Seconds that a task has to react to a request before the worker is killed."""
        self.status = SharedStatus()
        self.ended = float("inf")
        self.controls: list[ControlCommand] = []
        """The control commands that are done when it is gone."""
        self.verb = ""
        """`stop` or `kill`, if requested."""
        self.cancelling: tuple[str, str] | None = None
        """Queue and id of the job whose run is to end because it was cancelled."""
        self.ending: tuple[int, int] | None = None
        """The run that is to end: it was cancelled, or its lease has expired."""
        self.kill_at = float("inf")
        """When it is killed unless it reacts."""
        self.released_batch = 0
        """The batch of which it has only the running job: the supervisor released the others."""
        self.taken_back = 0
        """The wait whose claim was taken back, since the worker was suspended."""
        self.killed = False
        """True if the supervisor killed it; then its job does not count as crashed."""
        self.timed_out: tuple[int, int] | None = None
        """The run that exceeded its time limit."""
        self.soft_limited: tuple[int, int] | None = None
        """The run that reached its soft time limit."""
        self._interrupted: tuple[int, int] | None = None
        self._remind_at = float("inf")
        ChildProcess([self])

    @property
    def pid(self) -> int:
        """Process id of its process, 0 before the start."""
        return self.process.pid

    def stop(self) -> None:
        """Request that it stops after its current job."""
        self.verb = self.verb or "stop"
        self.status.stop_requested = 1
        # To a crew that would be a request to all its workers.
        self.process.signal(signal.SIGUSR1 if self.process.is_crew else signal.SIGTERM)

    def pause(self, paused: bool) -> None:  # noqa: FBT001 - the request itself
        """Request that it takes no jobs after its current one, or takes jobs again."""
        self.status.pause_requested = paused
        # A running worker checks after its job, so that user code is not disturbed.
        if not self.status.read().is_running:
            self.process.signal(signal.SIGUSR1)

    def end_run(self, reading: StatusReading, request: int, job: tuple[str, str] | None = None) -> None:
        """Request, once, how a run is to end; of a cancelled one, `job` is its queue and id.

        A run whose lease has expired is returned: its job is waiting, or is running elsewhere.
        """
        if self.ending == reading.run:
            return
        self.ending, self.cancelling = reading.run, job
        self._kill_later()
        self._interrupt(request, reading)

    def end_job(self, reading: StatusReading, held: HeldBatch, job_id: str, request: int) -> bool:
        """Request how the run of a job is to end, as `end_run`. Return False if that was requested before.

        Of a job of a batch it is only noted, for the task: the others go on, until all of them are to end.
        """
        if not held.is_gathered:
            is_new = self.ending != reading.run
            self.end_run(reading, request, (held.queue, job_id) if request == REQUEST_CANCEL else None)
            return is_new
        batch, position = reading.batch, held.ids.index(job_id)
        if self.status.is_ended(batch, position):
            return False
        self.status.end_one(batch, position)
        if all(self.status.is_ended(batch, one) for one in range(len(held.ids))):
            self.end_run(reading, request, (held.queue, held.ids[0]) if request == REQUEST_CANCEL else None)
        return True

    def end_resting(self, batch: int, request: int) -> None:
        """Request how a run is to end that a worker of a crew has not begun; nothing happens to a finished one."""
        self.status.request(batch, 0, request)
        self.process.signal(signal.SIGUSR1)

    def return_job(self) -> None:
        """Request that it returns its job to the queue and stops."""
        self.verb = "kill"  # so the job does not count as crashed
        reading = self.status.read()
        if reading.is_running:
            self._interrupt(REQUEST_RETURN, reading)
        self._kill_later()

    def kill(self, why: str = "") -> None:
        """Kill its process. The jobs of all workers in it return to the queue, without blame."""
        self.process.kill(why)

    def close(self) -> None:
        """Free its shared status, once its jobs are settled."""
        self.status.close()

    def _kill_later(self) -> None:
        self.kill_at = min(self.kill_at, clock.monotonic() + self.grace)

    def _interrupt(self, what: int, reading: StatusReading) -> None:
        self.status.request(*reading.run, what)
        self._interrupted, self._remind_at = reading.run, clock.monotonic() + REMIND_EVERY
        self.process.signal(signal.SIGUSR1)

    def remind(self, reading: StatusReading) -> None:
        """Request the end of the run again, at intervals, while it goes on.

        A signal that arrives just before a blocking call is not handled until that call returns.
        """
        now = clock.monotonic()
        if now >= self._remind_at and reading.is_running and self._interrupted == reading.run:
            self._remind_at = now + REMIND_EVERY
            self.process.signal(signal.SIGUSR1)

    def pass_soft_limit(self, reading: StatusReading) -> None:
        """Signal that the soft time limit of its run has passed, again at intervals until the worker has raised it."""
        now = clock.monotonic()
        if self.soft_limited == reading.run and now < self._remind_at:
            return
        self.soft_limited, self._remind_at = reading.run, now + REMIND_EVERY
        self.process.signal(signal.SIGUSR1)

    def running(self) -> tuple[StatusReading, HeldBatch] | None:
        """Return the current run and its batch, or None if there is none or the worker moved on meanwhile."""
        reading, held, again = self.status.read(), self.status.held(), self.status.read()
        if reading.run != again.run or held is None or not 0 <= reading.position < len(held.ids):
            return None
        return reading, held

    def resting(self) -> tuple[StatusReading, HeldBatch] | None:
        """Return the batch that a worker holds and does not run, or None: it gathers, has to wait, or has to settle it.

        A neighbor that holds the GIL may make that long. A worker with a process of its own holds such jobs only for a
        moment, unless it gathers them.
        """
        reading, held, again = self.status.read(), self.status.held(), self.status.read()
        if reading.is_running or held is None or reading.run != again.run:
            return None
        return (reading, held) if self.process.is_crew or held.is_gathered else None

    def run_of(self, queue: str, job_id: str) -> tuple[StatusReading, HeldBatch] | None:
        """Return the current run and its batch if it is of this job, or else None. An empty queue matches any."""
        found = self.running()
        if (
            found is None
            or job_id not in found[1].running(found[0].position)
            or queue not in {"", found[1].queue}
        ):
            return None
        return found

    def job(self) -> tuple[str, str]:
        """Return queue and id of the running job, the first of those that run together, or empty strings."""
        queue, ids = self.jobs()
        return queue, ids[0] if ids else ""

    def jobs(self) -> tuple[str, list[str]]:
        """Return the queue and the ids of the jobs that run: several only of a batch task."""
        reading = self.status.read()
        held = self.status.held() if reading.is_running else None
        ids = held.running(reading.position) if held is not None else []
        return (held.queue, ids) if held is not None and ids else ("", [])

    def report(self) -> WorkerReport:
        """Return a report of its state, without its usage."""
        reading = self.status.read()
        queue, jobs = self.jobs()
        job = jobs[0] if jobs else ""
        own = STATE_NAMES[reading.state]
        state, is_busy = "leaving" if self.verb else own, bool(job) or own == "busy"
        paused = bool(self.status.pause_requested)
        if not job:
            return WorkerReport(self.name, self.pid, state, reading.jobs_done, paused=paused, busy=is_busy)
        now = clock.monotonic()
        _, done, total, message = self.status.progress()
        cancelling = self.cancelling == (queue, job)
        return WorkerReport(
            self.name,
            self.pid,
            state,
            reading.jobs_done,
            job,
            self.status.task,
            queue,
            now - reading.since,
            done,
            total,
            message,
            self.status.attempt,
            paused,
            cancelling=cancelling,
            kill_in=max(0.0, self.kill_at - now) if cancelling else 0.0,
            busy=is_busy,
            batch=len(jobs),
        )


def _become_child(parent: int) -> None:
    """Detach a forked process: its own group, no handlers of its parent, and no life without its parent."""
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Output of tasks appears immediately, and survives a kill.
        sys.stdout.reconfigure(line_buffering=True)


def _exit(status: int) -> NoReturn:
    """Exit this process, even if the output of tasks can no longer be written."""
    try:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
    finally:
        os._exit(status)


def describe_exit(status: int) -> str:
    """Return the name of the signal, or the exit code, in a wait status."""
    if os.WIFSIGNALED(status):
        names = {one.value: one.name for one in signal.Signals}
        return names.get(os.WTERMSIG(status), f"signal {os.WTERMSIG(status)}")
    return f"exit code {os.waitstatus_to_exitcode(status)}"


class GroupWatcher:
    """A process that kills the noted process groups as soon as the supervisor is gone, however it ended.

    The kernel kills workers whose supervisor was killed, but not the programs they started, which would continue
    alongside the next run. The groups are in shared memory, and the end of the supervisor is that of a pipe that only
    it holds open. The process is not a child of the supervisor, so it never counts as a worker. A group is noted only
    while its worker is alive or about to be settled, and its number is not reused while there is a process in it, so
    the watcher kills no other group.
    """

    def __init__(self) -> None:
        self._groups = memoryview(mmap.mmap(-1, 8 * _SLOTS)).cast("q")
        reading, self._writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                if os.fork() == 0:
                    self._watch(reading)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(reading)

    def free_slot(self) -> int:
        """Return a slot for the next group."""
        return self._groups.tolist().index(0)

    def note(self, slot: int, group: int) -> None:
        """Note a group, or 0 for none. A worker notes itself as well, before it runs any user code."""
        self._groups[slot] = group

    def close(self) -> None:
        """Close the pipe in a forked worker, which must not hold it open."""
        os.close(self._writing)

    def _watch(self, reading: int) -> NoReturn:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.closerange(0, reading)
        os.closerange(reading + 1, max(4096, os.sysconf("SC_OPEN_MAX")))
        os.read(reading, 1)  # until no process is left that could write
        for group in filter(None, self._groups):
            _kill_group(group)
        os._exit(0)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        # If its worker is gone, programs it started may be alive.
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(group) != os.getsid(0) or os.getpgid(group) != group:
                return  # the number belongs to another group by now
        os.killpg(group, signal.SIGKILL)
