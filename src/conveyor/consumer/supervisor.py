"""The part of a consumer that never runs user code: it keeps workers alive, renews leases and handles control commands.

One thread, one loop. Signal handlers only record; the loop is woken by the signal's byte in a pipe, by a reply on the
control connection, or by the clock, and acts. Each step, and within it each worker, is isolated: an unforeseen error is
reported once, and the loop goes on. No call to the server takes longer than a moment.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import structs

from conveyor import clock, events
from conveyor.consumer import shared_status
from conveyor.consumer.control import LAST_SENDING, ControlChannel, ControlHandler, Replies
from conveyor.consumer.health import Isolation, ServerHealth
from conveyor.consumer.heartbeat import Heartbeat
from conveyor.consumer.process_usage import first_report
from conveyor.consumer.recovery import ORDERLY, recover, release_stuck_jobs
from conveyor.consumer.scaling import Scaling
from conveyor.consumer.scheduler import Scheduler
from conveyor.consumer.settings import HEARTBEAT, LEASE, STOP_SIGNALS, TICK
from conveyor.consumer.shared_status import REQUEST_TIMEOUT
from conveyor.consumer.worker_handle import (
    REQUEST_SIGNALS,
    ChildProcess,
    GroupWatcher,
    WorkerHandle,
    describe_exit,
)
from conveyor.errors import StoreError, StoreUnavailable
from conveyor.store import Client, control_channel
from conveyor.store.address import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.consumer.settings import ConsumerSettings
    from conveyor.consumer.shared_status import StatusReading

#: Exit status of a worker that could not load its tasks, and of one that could not open its resources (EX_CONFIG and
#: EX_UNAVAILABLE of sysexits.h).
UNLOADABLE, WITHOUT_RESOURCES = 78, 69
#: Seconds before a worker that died right after its start is replaced; doubles with each such death.
FIRST_DELAY, MAX_DELAY = 0.25, 10.0
#: Seconds of life after which a worker's death does not indicate a problem at the start. Number of early deaths that
#: are tolerated: of all workers before any has loaded its tasks, and of each name later on.
YOUNG, TOLERATED_DEATHS = 0.5, 3
#: Seconds that one call to the server may take: usually, for a heartbeat after a silence so long that the server may
#: only be slow, and before the supervisor exits.
CALL_TIMEOUT, SLOW_CALL_TIMEOUT, LAST_CALL_TIMEOUT = 1.5, 5.0, 1.0
#: Seconds of silence after which a heartbeat may take the longer time.
SLOW_AFTER = 8.0
#: Seconds after which settling for dead workers waits for the next round, so that no lease expires meanwhile.
SETTLING = 1.0
#: Seconds after which starting further workers waits for the next round, so that those that run keep their leases.
STARTING = 0.25
#: Seconds after which it is reported again that workers cannot open their resources.
REPORT_AGAIN = 60.0
#: Seconds between two polls while something is imminent that only polling detects.
SHORT_TICK = 0.02
#: Stop levels: finish current jobs, cancel and return them, kill.
FINISH, CANCEL, KILL = 1, 2, 3


class _StopSignal(BaseException):
    """Raised by the signal handler for a stop signal while a heartbeat waits for the server."""


class Supervisor:
    """Runs one consumer until it is stopped or, with `until_empty`, its queues are empty."""

    def __init__(
        self, name: str, settings: ConsumerSettings, client: Client, work: Callable[[ChildProcess], int]
    ) -> None:
        self.settings = settings
        self.work = work
        self.client = Client(client.url, patience=client.patience, within=CALL_TIMEOUT, name=client.name)
        self.server = ServerHealth(revives=client.revive is not None)
        self.isolation = Isolation()
        self.report = first_report(name, settings)
        self.heartbeat = Heartbeat(self.client, self.report, self.isolation)
        self.workers: dict[str, WorkerHandle] = {}
        self.to_start: dict[str, float] = {}
        """When workers are to start, by name."""
        self.scaling = Scaling(name, settings, self.workers, self.to_start)
        self.scheduler = Scheduler(self.client, settings.queues)
        self.unsettled: list[tuple[WorkerHandle, str]] = []
        """Ended workers whose jobs the server does not know about yet, and how they ended."""
        self.channel = ControlChannel(self.client, name)
        self.replies = Replies(self.client)
        hurry = self.heartbeat.hurry
        self.control = ControlHandler(
            name, self.workers, self.to_start, self.replies.add, hurry, self.scaling
        )
        self.watcher: GroupWatcher | None = None
        self.stop_level = 0
        self.unloadable = ""
        """Why tasks cannot be loaded, if so."""
        self.is_ready = False
        self.jobs_done: Counter[str] = Counter()
        """Finished runs of workers that have ended, by name."""
        self._cancel_at = float("inf")  # when the stop level becomes CANCEL
        self._limit_at = float("inf")  # when the next run reaches its time limit
        self._early_deaths: dict[str, int] = {}
        self._has_loaded = False  # a worker that is gone had loaded its tasks
        self._failed_loads = 0
        self._lack = ""  # why workers cannot open their resources
        self._report_lack_at = clock.Deadline(0.0)
        self._refusal = ""  # why the server refuses to settle for dead workers
        self._signals: list[int] = []
        self._signalled = self._called = 0  # stop requests by signals, and by the caller
        self.lifeline = 0 if settings.lifeline else -1
        """File descriptor that leads to the caller, or -1."""
        self._is_interruptible = False

    def run(self, ready: Callable[[], None]) -> int:
        """Start the workers and keep them running. Return the exit code: 0 after an orderly end, or else 1."""
        assert threading.active_count() == 1, "a supervisor has one thread, for it forks"
        with contextlib.suppress(OSError):  # no room for a process; workers will report that
            self.watcher = GroupWatcher()
        return self._supervise(self._prepare_signals(), ready)

    def _supervise(self, wakeup: int, ready: Callable[[], None]) -> int:
        self.scaling.start()
        count = len(self.to_start)
        events.emit(
            events.ConsumerStarted(
                self.report.name,
                self.settings.queues,
                count,
                shown(self.client.url),
                self.settings.max_workers,
            )
        )
        steps = (
            lambda: self._sleep(wakeup),
            self._handle_signals,
            self._reap_processes,
            self._dismiss_leavers,
            self._settle,
            self._follow_need,
            self._start_due,
            self._poll_control,
            self.control.poll,
            self._send_replies,
            self._enforce,
            self._release_stuck_jobs,
            self._send_heartbeat,
            self._handle_notices,
            self._fire_schedules,
            lambda: self._report_ready(ready),
        )
        while self.workers or self.to_start or self.scaling.is_kept:
            for step in steps:
                self._do(step)
            self.isolation.rest()
        return self._end()

    def _do(self, step: Callable[[], object]) -> None:
        """Do one step. If the server fails, or an unforeseen error occurs, the others go on."""
        try:
            with self.isolation:
                step()
        except StoreError as error:
            self.note(error)

    def note(self, error: StoreError) -> None:
        """Note that the server failed; the next heartbeat finds out when it is back."""
        self.server.failed(error)
        if self.server.is_silent:
            self.heartbeat.hurry()

    # Signals, and the loop's sleep.

    def _prepare_signals(self) -> int:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._on_signal)
        # The caller may have blocked them.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*STOP_SIGNALS, signal.SIGCHLD})
        return reading

    def _on_signal(self, number: int, _: object) -> None:
        self._signals.append(number)
        if self._is_interruptible and number in STOP_SIGNALS:
            self._is_interruptible = False
            raise _StopSignal

    def _sleep(self, wakeup: int) -> None:
        waiting = [wakeup, self.channel.listener.fileno(), self.lifeline]
        has_replies = bool(self.replies.unsent) and not self.server.is_silent
        is_urgent = not self.is_ready or self.control.is_urgent or has_replies
        due = [*self._start_times().values(), *([self._cancel_at] if self.stop_level == FINISH else [])]
        due += [self._limit_at, self.scaling.count_at]
        due += [self.scheduler.due_at] if self._may_fire else []
        until = min([SHORT_TICK if is_urgent else TICK, *(at - clock.monotonic() for at in due)])
        readable, _, _ = select.select([file for file in waiting if file >= 0], [], [], max(0.0, until))
        if wakeup in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wakeup, 4096)
        if self.lifeline in readable:
            self._read_lifeline()

    def _read_lifeline(self) -> None:
        try:
            requests = os.read(self.lifeline, 4096)
        except ConnectionError:  # the caller is gone, with data unread
            requests = b""
        self._called = self._called + len(requests) if requests else max(self._called, 1)
        if not requests:
            self.lifeline = -1

    def _handle_signals(self) -> None:
        """Raise the stop level as requested. A signal to us and to our caller, who passes it on, counts once."""
        signals, self._signals = self._signals, []
        self._signalled += sum(number in STOP_SIGNALS for number in signals)
        while self.stop_level < max(self._signalled, self._called):
            self.raise_stop_level()
        if self.stop_level == FINISH and clock.monotonic() >= self._cancel_at:
            self.raise_stop_level()

    def raise_stop_level(self) -> None:
        """Stop the consumer: finish the current jobs, then cancel and return them, then kill."""
        self.stop_level += 1
        self.scaling.close()
        self.to_start.clear()
        self.server.revives = False
        events.emit(events.ConsumerLeaving(self.report.name, self.stop_level))
        if self.stop_level == FINISH and self.settings.leave_grace is not None:
            self._cancel_at = clock.monotonic() + self.settings.leave_grace
        for worker in self.workers.values():
            with self.isolation:
                if self.stop_level < CANCEL:
                    worker.stop()
                elif self.stop_level < KILL:
                    worker.return_job()
                else:
                    worker.kill()
        self.heartbeat.hurry()

    # The workers' lives.

    def _follow_need(self) -> None:
        """Adapt the number of workers to what waits, if it is automatic."""
        if self.scaling.is_automatic and not self.server.is_silent:
            self.scaling.follow(self.client)

    def _start_due(self) -> None:
        """Start workers that are due; of many workers, or on a busy machine, some in each round."""
        until = clock.Deadline(STARTING)
        together: dict[int, dict[str, float]] = {}
        for name, at in self._start_times().items():
            together.setdefault(self.scaling.process_of[name], {})[name] = at
        for times in together.values():
            if clock.monotonic() >= max(times.values()):
                self._start(list(times))
            if until.passed():
                break

    def _start_times(self) -> dict[str, float]:
        """Return when workers are to start.

        The jobs of a dead worker return to the queue first, or its replacement would overtake them. But it waits no
        longer than their lease, since the server may only be slow, or refuse to take them back.
        """
        held = {worker.name: worker.ended + LEASE for worker, _ in self.unsettled}
        return {name: max(at, held.get(name, at)) for name, at in self.to_start.items()}

    def _start(self, names: list[str]) -> None:
        """Start the workers of one process, or later if the machine has no room for a process now."""
        for name in names:
            del self.to_start[name]
        try:
            process = self._make_process(names)
            for worker in process.workers:
                worker.status.pause_requested = self.control.pauses.start(worker.name)
            process.slot = self.watcher.free_slot() if self.watcher is not None else 0
            process.start(self._run_process)
        except OSError as error:
            self.to_start.update(dict.fromkeys(names, clock.monotonic() + MAX_DELAY))
            events.emit(events.WorkerUnstarted(names[0], str(error)))
            return
        self._note_group(process, process.pid)
        self.workers.update({worker.name: worker for worker in process.workers})
        self.heartbeat.hurry()

    def _make_process(self, names: list[str]) -> ChildProcess:
        workers = [WorkerHandle(name, self.settings.grace) for name in names]
        return ChildProcess(workers, is_crew=self.settings.kind != "process")

    def _run_process(self, process: ChildProcess) -> int:
        """Run the workers of a process in the child, without the connections of its parent."""
        self._note_group(process, os.getpid())
        if self.watcher is not None:
            self.watcher.close()
        self.client.close()
        self.channel.listener.close()
        return self.work(process)

    def _note_group(self, process: ChildProcess, group: int) -> None:
        if self.watcher is not None:
            self.watcher.note(process.slot, group)

    def _reap_processes(self) -> None:
        """Collect the exit status of workers that have ended."""
        self.server.reap()
        for process, status in self._ended_processes():
            for worker in process.workers:
                self.workers.pop(worker.name, None)
            for worker in process.workers:
                with self.isolation:
                    self._handle_exit(worker, status)

    def _ended_processes(self) -> Iterator[tuple[ChildProcess, int]]:
        """Yield the processes that have ended, with their wait status."""
        while self.workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            process = next((one.process for one in self.workers.values() if one.pid == pid), None)
            if process is None:
                self.server.reap(pid, status)
            else:
                yield process, status

    def _dismiss_leavers(self) -> None:
        """Take workers that have left their crew on request off the list, while its process goes on."""
        for worker in list(self.workers.values()):
            crew = worker.process.workers
            if worker.verb and len(crew) > 1 and worker.status.state == shared_status.LEAVING:
                del self.workers[worker.name]
                crew.remove(worker)
                worker.ended = clock.monotonic()
                self.jobs_done[worker.name] += worker.status.read().jobs_done
                self.control.pauses.names.discard(worker.name)
                self._report_exit(worker, ORDERLY, was_killed=False, is_orderly=True, is_expected=True)
                self.unsettled.append((worker, ORDERLY))
                self.heartbeat.hurry()

    def _handle_exit(self, worker: WorkerHandle, status: int) -> None:
        """Report how a worker ended, end what its process left behind, and plan its replacement."""
        how = describe_exit(status)
        worker.ended = clock.monotonic()
        reading = worker.status.read()
        self.jobs_done[worker.name] += reading.jobs_done
        self.unsettled.append((worker, how))
        unloadable = self._why_unloadable(worker, reading, status)
        if unloadable:
            if not self.unloadable:
                self.unloadable = unloadable
                events.emit(events.TasksUnloadable(unloadable))
            while self.stop_level < CANCEL:  # running jobs return to the queue, for the caller waits
                self.raise_stop_level()
            self._note_group(worker.process, 0)
            return
        ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        # The supervisor's own signal kills a worker whose task has restored its default.
        is_ours = bool(worker.verb) and ended_by in REQUEST_SIGNALS
        was_killed = is_ours or ended_by == signal.SIGKILL
        if is_ours or (self.stop_level and was_killed):
            worker.killed = True  # or the platform killed it, out of patience with a stopping consumer
        # In another state, a task may have ended it.
        has_left = status == 0 and reading.state == shared_status.LEAVING
        is_recycled = has_left and bool(worker.status.spent)
        is_over = has_left and self.settings.until_empty and not worker.status.error
        is_expected = bool(worker.verb or self.stop_level or is_over)
        is_orderly = has_left or (status == 0 and is_expected)
        worker.process.end_group(signal.SIGTERM if is_orderly else signal.SIGKILL)
        self._note_group(worker.process, 0)
        if reading.state == shared_status.STARTING and status == WITHOUT_RESOURCES << 8:
            self._report_lack(worker)
        else:
            self._report_exit(
                worker, how, was_killed=was_killed, is_orderly=is_orderly, is_expected=is_expected
            )
        if is_expected:
            self.control.pauses.names.discard(worker.name)
        else:
            delay = 0.0 if is_recycled else self._restart_delay(worker, useless=reading.batch == 0)
            self.to_start[worker.name] = clock.monotonic() + delay
        self.heartbeat.hurry()

    def _report_exit(
        self, worker: WorkerHandle, how: str, *, was_killed: bool, is_orderly: bool, is_expected: bool
    ) -> None:
        is_busy = bool(worker.job()[1])
        is_first = worker is worker.process.workers[0]
        if worker.verb:
            verb = "kill" if was_killed else "release" if worker.verb == "kill" else worker.verb
            reason = worker.controls[0].reason if worker.controls else ""
            events.emit(events.WorkerStopped(worker.name, verb, reason))
        elif not (is_first or is_busy):
            pass  # one of many in a process: those that lost a job, and one of them in any case, are reported
        elif worker.killed:
            events.emit(events.WorkerStopped(worker.name, "kill", worker.process.why_killed))
        elif not is_orderly:
            job = worker.job()[1]
            task = worker.status.task if job else ""
            events.emit(events.WorkerDied(worker.name, how, job, task, worker.status.error))
        elif worker.status.spent:
            is_usual = worker.status.spent == shared_status.MAX_JOBS
            events.emit(events.WorkerRecycled(worker.name, worker.status.error, is_usual))
        elif not is_expected:
            events.emit(events.WorkerLeft(worker.name, worker.status.error or "it received a stop signal"))

    def _report_lack(self, worker: WorkerHandle) -> None:
        """Report why a worker cannot open its resources; the same reason once in a while."""
        reason = worker.process.workers[0].status.error
        if reason != self._lack or self._report_lack_at.passed():
            self._lack, self._report_lack_at = reason, clock.Deadline(REPORT_AGAIN)
            events.emit(events.ResourcesUnavailable(worker.name, reason))
            self.heartbeat.report = structs.replace(self.heartbeat.report, trouble=reason)

    def _why_unloadable(self, worker: WorkerHandle, reading: StatusReading, status: int) -> str:
        """Return why tasks cannot be loaded, or "" if this worker's end has another cause."""
        if reading.state != shared_status.STARTING:
            self._has_loaded = True
        elif self.is_ready:
            pass  # the modules are being replaced
        elif status == WITHOUT_RESOURCES << 8:
            pass  # what they connect to comes back
        elif status == UNLOADABLE << 8:
            return worker.status.error or describe_exit(status)
        elif not (self._has_loaded or worker.verb or self.stop_level):
            self._failed_loads += 1
            if self._failed_loads >= TOLERATED_DEATHS and not self.workers:
                return f"{self._failed_loads} workers died while they loaded them ({describe_exit(status)})"
        return ""

    def _restart_delay(self, worker: WorkerHandle, *, useless: bool) -> float:
        """Return the seconds before a replacement: 0, unless workers of this name died young, time after time.

        Workers that never held a job count from the first; others after as many deaths as one job may cause.
        """
        is_early = useless or clock.monotonic() - worker.process.started < YOUNG
        deaths = self._early_deaths[worker.name] = (
            self._early_deaths.get(worker.name, 0) + 1 if is_early else 0
        )
        steps = deaths if useless else deaths - TOLERATED_DEATHS
        return min(MAX_DELAY, FIRST_DELAY * 2.0 ** min(steps, 10)) if steps > 0 else 0.0

    def _settle(self) -> None:
        """Settle for dead workers if the server replies. What it refuses to settle returns when its lease expires."""
        waiting, self.unsettled, refusal = self.unsettled, [], ""
        until = clock.Deadline(SETTLING)
        while waiting and not self.server.is_silent:
            worker, how = waiting.pop(0)
            try:
                with self.isolation:
                    self._settle_for(worker, how)
            except StoreUnavailable as error:
                waiting.insert(0, (worker, how))
                self.note(error)
            except StoreError as error:
                self._refusal = refusal = str(error)
                if clock.monotonic() - worker.ended < LEASE:
                    self.unsettled.append((worker, how))
            if until.passed():
                break
        if not waiting:
            self._refusal = refusal
        self.unsettled[:0] = waiting

    def _settle_for(self, worker: WorkerHandle, how: str) -> None:
        ended = recover(self.client, worker, how, is_replaced=worker.name in self.workers)
        if ended:
            self.heartbeat.count_recovery(worker, ended)
        for control in worker.controls:
            self.replies.add(control, worker.name, "done")
        worker.close()

    def _enforce(self) -> None:
        """End runs over their time limit, raise in those over the soft one, and kill workers that did not react."""
        self._limit_at = float("inf")
        for worker in self.workers.values():
            with self.isolation:
                self._enforce_on(worker)

    def _enforce_on(self, worker: WorkerHandle) -> None:
        now = clock.monotonic()
        reading, again = worker.status.read(), worker.status.read()
        if (reading.run, reading.since) != (again.run, again.since):
            return  # it moved on meanwhile, so this may be the start of one run with the time limit of the next
        worker.remind(reading)
        limit_at = reading.since + reading.limit if reading.is_running and reading.limit else float("inf")
        soft_at = reading.since + (reading.soft_limit or float("inf")) if reading.is_running else float("inf")
        self._limit_at = min([self._limit_at, *(at for at in (soft_at, limit_at) if now < at)])
        if soft_at <= now < limit_at and worker.ending != reading.run:
            if worker.soft_limited != reading.run:
                job, limit = worker.job()[1], reading.soft_limit
                events.emit(events.SoftLimitReached(job, worker.status.task, limit))
            worker.pass_soft_limit(reading)
        if now >= limit_at and not worker.killed:
            if worker.timed_out != reading.run:
                worker.timed_out = reading.run
                events.emit(events.TimeLimitReached(worker.job()[1], worker.status.task, reading.limit))
            if not worker.process.is_crew:
                worker.kill(_why_killed(worker))
                return
            worker.end_run(reading, REQUEST_TIMEOUT)
        if worker.ending is not None and worker.ending != reading.run:  # it did react
            worker.ending = worker.cancelling = None
            if worker.verb != "kill":
                worker.kill_at = float("inf")
        elif now > worker.kill_at:
            worker.kill(_why_killed(worker))

    # The server.

    def _poll_control(self) -> None:
        if not self.server.is_silent:
            self.channel.poll(self.control.handle, TICK if self.server.reason else 0.0)

    def _send_replies(self) -> None:
        if not self.server.is_silent:
            self.replies.send()

    def _release_stuck_jobs(self) -> None:
        if not self.server.is_silent:
            release_stuck_jobs(self.client, self.workers.values(), self.isolation)

    def _handle_notices(self) -> None:
        for notice in self.heartbeat.take_notices():
            with self.isolation:
                self.control.handle_notice(notice)

    @property
    def _may_fire(self) -> bool:
        """True if this consumer puts recurring jobs now: it stays, and so may run them."""
        return not (self.stop_level or self.settings.until_empty or self.server.is_silent)

    def _fire_schedules(self) -> None:
        if self._may_fire:
            self.scheduler.run()

    def _send_heartbeat(self) -> None:
        """Renew leases and report. A stop signal interrupts it, so that a hanging server cannot delay the stop."""
        if self.stop_level >= KILL:
            return
        is_slow = clock.monotonic() - self.server.silent_since > SLOW_AFTER and not self.stop_level
        is_sent = False
        self.client.within = SLOW_CALL_TIMEOUT if is_slow else CALL_TIMEOUT
        try:
            with contextlib.suppress(_StopSignal):
                try:
                    self._is_interruptible = True
                    self.heartbeat.limits = self.scaling.limits
                    self.heartbeat.send(self.workers.values())
                    is_sent = True
                finally:
                    self._is_interruptible = False
        finally:
            self.client.within = CALL_TIMEOUT
        if is_sent:
            self._update_health()

    def _update_health(self) -> None:
        """Report, once, what the server refuses the workers, and the end of that."""
        self.server.replied()
        if self._lack and any(one.status.state != shared_status.STARTING for one in self.workers.values()):
            self._lack = ""
            self.heartbeat.report = structs.replace(self.heartbeat.report, trouble="")
            self.heartbeat.hurry()
        refusals = (self._refusal, *map(_refusal_to, self.workers.values()))
        if self.server.update(next(filter(None, refusals), "")):
            self.heartbeat.hurry()

    def _report_ready(self, ready: Callable[[], None]) -> None:
        """Call `ready`, once, when all workers that could be started have loaded their tasks, or have exited."""
        if self.is_ready or self.unloadable or (self.to_start and not self.workers):
            return
        if any(at <= clock.monotonic() for at in self._start_times().values()):
            return
        if all(one.status.state != shared_status.STARTING for one in self.workers.values()):
            self.is_ready = True
            self.scheduler.hurry()
            ready()

    def _end(self) -> int:
        """Settle for dead workers, reply, and take the consumer off the list, but do not wait for a silent server."""
        patience = clock.Deadline(HEARTBEAT)
        while (
            self.unsettled
            and not patience.passed()
            and not (self.stop_level >= KILL and self.server.is_silent)
        ):
            if self.stop_level < KILL:
                self.server.replied()
            self._do(self._settle)
            clock.sleep(TICK / 5 if self.unsettled else 0.0)
        for step in (self.control.finish, lambda: self.replies.send(LAST_SENDING), self._retire):
            if not self.server.is_silent:
                self._do(step)
        self.channel.listener.close()
        if self.unloadable:
            return 1
        events.emit(events.ConsumerLeft(self.report.name, self.jobs_done.total()))
        return 0

    def _retire(self) -> None:
        sent = [*self.heartbeat.last_tally(), *control_channel.retire(self.report.name)]
        self.client.run_all(sent, patience=0.0, within=LAST_CALL_TIMEOUT)


def _why_killed(worker: WorkerHandle) -> str:
    """Return for which job the supervisor killed a worker, and why."""
    job = f"job {worker.job()[1]}"
    if worker.timed_out == worker.status.read().run:
        return f"{job} reached its time limit"
    end = "its cancellation" if worker.cancelling else "the end of its lease"
    return f"{job} did not end within {worker.grace:g} s of {end}"


def _refusal_to(worker: WorkerHandle) -> str:
    """Return what the server refuses a worker now. The error of a worker that starts or exits is about its end."""
    error = worker.status.error
    works = worker.status.state in {shared_status.IDLE, shared_status.BUSY, shared_status.PAUSED}
    return error if works else ""
