"""What needs somebody, from what every look at the server brings: its words change only when something did."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from conveyor.monitor.silence import REPORT_KEEP, SILENT_AFTER
from conveyor.monitor.workers import MOST_WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conveyor.monitor.charts import Point
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.commands import Count
    from conveyor.store.last_seen import Heard
    from conveyor.wire.control_messages import ConsumerReport, WorkerReport

#: Queues of which the same is so that have a line each; more share one.
MOST_ALONE = 3
#: Queues of a shared line, and silent consumers, that are named; the others are counted.
MOST_NAMED = 3
#: Seconds for which it is said that a consumer went silent; after that it is history.
SILENT_FOR = 600.0
#: Minutes that are compared with the rest of the hour, and how many times more is worth a word.
RECENT, TIMES_MORE = 10, 3
#: Failures, and runs that are tried again, of which fewer are not worth a word.
LEAST_FAILED, LEAST_RETRIED = 5, 20


class Concern(NamedTuple):
    """One matter: what is so, what can be done, and the page that shows it."""

    level: str
    """wrong: work is not done or may be lost. warn: it will not go on like this for long. note: worth a look."""
    what: str
    hint: str
    address: str
    queue: str = ""
    """The queue that it is about."""


class Told(NamedTuple):
    """What was asked besides the snapshot."""

    memory: Mapping[str, str] = {}
    """The server's facts about its memory."""
    heard: Sequence[Heard] = ()
    """When each consumer last reported."""
    minutes: Sequence[Point] = ()
    """What was done in each minute of the last hour, the running one last."""


class _Kind(NamedTuple):
    """What may be so of a queue."""

    level: str
    one: str
    """What is said of one queue; `{}` is its name."""
    many: str
    """What is said of several, behind their number; also of the list of them."""
    hint: str
    """`{}` is the queue's name, or QUEUE where there are several."""
    address: str = "/queues/{}"
    all: str = ""
    """The page that shows several; empty: the list of queues that are so."""


#: By the word that stands for the kind in addresses.
KINDS = {
    "unbalanced": _Kind(
        "wrong",
        "the books of {} do not balance",
        "queues have books that do not balance",
        "run conveyor doctor",
    ),
    "unserved": _Kind(
        "wrong",
        "{} has jobs and no workers",
        "queues have jobs and no workers",
        "conveyor consume {} starts some",
    ),
    "abandoned": _Kind(
        "wrong",
        "{} has running jobs and no workers",
        "queues have running jobs and no workers",
        "conveyor consume {} starts some, which take the jobs back; or a program holds them by Queue.get",
    ),
    "full": _Kind(
        "warn",
        "{} is full and blocks producers",
        "queues are full and block producers",
        "more workers, or a larger maxsize, let them go on",
    ),
    "blocking": _Kind(
        "warn",
        "{} is paused and blocks producers",
        "queues are paused and block producers",
        "Resume lets them go on",
    ),
    "stalled": _Kind(
        "warn",
        "{} has stalled jobs: running, but no worker is at them",
        "queues have stalled jobs: running, but no worker is at them",
        "they go to other workers when their leases end; else a program holds them by Queue.get",
        "/jobs?queue={}&state=running",
    ),
    "paused": _Kind(
        "note", "{} is paused while jobs wait", "queues are paused while jobs wait", "Resume lets it go on"
    ),
    "dead": _Kind(
        "note",
        "{} has dead letters",
        "queues have dead letters",
        "look at why, and retry them",
        "/failures?queue={}",
        "/failures",
    ),
}


def concerns(snapshot: Snapshot, told: Told) -> list[Concern]:
    """Return what needs somebody, the worst first; what is so of many queues is one concern that says of how many."""
    found = [*_of_server(told.memory), *_of_consumers(snapshot, told.heard), *_of_minutes(told.minutes)]
    is_complete = _is_complete(snapshot, told.heard)
    queues: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for name, count in sorted(snapshot.queues.items()):
        for kind in kinds_of(snapshot, name, count):
            if kind != "stalled" or is_complete:
                queues[kind].append(name)
    for kind, names in queues.items():
        found += _of_queues(KINDS[kind], kind, names)
    order = ("wrong", "warn", "note")
    return sorted(found, key=lambda concern: order.index(concern.level))


def kinds_of(snapshot: Snapshot, name: str, count: Count) -> Iterator[str]:
    """Return what needs somebody in a queue, as keys of KINDS."""
    workers = snapshot.workers_of(name)
    if count.imbalance:
        yield "unbalanced"
    if count.waiting and not workers and not count.paused:
        yield "unserved"
    elif count.leased and not workers:
        yield "abandoned"
    if count.blocked and (count.is_full or count.paused):  # else there is room, and they are about to take it
        yield "blocking" if count.paused else "full"
    elif count.paused and count.waiting:
        yield "paused"
    if count.dead:
        yield "dead"
    if workers and _is_stalled(snapshot, name, count, workers):
        yield "stalled"


def _of_queues(kind: _Kind, key: str, names: Sequence[str]) -> Iterator[Concern]:
    if len(names) <= MOST_ALONE:
        for name in names:
            address = kind.address.format(quote(name, safe=""))
            yield Concern(kind.level, kind.one.format(name), kind.hint.format(name), address, name)
        return
    named = ", ".join(names[:MOST_NAMED])
    what = f"{len(names):,} {kind.many}: {named} and {len(names) - MOST_NAMED:,} more"
    yield Concern(kind.level, what, kind.hint.format("QUEUE"), kind.all or f"/queues?needs={key}")


def _is_stalled(snapshot: Snapshot, name: str, count: Count, workers: Sequence[WorkerReport]) -> bool:
    """Return True if there are claimed jobs that no worker runs.

    An idle worker may have claimed one just now, and one at short jobs claims as many as it ends in a moment.
    """
    busy = sum(worker.is_busy_on(name) for worker in workers)
    rate = snapshot.rates.get(name)
    allowed = len(workers) - busy + math.ceil(rate.ended if rate is not None else 0.0)
    return count.leased > busy + allowed


def _is_complete(snapshot: Snapshot, heard: Sequence[Heard]) -> bool:
    """Tell whether the snapshot has the whole report of everyone who reported lately."""
    reported = {report.name for report in snapshot.consumers}
    lately = {one.name for one in heard if snapshot.at - one.at < REPORT_KEEP}
    return lately <= reported and all(len(one.workers) < MOST_WORKERS for one in snapshot.consumers)


def _of_consumers(snapshot: Snapshot, heard: Sequence[Heard]) -> Iterator[Concern]:
    reports = {report.name: report for report in snapshot.consumers}
    silent = [one.name for one in heard if _is_silent(snapshot.at - one.at, reports.get(one.name))]
    for name in silent[:MOST_NAMED]:
        queues = reports[name].queues if name in reports else []
        yield Concern(
            *("warn", f"consumer {name} went silent"),
            "look at its machine, and start it again; its jobs go to others when their leases end",
            *("/workers", queues[0] if queues else ""),
        )
    if more := len(silent[MOST_NAMED:]):
        yield Concern("warn", f"{more} more consumers went silent", "look at their machines", "/workers")
    if any(worker.paused for worker in snapshot.workers()):
        yield Concern(
            *("note", "some workers are paused", "they take no jobs until somebody resumes them"),
            "/workers?state=paused",
        )


def _is_silent(age: float, report: ConsumerReport | None) -> bool:
    return SILENT_AFTER < age < (SILENT_FOR if report is None else REPORT_KEEP)


def _of_minutes(minutes: Sequence[Point]) -> Iterator[Concern]:
    if _is_spike([point.failed + point.lost for point in minutes], LEAST_FAILED):
        yield Concern(
            *("warn", "failures are up on the previous hour"),
            "see which failures are alike; pause the queue if need be",
            "/failures",
        )
    if _is_spike([point.retried for point in minutes], LEAST_RETRIED):
        yield Concern(
            *("warn", "retries are up on the previous hour"),
            "something that they need may be away; pause the queue until it is back",
            "/queues",
        )
    if any(point.died for point in minutes[-RECENT:]):
        yield Concern(
            *("warn", f"workers died at their jobs in the last {RECENT} minutes"),
            "often for lack of memory; their jobs went back, or are dead if they ended three workers",
            "/workers",
        )


def _is_spike(minutes: Sequence[int], least: int) -> bool:
    """Compare the last minutes with as many minutes of the hour before, on average."""
    recent, before = sum(minutes[-RECENT:]), minutes[:-RECENT]
    usual = RECENT * sum(before) / len(before) if before else 0.0
    return recent >= least and recent > TIMES_MORE * usual


def _of_server(memory: Mapping[str, str]) -> Iterator[Concern]:
    policy = memory.get("maxmemory_policy", "noeviction")
    limit, used = int(memory.get("maxmemory") or 0), int(memory.get("used_memory") or 0)
    if limit and policy != "noeviction":
        yield Concern(
            "wrong",
            f"the server throws keys away when its memory is full (maxmemory-policy {policy})",
            "set it to noeviction, else jobs are lost",
            "/system",
        )
    if limit and used > 0.9 * limit:
        yield Concern("warn", "the server's memory is nearly full", "puts are refused when it is", "/system")
