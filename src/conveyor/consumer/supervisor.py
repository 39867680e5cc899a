"""The part of a consumer that never runs user code: keeps its workers alive, renews their leases, obeys.

One thread, one loop. Signal handlers only record; the loop wakes by the signal's byte in a pipe, by an answer on the
control connection, or by the clock, and acts.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from typing import TYPE_CHECKING, Any

from conveyor import clock, events
from conveyor.consumer import slate as slates
from conveyor.consumer import vitals
from conveyor.consumer.beat import Beat
from conveyor.consumer.control_line import ControlLine
from conveyor.consumer.ladder import Ladder
from conveyor.consumer.names import owner_name
from conveyor.consumer.recovery import recover
from conveyor.consumer.relief import relieve
from conveyor.consumer.settings import HEARTBEAT, TICK
from conveyor.consumer.worker import Worker, how_it_ended
from conveyor.errors import ConveyorError, StoreError, StoreUnavailable
from conveyor.store import plain
from conveyor.store.address import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.consumer.settings import ConsumerSettings
    from conveyor.store import Client

#: Signals that ask the consumer to leave, each one a step further; the last comes when its terminal is closed.
LEAVE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Exit status of a worker that could not load its tasks (EX_CONFIG of sysexits.h).
UNLOADABLE = 78
#: Seconds before a worker that died right after its start is replaced; doubles with each such death.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
#: Seconds of life after which a worker's death is no sign of trouble at the start; deaths that are borne with.
YOUNG, PATIENT_WITH = 0.5, 3
#: Seconds between two looks while something is about to happen that nothing else tells of.
SHORT_TICK = 0.02


class Supervisor:
    """Runs one consumer until it is told to leave, or its queues are empty if that was asked for."""

    def __init__(
        self, name: str, settings: ConsumerSettings, client: Client, live: Callable[[Worker], int]
    ) -> None:
        self.settings = settings
        self.client = client
        self.live = live
        self.report = vitals.first_report(name, settings)
        self.beat = Beat(client, self.report)
        self.workers: dict[int, Worker] = {}
        self.bereaved: list[
            tuple[Worker, str]
        ] = []  # ended workers whose jobs the server has not heard about yet
        self.to_start: dict[str, float] = {}  # worker name -> when
        self.deaths: dict[str, int] = {}
        self.line = ControlLine(client, name)
        self.ladder = Ladder(self)
        self.leaving = 0
        self.return_at = float("inf")
        """When running jobs go back, once it leaves."""
        self.unloadable = ""
        self.jobs_done = 0
        self.announced = False
        self._away = False
        self._signals: list[int] = []

    def run(self, ready: Callable[[], None]) -> int:
        """Start the workers, keep them, and give the exit status: 0 after an orderly end, 1 if it could not work."""
        assert threading.active_count() == 1, "a supervisor has one thread, for it forks"
        wakeup = self._prepare_signals()
        for number in range(1, self.settings.crew_size + 1):
            self._start(owner_name(self.report.name, number))
        events.emit(
            events.ConsumerStarted(
                self.report.name, self.settings.queues, len(self.workers), shown(self.client.url)
            )
        )
        while self.workers or self.to_start:
            self._sleep(wakeup)
            self._obey_signals()
            if self.leaving == 1 and clock.monotonic() >= self.return_at:
                self.leave()
            self._bury()
            self._replace()
            self.line.heed(self.ladder.obey, TICK if self._away else 0.0)
            self.ladder.look()
            self._enforce()
            relieve(self.client, self.workers.values())
            self._beat()
            for notice in self.beat.take_notices():
                self.ladder.heed(notice)
            self._announce(ready)
        return self._end()

    def leave(self) -> None:
        """Take the next step of leaving: finish current, then cancel and return, then kill."""
        self.leaving += 1
        self.to_start.clear()
        events.emit(events.ConsumerLeaving(self.report.name, self.leaving))
        if self.leaving == 1 and self.settings.leave_grace is not None:
            self.return_at = clock.monotonic() + self.settings.leave_grace
        for worker in self.workers.values():
            if self.leaving == 1:
                worker.verb = worker.verb or "stop"
                worker.leave()
            elif self.leaving == 2:  # noqa: PLR2004 - the second step
                worker.verb = "kill"  # what it ran goes back without blame
                glance = worker.slate.glance()
                if glance.runs:
                    worker.interrupt(slates.WISH_RETURN, glance)
                worker.kill_at = min(worker.kill_at, clock.monotonic() + self.settings.grace)
            else:
                worker.kill()
        self.beat.hurry()

    def _start(self, name: str) -> None:
        worker = Worker(name)
        worker.slate.ask_to_pause(name in self.ladder.pauses.names)
        worker.start(self.live)
        self.workers[worker.pid] = worker
        self.beat.hurry()

    def _prepare_signals(self) -> int:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (*LEAVE, signal.SIGCHLD):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                signal.signal(number, lambda number, _: self._signals.append(number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # our caller may have held it back
        return reading

    def _sleep(self, wakeup: int) -> None:
        waiting: list[Any] = [wakeup]
        if self.line.fileno() >= 0:
            waiting.append(self.line.fileno())
        if self.settings.lifeline and not self.leaving:
            waiting.append(0)
        tick = TICK if self.announced and not self.ladder.hurried else SHORT_TICK
        soon = [*self.to_start.values(), *([self.return_at] if self.leaving == 1 else [])]
        until = min([tick, *(at - clock.monotonic() for at in soon)])
        readable, _, _ = select.select(waiting, [], [], max(0.0, until))
        if wakeup in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wakeup, 4096)
        if 0 in readable and 0 in waiting and self._lifeline_ended():
            self.leave()

    def _lifeline_ended(self) -> bool:
        try:
            return not os.read(0, 4096)
        except ConnectionError:  # the caller is gone, and had not read all
            return True

    def _obey_signals(self) -> None:
        signals, self._signals = self._signals, []
        for number in signals:
            if number in LEAVE:
                self.leave()

    def _bury(self) -> None:
        """Take leave of workers that have ended, and see to their jobs."""
        while self.workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            worker = self.workers.pop(pid, None)
            if worker is not None:
                self._mourn(worker, status)
        still = []
        for worker, how in self.bereaved:
            try:
                self._settle_for(worker, how)
            except StoreError:
                still.append((worker, how))
        self.bereaved = still

    def _mourn(self, worker: Worker, status: int) -> None:
        how = how_it_ended(status)
        glance = worker.slate.glance()
        self.jobs_done += glance.jobs_done
        self.bereaved.append((worker, how))
        if status == UNLOADABLE << 8:
            self.unloadable = worker.slate.error()
            self.to_start.clear()
            for other in self.workers.values():
                other.leave()
            return
        orderly = status == 0 and (worker.verb or self.leaving or self.settings.until_empty)
        if self.leaving and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            worker.killed = True  # the platform did it: its patience with a leaving consumer is over
        worker.end_left_behind(signal.SIGTERM if orderly else signal.SIGKILL)
        if worker.verb:
            events.emit(
                events.WorkerStopped(worker.name, worker.verb, worker.asked[0].reason if worker.asked else "")
            )
        elif not orderly:
            job = worker.job()[1] if glance.runs else ""
            events.emit(events.WorkerDied(worker.name, how, job, worker.slate.task() if job else ""))
        if not orderly and not worker.verb and not self.leaving:
            self.to_start[worker.name] = clock.monotonic() + self._pause(worker, useless=glance.number == 0)
        self.beat.hurry()

    def _pause(self, worker: Worker, *, useless: bool) -> float:
        """Give the seconds before a replacement: none, unless those before it died young, time after time.

        One that never came to hold a job counts from the first; others after as many as one job may kill.
        """
        young = clock.monotonic() - worker.started < YOUNG
        deaths = self.deaths[worker.name] = self.deaths.get(worker.name, 0) + 1 if young or useless else 0
        steps = deaths if useless else deaths - PATIENT_WITH
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(steps, 10)) if steps > 0 else 0.0

    def _settle_for(self, worker: Worker, how: str) -> None:
        job, became = recover(self.client, worker, how)
        if job:
            self.beat.recovered(worker, job, became)
        for order in worker.asked:
            self.ladder.answer(order, worker.name, "done")
        worker.slate.close()

    def _replace(self) -> None:
        for name, at in list(self.to_start.items()):
            if clock.monotonic() >= at:
                del self.to_start[name]
                self._start(name)

    def _enforce(self) -> None:
        """Kill runs that are over their time, and workers that did not react."""
        now = clock.monotonic()
        for worker in self.workers.values():
            glance = worker.slate.glance()
            if glance.runs and glance.limit and now - glance.since > glance.limit and not worker.killed:
                worker.timed_out = (glance.number, glance.place)
                events.emit(events.TimeLimitReached(worker.job()[1], worker.slate.task(), glance.limit))
                worker.kill()
            elif worker.ending is not None and worker.ending != (glance.number, glance.place):  # it did react
                worker.ending, worker.cancelling = None, ""
                if worker.verb != "kill":
                    worker.kill_at = float("inf")
            elif now > worker.kill_at:
                worker.kill()

    def _beat(self) -> None:
        try:
            self.beat.beat(self.workers.values())
        except StoreError as error:
            if not self._away:
                self._away = True
                events.emit(events.ServerAway(str(error)))
            if self.client.revive is not None and isinstance(error, StoreUnavailable):
                with contextlib.suppress(ConveyorError):
                    self.client.revive()
            return
        if self._away:
            self._away = False
            events.emit(events.ServerBack())
            self.beat.hurry()

    def _announce(self, ready: Callable[[], None]) -> None:
        """Say so, once, when all workers have loaded their tasks."""
        if self.announced or self.unloadable:
            return
        if all(one.slate.glance().state != slates.STARTING for one in self.workers.values()):
            self.announced = True
            ready()

    def _end(self) -> int:
        deadline = clock.Deadline(HEARTBEAT)
        while self.bereaved and not deadline.passed():
            self._bury()
            clock.sleep(TICK / 5 if self.bereaved else 0.0)
        self.ladder.answer_all()
        with contextlib.suppress(StoreError):
            self.client.run_all([*self.beat.counted(), *plain.retire(self.report.name)], patience=0.0)
        self.line.close()
        if self.unloadable:
            events.emit(events.TasksUnloadable(self.unloadable))
            return 1
        events.emit(events.ConsumerLeft(self.report.name, self.jobs_done))
        return 0
