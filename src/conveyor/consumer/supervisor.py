"""The part of a consumer that never runs user code: keeps its workers alive, renews their leases, obeys.

One thread, one loop. Signal handlers only record; the loop wakes by the signal's byte in a pipe, by an answer on the
control connection, or by the clock, and acts. Each step, and within it each worker, is isolated: an error that nobody
foresaw is reported once, and the loop goes on. No call to the server takes longer than a moment.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from conveyor import clock, events
from conveyor.consumer import process_usage
from conveyor.consumer import shared_status as slates
from conveyor.consumer.control import LAST_SENDING, Ladder
from conveyor.consumer.control_line import ControlLine
from conveyor.consumer.group_watcher import GroupWatcher
from conveyor.consumer.heartbeat import Beat
from conveyor.consumer.isolation import Isolation
from conveyor.consumer.names import owner_name
from conveyor.consumer.recovery import recover
from conveyor.consumer.relief import relieve
from conveyor.consumer.settings import HEARTBEAT, LEASE, LEAVE, TICK
from conveyor.consumer.worker_handle import ASKS_TO_LEAVE, Worker, how_it_ended
from conveyor.errors import StoreError, StoreUnavailable
from conveyor.store import Client, plain
from conveyor.store.address import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.consumer.settings import ConsumerSettings

#: Exit status of a worker that could not load its tasks (EX_CONFIG of sysexits.h).
UNLOADABLE = 78
#: Seconds before a worker that died right after its start is replaced; doubles with each such death.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
#: Seconds of life after which a worker's death is no sign of trouble at the start; deaths that are borne with, by a
#: name later on, by all together before any has loaded its tasks.
YOUNG, PATIENT_WITH = 0.5, 3
#: Seconds that one call to the server may take: usually, for a beat after the server was silent for so long that it may
#: just be slow, and before the supervisor leaves.
PROMPT, PATIENT, LAST_WORDS = 1.5, 5.0, 1.0
#: Seconds after which settling for dead workers waits for the next round, so that no lease expires meanwhile.
SETTLING = 1.0
#: Seconds after which starting further workers waits for the next round, so that those that run keep their leases.
STARTING = 0.25
#: Seconds of silence after which a beat is patient.
SLOW_AFTER = 8.0
#: Steps of leaving: finish current, cancel and return, kill.
CANCEL, KILL = 2, 3
_REVIVE = """
from conveyor.errors import ConveyorError
from conveyor.store import embedded
try:
    embedded.revive()
except ConveyorError:
    pass
"""
#: Seconds between two looks while something is about to happen that nothing else tells of.
SHORT_TICK = 0.02


class _SignalCame(BaseException):
    """Raised by the signal handler while a beat waits for the server, for a signal that asks to leave."""


class Supervisor:
    """Runs one consumer until it is told to leave, or its queues are empty if that was asked for."""

    def __init__(
        self, name: str, settings: ConsumerSettings, client: Client, live: Callable[[Worker], int]
    ) -> None:
        self.settings = settings
        self.client = Client(client.url, patience=client.patience, within=PROMPT, name=client.name)
        self._revive = client.revive is not None
        self._reviving: subprocess.Popen[bytes] | None = None
        self._revived_at = float("-inf")
        self.live = live
        self.isolation = Isolation()
        self.report = process_usage.first_report(name, settings)
        self.beat = Beat(self.client, self.report)
        self.workers: dict[int, Worker] = {}
        self.bereaved: list[
            tuple[Worker, str]
        ] = []  # ended workers whose jobs the server has not heard about yet
        self.to_start: dict[str, float] = {}  # worker name -> when
        self.deaths: dict[str, int] = {}
        self.line = ControlLine(self.client, name)
        self.ladder = Ladder(self)
        self.leaving = 0
        self.return_at = float("inf")
        """When running jobs go back, once it leaves."""
        self.unloadable = ""
        self.jobs_done = 0
        self.announced = False
        self._loadable = False  # whether a worker that is gone had loaded its tasks
        self._stillborn = 0  # workers that died while they loaded them
        self._reason = ""  # why the server does not serve us; said once
        self._unsettled = ""  # why it does not take what became of dead workers' jobs
        self._silent_since = float("inf")  # since when it does not answer
        self._signals: list[int] = []
        self._signalled = self._called = 0  # how often signals, and the caller, have asked us to leave
        self._lifeline = settings.lifeline
        self._interruptible = False
        self.watcher: GroupWatcher | None = None

    def run(self, ready: Callable[[], None]) -> int:
        """Start the workers, keep them, and give the exit status: 0 after an orderly end, 1 if it could not work."""
        assert threading.active_count() == 1, "a supervisor has one thread, for it forks"
        with contextlib.suppress(OSError):  # without room for a process, workers say so
            self.watcher = GroupWatcher()
        wakeup = self._prepare_signals()
        names = [owner_name(self.report.name, number) for number in range(1, self.settings.crew_size + 1)]
        self.to_start = dict.fromkeys(names, clock.monotonic())
        events.emit(
            events.ConsumerStarted(self.report.name, self.settings.queues, len(names), shown(self.client.url))
        )
        steps = (
            lambda: self._sleep(wakeup),
            self._obey_signals,
            self._bury,
            self._replace,
            self._heed,
            self.ladder.look,
            self.ladder.send_answers,
            self._enforce,
            self._relieve,
            self._beat,
            self._obey_notices,
            lambda: self._announce(ready),
        )
        while self.workers or self.to_start:
            for step in steps:
                self._do(step)
            self.isolation.rest()
        return self._end()

    def _do(self, step: Callable[[], object]) -> None:
        """Do one step. Without the server, or where an error comes that nobody foresaw, the others go on."""
        try:
            with self.isolation:
                step()
        except StoreError as error:
            self.note(error)

    def leave(self) -> None:
        """Take the next step of leaving: finish current, then cancel and return, then kill."""
        self.leaving += 1
        self.to_start.clear()
        events.emit(events.ConsumerLeaving(self.report.name, self.leaving))
        if self.leaving == 1 and self.settings.leave_grace is not None:
            self.return_at = clock.monotonic() + self.settings.leave_grace
        for worker in self.workers.values():
            with self.isolation:
                self._have_leave(worker)
        self.beat.hurry()

    def _have_leave(self, worker: Worker) -> None:
        if self.leaving < CANCEL:
            worker.verb = worker.verb or "stop"
            worker.leave()
        elif self.leaving < KILL:
            worker.verb = "kill"  # what it ran goes back without blame
            glance = worker.slate.glance()
            if glance.runs:
                worker.interrupt(slates.WISH_RETURN, glance)
            worker.kill_at = min(worker.kill_at, clock.monotonic() + self.settings.grace)
        else:
            worker.kill()

    def _start(self, name: str) -> None:
        """Start a worker; later, if the machine has no room for a process now."""
        try:
            worker = Worker(name)
            worker.slate.ask_to_pause(name in self.ladder.pauses.names)
            worker.slot = self.watcher.free_slot() if self.watcher is not None else 0
            worker.start(self._live)
        except OSError as error:
            self.to_start[name] = clock.monotonic() + LONGEST_PAUSE
            events.emit(events.WorkerUnstarted(name, str(error)))
            return
        if self.watcher is not None:
            self.watcher.note(worker.slot, worker.pid)
        self.workers[worker.pid] = worker
        self.beat.hurry()

    def _live(self, worker: Worker) -> int:
        """Be that worker; in the child, which has no use for the connections of its parent."""
        if self.watcher is not None:
            self.watcher.note(worker.slot, os.getpid())
            self.watcher.let_go()
        self.client.close()
        self.line.close()
        return self.live(worker)

    def _prepare_signals(self) -> int:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (*LEAVE, signal.SIGCHLD):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._on_signal)
        # The caller may have blocked them.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*LEAVE, signal.SIGCHLD})
        return reading

    def _on_signal(self, number: int, _: object) -> None:
        self._signals.append(number)
        if self._interruptible and number in LEAVE:
            self._interruptible = False
            raise _SignalCame

    def _sleep(self, wakeup: int) -> None:
        waiting: list[Any] = [wakeup]
        if self.line.fileno() >= 0:
            waiting.append(self.line.fileno())
        if self._lifeline:
            waiting.append(0)
        tick = TICK if self.announced and not self.ladder.hurried else SHORT_TICK
        soon = [*self._due().values(), *([self.return_at] if self.leaving == 1 else [])]
        until = min([tick, *(at - clock.monotonic() for at in soon)])
        readable, _, _ = select.select(waiting, [], [], max(0.0, until))
        if wakeup in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wakeup, 4096)
        if self._lifeline and 0 in readable:
            self._hear_caller()

    def _hear_caller(self) -> None:
        try:
            asked = os.read(0, 4096)
        except ConnectionError:  # the caller is gone, and had not read all
            asked = b""
        self._lifeline = bool(asked)
        self._called = self._called + len(asked) if asked else max(self._called, 1)

    def _obey_signals(self) -> None:
        """Leave as far as was asked. A signal may reach us and our caller, who passes it on: it counts once."""
        signals, self._signals = self._signals, []
        self._signalled += sum(number in LEAVE for number in signals)
        while self.leaving < max(self._signalled, self._called):
            self.leave()
        if self.leaving == 1 and clock.monotonic() >= self.return_at:
            self.leave()

    def _bury(self) -> None:
        """Take leave of workers that have ended, and see to their jobs."""
        if self._reviving is not None and self._reviving.poll() is not None:
            self._reviving = None
        while self.workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            worker = self.workers.pop(pid, None)
            if worker is not None:
                with self.isolation:
                    self._mourn(worker, status)
            elif self._reviving is not None and pid == self._reviving.pid:
                self._reviving.returncode, self._reviving = status, None
        self._settle()

    def _settle(self) -> None:
        """Settle for dead workers if the server answers. What it refuses to settle is left to the end of its lease."""
        waiting, self.bereaved, refused = self.bereaved, [], ""
        until = clock.Deadline(SETTLING)
        while waiting and not self.is_silent:
            worker, how = waiting.pop(0)
            try:
                with self.isolation:
                    self._settle_for(worker, how)
            except StoreUnavailable as error:
                waiting.insert(0, (worker, how))
                self.note(error)
            except StoreError as error:
                self._unsettled = refused = str(error)
                if clock.monotonic() - worker.ended < LEASE:
                    self.bereaved.append((worker, how))
            if until.passed():
                break
        if not waiting:
            self._unsettled = refused
        self.bereaved = [*waiting, *self.bereaved]

    def _mourn(self, worker: Worker, status: int) -> None:
        how = how_it_ended(status)
        worker.ended = clock.monotonic()
        glance = worker.slate.glance()
        self.jobs_done += glance.jobs_done
        self.bereaved.append((worker, how))
        unloadable = self._why_unloadable(worker, glance, status)
        if unloadable:
            if not self.unloadable:
                self.unloadable = unloadable
                events.emit(events.TasksUnloadable(unloadable))
            while self.leaving < CANCEL:  # what others run already goes back, for the caller waits
                self.leave()
            self._forget_group(worker)
            return
        ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        # A signal of ours ends a worker whose task has put it back to its default.
        ours = bool(worker.verb) and ended_by in ASKS_TO_LEAVE
        was_killed = ours or ended_by == signal.SIGKILL
        if ours or (self.leaving and was_killed):
            worker.killed = True  # or the platform did it: its patience with a leaving consumer is over
        has_left = status == 0 and glance.state == slates.LEAVING  # else a task may have ended it
        is_over = has_left and self.settings.until_empty and not worker.slate.error()
        asked = bool(worker.verb or self.leaving or is_over)
        orderly = has_left or (status == 0 and asked)
        worker.end_left_behind(signal.SIGTERM if orderly else signal.SIGKILL)
        self._forget_group(worker)
        if worker.verb:
            verb = "kill" if was_killed else "release" if worker.verb == "kill" else worker.verb
            reason = worker.asked[0].reason if worker.asked else ""
            events.emit(events.WorkerStopped(worker.name, verb, reason))
        elif worker.killed:
            events.emit(events.WorkerStopped(worker.name, "kill", self._why_killed(worker)))
        elif not orderly:
            job = worker.job()[1] if glance.runs else ""
            task = worker.slate.task() if job else ""
            events.emit(events.WorkerDied(worker.name, how, job, task, worker.slate.error()))
        elif not asked:
            events.emit(events.WorkerLeft(worker.name, worker.slate.error() or "it got a signal to leave"))
        if not asked:
            self.to_start[worker.name] = clock.monotonic() + self._pause(worker, useless=glance.number == 0)
        self.beat.hurry()

    def _why_unloadable(self, worker: Worker, glance: slates.Glance, status: int) -> str:
        """Return why the tasks cannot be loaded, or "" if this worker's end has another cause."""
        if glance.state != slates.STARTING:
            self._loadable = True
        elif self.announced:
            pass  # the modules are being replaced
        elif status == UNLOADABLE << 8:
            return worker.slate.error() or how_it_ended(status)
        elif not (self._loadable or worker.verb or self.leaving):
            self._stillborn += 1
            if self._stillborn >= PATIENT_WITH and not self.workers:
                return f"{self._stillborn} workers died while they loaded them ({how_it_ended(status)})"
        return ""

    def _why_killed(self, worker: Worker) -> str:
        """Return for which job the supervisor killed a worker, and why."""
        job = f"job {worker.job()[1]}"
        if worker.timed_out is not None:
            return f"{job} reached its time limit"
        end = "its cancellation" if worker.cancelling else "the end of its lease"
        return f"{job} did not end within {self.settings.grace:g} s of {end}"

    def _forget_group(self, worker: Worker) -> None:
        if self.watcher is not None:
            self.watcher.note(worker.slot, 0)

    def _pause(self, worker: Worker, *, useless: bool) -> float:
        """Give the seconds before a replacement: none, unless those before it died young, time after time.

        One that never came to hold a job counts from the first; others after as many as one job may kill.
        """
        young = clock.monotonic() - worker.started < YOUNG
        deaths = self.deaths[worker.name] = self.deaths.get(worker.name, 0) + 1 if young or useless else 0
        steps = deaths if useless else deaths - PATIENT_WITH
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(steps, 10)) if steps > 0 else 0.0

    def _settle_for(self, worker: Worker, how: str) -> None:
        is_replaced = any(one.name == worker.name for one in self.workers.values())
        job, became = recover(self.client, worker, how, is_replaced=is_replaced)
        if job:
            self.beat.recovered(worker, job, became)
        for order in worker.asked:
            self.ladder.answer(order, worker.name, "done")
        worker.slate.close()

    def _replace(self) -> None:
        """Start workers that are due; with many of them or on a busy machine, some in each round."""
        until = clock.Deadline(STARTING)
        for name, at in self._due().items():
            if clock.monotonic() >= at:
                del self.to_start[name]
                self._start(name)
            if until.passed():
                break

    def _due(self) -> dict[str, float]:
        """Return when workers are to start.

        Jobs of the dead one go back first, or the new one would overtake them; but it does not wait for longer than
        their lease, since the server may only be slow, or refuse to take them back.
        """
        held = {worker.name: worker.ended + LEASE for worker, _ in self.bereaved}
        return {name: max(at, held.get(name, at)) for name, at in self.to_start.items()}

    def _heed(self) -> None:
        """Obey what is ordered; a server that is silent is asked by the beat alone."""
        if not self.is_silent:
            self.line.heed(self.ladder.obey, TICK if self._reason else 0.0)

    def _relieve(self) -> None:
        if not self.is_silent:
            relieve(self.client, self.workers.values(), self.isolation)

    def _obey_notices(self) -> None:
        for notice in self.beat.take_notices():
            with self.isolation:
                self.ladder.heed(notice)

    def _enforce(self) -> None:
        """Kill runs that are over their time, and workers that did not react."""
        for worker in self.workers.values():
            with self.isolation:
                self._enforce_on(worker)

    def _enforce_on(self, worker: Worker) -> None:
        now = clock.monotonic()
        glance, again = worker.slate.glance(), worker.slate.glance()
        if (glance.number, glance.place, glance.since) != (again.number, again.place, again.since):
            return  # it moved on meanwhile, and this may be the begin of one run with the time limit of the next
        worker.remind(glance)
        if glance.runs and glance.limit and now - glance.since > glance.limit and not worker.killed:
            worker.timed_out = (glance.number, glance.place)
            events.emit(events.TimeLimitReached(worker.job()[1], worker.slate.task(), glance.limit))
            worker.kill()
        elif worker.ending is not None and worker.ending != (glance.number, glance.place):  # it did react
            worker.ending = worker.cancelling = None
            if worker.verb != "kill":
                worker.kill_at = float("inf")
        elif now > worker.kill_at:
            worker.kill()

    def _beat(self) -> None:
        """Renew leases and report. A signal that asks to leave ends it, for a server that hangs has no say in that."""
        if self.leaving >= KILL:
            return
        silent = clock.monotonic() - self._silent_since
        self.client.within = PATIENT if silent > SLOW_AFTER and not self.leaving else PROMPT
        workers, told = self._readable(), False
        try:
            with contextlib.suppress(_SignalCame):
                try:
                    self._interruptible = True
                    self.beat.beat(workers)
                    told = True
                finally:
                    self._interruptible = False
        finally:
            self.client.within = PROMPT
        if told:
            self._silent_since = float("inf")
            self._hear_workers()

    def _readable(self) -> list[Worker]:
        """Return the workers whose slates can be read; one that cannot must not keep the others from their leases."""
        found = []
        for worker in self.workers.values():
            with self.isolation:
                worker.report()
                found.append(worker)
        return found

    def _hear_workers(self) -> None:
        """Report, once, what the server refuses our workers, and that all is well again."""
        refused = next(filter(None, (self._unsettled, *map(_refusal, self.workers.values()))), "")
        if refused and not self._reason:
            events.emit(events.ServerAway(refused))
        elif self._reason and not refused:
            events.emit(events.ServerBack())
            self.beat.hurry()
        self._reason = refused

    def note(self, error: StoreError) -> None:
        """Report, once, that the server does not serve us, and start an embedded one that has died."""
        if not self._reason:
            self._reason = str(error)
            events.emit(events.ServerAway(self._reason))
        if not isinstance(error, StoreUnavailable):
            self._silent_since = float("inf")
            return
        now = clock.monotonic()
        self._silent_since = min(self._silent_since, now)
        self.beat.hurry()  # it asks for sure, and so finds out
        if (
            self._revive
            and self._reviving is None
            and now - self._revived_at > HEARTBEAT
            and not self.leaving
        ):
            self._revived_at = now  # by a process of its own, since a server may read its data for minutes
            with contextlib.suppress(OSError):  # no room for a process now
                self._reviving = subprocess.Popen([sys.executable, "-c", _REVIVE], stdin=subprocess.DEVNULL)

    @property
    def is_silent(self) -> bool:
        """True if the server does not answer; then the beat alone asks it, for each call costs a while."""
        return self._silent_since < float("inf")

    def _announce(self, ready: Callable[[], None]) -> None:
        """Call `ready`, once, when all workers that could be started have loaded their tasks, or have left."""
        if self.announced or self.unloadable or (self.to_start and not self.workers):
            return
        if any(at <= clock.monotonic() for at in self._due().values()):
            return
        if all(one.slate.glance().state != slates.STARTING for one in self.workers.values()):
            self.announced = True
            ready()

    def _end(self) -> int:
        """Settle for the dead, answer, and take the consumer off the list; but wait for no server that is silent."""
        patience = clock.Deadline(HEARTBEAT)
        while self.bereaved and not patience.passed() and not (self.leaving >= KILL and self.is_silent):
            if self.leaving < KILL:
                self._silent_since = float("inf")
            self._do(self._bury)
            clock.sleep(TICK / 5 if self.bereaved else 0.0)
        for step in (self.ladder.answer_all, lambda: self.ladder.send_answers(LAST_SENDING), self._retire):
            if not self.is_silent:
                self._do(step)
        self.line.close()
        if self.unloadable:
            return 1
        events.emit(events.ConsumerLeft(self.report.name, self.jobs_done))
        return 0

    def _retire(self) -> None:
        told = [*self.beat.counted(), *plain.retire(self.report.name)]
        self.client.run_all(told, patience=0.0, within=LAST_WORDS)


def _refusal(worker: Worker) -> str:
    """Return what the server refuses a worker now; what one says that starts or leaves is about its end."""
    error = worker.slate.error()
    works = worker.slate.glance().state in {slates.IDLE, slates.BUSY, slates.PAUSED}
    return error if works else ""
