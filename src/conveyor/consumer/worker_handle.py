"""A worker as its supervisor sees it: a child process, its slate, and what was asked of it."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

from conveyor import clock
from conveyor.consumer import stack
from conveyor.consumer.process_usage import Vitals
from conveyor.consumer.shared_status import STATE_NAMES, Glance, HeldBatch, Slate
from conveyor.errors import StoreError
from conveyor.wire.control_messages import Control, WorkerReport

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
#: Seconds after which a run that goes on is asked to end again.
REMIND_EVERY = 1.0
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, stack.SIGNAL)
#: By which the supervisor reaches a worker, whatever signals the caller of the consumer had blocked.
_NEEDED = {signal.SIGTERM, signal.SIGUSR1, stack.SIGNAL}
#: By which the supervisor asks a worker to leave, or to end a run.
ASKS_TO_LEAVE = {signal.SIGTERM, signal.SIGUSR1}


class Worker:
    """One child process; a replacement is another Worker of the same name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.slate = Slate()
        self.pid = 0
        self.started = clock.monotonic()
        self.ended = float("inf")
        self.slot = 0
        """Where its process group is noted for the watcher."""
        self.vitals = Vitals()
        self.asked: list[Control] = []
        """Who is to be answered when it is gone."""
        self.verb = ""
        """stop or kill, once somebody asked for that."""
        self.cancelling: tuple[str, str] | None = None
        """Queue and id of the job whose run is to end because somebody cancelled it."""
        self.ending: tuple[int, int] | None = None
        """Batch and place of the run that is to end: it was cancelled, or its lease is gone."""
        self._interrupted: tuple[int, int] | None = None
        self._remind_at = float("inf")
        self.kill_at = float("inf")
        """When it is killed if it does not react."""
        self.relieved = 0
        """The batch of which it has only the job that runs; the others were given back."""
        self.killed = False
        """Whether we killed it; then nobody is to blame."""
        self.timed_out: tuple[int, int] | None = None
        """Batch and place of the run that was over its time."""

    def start(self, live: Callable[[Worker], int]) -> None:
        """Fork; the child runs `live` and ends with the status it gives.

        The parent must have one thread and no user code: then a fork copies nothing that could be half done. A signal
        that comes meanwhile waits until the child has its own ways with it: it would be lost on those of its parent.
        """
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                self._live(live, parent, before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _live(self, live: Callable[[Worker], int], parent: int, mask: set[int | signal.Signals]) -> NoReturn:
        """Be the child: run `live`, and end with its status."""
        status = 1
        try:
            _become_child(parent)
            stack.take_signal(self.slate)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask - _NEEDED)
            status = live(self)
        except StoreError as error:  # the supervisor reports it
            self.slate.set_error(f"{error}; {error.hint}" if error.hint else str(error))
        except BaseException:  # noqa: BLE001 - a fault of ours; told, and the worker is replaced
            traceback.print_exc()
        finally:
            _leave_process(status)

    def leave(self) -> None:
        """Ask it to finish its current job and leave."""
        self.slate.ask_to_leave()
        self._signal(signal.SIGTERM)

    def pause(self, paused: bool) -> None:  # noqa: FBT001 - the matter itself
        """Ask it to take no jobs after its current one, or to take some again."""
        self.slate.ask_to_pause(paused)
        if not self.slate.glance().runs:  # else it looks by itself, and user code is not disturbed
            self._signal(signal.SIGUSR1)

    def write_stack(self) -> None:
        """Have it write the stacks of its threads, whatever it does."""
        self._signal(stack.SIGNAL)

    def interrupt(self, what: int, glance: Glance) -> None:
        """Ask for the end of the run that `glance` saw."""
        self.slate.want(glance.number, glance.place, what)
        self._interrupted = (glance.number, glance.place)
        self._remind_at = clock.monotonic() + REMIND_EVERY
        self._signal(signal.SIGUSR1)

    def remind(self, glance: Glance) -> None:
        """Ask again, now and then, as long as that run goes on.

        A signal that comes just before a call that blocks is not looked at until that call returns.
        """
        now = clock.monotonic()
        if now >= self._remind_at and glance.runs and self._interrupted == (glance.number, glance.place):
            self._remind_at = now + REMIND_EVERY
            self._signal(signal.SIGUSR1)

    def kill(self) -> None:
        """End it and everything it started."""
        self.killed = True
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (
            ProcessLookupError,
            PermissionError,
        ):  # it has not yet made itself a group, or only zombies are in it
            self._signal(signal.SIGKILL)

    def end_left_behind(self, number: int) -> None:
        """End what it had started, now that it is gone: after a crash that must not go on beside the next run."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def running(self) -> tuple[Glance, HeldBatch] | None:
        """Return the run that goes on and its batch, or None if there is none or the worker moved on meanwhile."""
        glance, held, again = self.slate.glance(), self.slate.held(), self.slate.glance()
        same = (glance.number, glance.place) == (again.number, again.place)
        if not same or held is None or not glance.runs or glance.place >= len(held.ids):
            return None
        return glance, held

    def run_of(self, queue: str, job_id: str) -> tuple[Glance, HeldBatch] | None:
        """Return the run of this job and its batch, or None if it does not run or the worker moved on meanwhile.

        Without a queue, the job may be of any.
        """
        found = self.running()
        if found is None or found[1].ids[found[0].place] != job_id or queue not in {"", found[1].queue}:
            return None
        return found

    def job(self) -> tuple[str, str]:
        """Give queue and id of the job that runs, or empty strings."""
        glance = self.slate.glance()
        held = self.slate.held() if glance.runs else None
        if held is None or glance.place >= len(held.ids):
            return "", ""
        return held.queue, held.ids[glance.place]

    def report(self) -> WorkerReport:
        """Say what it is doing; how much of the machine it takes is not looked at."""
        glance = self.slate.glance()
        queue, job = self.job()
        own = STATE_NAMES[glance.state]
        state, is_busy = "leaving" if self.verb else own, bool(job) or own == "busy"
        paused = self.slate.must_pause()
        if not job:
            return WorkerReport(self.name, self.pid, state, glance.jobs_done, paused=paused, busy=is_busy)
        _, done, total, message = self.slate.progress()
        cancelling = self.cancelling == (queue, job)
        busy_for = clock.monotonic() - glance.since
        return WorkerReport(
            self.name,
            self.pid,
            state,
            glance.jobs_done,
            job,
            self.slate.task(),
            queue,
            busy_for,
            done,
            total,
            message,
            self.slate.attempt(),
            paused,
            cancelling=cancelling,
            kill_in=max(0.0, self.kill_at - clock.monotonic()) if cancelling else 0.0,
            busy=is_busy,
        )

    def _signal(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return  # it has ended, and SIGCHLD is on its way


def _become_child(parent: int) -> None:
    """Make a fresh process of a forked one: its own group, no signals meant for its parent, and no life without it."""
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what tasks print is seen at once, and survives a kill


def _leave_process(status: int) -> NoReturn:
    """End this process, even where what tasks printed cannot be written any more."""
    try:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
    finally:
        os._exit(status)


def how_it_ended(status: int) -> str:
    """Give a wait status in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return signal.Signals(number).name
        except ValueError:
            return f"signal {number}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"
