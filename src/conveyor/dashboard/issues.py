"""What needs attention, from what every poll brings: its words change only when something did."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from conveyor.monitor.workers import MAX_WORKERS, REPORT_KEEP, SILENT_AFTER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conveyor.monitor.charts import Point
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.commands import Count
    from conveyor.store.control_channel import LastSeen
    from conveyor.wire.control_messages import ConsumerReport, WorkerReport

#: Queues with the same issue that have a line each; more share one.
MAX_ALONE = 3
#: Queues of a shared line, and silent consumers, that are named; the others are counted.
MAX_NAMED = 3
#: Seconds for which a silent consumer is an issue; after that it is history.
SILENT_FOR = 600.0
#: Minutes that are compared with the rest of the hour, and how many times more counts as a spike.
RECENT, TIMES_MORE = 10, 3
#: Failures and retries of which fewer are never a spike.
MIN_FAILED, MIN_RETRIED = 5, 20


class Issue(NamedTuple):
    """One matter: what it is, what can be done, and the page that shows it."""

    level: str
    """wrong: work is not done or may be lost. warn: it cannot continue like this. note: worth a look."""
    what: str
    hint: str
    address: str


class IssueInputs(NamedTuple):
    """What is queried in addition to the snapshot."""

    memory: Mapping[str, str] = {}
    """The server's facts about its memory."""
    heard: Sequence[LastSeen] = ()
    """When each consumer last reported."""
    minutes: Sequence[Point] = ()
    """The last hour in minutes, the running one last."""


class _Kind(NamedTuple):
    """One kind of issue that a queue may have."""

    level: str
    one: str
    """The text for one queue; `{}` is its name."""
    many: str
    """The text for several, behind their number; also of the list of them."""
    hint: str
    """`{}` is the queue's name, or QUEUE for several."""
    address: str = "/queues/{}"
    all: str = ""
    """The page that shows several; "": the filtered list of queues."""


#: By the key that stands for the kind in addresses.
KINDS = {
    "unbalanced": _Kind(
        level="wrong",
        one="the ledger of {} does not balance",
        many="queues have a ledger that does not balance",
        hint="run conveyor doctor",
    ),
    "unserved": _Kind(
        level="wrong",
        one="{} has jobs and no workers",
        many="queues have jobs and no workers",
        hint="conveyor consume {} starts some",
    ),
    "abandoned": _Kind(
        level="wrong",
        one="{} has running jobs and no workers",
        many="queues have running jobs and no workers",
        hint="conveyor consume {} starts some, which take the jobs, unless a program holds them by Queue.get",
    ),
    "full": _Kind(
        level="warn",
        one="{} is full and blocks producers",
        many="queues are full and block producers",
        hint="add workers or raise the limit to unblock them",
    ),
    "blocking": _Kind(
        level="warn",
        one="{} is paused and blocks producers",
        many="queues are paused and block producers",
        hint="resume the queue to unblock them",
    ),
    "stalled": _Kind(
        level="warn",
        one="{} has stalled jobs: claimed, but no worker runs them",
        many="queues have stalled jobs: claimed, but no worker runs them",
        hint="other workers take them when their leases expire, unless a program holds them by Queue.get",
        address="/jobs?queue={}&state=running",
    ),
    "paused": _Kind(
        level="note",
        one="{} is paused while jobs wait",
        many="queues are paused while jobs wait",
        hint="resume the queue to process them",
    ),
    "throttled": _Kind(
        level="note",
        one="{} is throttled: a task asked for a rest",
        many="queues are throttled: tasks asked for a rest",
        hint="its jobs start again when the rest is over, or when you end it",
    ),
    "dead": _Kind(
        level="note",
        one="{} has dead jobs",
        many="queues have dead jobs",
        hint="inspect the failures, then retry or discard the jobs",
        address="/failures?queue={}",
        all="/failures",
    ),
}


def issues(snapshot: Snapshot, inputs: IssueInputs) -> list[Issue]:
    """Return what needs attention, the worst first; the same issue of many queues is one that counts them."""
    found = [*_of_server(inputs.memory), *_of_consumers(snapshot, inputs.heard), *_of_minutes(inputs.minutes)]
    is_complete = _is_complete(snapshot, inputs.heard)
    queues: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for name, count in sorted(snapshot.queues.items()):
        for kind in kinds_of(snapshot, name, count):
            if kind != "stalled" or is_complete:
                queues[kind].append(name)
    for kind, names in queues.items():
        found += _of_queues(KINDS[kind], kind, names)
    order = ("wrong", "warn", "note")
    return sorted(found, key=lambda issue: order.index(issue.level))


def kinds_of(snapshot: Snapshot, name: str, count: Count) -> Iterator[str]:
    """Yield the issues of a queue, as keys of KINDS."""
    workers = snapshot.workers_of(name)
    if count.imbalance:
        yield "unbalanced"
    if count.qsize and not workers and not count.paused:
        yield "unserved"
    elif count.leased and not workers:
        yield "abandoned"
    # Otherwise there is room, and the blocked producers are about to take it.
    if count.blocked and (count.is_full or count.paused):
        yield "blocking" if count.paused else "full"
    elif count.paused and count.qsize:
        yield "paused"
    if count.rest and count.qsize:
        yield "throttled"
    if count.dead:
        yield "dead"
    if workers and _is_stalled(snapshot, name, count, workers):
        yield "stalled"


def _of_queues(kind: _Kind, key: str, names: Sequence[str]) -> Iterator[Issue]:
    if len(names) <= MAX_ALONE:
        for name in names:
            address = kind.address.format(quote(name, safe=""))
            yield Issue(kind.level, kind.one.format(name), kind.hint.format(name), address)
        return
    named = ", ".join(names[:MAX_NAMED])
    what = f"{len(names):,} {kind.many}: {named} and {len(names) - MAX_NAMED:,} more"
    yield Issue(kind.level, what, kind.hint.format("QUEUE"), kind.all or f"/queues?needs={key}")


def _is_stalled(snapshot: Snapshot, name: str, count: Count, workers: Sequence[WorkerReport]) -> bool:
    """Return True if there are claimed jobs that no worker runs.

    An idle worker may have claimed one just now, and one at short jobs claims as many as it finishes in a moment.
    """
    busy = sum(worker.is_busy_on(name) for worker in workers)
    rate = snapshot.rates.get(name)
    allowed = len(workers) - busy + math.ceil(rate.ended if rate is not None else 0.0)
    return count.leased > busy + allowed


def _is_complete(snapshot: Snapshot, heard: Sequence[LastSeen]) -> bool:
    """Return True if the snapshot has the whole report of every consumer that reported lately."""
    reported = {report.name for report in snapshot.consumers}
    lately = {one.name for one in heard if snapshot.at - one.at < REPORT_KEEP}
    return lately <= reported and all(len(one.workers) < MAX_WORKERS for one in snapshot.consumers)


def _of_consumers(snapshot: Snapshot, heard: Sequence[LastSeen]) -> Iterator[Issue]:
    reports = {report.name: report for report in snapshot.consumers}
    silent = [one.name for one in heard if _is_silent(snapshot.at - one.at, reports.get(one.name))]
    for name in silent[:MAX_NAMED]:
        hint = "check its host and start it again; other consumers take its jobs when their leases expire"
        yield Issue("warn", f"consumer {name} went silent", hint, "/workers")
    if more := len(silent[MAX_NAMED:]):
        yield Issue("warn", f"{more} more consumers went silent", "check their hosts", "/workers")
    troubled = [one for one in snapshot.consumers if one.trouble]
    for one in troubled[:MAX_NAMED]:
        what, _, _ = one.trouble.partition(": ")  # the error may be only for those with the right to inspect
        hint = "its output says why; the workers start by themselves as soon as they can"
        yield Issue("wrong", f"workers of {one.name} cannot start: {what}", hint, "/workers")
    if more := len(troubled[MAX_NAMED:]):
        yield Issue("wrong", f"workers of {more} more consumers cannot start", "see their output", "/workers")
    if any(worker.paused for worker in snapshot.workers()):
        hint = "they take no jobs until you resume them"
        yield Issue("note", "some workers are paused", hint, "/workers?state=paused")


def _is_silent(age: float, report: ConsumerReport | None) -> bool:
    return SILENT_AFTER < age < (SILENT_FOR if report is None else REPORT_KEEP)


def _of_minutes(minutes: Sequence[Point]) -> Iterator[Issue]:
    if _is_spike([point.failed + point.figures.lost for point in minutes], MIN_FAILED):
        hint = "inspect the groups of failures; pause the queue if need be"
        yield Issue("warn", "failures are up on the previous hour", hint, "/failures")
    if _is_spike([point.figures.retried for point in minutes], MIN_RETRIED):
        hint = "a service that they need may be unavailable; pause the queue until it is back"
        yield Issue("warn", "retries are up on the previous hour", hint, "/queues")
    if any(point.figures.died for point in minutes[-RECENT:]):
        hint = "often for lack of memory; their jobs returned to the queue, or are dead after three crashes"
        yield Issue("warn", f"workers crashed in the last {RECENT} minutes", hint, "/workers")


def _is_spike(minutes: Sequence[int], least: int) -> bool:
    """Return True if the last minutes have far more than as many minutes of the hour before, on average."""
    recent, before = sum(minutes[-RECENT:]), minutes[:-RECENT]
    usual = RECENT * sum(before) / len(before) if before else 0.0
    return recent >= least and recent > TIMES_MORE * usual


def _of_server(memory: Mapping[str, str]) -> Iterator[Issue]:
    policy = memory.get("maxmemory_policy", "noeviction")
    limit, used = int(memory.get("maxmemory") or 0), int(memory.get("used_memory") or 0)
    if limit and policy != "noeviction":
        what = f"the server evicts keys when its memory is full (maxmemory-policy {policy})"
        yield Issue("wrong", what, "set it to noeviction, or jobs are lost", "/system")
    if limit and used > 0.9 * limit:
        yield Issue(
            "warn", "the server's memory is nearly full", "puts are refused when it is full", "/system"
        )
