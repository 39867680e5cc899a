"""The judge: from a history alone, whether each promise was kept. Pure functions; nothing here runs or asks anything.

Harm counts as excused only if a fault that may do it by the documented contract (`faults.Effect`) was there at the
time. What is excused is counted, and reported.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import statistics
from bisect import bisect
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, NamedTuple

from conveyor.torture.history import (
    Accepted,
    CancelAsked,
    Closed,
    Depth,
    End,
    Fault,
    History,
    LossSeen,
    Outcome,
    ProcessEnded,
    Put,
    Start,
    Usage,
)
from conveyor.torture.load import KINDS, Spoiled
from conveyor.torture.stage import Effect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Seconds after the last fault within which everything must be settled: a lease, and the work that is left.
BOUND = 90.0
#: Bytes by which each may grow, as `growth` counts, by role; a producer holds payloads of different size.
GROWTH = {"consumer": 4 << 20, "worker": 4 << 20, "taker": 4 << 20, "producer": 12 << 20, "server": 20 << 20}
#: Faults that end processes in which jobs run, "worker killed by command" among them; what was cut short began so, too.
ENDING = ("worker killed", "supervisor killed", "roll-out", "taker killed")
_FOREVER = float("inf")
#: Exit codes of what somebody ended; by SIGTERM before it listened to that.
_ENDS = {0, -signal.SIGKILL, -signal.SIGTERM}
_TAKERS = 2  # processes that take items
_CRASHES = 3  # deaths of workers under one job that make it dead
_SETTLING = 1.0  # seconds after a task has ended in which its worker still settles it
_UNSETTLED = 30.0  # seconds after a task has ended in which its outcome may be held up by the longest outage
_TICK = 0.005  # seconds by which the server's clock, of whole milliseconds, may be behind
_COMING_BACK = 30.0  # seconds within which an item is taken again whose taker ended
#: Jobs that workers hold and have not begun, at most: they may come back at once, beyond the bound. By what is put.
_CAME_BACK = {"order": 64, "mixed": 1_000}
_CLAIMED = 32  # jobs of the lane order that one claim takes at most
_STARTED = 20.0  # seconds after which a process has loaded what it needs, on a busy machine as well
_RESTORING = 10.0  # seconds within which a producer that runs puts again what the server lost
#: How a run may end whose job may fail; a time limit ends the worker.
_FAILED = {Spoiled.__name__, ""}
_HELD = 5.0  # seconds after a job was cancelled in which a worker may start it that holds it
_START = 60.0  # seconds within which a job starts, and an interrupted one again, whatever else breaks
_FOUND = 60.0  # seconds within which an item is taken, or a loss is noticed, whatever breaks meanwhile
_GONE = 5.0  # seconds after which an ended process is no longer seen
_ANOTHER = 60.0  # seconds without a process after which its id may be that of another one
_RESIZING = 1.0  # seconds that a change of a bound may be away from where it was noted
_STARTING = 20.0  # seconds within which a consumer that starts gives up on its server


class Verdict(NamedTuple):
    """The verdict on one promise."""

    promise: str
    broken: list[str]
    """A line for each time it was broken."""
    excused: int
    """How often a fault explained it."""
    seen: int
    """How many things were looked at; a promise about nothing proves nothing."""


class Run(NamedTuple):
    """One run of a task; `end` is when it ended, or when its process was last known to live."""

    start: Start
    end: float
    how: str
    """As in `End`; empty if the process ended under it."""


class Case:
    """All about one job."""

    def __init__(self, put: Put) -> None:
        self.put = put
        self.id = ""
        self.accepted = _FOREVER
        self.held = False
        self.level = "memory"
        self.outcomes: list[Outcome] = []
        self.runs: list[Run] = []
        """In the order of their starts."""

    @property
    def is_item(self) -> bool:
        """True if it was put as a plain item, of which nobody waits for an outcome."""
        return self.put.kind == "item"

    @property
    def wants(self) -> str:
        """The state that it must end in, unless somebody cancels it."""
        return KINDS[self.put.kind].ends

    @property
    def is_lost(self) -> bool:
        """True if its outcome is unknown; the taker that processed an item may have exited since."""
        known = any(one.state != "gone" for one in self.outcomes)
        return not known and not (self.is_item and any(run.how == "done" for run in self.runs))

    @property
    def name(self) -> str:
        """What to call it in a report."""
        return f"{self.put.key} ({self.put.lane}, {self.put.kind}, id {self.id or 'unknown'})"


class Record:
    """A history, arranged by job."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.faults = history.of(Fault)
        self.endings = [one for one in self.faults if one.name.startswith(ENDING)]
        self._ended: dict[int, list[float]] = defaultdict(list)
        for ended in history.of(ProcessEnded):
            self._ended[ended.pid].append(ended.at)
        self.cases = {one.key: Case(one) for one in history.of(Put)}
        for one in history.of(Accepted):
            case = self.cases[one.key]
            case.id, case.accepted, case.held, case.level = one.id, one.at, one.held, one.level
        for outcome in history.of(Outcome):
            self.cases[outcome.key].outcomes.append(outcome)
        self._add_runs()
        self.cancelled = {one.id: one.at for one in reversed(history.of(CancelAsked))}

    def _add_runs(self) -> None:
        #: When jobs began that end their worker, by its process.
        self.enders: dict[int, list[float]] = defaultdict(list)
        # An item may have several ends in one process, since it has no token.
        ends: dict[tuple[str, int, int], deque[End]] = defaultdict(deque)
        for end in self.history.of(End):
            ends[end.key, end.token, end.pid].append(end)
        seen: dict[int, list[float]] = defaultdict(list)  # when each process was seen
        for start in self.history.of(Start):
            seen[start.pid].append(start.at)
        for one in self.history.of(Usage):
            pid = one.what.rpartition(" ")[2]
            if one.memory and pid.isdigit():
                seen[int(pid)].append(one.at)
        for times in seen.values():
            times.sort()
        for start in self.history.of(Start):
            if own := ends[start.key, start.token, start.pid]:
                end = own.popleft()
                run = Run(start, end.at, end.how)
            else:
                run = Run(start, last_of(seen[start.pid], start.at), "")
            if start.key in self.cases:  # not one that an earlier run of the bench has left on the server
                case = self.cases[start.key]
                case.id = case.id or start.id
                case.runs.append(run)
                if KINDS[case.put.kind].ends_worker:
                    self.enders[start.pid].append(start.at)

    def has(self, effect: Effect, lane: str, since: float, until: float, pid: int = 0) -> bool:
        """Return True if a fault with this effect touched a lane between two moments, or a process if one is named."""
        return any(
            effect in one.effects
            and one.at <= until
            and one.until >= since
            and concerns(one, lane)
            and (not pid or not one.pids or pid in one.pids)
            for one in self.faults
        )

    def lost_since(self, put: Put, until: float) -> bool:
        """Return True if a fault from the put of a job to a moment may have ended its lease, or lost it."""
        return any(self.has(effect, put.lane, put.at, until) for effect in (Effect.LEASE, Effect.LOSS))

    def lost_lease(self, run: Run, lane: str, until: float) -> bool:
        """Return True if a fault from the start of a run to a moment may have ended its lease, or lost its job."""
        since = run.start.at
        return self.has(Effect.LEASE, lane, since, until, run.start.pid) or self.has(
            Effect.LOSS, lane, since, until
        )

    def was_claimed_before_a_loss(self, put: Put, first: Run, second: Run) -> bool:
        """Return True if the second run's worker may have had the job before the server lost it, and began it later."""
        return second.start.token <= first.start.token and self.has(
            Effect.LOSS, put.lane, put.at, second.start.at
        )

    def ended_at(self, pid: int, since: float) -> float:
        """Return when a process ended that there was at some time."""
        return min((at for at in self._ended[pid] if at >= since), default=_FOREVER)

    def stopped(self, lane: str, since: float, until: float, pid: int = 0) -> float:
        """Return for how many seconds producers of a lane, or the one named, stood still between two moments."""
        return sum(
            max(0.0, min(until, one.until) - max(since, one.at))
            for one in self.faults
            if one.name == "producer stopped" and concerns(one, lane) and (not pid or pid in one.pids)
        )

    def ended_by_fault(self, run: Run, lane: str, until: float) -> bool:
        """Return True if a fault ended the process of a run, or its next job did, from its start to a moment."""
        pid, since = run.start.pid, run.start.at
        return any(since <= at <= until for at in self.enders[pid]) or any(
            pid in one.pids and one.at <= until and one.until + _SETTLING >= since and concerns(one, lane)
            for one in self.endings
        )


def last_of(seen: list[float], since: float) -> float:
    """Return when a process was last seen that there was at some time: its id may be that of another one later."""
    last = since
    for at in seen[bisect(seen, since) :]:
        if at - last > _ANOTHER:
            break
        last = at
    return last


def concerns(fault: Fault, lane: str) -> bool:
    """Return True if a fault was on this lane, on its whole stage, or everywhere."""
    return fault.lane in {"", lane} and (not fault.stage or f"-{fault.stage}-" in lane)


Finding = tuple[str, bool]
"""A line, and True if a fault excuses it."""


def no_accepted_job_is_lost(record: Record) -> Iterator[Finding | None]:
    """Every job whose put returned has an outcome, or is an item that somebody processed."""
    for case in record.cases.values():
        if case.accepted != _FOREVER:
            line = f"{case.name}: accepted, and then nothing is known of it"
            yield (line, _was_given_up(record, case)) if case.is_lost else None


def _was_given_up(record: Record, case: Case) -> bool:
    """Return True if a fault explains that a job is lost: nobody held it, or it was lost unnoticed."""
    found = case.accepted + _FOUND if case.is_item else _FOREVER
    until = max([one.at for one in case.outcomes], default=found)
    for fault in record.faults:
        if (
            Effect.LOSS in fault.effects
            and not _survives(case.level, fault)
            and concerns(fault, case.put.lane)
            and case.put.at <= fault.until
            and fault.at <= until
        ):
            if case.is_item or not case.held or Effect.STALE in fault.effects:
                return True
            producer = int(case.put.key.split(".")[-2])
            ended = record.ended_at(producer, case.put.at)
            stood_still = record.stopped(case.put.lane, fault.at, ended, producer)
            if ended <= min(until, fault.until + _RESTORING + stood_still):
                return True
    return False


def _survives(level: str, fault: Fault) -> bool:
    """Return True if a job that has reached this level of durability must survive a fault that loses others."""
    return Effect.STALE in fault.effects and level.startswith("replicated")


def levels_are_kept(record: Record) -> Iterator[Finding | None]:
    """No server loses data that a fault leaves it; what it loses all the same is put again, and so not lost above."""
    for one in record.history.of(LossSeen):
        excused = record.has(Effect.LOSS, one.lane, one.at - _FOUND, one.at)
        yield f"{one.lane}: a producer saw that the server had lost data", excused
    for case in record.cases.values():
        if case.level != "memory" and not case.held:  # nobody puts it again
            lost = case.is_lost and not _was_given_up(record, case)
            yield (f"{case.name}: accepted at the level {case.level}, and lost", False) if lost else None


def one_outcome_each(record: Record) -> Iterator[Finding | None]:
    """No job has two different outcomes, and an item is processed once."""
    for case in record.cases.values():
        told = {(one.state, one.value) for one in case.outcomes if one.state != "gone"}
        if len(told) > 1 or (case.is_item and len(case.outcomes) > 1):
            since, until = case.put.at, case.outcomes[-1].at
            excused = record.has(Effect.LOSS, case.put.lane, since, until)
            yield f"{case.name}: {len(case.outcomes)} outcomes: {sorted(told)}", excused
        elif case.is_item or len(case.outcomes) > 1:  # one that was asked for once can only be one
            yield None


def outcomes_are_right(record: Record) -> Iterator[Finding | None]:
    """A job that is done has run to its end and has the value of its arguments; one that must fail has failed."""
    for case in record.cases.values():
        for one in case.outcomes[:1]:
            if one.state == "done" and case.wants != "done":
                yield f"{case.name}: done, though its task never returns", False
            elif one.state == "done" and one.value != case.put.value:
                yield f"{case.name}: a wrong value: {one.value!r:.80}", False
            elif one.state == "done" and not any(run.how == "done" for run in case.runs):
                yield f"{case.name}: done, though no run of it finished", False
            elif one.state == "failed" and case.wants != "failed":
                yield f"{case.name}: failed: {one.value!r:.80}", False
            elif one.state == "failed" and not any(run.how in _FAILED for run in case.runs):
                yield f"{case.name}: failed, though no run of it did", False
            else:
                yield None


def no_healthy_job_is_cancelled(record: Record) -> Iterator[Finding | None]:
    """No job ends as cancelled unless somebody asked for that."""
    for case in record.cases.values():
        for one in case.outcomes[:1]:
            if one.state == "cancelled" and one.at < record.cancelled.get(case.id, _FOREVER):
                yield f"{case.name}: cancelled, though nobody asked", False
            else:
                yield None


def no_healthy_run_is_ended(record: Record) -> Iterator[Finding | None]:
    """Every run comes to the end that its task has, unless somebody cancels it or its process is killed."""
    for case in record.cases.values():
        for run in case.runs if not KINDS[case.put.kind].ends_worker else ():
            if run.how in {"done", Spoiled.__name__}:
                yield None
                continue
            until = run.end if run.how else run.end + _GONE
            excused = (
                record.ended_by_fault(run, case.put.lane, until)
                or record.lost_lease(run, case.put.lane, until)
                or record.cancelled.get(case.id, _FOREVER) <= until
            )
            words = f"ended by {run.how}" if run.how else "vanished"
            yield (
                f"{case.name}: its run on {run.start.pid} {words} after {run.end - run.start.at:.3f} s",
                excused,
            )


def no_healthy_job_is_blamed(record: Record) -> Iterator[Finding | None]:
    """No job ends as lost unless it has ended three workers, or three of them were killed under it.

    No attempt counts that was not begun, unless its worker may have been killed in that moment.
    """
    kills = [one for one in record.faults if Effect.KILL in one.effects]
    for case in record.cases.values():
        for number, run in enumerate(case.runs, 1):
            if run.start.attempt > number:
                since, until = case.put.at, run.start.at
                killed = any(
                    since <= one.until <= until and concerns(one, case.put.lane) for one in record.endings
                )
                excused = killed or record.lost_since(case.put, until)
                yield f"{case.name}: its run {number} counts as attempt {run.start.attempt}", excused
        for one in case.outcomes[:1]:
            if one.state == "lost" and (case.wants != "lost" or len(case.runs) < _CRASHES):
                deaths = sum(
                    run.start.pid in kill.pids
                    and run.start.at <= kill.at + _SETTLING
                    and run.end + (_SETTLING if run.how else _GONE) >= kill.at
                    and concerns(kill, case.put.lane)
                    for run in case.runs
                    for kill in kills
                )
                excused = case.wants != "lost" and deaths >= _CRASHES
                yield f"{case.name}: lost after {len(case.runs)} runs: {one.value!r:.80}", excused
            else:
                yield None


def none_runs_twice_at_once(record: Record) -> Iterator[Finding | None]:
    """No two runs of a job overlap, and each has a larger token than the one before it."""
    for case in record.cases.values():
        for first, second in itertools.pairwise(case.runs):
            grows = second.start.token > first.start.token or case.is_item
            if second.start.at >= first.end and grows:
                yield None
                continue
            pids, lane, until = f"{first.start.pid} and {second.start.pid}", case.put.lane, second.start.at
            if grows:
                words = f"overlap by {first.end - until:.3f} s"
                excused = record.lost_lease(first, lane, until)
            else:
                words = "have tokens in the wrong order"
                excused = record.was_claimed_before_a_loss(case.put, first, second)
            yield f"{case.name}: runs on {pids} {words}", excused


def no_finished_job_runs_again(record: Record) -> Iterator[Finding | None]:
    """A job runs again after its last run only if its worker ended before that was settled, or lost its lease.

    The last is one that has done it, or that failed if it has no retries. Once its outcome was told it does not start.
    """
    for case in record.cases.values():
        runs = [] if case.is_item else case.runs
        told, state = min(
            ((one.at, one.state) for one in case.outcomes if one.state != "gone"), default=(_FOREVER, "")
        )
        for run in runs:
            if run.start.at > told + (_HELD if state == "cancelled" else 0.0):
                excused = record.lost_since(case.put, run.start.at)
                yield f"{case.name}: started {run.start.at - told:.3f} s after its outcome", excused
        for first, second in itertools.zip_longest(runs, runs[1:]):
            if first.how != "done" and (first.how, case.wants) != (Spoiled.__name__, "failed"):
                continue
            if second is None or second.start.at < first.end:  # two at once are judged above
                yield None
                continue
            lane, until = case.put.lane, second.start.at
            unsettled = min(until, first.end + _UNSETTLED)
            excused = (
                record.ended_by_fault(first, lane, unsettled)
                or record.lost_lease(first, lane, until)
                or record.was_claimed_before_a_loss(case.put, first, second)
            )
            after = second.start.at - first.end
            yield f"{case.name}: over on {first.start.pid}, and run again {after:.3f} s later", excused


def first_starts_are_in_order(record: Record) -> Iterator[Finding | None]:
    """With one worker, jobs of one priority first start in the order of their acceptance, and urgent ones first."""
    lanes: dict[str, list[Case]] = defaultdict(list)
    cases = sorted(record.cases.values(), key=lambda case: (case.put.at, int(case.put.key.split(".")[-1])))
    for case in cases:
        if case.put.lane.endswith("order") and case.accepted != _FOREVER and case.runs:
            lanes[case.put.lane].append(case)
    for cases in lanes.values():
        for priority in {case.put.priority for case in cases}:
            alike = [case for case in cases if case.put.priority == priority]
            yield from _each_after_the_one_before(record, alike)
        yield from _urgent_ones_first(record, cases)


def _each_after_the_one_before(record: Record, cases: list[Case]) -> Iterator[Finding | None]:
    latest: Case | None = None
    for case in cases:
        began = case.runs[0].start.at
        if latest is not None and began < latest.runs[0].start.at:
            since, until = latest.put.at, latest.runs[0].start.at
            excused = record.has(Effect.ORDER, case.put.lane, since, until)
            words = f"started {until - began:.3f} s before {latest.put.key}, put before it"
            yield f"{case.name}: {words}", excused
        else:
            latest = case
            yield None


def _urgent_ones_first(record: Record, cases: list[Case]) -> Iterator[Finding | None]:
    """From its acceptance to its start, no more jobs of lower priority start than one claim may have taken before."""
    usual = sorted(case.runs[0].start.at for case in cases if not case.put.priority)
    for case in cases:
        if case.put.priority:
            began = case.runs[0].start.at
            others = bisect(usual, began) - bisect(usual, case.accepted)
            words = f"{others} jobs of lower priority started after it was accepted and before it did"
            excused = record.has(Effect.ORDER, case.put.lane, case.put.at, began)
            yield (f"{case.name}: {words}", excused) if others > _CLAIMED else None


def none_starts_before_it_is_due(record: Record) -> Iterator[Finding | None]:
    """No job that was put with a delay starts before that has passed."""
    for case in record.cases.values():
        for run in case.runs if case.put.delay else ():
            early = case.put.at + case.put.delay - run.start.at
            yield (f"{case.name}: started {early:.3f} s early", False) if early > _TICK else None


def nothing_is_stuck(record: Record) -> Iterator[Finding | None]:
    """Starts, second starts and outcomes come within a bound, and so does the end of all jobs after the last fault."""
    for case in record.cases.values():
        for wait, what in _waits(record, case):
            yield None if wait <= _START else (f"{case.name}: {wait:.1f} s until {what}", False)
    for one in record.history.of(Closed):
        if one.seconds is None or one.live:
            yield (
                f"{one.lane}: {one.live} jobs left, or producers without an outcome, after {BOUND:.0f} s",
                False,
            )
        else:
            yield None


def _waits(record: Record, case: Case) -> Iterator[tuple[float, str]]:
    """Return the seconds from acceptance to the first run, from each to the next, and from the last to the outcome."""
    if case.runs and case.accepted != _FOREVER:
        yield case.runs[0].start.at - case.accepted - case.put.delay, "it started"
    for first, second in itertools.pairwise(case.runs):
        yield second.start.at - first.end, "it started again after a run"
    told = min((one.at for one in case.outcomes), default=_FOREVER)
    done = max((run.end for run in case.runs if run.how == "done" and run.end <= told), default=_FOREVER)
    if not case.is_item and done <= told < _FOREVER:
        wait = told - done - record.stopped(case.put.lane, done, told)
        yield wait, "its outcome was reported after a run had done it"


def maxsize_holds(record: Record) -> Iterator[Finding | None]:
    """No more jobs wait than the bound allows, but for those that came back; above a new bound they only get fewer."""
    lanes: dict[str, list[Depth]] = defaultdict(list)
    for one in record.history.of(Depth):
        lanes[one.lane].append(one)
    ends = [one.at for one in record.history.of(ProcessEnded) if one.name.startswith("taker")]
    resizes = [one for one in record.faults if one.name == "queue resized"]
    for lane, seen in lanes.items():
        bound, most = 0, 0
        changed = sorted(at for one in resizes if concerns(one, lane) for at in (one.at, one.until))
        for before, one in itertools.pairwise([seen[0], *seen]):
            unseen = bisect(changed, one.at + _RESIZING) > bisect(changed, before.at - _RESIZING)
            if one.maxsize != bound or unseen:  # the bound may have been another one for a moment
                bound, most = one.maxsize, one.waiting
            most = max(most, bound)
            if one.waiting > most + _back(one, ends):
                yield f"{lane}: {one.waiting} waiting, and {bound} may", False
            else:
                yield None
            most = min(most, one.waiting)


def _back(depth: Depth, ends: list[float]) -> int:
    """Return how many jobs may have come back: of the items one from each taker that is, or was until it ended."""
    if not depth.lane.endswith("items"):
        return _CAME_BACK.get(depth.lane.rpartition("-")[2], 0)
    # Each taker may give one back as well: a get whose answer was lost.
    return _TAKERS + bisect(ends, depth.at) - bisect(ends, depth.at - _COMING_BACK)


def the_ledger_balances(record: Record) -> Iterator[Finding | None]:
    """At the end accepted jobs are all accounted for, and no key lacks its other half."""
    put = Counter(case.put.lane for case in record.cases.values())
    accepted = Counter(case.put.lane for case in record.cases.values() if case.accepted != _FOREVER)
    for one in record.history.of(Closed):
        if one.accepted is None:
            continue
        forgot = record.has(Effect.LOSS, one.lane, -_FOREVER, _FOREVER)
        if not accepted[one.lane] <= one.accepted <= put[one.lane]:
            what = f"{put[one.lane]} put, {accepted[one.lane]} known as accepted"
            yield f"{one.lane}: the server accepted {one.accepted}: {what}", forgot
        else:
            yield None
        if one.imbalance or one.torn or one.orphans:
            yield f"{one.lane}: imbalance {one.imbalance}, torn {one.torn}, orphans {one.orphans}", False
        else:
            yield None


def no_process_ends_by_itself(record: Record) -> Iterator[Finding | None]:
    """Consumers, producers and takers end only when somebody wants it, and then as they should."""
    for one in record.history.of(ProcessEnded):
        if one.wanted and one.status in _ENDS:
            yield None
            continue
        excused = one.status == os.EX_UNAVAILABLE and record.has(
            Effect.REFUSAL, one.name.split()[1], one.at - _STARTING, one.at
        )
        yield f"{one.name} ended with {one.status}, {'as' if one.wanted else 'though not'} asked", excused


def memory_and_keys_are_flat(record: Record) -> Iterator[Finding | None]:
    """No process grows while it works, the server is as large at the end as before, and no key is left for good."""
    for what, (memory, keys) in growth(record.history).items():
        if memory > GROWTH[role_of(what)]:
            yield f"{what}: grew by {memory / (1 << 20):.1f} MiB", False
        elif keys:
            yield f"{what}: {len(keys)} keys more than at the start: {', '.join(keys[:3])}", False
        else:
            yield None


def role_of(what: str) -> str:
    """Return the first word of what something is called: consumer, worker, producer, taker or server."""
    return what.partition(" ")[0]


def growth(history: History) -> dict[str, tuple[float, list[str]]]:
    """Return by how many bytes each process and server grew, and new keys.

    Of a process the readings begin once it has loaded what it needs, and the median of their middle third is compared
    with that of the last: what it grew to at first, and the payloads of a moment, say nothing.
    """
    used: dict[str, list[Usage]] = defaultdict(list)
    first: dict[str, float] = {}
    for one in history.of(Usage):
        if one.at - first.setdefault(one.what, one.at) >= _STARTED or role_of(one.what) == "server":
            used[one.what].append(one)
    found = {}
    for what, some in used.items():
        before, after = some[:1], some[-1:]
        if role_of(what) != "server":
            third = math.ceil(len(some) / 3)
            before, after = some[-2 * third : -third] or before, some[-third:]
        new = [one for one in some[-1].keys if one not in some[0].keys]
        found[what] = _memory(after) - _memory(before), new
    return found


def _memory(readings: list[Usage]) -> float:
    return statistics.median(one.memory for one in readings)


PROMISES: dict[str, Callable[[Record], Iterator[Finding | None]]] = {
    "no accepted job is lost": no_accepted_job_is_lost,
    "levels of durability are kept": levels_are_kept,
    "one outcome each": one_outcome_each,
    "outcomes are right": outcomes_are_right,
    "no healthy job is cancelled": no_healthy_job_is_cancelled,
    "no healthy run is ended": no_healthy_run_is_ended,
    "no healthy job is blamed": no_healthy_job_is_blamed,
    "no job runs twice at once": none_runs_twice_at_once,
    "no finished job runs again": no_finished_job_runs_again,
    "first starts are in order": first_starts_are_in_order,
    "none starts before it is due": none_starts_before_it_is_due,
    "nothing is stuck": nothing_is_stuck,
    "maxsize holds": maxsize_holds,
    "the ledger balances": the_ledger_balances,
    "memory and keys are flat": memory_and_keys_are_flat,
    "no process ends by itself": no_process_ends_by_itself,
}


def judge(record: Record) -> list[Verdict]:
    """Return a verdict on each promise."""
    verdicts = []
    for promise, look in PROMISES.items():
        findings = list(look(record))
        broken = [one[0] for one in findings if one is not None and not one[1]]
        excused = sum(one is not None and one[1] for one in findings)
        verdicts.append(Verdict(promise, broken, excused, len(findings)))
    return verdicts


def lost_by_level(record: Record) -> dict[str, Counter[str]]:
    """Return, by level of durability, how many jobs were accepted, and lost to faults that may do that, or without."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for case in record.cases.values():
        if case.accepted != _FOREVER:
            found[case.level]["accepted"] += 1
            if case.is_lost:
                found[case.level]["excused" if _was_given_up(record, case) else "lost"] += 1
    return found


def recovery_times(record: Record) -> dict[str, list[float]]:
    """Return, by the fault that ended their processes, the seconds until jobs that ran there started again."""
    found: dict[str, list[float]] = defaultdict(list)
    for case in record.cases.values():
        for first, second in itertools.pairwise(case.runs):
            for fault in record.endings if not first.how else ():
                if (
                    first.start.pid in fault.pids
                    and first.start.at <= fault.until <= second.start.at
                    and concerns(fault, case.put.lane)
                ):
                    found[fault.name].append(second.start.at - fault.until)
                    break
    return found
