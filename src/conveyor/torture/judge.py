"""The judge: checks each promise from a history only. Pure functions; nothing here runs or queries anything.

Harm counts as excused only if a fault that may do it by the documented contract (`faults.Effect`) was active at the
time. Excused harm is counted and reported.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import statistics
from bisect import bisect, bisect_left
from collections import Counter, defaultdict, deque
from datetime import datetime
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
    Step,
    Usage,
)
from conveyor.torture.load import KINDS, Spoiled
from conveyor.torture.stage import Effect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Seconds after the last fault within which everything must be settled: a lease, and the remaining jobs.
BOUND = 90.0
#: Max bytes of growth, as `growth` measures it, by role; a producer holds payloads of different sizes.
GROWTH = {"consumer": 4 << 20, "worker": 4 << 20, "taker": 4 << 20, "producer": 12 << 20, "server": 20 << 20}
#: Prefixes of the names of faults that end processes with jobs, such as "worker killed by command", cut short or not.
ENDING = ("worker killed", "supervisor killed", "roll-out", "taker killed")
_FOREVER = float("inf")
#: Exit codes of processes that the bench ended; -SIGTERM if they had not installed a handler yet.
_ENDS = {0, -signal.SIGKILL, -signal.SIGTERM}
_TAKERS = 2  # processes that take items
_CRASHES = 3  # deaths of workers under one job that make it dead
_SETTLING = 1.0  # seconds after the end of a task in which its worker still settles it
_UNSETTLED = 30.0  # seconds after the end of a task by which the longest outage may delay its outcome
_TICK = 0.005  # seconds by which the server's clock, of whole milliseconds, may be behind
_TURNED = 30.0  # seconds after which a clock that was set back is beyond its last token
_RETURNING = 30.0  # seconds within which an item is taken again after its taker ended
#: Max prefetched jobs of all workers, which may all return and exceed the max size. By lane.
_MAX_RETURNED = {"order": 64, "mixed": 1_000, "shared": 64, "flow": 500, "next": 500}
_CLAIMED = 32  # max jobs of one claim in the lane order
_STARTED = 20.0  # seconds after which a process has loaded its modules, even on a busy machine
_RESTORING = 10.0  # seconds within which a running producer puts lost jobs again
#: Ends of a run whose job may fail; a time limit ends the worker.
_FAILED = {Spoiled.__name__, ""}
_HELD = 5.0  # seconds after a job was cancelled or lost in which a worker that has prefetched it may start it
_START = 60.0  # seconds within which a job starts, and an interrupted one again, under any fault
_FOUND = 60.0  # seconds within which an item is taken, or a loss is noticed, under any fault
_GONE = 5.0  # seconds after which an ended process is no longer seen
_REUSED = 60.0  # seconds without a process after which its id may be reused
_RESIZING = 1.0  # seconds between a change of a max size and its record
_STARTING = 20.0  # seconds within which a starting consumer gives up on its server


class Verdict(NamedTuple):
    """The verdict on one promise."""

    promise: str
    broken: list[str]
    """A line per violation."""
    excused: int
    """Number of violations that a fault explains."""
    seen: int
    """Number of checks; a promise without any is not tested."""


class Run(NamedTuple):
    """One run of a task; `end` is when it ended, or when its process was last seen."""

    start: Start
    end: float
    how: str
    """As in `End`; empty if the process ended during the run."""


class Case:
    """All events of one job."""

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
        """True if it was put as a plain item, for whose outcome no process waits."""
        return self.put.kind == "item"

    @property
    def expected(self) -> str:
        """The state that it must end in, unless it is cancelled."""
        return KINDS[self.put.kind].ends

    @property
    def is_lost(self) -> bool:
        """True if its outcome is unknown; the taker that processed an item may have exited since."""
        known = any(one.state != "gone" for one in self.outcomes)
        return not known and not (self.is_item and any(run.how == "done" for run in self.runs))

    @property
    def name(self) -> str:
        """Its name in a report."""
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
        self.cases = {one.key: Case(one) for one in reversed(history.of(Put))}
        for one in history.of(Accepted):
            case = self.cases[one.key]
            case.id, case.accepted, case.held, case.level = one.id, one.at, one.held, one.level
        for outcome in history.of(Outcome):
            self.cases[outcome.key].outcomes.append(outcome)
        self._add_runs()
        #: By id. Several have the same if one stands for the others by its unique key: that is the one with runs.
        self.jobs = {one.id: one for one in sorted(self.cases.values(), key=lambda one: len(one.runs))}
        self.cancelled = {one.id: one.at for one in reversed(history.of(CancelAsked))}
        for case in filter(is_shared, self.cases.values()):
            lane = case.put.lane
            for run in case.runs:  # one that did not react to a request to end had its process killed
                asked = case.id in self.cancelled or self.lost_lease(run, lane, run.end + _GONE)
                if asked and not run.how:
                    self.enders.append((lane, run))

    def _add_runs(self) -> None:
        self.enders: list[tuple[str, Run]] = []
        """Lane and run of jobs that may have ended their process."""
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
            if start.key in self.cases:  # not left on the server by an earlier run of the bench
                case = self.cases[start.key]
                case.id = case.id or start.id
                case.runs.append(run)
                if KINDS[case.put.kind].ends_worker:
                    self.enders.append((case.put.lane, run))

    def run_for(self, case: Case) -> Case:
        """Return the case itself, or that of the job that stands for it."""
        return self.jobs[case.id] if case.id else case

    def has(self, effect: Effect, lane: str, since: float, until: float, pid: int = 0) -> bool:
        """Return True if a fault with this effect affected a lane between two moments, or a process if one is named."""
        return any(
            effect in one.effects
            and one.at <= until
            and one.until >= since
            and concerns(one, lane)
            and (not pid or not one.pids or pid in one.pids)
            for one in self.faults
        )

    def lost_since(self, put: Put, until: float) -> bool:
        """Return True if a fault between the put of a job and `until` may have ended its lease, or lost it."""
        return any(self.has(effect, put.lane, put.at, until) for effect in (Effect.LEASE, Effect.LOSS))

    def lost_lease(self, run: Run, lane: str, until: float) -> bool:
        """Return True if a fault between the start of a run and `until` may have ended its lease, or lost its job.

        A worker may start a job that it has claimed before the loss.
        """
        since = run.start.at
        return self.has(Effect.LEASE, lane, since, until, run.start.pid) or self.has(
            Effect.LOSS, lane, since - _HELD, until
        )

    def was_claimed_before_a_loss(self, put: Put, first: Run, second: Run) -> bool:
        """Return True if the second run's worker may have claimed the job before its loss, and started later."""
        return second.start.token <= first.start.token and self.has(
            Effect.LOSS, put.lane, put.at, second.start.at
        )

    def ended_at(self, pid: int, since: float) -> float:
        """Return when a process that existed at `since` ended."""
        return min((at for at in self._ended[pid] if at >= since), default=_FOREVER)

    def stopped(self, lane: str, since: float, until: float, pid: int = 0) -> float:
        """Return for how many seconds producers of a lane, or the named one, were stopped between two moments."""
        return sum(
            max(0.0, min(until, one.until) - max(since, one.at))
            for one in self.faults
            if one.name == "producer stopped" and (pid in one.pids if pid else concerns(one, lane))
        )

    def ended_by_job(self, lane: str, since: float, until: float, pid: int = 0) -> bool:
        """Return True if a job ended its process between two moments: any one of a lane, or the one named."""
        return any(
            run.start.at <= until and run.end + _GONE >= since and (not pid or pid == run.start.pid)
            for where, run in self.enders
            if where == lane
        )

    def ended_by_fault(self, run: Run, lane: str, until: float) -> bool:
        """Return True if a fault, or another job, ended the process of a run between its start and `until`."""
        pid, since = run.start.pid, run.start.at
        return self.ended_by_job(lane, since, until, pid) or any(
            pid in one.pids and one.at <= until and one.until + _SETTLING >= since and concerns(one, lane)
            for one in self.endings
        )


def last_of(seen: list[float], since: float) -> float:
    """Return when a process that existed at `since` was last seen; its id may be reused later."""
    last = since
    for at in seen[bisect(seen, since) :]:
        if at - last > _REUSED:
            break
        last = at
    return last


def concerns(fault: Fault, lane: str) -> bool:
    """Return True if a fault affected this lane, its whole stage, or everything."""
    return fault.lane in {"", lane} and (not fault.stage or f"-{fault.stage}-" in lane)


Finding = tuple[str, bool]
"""A line, and True if a fault excuses it."""


def no_accepted_job_is_lost(record: Record) -> Iterator[Finding | None]:
    """Every job whose put returned has an outcome, or is a processed item."""
    for case in record.cases.values():
        if case.accepted != _FOREVER:
            line = f"{case.name}: accepted, but without an outcome"
            yield (line, _loss_is_excused(record, case)) if case.is_lost else None


def _loss_is_excused(record: Record, case: Case) -> bool:
    """Return True if a fault explains the loss of a job: no producer held it, or it was lost unnoticed."""
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
    """Return True if a job at this level of durability must survive a fault that loses others."""
    return Effect.STALE in fault.effects and level.startswith("replicated")


def levels_are_kept(record: Record) -> Iterator[Finding | None]:
    """No server loses data without a fault that may cause it. Lost jobs are put again, and so are not lost above."""
    for one in record.history.of(LossSeen):
        excused = record.has(Effect.LOSS, one.lane, one.at - _FOUND, one.at)
        yield f"{one.lane}: a producer saw that the server had lost data", excused
    for case in record.cases.values():
        if case.level != "memory" and not case.held:  # no producer puts it again
            lost = case.is_lost and not _loss_is_excused(record, case)
            yield (f"{case.name}: accepted at the level {case.level}, and lost", False) if lost else None


def one_outcome_each(record: Record) -> Iterator[Finding | None]:
    """No job has two different outcomes, and an item is processed once."""
    for case in record.cases.values():
        known = {(one.state, one.value) for one in case.outcomes if one.state != "gone"}
        if len(known) > 1 or (case.is_item and len(case.outcomes) > 1):
            since, until = case.put.at, case.outcomes[-1].at
            excused = record.has(Effect.LOSS, case.put.lane, since, until)
            yield f"{case.name}: {len(case.outcomes)} outcomes: {sorted(known)}", excused
        elif case.is_item or len(case.outcomes) > 1:  # a single query returns a single outcome
            yield None


def outcomes_are_right(record: Record) -> Iterator[Finding | None]:
    """A succeeded job has run to its end and has the value of its arguments; one that must fail has failed."""
    for each in record.cases.values():
        case = record.run_for(each)
        for one in each.outcomes[:1]:
            if one.state == "done" and case.expected != "done":
                yield f"{case.name}: done, though its task never returns", False
            elif one.state == "done" and one.value != case.put.value:
                yield f"{case.name}: a wrong value: {one.value!r:.80}", False
            elif one.state == "done" and not any(run.how == "done" for run in case.runs):
                yield f"{case.name}: done, though no run of it finished", False
            elif one.state == "failed" and case.expected != "failed":
                yield f"{case.name}: failed: {one.value!r:.80}", False
            elif one.state == "failed" and not any(run.how in _FAILED for run in case.runs):
                yield f"{case.name}: failed, though no run of it did", False
            else:
                yield None


def no_healthy_job_is_cancelled(record: Record) -> Iterator[Finding | None]:
    """No job ends as cancelled without a request."""
    for case in record.cases.values():
        for one in case.outcomes[:1]:
            if one.state == "cancelled" and one.at < record.cancelled.get(case.id, _FOREVER):
                yield f"{case.name}: cancelled without a request", False
            else:
                yield None


def no_healthy_run_is_ended(record: Record) -> Iterator[Finding | None]:
    """Every run ends as its task does, unless it is cancelled or its process is killed."""
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
    """No job ends as lost unless it has ended three workers, or three of them were killed during its runs.

    No attempt counts that was not started, unless its worker may have been killed at that moment.
    """
    kills = [one for one in record.faults if Effect.KILL in one.effects]
    for case in record.cases.values():
        for number, run in enumerate(case.runs, 1):
            if run.start.attempt > number:
                since, until = case.put.at, run.start.at
                killed = any(
                    since <= one.until <= until and concerns(one, case.put.lane) for one in record.endings
                )
                shared = is_shared(case) and record.ended_by_job(case.put.lane, since, until)
                excused = killed or shared or record.lost_since(case.put, until)
                yield f"{case.name}: its run {number} counts as attempt {run.start.attempt}", excused
        for one in case.outcomes[:1]:
            if one.state == "lost" and (case.expected != "lost" or len(case.runs) < _CRASHES):
                deaths = sum(
                    run.start.pid in kill.pids
                    and run.start.at <= kill.at + _SETTLING
                    and run.end + (_SETTLING if run.how else _GONE) >= kill.at
                    and concerns(kill, case.put.lane)
                    for run in case.runs
                    for kill in kills
                )
                deaths += crashes_by_others(record, case, one.at) if is_shared(case) else 0
                excused = deaths >= _CRASHES and (case.expected != "lost" or is_shared(case))
                yield f"{case.name}: lost after {len(case.runs)} runs: {one.value!r:.80}", excused
            else:
                yield None


def is_shared(case: Case) -> bool:
    """Return True if its workers share processes: a crash ends the runs of others, which count it."""
    return case.put.lane.endswith("shared")


def crashes_by_others(record: Record, case: Case, until: float) -> int:
    """Return how many crashes of a job others may have caused: jobs of its process, and faults that end leases.

    One more if a process may have died as the job started again.
    """
    lane, last = case.put.lane, max((run.end for run in case.runs), default=case.put.at)
    ended = sum(
        record.ended_by_job(lane, run.start.at, run.end + (_SETTLING if run.how else 0.0), run.start.pid)
        for run in case.runs
    )
    lapsed = sum(
        Effect.LEASE in one.effects and case.put.at <= one.until and one.at <= until and concerns(one, lane)
        for one in record.faults
    )
    starting = any(
        last <= one.until and one.at <= until and concerns(one, lane) for one in record.endings
    ) or record.ended_by_job(lane, last, until)
    return ended + lapsed + starting


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

    The last run is one that succeeded, or that failed without retries. The job does not start after its outcome was
    reported.
    """
    for case in record.cases.values():
        runs = [] if case.is_item else case.runs
        reported, state = min(
            ((one.at, one.state) for one in case.outcomes if one.state != "gone"), default=(_FOREVER, "")
        )
        for run in runs:
            if run.start.at > reported + (_HELD if state == "cancelled" else 0.0):
                excused = record.lost_since(case.put, run.start.at)
                yield f"{case.name}: started {run.start.at - reported:.3f} s after its outcome", excused
        for first, second in itertools.zip_longest(runs, runs[1:]):
            if first.how != "done" and (first.how, case.expected) != (Spoiled.__name__, "failed"):
                continue
            if second is None or second.start.at < first.end:  # overlapping runs are judged above
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
            yield f"{case.name}: finished on {first.start.pid}, and run again {after:.3f} s later", excused


def first_starts_are_in_order(record: Record) -> Iterator[Finding | None]:
    """With one worker, jobs of one priority first start in the order of their acceptance, and urgent ones first."""
    lanes: dict[str, list[Case]] = defaultdict(list)
    for case in record.cases.values():
        if case.put.lane.endswith("order") and case.accepted != _FOREVER and case.runs:
            lanes[case.put.lane].append(case)
    for cases in lanes.values():
        cases.sort(key=lambda case: (case.put.at, int(case.put.key.split(".")[-1])))
        for priority in {case.put.priority for case in cases}:
            alike = [case for case in cases if case.put.priority == priority]
            yield from _each_after_the_previous(record, alike)
        yield from _urgent_ones_first(record, cases)


def _each_after_the_previous(record: Record, cases: list[Case]) -> Iterator[Finding | None]:
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
    """Between its acceptance and its start, at most as many jobs of lower priority start as one claim takes."""
    usual = sorted(case.runs[0].start.at for case in cases if not case.put.priority)
    for case in cases:
        if case.put.priority:
            began = case.runs[0].start.at
            others = bisect(usual, began) - bisect(usual, case.accepted)
            words = f"{others} jobs of lower priority started after it was accepted and before it did"
            excused = record.has(Effect.ORDER, case.put.lane, case.put.at, began)
            yield (f"{case.name}: {words}", excused) if others > _CLAIMED else None


def limits_hold(record: Record) -> Iterator[Finding | None]:
    """No more jobs of a key run at a time than its limit allows."""
    keys: dict[tuple[str, str], list[tuple[Case, Run]]] = defaultdict(list)
    for case in record.cases.values():
        if case.put.running:
            keys[case.put.lane, case.put.limit] += [(case, run) for run in case.runs]
    for (lane, key), some in keys.items():
        some.sort(key=lambda one: one[1].start.at)
        running: list[Run] = []
        for case, run in some:
            running = [one for one in running if one.end > run.start.at]
            running.append(run)
            if len(running) <= case.put.running:
                yield None
                continue
            excused = any(record.lost_lease(one, lane, run.start.at) for one in running)
            yield (
                f"{case.name}: {len(running)} of {key} ran at once, but at most {case.put.running} may",
                excused,
            )


def rates_hold(record: Record) -> Iterator[Finding | None]:
    """No more jobs of a key are claimed within its period than its limit allows.

    A start may be late, as by a stopped worker, but the token of its run is the time of its claim, unless that clock is
    set back.
    """
    keys: dict[tuple[str, str], list[tuple[Put, Run]]] = defaultdict(list)
    for case in record.cases.values():
        if case.put.starts:
            keys[case.put.lane, case.put.limit] += [(case.put, run) for run in case.runs]
    for (lane, key), some in keys.items():
        some.sort(key=lambda one: one[1].start.token)
        for (put, last), (_, first) in zip(
            itertools.islice(some, some[0][0].starts, None), some, strict=False
        ):
            times = first.start.at, last.start.at
            seconds = max((last.start.token - first.start.token) / 1e6, times[1] - times[0])
            if seconds >= put.per - _TICK:
                yield None
                continue
            since, until = min(times) - put.per, max(times)
            excused = record.has(Effect.LOSS, lane, since, until) or record.has(
                Effect.CLOCK, lane, since - _TURNED, until
            )
            words = f"{put.starts + 1} of {key} were claimed within {seconds:.3f} s"
            yield f"{lane}: {words}, but at most {put.starts} may within {put.per} s", excused


def unique_keys_hold(record: Record) -> Iterator[Finding | None]:
    """Of two jobs with the same unique key, one is put once the other has ended."""
    keys: dict[tuple[str, str], dict[str, list[Case]]] = defaultdict(lambda: defaultdict(list))
    for case in record.cases.values():
        if case.put.unique and case.id:
            keys[case.put.lane, case.put.unique][case.id].append(case)
    for jobs in keys.values():
        spans = []  # in which a job with the key surely existed
        for some in jobs.values():
            if runs := [run for case in some for run in case.runs]:
                first = min([run.start.at for run in runs] + [case.accepted for case in some])
                spans.append((first, max(run.end for run in runs), record.run_for(some[0])))
        spans.sort(key=lambda one: one[:2])
        for (_, end, earlier), (first, _, later) in itertools.pairwise(spans):
            words = f"was put {end - first:.3f} s before {earlier.name}, with the same unique key, had ended"
            excused = record.lost_since(earlier.put, end)
            yield (f"{later.name}: {words}", excused) if first < end else None


def hooks_follow_each_end(record: Record) -> Iterator[Finding | None]:
    """Each job with hooks that has succeeded or failed has put one, once; no cancelled one has."""
    hooks: dict[str, list[str]] = defaultdict(list)
    for case in record.cases.values():
        if case.put.kind == "hook":
            hooks[case.put.value.split()[0]].append(case.put.value.split()[1])
    unknown = [at for id_, at in record.cancelled.items() if id_ not in record.jobs]
    for case in record.cases.values():
        if not case.put.has_hooks or not case.runs or record.run_for(case) is not case:
            continue
        for one in case.outcomes[:1] if not case.is_lost else ():
            wanted = [] if one.state == "cancelled" else [one.state]
            found = hooks[case.id]
            # A hook may have been cancelled before it started; until then only the server knows it.
            lost = record.has(Effect.LOSS, case.put.lane, case.put.at, _FOREVER)
            excused = lost or (not found and any(at >= case.put.at for at in unknown))
            line = f"{case.name}: {one.state}, but its hooks were put for: {', '.join(found) or 'nothing'}"
            yield (line, excused) if found != wanted else None


def each_instant_is_fired_once(record: Record) -> Iterator[Finding | None]:
    """From the first to the last instant of a schedule, no second is without a job; its id is schedule and instant.

    Two jobs of one instant would be two runs of one id, which others of these promises forbid.
    """
    seen: dict[str, dict[int, float]] = defaultdict(dict)
    for case in record.cases.values():
        if case.put.kind == "instant" and case.runs:
            seen[case.put.lane][_instant_of(case.id)] = case.runs[0].start.at
    cancelled = {_instant_of(one) for one in record.cancelled if ":" in one}
    for lane, instants in seen.items():
        for first, second in itertools.pairwise(sorted(instants)):
            missing = set(range(first + 1, second)) - cancelled
            times = instants[first], instants[second]
            excused = record.has(Effect.LOSS, lane, min(times) - _RESTORING, max(times))
            line = f"{lane}: {len(missing)} instants without a job between the seconds {first} and {second}"
            yield (line, excused) if missing else None


def _instant_of(job: str) -> int:
    """Return the instant of a job of a schedule, in seconds since 1970."""
    return int(datetime.fromisoformat(job.partition(":")[2]).timestamp())


def finished_steps_are_not_repeated(record: Record) -> Iterator[Finding | None]:
    """No run does a step that an earlier one has finished, and each repeats at most the last that was begun."""
    finished, begun = defaultdict[str, int](int), defaultdict[str, int](int)
    for one in record.history.of(Step):
        if one.id not in record.jobs:
            continue
        if one.kept:
            finished[one.id] = max(finished[one.id], one.number)
        elif one.number <= finished[one.id] or one.number < begun[one.id]:
            case = record.jobs[one.id]
            words = f"step {one.number} was repeated after step {finished[one.id] or begun[one.id]}"
            yield f"{case.name}: {words}", record.lost_since(case.put, one.at)
        else:
            begun[one.id] = one.number
            yield None


def followers_come_after(record: Record) -> Iterator[Finding | None]:
    """No job starts before those that it comes after have ended."""
    for case in record.cases.values():
        for before in [record.run_for(record.cases[key]) for key in case.put.before]:
            for run in case.runs[:1]:
                last = max((one.end for one in before.runs), default=0.0)
                if last <= run.start.at:
                    yield None
                    continue
                excused = record.lost_since(before.put, last)
                yield (
                    f"{case.name}: started {last - run.start.at:.3f} s before {before.name} had ended",
                    excused,
                )


def none_starts_before_it_is_due(record: Record) -> Iterator[Finding | None]:
    """No delayed job starts early."""
    for case in record.cases.values():
        for run in case.runs if case.put.delay else ():
            early = case.put.at + case.put.delay - run.start.at
            excused = record.has(Effect.CLOCK, case.put.lane, case.put.at, run.start.at)
            yield (f"{case.name}: started {early:.3f} s early", excused) if early > _TICK else None


def nothing_is_stuck(record: Record) -> Iterator[Finding | None]:
    """Starts, second starts and outcomes happen within a bound, as does the end of all jobs after the last fault."""
    turns: dict[tuple[str, str], list[float]] = defaultdict(list)
    for start in record.history.of(Start):
        if start.key in record.cases and (put := record.cases[start.key].put).limit:
            turns[put.lane, put.limit].append(start.at)
    for case in record.cases.values():
        for wait, what in _waits(record, case, turns[case.put.lane, case.put.limit]):
            yield None if wait <= _START else (f"{case.name}: {wait:.1f} s until {what}", False)
    for one in record.history.of(Closed):
        if one.seconds is None or one.live:
            yield (
                f"{one.lane}: {one.live} jobs left, or producers without an outcome, after {BOUND:.0f} s",
                False,
            )
        else:
            yield None


def _waits(record: Record, case: Case, turns: list[float]) -> Iterator[tuple[float, str]]:
    """Yield the seconds until the first run, between runs, and from the last run to the outcome.

    The first run has to wait for the acceptance of the job, its delay, and the jobs that it comes after; each run for
    its turn, `turns` being when jobs of the same limit started.
    """

    def wait_for(run: Run, since: float) -> float:
        place = bisect_left(turns, run.start.at)
        return run.start.at - max(since, turns[place - 1] if place else since)

    if case.runs and case.accepted != _FOREVER:
        before = [record.run_for(record.cases[key]) for key in case.put.before]
        ends = [run.end for one in before for run in one.runs]
        yield wait_for(case.runs[0], max([case.accepted + case.put.delay, *ends])), "it started"
    for first, second in itertools.pairwise(case.runs):
        yield wait_for(second, first.end), "it started again after a run"
    reported = min((one.at for one in case.outcomes), default=_FOREVER)
    done = max((run.end for run in case.runs if run.how == "done" and run.end <= reported), default=_FOREVER)
    if not case.is_item and done <= reported < _FOREVER:
        wait = reported - done - record.stopped(case.put.lane, done, reported)
        yield wait, "its outcome was reported after its last run"


def maxsize_holds(record: Record) -> Iterator[Finding | None]:
    """No more jobs wait than maxsize allows, except returned ones; above a reduced limit, their number only falls."""
    lanes: dict[str, list[Depth]] = defaultdict(list)
    for one in record.history.of(Depth):
        lanes[one.lane].append(one)
    ends = [one.at for one in record.history.of(ProcessEnded) if one.name.startswith("taker")]
    resizes = [one for one in record.faults if one.name == "queue resized"]
    for lane, seen in lanes.items():
        bound, limit = 0, 0
        changed = sorted(at for one in resizes if concerns(one, lane) for at in (one.at, one.until))
        for before, one in itertools.pairwise([seen[0], *seen]):
            unseen = bisect(changed, one.at + _RESIZING) > bisect(changed, before.at - _RESIZING)
            if one.maxsize != bound or unseen:  # the max size may have been another one for a moment
                bound, limit = one.maxsize, one.waiting
            limit = max(limit, bound)
            if one.waiting > limit + _max_returned(one, ends):
                yield f"{lane}: {one.waiting} waiting, but at most {bound} may", False
            else:
                yield None
            limit = min(limit, one.waiting)


def _max_returned(depth: Depth, ends: list[float]) -> int:
    """Return how many jobs may have returned: of the items one per taker, running or recently ended."""
    if not depth.lane.endswith("items"):
        return _MAX_RETURNED.get(depth.lane.rpartition("-")[2], 0)
    # Each taker may also release one: that of a get whose reply was lost.
    return _TAKERS + bisect(ends, depth.at) - bisect(ends, depth.at - _RETURNING)


def the_ledger_balances(record: Record) -> Iterator[Finding | None]:
    """At the end all accepted jobs are accounted for, and no key lacks its other half."""
    put = Counter(case.put.lane for case in record.cases.values())
    known = {
        (case.put.lane, case.id or key) for key, case in record.cases.items() if case.accepted != _FOREVER
    }
    accepted = Counter(lane for lane, _ in known)
    unknown = sum(
        one not in record.jobs for one in record.cancelled
    )  # perhaps put by the server, and cancelled
    for one in record.history.of(Closed):
        if one.accepted is None:
            continue
        excused = record.has(Effect.LOSS, one.lane, -_FOREVER, _FOREVER)
        if not accepted[one.lane] <= one.accepted <= put[one.lane] + unknown:
            what = f"{put[one.lane]} put, {accepted[one.lane]} known as accepted"
            yield f"{one.lane}: the server accepted {one.accepted}: {what}", excused
        else:
            yield None
        if one.imbalance or one.torn or one.orphans:
            yield f"{one.lane}: imbalance {one.imbalance}, torn {one.torn}, orphans {one.orphans}", False
        else:
            yield None


def no_process_ends_by_itself(record: Record) -> Iterator[Finding | None]:
    """Consumers, producers and takers exit only on request, and then as they should."""
    for one in record.history.of(ProcessEnded):
        if one.wanted and one.status in _ENDS:
            yield None
            continue
        excused = one.status == os.EX_UNAVAILABLE and record.has(
            Effect.REFUSAL, one.name.split()[1], one.at - _STARTING, one.at
        )
        yield (
            f"{one.name} ended with {one.status}, {'as requested' if one.wanted else 'without a request'}",
            excused,
        )


def memory_and_keys_are_flat(record: Record) -> Iterator[Finding | None]:
    """No process grows, the server is as large at the end as before, and no key is left for good."""
    for what, (memory, keys) in growth(record.history).items():
        if memory > GROWTH[role_of(what)]:
            yield f"{what}: grew by {memory / (1 << 20):.1f} MiB", False
        elif keys:
            yield f"{what}: {len(keys)} keys more than at the start: {', '.join(keys[:3])}", False
        else:
            yield None


def role_of(what: str) -> str:
    """Return the first word of a name: consumer, worker, producer, taker or server."""
    return what.partition(" ")[0]


def growth(history: History) -> dict[str, tuple[float, list[str]]]:
    """Return by how many bytes each process and server grew, and new keys.

    The readings of a process begin once it has loaded its modules. The median of their middle third is compared with
    that of the last third, since initial growth and momentary payloads do not count.
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
    "limits hold": limits_hold,
    "rates hold": rates_hold,
    "unique keys hold": unique_keys_hold,
    "followers come after": followers_come_after,
    "each instant is fired once": each_instant_is_fired_once,
    "hooks follow each end": hooks_follow_each_end,
    "finished steps are not repeated": finished_steps_are_not_repeated,
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
    for promise, check in PROMISES.items():
        findings = list(check(record))
        broken = [one[0] for one in findings if one is not None and not one[1]]
        excused = sum(one is not None and one[1] for one in findings)
        verdicts.append(Verdict(promise, broken, excused, len(findings)))
    return verdicts


def lost_by_level(record: Record) -> dict[str, Counter[str]]:
    """Return, by level of durability, how many jobs were accepted, lost with an excuse, and lost without one."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for case in record.cases.values():
        if case.accepted != _FOREVER:
            found[case.level]["accepted"] += 1
            if case.is_lost:
                found[case.level]["excused" if _loss_is_excused(record, case) else "lost"] += 1
    return found


def recovery_times(record: Record) -> dict[str, list[float]]:
    """Return, by the fault that ended their processes, the seconds until the jobs of these started again."""
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
