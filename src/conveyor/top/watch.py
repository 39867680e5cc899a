"""Asks the server, once a second and in a thread of its own, and hands over what it saw."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor import clock
from conveyor.errors import ConveyorError
from conveyor.monitor import failures, job_record, poll_interval, workers
from conveyor.monitor import snapshot as snapshots
from conveyor.store.query import Query, together
from conveyor.tasks import registry
from conveyor.top import questions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.monitor.history import Finish
    from conveyor.monitor.job_list import JobRow
    from conveyor.monitor.job_record import JobStory
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store import Client
    from conveyor.top.questions import Wish

#: Seconds between two tries while the server is away.
AGAIN = 1.0
#: Seconds that a look waits for a connection and for the answer.
PATIENCE, WITHIN = 0.5, 3.0


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen in one look; while the server is away, the last one with the reason why."""

    snapshot: Snapshot = snapshots.NOTHING
    wish: Wish = questions.NO_WISH
    jobs: Sequence[JobRow] = ()
    ended: Sequence[Finish] = ()
    failures: Sequence[failures.Sample] = ()
    story: JobStory | None = None
    begun: dict[str, float] | None = None
    """By worker: when its job began, on this machine's `clock.monotonic`."""
    seen_at: float = 0.0
    """When, on `clock.monotonic`."""
    interval: float = poll_interval.STEPS[0]
    trouble: str = ""
    hint: str = ""

    def now(self) -> float:
        """Give the server's time, as far as it can be told from here."""
        return self.snapshot.at + clock.monotonic() - self.seen_at


class _Begun(NamedTuple):
    job: str
    at: float


class Watch:
    """The looking thread of one screen. `tell` is called from that thread."""

    def __init__(self, client: Client, tell: Callable[[Sight], object]) -> None:
        self.client = client
        self.paused = False
        """While it is, only what was not looked at yet is asked for."""
        self._tell = tell
        self._wish = questions.NO_WISH
        self._pace = poll_interval.Pace()
        self._sight = Sight()
        self._begun: dict[str, _Begun] = {}
        self._groups: list[failures.GroupCount] = []
        self._ended = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="conveyor-top", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; returns at once, whatever the server does."""
        self._ended = True
        self._wake.set()

    def look_at(self, wish: Wish) -> None:
        """Look at something else from now on, and at once, unless that is what is looked at already."""
        if wish != self._wish:
            self._wish = wish
            self._wake.set()

    def look_now(self) -> None:
        """Look at once: something has been done."""
        self._wake.set()

    def _run(self) -> None:
        while not self._ended:
            began = clock.monotonic()
            self._wake.clear()
            pause = self._pace.interval
            if not self.paused or self._wish != self._sight.wish:
                try:
                    self._sight = self._look()
                    self._pace.took(clock.monotonic() - began)
                    pause = self._sight.interval
                except ConveyorError as error:
                    self._sight = self._troubled(error)
                    pause = AGAIN
                if not self._ended:
                    self._tell(self._sight)
            self._wake.wait(max(0.05, pause - (clock.monotonic() - began)))

    def _look(self) -> Sight:
        """Look once; twice where there is something new of which the first look only learned the name."""
        sight = self._sight
        for _ in range(2):
            sight, complete = self._ask(sight, self._wish)
            if complete:
                break
        return sight

    def _ask(self, last: Sight, wish: Wish) -> tuple[Sight, bool]:
        before = last.snapshot
        dead = {queue: count.dead for queue, count in before.queues.items()}
        parts: list[Query[Any]] = [
            snapshots.question(before),
            questions.jobs(wish),
            questions.ended(wish),
            questions.groups(wish, dead),
            failures.samples(self._groups),
            job_record.story(*wish.story, registry.labels) if wish.story[1] else Query((), lambda _: None),
        ]
        asked = together(parts)
        sample, jobs, ended, groups, samples, story = asked.ask(self.client, patience=PATIENCE, within=WITHIN)
        snapshot = snapshots.snapshot_of(sample, before)
        complete = snapshots.is_complete(sample, before) and (
            [group.newest for group in groups] == [group.newest for group in self._groups]
        )
        self._groups = groups[: failures.MOST_SAMPLES]
        sight = Sight(
            snapshot,
            wish,
            jobs,
            ended,
            samples,
            story,
            self._beginnings(snapshot),
            clock.monotonic(),
            self._pace.interval,
        )
        return sight, complete

    def _beginnings(self, snapshot: Snapshot) -> dict[str, float]:
        """Give when each job began, by reports whose clocks differ: of all guesses the first is best."""
        now, found = clock.monotonic(), {}
        reports = [workers.aged(report, snapshot.at) for report in snapshot.consumers]
        for worker in (worker for report in reports for worker in report.workers):
            if worker.job:
                last, at = self._begun.get(worker.name), now - worker.busy_for
                same = last is not None and last.job == worker.job
                found[worker.name] = _Begun(worker.job, min(last.at, at) if last and same else at)
        self._begun = found
        return {name: begun.at for name, begun in found.items()}

    def _troubled(self, error: ConveyorError) -> Sight:
        return replace(self._sight, interval=AGAIN, trouble=str(error), hint=error.hint)
