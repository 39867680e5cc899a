"""What a supervisor tells the server regularly: renewed leases, progress, and who does what."""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conveyor import clock, events
from conveyor.consumer.settings import HEARTBEAT, LEASE, RENEWAL
from conveyor.consumer.tally import Tally
from conveyor.errors import StoreError, StoreRefused
from conveyor.store import commands, forgetting, heads, plain
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.consumer.worker_handle import Worker
    from conveyor.store import Client
    from conveyor.store.commands import Command

#: Seconds after its last report that a consumer which was killed is taken off the list.
FORGET_AFTER = 3600.0
#: A job that runs for less than this many seconds is not worth a report of its own.
WORTH_TELLING = 0.4
#: Seconds that a beat is tried for: enough for a new connection where the old one broke.
PATIENCE = 0.25
#: Seconds between two notes of how many jobs wait and run.
GAUGING = 10.0
#: Queues that one beat notes this of. Of each, the bytes of a job are read: a mebibyte together at most.
MOST_GAUGED = 16
#: Seconds after its start, and between two times, that a consumer looks for queues that can be forgotten.
FIRST_SWEEP, SWEEPING = 60.0, 3600.0
#: What the end of a worker is counted as, by what became of its job; nothing where the job went back.
_COUNTED = {"cancelled": "cancelled", "tried again": "retried", "dead": "lost"}


class Holding(NamedTuple):
    """One job that a worker holds, as it was when its lease was renewed."""

    worker: Worker
    number: int
    """Which batch of this worker."""
    place: int
    """Where in the batch."""
    job: str
    token: str
    how: str
    """As `renew` takes it."""
    queue: str


class Notice(NamedTuple):
    """What the server says of one job that is held: its lease is gone, or else somebody wants it cancelled.

    It is meant for this worker, batch and place alone. The job itself may run elsewhere by now, under a valid lease.
    """

    holding: Holding
    lost: bool


@dataclass
class _Gauge:
    """Queues whose jobs are noted together, and whether there were any the last time."""

    queues: list[str]
    had_work: bool = False


class Beat:
    """Sends only what has changed, but for leases, and for a report now and then."""

    def __init__(self, client: Client, report: control_messages.ConsumerReport) -> None:
        self.client = client
        self.report = report
        self._last_full = self._renewed = float("-inf")
        self._first = True
        self.notices: list[Notice] = []
        self._told: list[tuple[str, str, bool, str, bool]] = []
        self._progress: dict[tuple[str, str], int] = {}
        names = report.queues
        self._gauges = deque(
            _Gauge(names[first : first + MOST_GAUGED]) for first in range(0, len(names), MOST_GAUGED)
        )
        self._gauge_at = float("-inf")
        self._sweep_at = clock.monotonic() + FIRST_SWEEP
        self._swept: str | None = None  # how far a look at all queues is, if one has begun
        self._tally = Tally(report.name)

    def beat(self, workers: Iterable[Worker]) -> None:
        """Report what is due; raises StoreError, but what was heard before that is in `notices`."""
        workers = list(workers)
        now = clock.monotonic()
        full = now - self._last_full >= HEARTBEAT
        if full or now - self._renewed >= RENEWAL:
            self._renew(workers)
            self._renewed = now
        progress = self._progressed(workers)
        if progress:
            with contextlib.suppress(
                StoreRefused
            ):  # a full server takes none, and that is no reason to be silent
                self.client.run_all(progress, patience=PATIENCE)
        reports = [_worth_telling(worker.report()) for worker in workers]
        doing = [(one.name, one.state, one.paused, one.job, one.cancelling) for one in reports]
        if full or doing != self._told or progress:
            self._report([_with_vitals(*both) for both in zip(workers, reports, strict=True)])
            self._told = doing
        if full:
            self._last_full = now
        self._count()
        if now >= self._sweep_at:
            self._sweep(now)
        self._gauge(now)

    def recovered(self, worker: Worker, job: str, became: str) -> None:
        """Count, and make known, what became of the job of a worker that ended."""
        events.emit(events.JobRecovered(job, became))
        held, counted = worker.slate.held(), _COUNTED.get(became)
        if held is not None and not worker.killed:
            self._tally.died(held.queue, worker.slate.task())
        if held is not None and counted is not None:
            if became == "dead" and worker.timed_out is not None:
                counted = "timeout"
            elapsed = max(0.0, clock.monotonic() - worker.slate.glance().since)
            self._tally.add(held.queue, worker.slate.task(), counted, elapsed)

    def counted(self) -> list[Command]:
        """Give what was counted and is not told yet; the supervisor is about to leave."""
        return self._tally.commands(resting=True)

    def _count(self) -> None:
        told = self._tally.commands()
        if told:
            self.client.run_all(told, patience=PATIENCE)
            for one in told:
                self._tally.confirm(one)

    def _gauge(self, now: float) -> None:
        """Note how many jobs of some queues wait and run; the others have their turns with later beats.

        A failure is no sign that the server is silent, since the replies may be large.
        """
        if now < self._gauge_at:
            return
        self._gauge_at = now + GAUGING / len(self._gauges)
        self._gauges.rotate(-1)
        with contextlib.suppress(StoreError):
            self._note_gauge(self._gauges[-1])

    def _note_gauge(self, gauge: _Gauge) -> None:
        """Note it, unless these queues have no jobs and had none before."""
        has_work = self.client.run(plain.any_work(gauge.queues), patience=PATIENCE)
        if has_work or gauge.had_work:
            query = heads.oldest(gauge.queues)
            oldest = query.read(self.client.run_all(query.commands, patience=PATIENCE))
            told = [commands.tally(queue, self.report.name, 0, at, []) for queue, at in oldest.items()]
            self.client.run_all(told, patience=PATIENCE)
            gauge.had_work = has_work

    def _sweep(self, now: float) -> None:
        """Forget queues that nobody has used for long, some at a time; one consumer does it, once an hour."""
        try:
            if self._swept is not None or self._may_sweep():
                self._swept = forgetting.forget_unused(self.client, self._swept or "0")
        except StoreError:  # the leases are worth more than this
            self._swept = None
        if self._swept is None:
            self._sweep_at = now + SWEEPING

    def _may_sweep(self) -> bool:
        return bool(self.client.run(plain.begin_sweep(self.report.name, SWEEPING), patience=PATIENCE))

    def take_notices(self) -> list[Notice]:
        """Return, once, what the server said of the leases."""
        notices, self.notices = self.notices, []
        return notices

    def _report(self, workers: list[control_messages.WorkerReport]) -> None:
        now = clock.wall()
        report = msgspec.structs.replace(self.report, workers=workers, at=now)
        told = plain.report(self.report.name, control_messages.encode(report), now)
        if self._first:
            told.append(plain.forget_silent(now - FORGET_AFTER))
        self.client.run_all(told, patience=PATIENCE)
        self._first = False

    def hurry(self) -> None:
        """Have the next beat tell everything."""
        self._last_full = float("-inf")

    def _renew(self, workers: Iterable[Worker]) -> None:
        slices = _slices(workers)
        told = [
            commands.renew(queue, [(one.job, one.token, one.how) for one in held], LEASE)
            for queue, held in slices
        ]
        renewals = self.client.run_all(told, patience=PATIENCE) if told else []
        for (_, held), renewal in zip(slices, renewals, strict=True):
            self.notices += [Notice(held[place], lost=True) for place in renewal.lost]
            self.notices += [Notice(held[place], lost=False) for place in renewal.cancelled]

    def _progressed(self, workers: Iterable[Worker]) -> list[Command]:
        items: dict[str, list[tuple[str, bytes]]] = {}
        counters: dict[tuple[str, str], int] = {}
        for worker in workers:
            queue, job = worker.job()
            counter, done, total, message = worker.slate.progress()
            if not job or not counter:
                continue
            counters[queue, job] = counter
            if self._progress.get((queue, job)) != counter:
                items.setdefault(queue, []).append(
                    (job, control_messages.encode(control_messages.Progress(done, total, message)))
                )
        self._progress = counters
        return [plain.set_progress(queue, some) for queue, some in items.items()]


def _slices(workers: Iterable[Worker]) -> list[tuple[str, list[Holding]]]:
    """Return what the workers hold, by queue, in slices that one renewal can carry."""
    held: dict[str, list[Holding]] = {}
    for worker in workers:
        found = worker.running()
        if found is None:
            continue  # nothing is held for longer than a moment unless user code runs
        glance, batch = found
        relieved = worker.slate.is_relieved(glance.number)
        first = glance.place if relieved else 0  # results in front of it may still have to be told
        last = glance.place + 1 if relieved or worker.relieved == glance.number else len(batch.ids)
        started = (
            commands.LEAVING if worker.verb else commands.STARTED
        )  # it may be killed before the run ends
        for place in range(first, last):
            how = started if place == glance.place else commands.HELD
            one = Holding(worker, glance.number, place, batch.ids[place], batch.token, how, batch.queue)
            held.setdefault(batch.queue, []).append(one)
    step = commands.MOST_RENEWED
    return [
        (queue, some[first : first + step])
        for queue, some in held.items()
        for first in range(0, len(some), step)
    ]


def _worth_telling(one: control_messages.WorkerReport) -> control_messages.WorkerReport:
    """Give a report without a job that has only just begun, unless something was ordered meanwhile.

    Most of these are over before anybody reads of them, and would be taken for running until the next report.
    """
    if not one.job or one.busy_for > WORTH_TELLING or one.paused or one.cancelling:
        return one
    return msgspec.structs.replace(
        one, job="", task="", busy_for=0.0, done=0.0, total=0.0, message="", attempt=0
    )


def _with_vitals(worker: Worker, report: control_messages.WorkerReport) -> control_messages.WorkerReport:
    cpu, memory = worker.vitals.take(worker.pid)
    return msgspec.structs.replace(report, cpu=cpu, memory=memory)
