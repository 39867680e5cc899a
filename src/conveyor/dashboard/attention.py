"""What needs somebody, from what every look at the server brings: its words change only when something did."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from conveyor.inspector.silence import REPORT_KEEP, SILENT_AFTER
from conveyor.inspector.workers import MOST_WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conveyor.control import ConsumerReport
    from conveyor.inspector.snapshot import Snapshot
    from conveyor.inspector.statistics import Point
    from conveyor.store.commands import Count
    from conveyor.store.presence import Heard

#: Concerns that are listed.
MOST = 12
#: Silent consumers that are named; further ones are counted.
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


def concerns(snapshot: Snapshot, told: Told) -> list[Concern]:
    """Give what needs somebody, the worst first."""
    found = [*_of_server(told.memory), *_of_consumers(snapshot, told.heard), *_of_minutes(told.minutes)]
    is_complete = _is_complete(snapshot, told.heard)
    for name, count in snapshot.queues.items():
        found += _of_queue(name, count, len(snapshot.workers_of(name)))
        if is_complete:
            found += _of_stalled(snapshot, name, count)
    order = ("wrong", "warn", "note")
    return sorted(found, key=lambda concern: order.index(concern.level))[:MOST]


def _of_queue(name: str, count: Count, workers: int) -> Iterator[Concern]:
    address = f"/queues/{name}"
    if count.imbalance:
        yield Concern(
            "wrong", f"the books of {name} do not balance", "conveyor doctor tells more", address, name
        )
    if count.waiting and not workers and not count.paused:
        yield Concern(
            "wrong", f"{name} has jobs and no workers", f"conveyor consume {name} starts some", address, name
        )
    elif count.leased and not workers:
        yield Concern(
            *("wrong", f"{name} has running jobs and no workers"),
            f"conveyor consume {name} starts some, which take the jobs back; or a program holds them by Queue.get",
            *(address, name),
        )
    if count.blocked and (count.is_full or count.paused):  # else there is room, and they are about to take it
        why, hint = "full", "more workers, or a larger maxsize, let them go on"
        if count.paused:
            why, hint = "paused", "Resume lets them go on"
        yield Concern("warn", f"{name} is {why} and blocks producers", hint, address, name)
    elif count.paused and count.waiting:
        yield Concern("note", f"{name} is paused while jobs wait", "Resume lets it go on", address, name)
    if count.dead:
        yield Concern(
            "note", f"{name} has dead letters", "look at why, and retry them", f"/failures?queue={name}", name
        )


def _of_stalled(snapshot: Snapshot, name: str, count: Count) -> Iterator[Concern]:
    """Tell of jobs that are claimed and that no worker is at.

    An idle worker may have claimed one just now, and one at short jobs claims as many as it ends in a moment.
    """
    workers = snapshot.workers_of(name)
    busy = sum(worker.is_busy_on(name) for worker in workers)
    rate = snapshot.rates.get(name)
    allowed = len(workers) - busy + math.ceil(rate.ended if rate is not None else 0.0)
    if workers and count.leased > busy + allowed:
        yield Concern(
            *("warn", f"{name} has stalled jobs: running, but no worker is at them"),
            "they go to other workers when their leases end; else a program holds them by Queue.get",
            f"/jobs?{urlencode({'queue': name, 'state': 'running'})}",
            name,
        )


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
            *("warn", "more jobs fail than in the hour before"),
            "look which fail alike, and where; pause the queue if need be",
            "/failures",
        )
    if _is_spike([point.retried for point in minutes], LEAST_RETRIED):
        yield Concern(
            *("warn", "more runs are tried again than in the hour before"),
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
