"""Issues that need attention: values made of counts, reports and figures, and a consumer that is really killed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import lines
from msgspec import structs

from conveyor.dashboard.issues import KINDS, MAX_ALONE, MAX_NAMED, IssueInputs, issues
from conveyor.monitor.charts import Point
from conveyor.monitor.snapshot import Rate, Snapshot
from conveyor.store.control_channel import LastSeen
from conveyor.wire.control_messages import ConsumerReport, WorkerReport
from conveyor.wire.statistics import Figures

from ..visitor_kit import Visitor, put, report, words_of, worker  # noqa: TID252 - test folders are no packages
from .core_kit import counts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

AT = 10_000.0


def snapshot(workers: int = 2, **facts: Any) -> Snapshot:
    """Return a snapshot of the queue video."""
    crew = [WorkerReport(f"rack-1/{number}", 1, "idle") for number in range(workers)]
    consumers = [ConsumerReport("rack-1", "rack", 1, ["video"], "thread", 1.0, crew)] if workers else []
    return Snapshot(AT, {"video": counts(**facts)}, consumers)


FULL = {"maxmemory": "1000", "used_memory": "950"}


@pytest.mark.parametrize(
    ("facts", "memory", "level", "words"),
    [
        ({"accepted": 5}, {}, "wrong", "the ledger of video does not balance"),
        ({"ready": 1, "workers": 0}, {}, "wrong", "video has jobs and no workers"),
        ({"delayed": 1, "workers": 0}, {}, "wrong", "video has jobs and no workers"),
        ({"ready": 2, "blocked": 1, "maxsize": 2}, {}, "warn", "video is full and blocks producers"),
        (
            {"ready": 1, "blocked": 1, "maxsize": 2, "paused": 1},
            {},
            "warn",
            "video is paused and blocks producers",
        ),
        ({"ready": 1, "paused": 1, "workers": 0}, {}, "note", "video is paused while jobs wait"),
        ({"leased": 1, "workers": 0}, {}, "wrong", "video has running jobs and no workers"),
        ({"leased": 3}, {}, "warn", "video has stalled jobs"),
        ({"dead": 1}, {}, "note", "video has dead jobs"),
        ({}, {"maxmemory": "1000", "maxmemory_policy": "allkeys-lru"}, "wrong", "evicts keys"),
        ({}, FULL, "warn", "memory is nearly full"),
    ],
)
def test_each_condition_is_reported_as_a_single_issue(
    facts: dict[str, int], memory: dict[str, str], level: str, words: str
) -> None:
    (concern,) = issues(snapshot(**facts), IssueInputs(memory))
    assert concern.level == level
    assert words in concern.what
    assert concern.hint
    assert concern.address.startswith("/")


@pytest.mark.parametrize(
    ("facts", "memory"),
    [
        ({"ready": 5, "leased": 2, "finished": 90, "maxsize": 40}, {}),
        ({"workers": 0}, {}),
        ({"workers": 0, "paused": 1}, {}),
        ({"ready": 39, "blocked": 1, "maxsize": 40}, {}),  # a job was just taken, and the producer is woken
        ({"ready": 40, "maxsize": 40}, {"maxmemory": "0", "maxmemory_policy": "allkeys-lru"}),
        ({"ready": 1}, {"maxmemory": "1000", "used_memory": "900", "maxmemory_policy": "noeviction"}),
    ],
)
def test_healthy_queue_has_no_issues(facts: dict[str, int], memory: dict[str, str]) -> None:
    assert issues(snapshot(**facts), IssueInputs(memory)) == []


def test_worst_issues_come_first() -> None:
    ailing = counts(ready=1, maxsize=1, blocked=1, dead=1)
    queues = {f"q{number:02}": ailing for number in range(MAX_ALONE)}
    found = issues(Snapshot(1.0, queues), IssueInputs(FULL))
    assert [one.level for one in found] == ["wrong"] * MAX_ALONE + ["warn"] * (1 + MAX_ALONE) + [
        "note"
    ] * MAX_ALONE


def test_issue_of_many_queues_is_a_single_line_with_their_number() -> None:
    queues = {f"q{number:03}": counts(ready=1, dead=number % 2) for number in range(102)}
    queues["other"] = counts(ready=1, paused=1)
    found = issues(Snapshot(1.0, queues), IssueInputs())
    assert [(one.what, one.address) for one in found] == [
        ("102 queues have jobs and no workers: q000, q001, q002 and 99 more", "/queues?needs=unserved"),
        ("other is paused while jobs wait", "/queues/other"),
        ("51 queues have dead jobs: q001, q003, q005 and 48 more", "/failures"),
    ]
    assert found[0].hint == "conveyor consume QUEUE starts some"


def test_every_kind_of_issue_can_be_listed(one_server: Any) -> None:
    for name in ("a", "b"):
        put(one_server, name)
    visitor = Visitor(one_server.url)
    listed = words_of(visitor.see("/queues?needs=unserved"))
    assert "2 queues have jobs and no workers." in listed
    assert "a open 1" in listed
    for kind in KINDS.keys() - {"unserved"}:
        assert "No queue matches" in visitor.see(f"/queues?needs={kind}"), kind
    assert "a open 1" in words_of(visitor.see("/queues?needs=what")), "an unknown filter is none"


def said(snapshot: Snapshot, **told: Any) -> list[str]:
    """Return the issues without their hints."""
    return [concern.what for concern in issues(snapshot, IssueInputs(**told))]


@pytest.mark.parametrize(
    ("leased", "busy", "idle", "rate", "stalled"),
    [
        (1, 1, 0, 0.0, False),
        (2, 1, 0, 0.0, True),
        (2, 1, 1, 0.0, False),  # the idle one may have just claimed it
        (3, 1, 1, 0.0, True),
        (40, 1, 0, 300.0, False),  # short jobs are claimed many at a time
    ],
)
def test_running_jobs_without_a_worker_are_stalled(
    leased: int,
    busy: int,
    idle: int,
    rate: float,
    stalled: bool,  # noqa: FBT001
) -> None:
    crew = [worker(f"rack-1/{number}") for number in range(busy)]
    crew += [WorkerReport(f"rack-1/{busy + number}", 1, "idle") for number in range(idle)]
    consumers = [report("rack-1", crew, at=AT - 1)]
    rates = {"video": Rate(rate, rate)}
    seen = Snapshot(AT, {"video": counts(leased=leased)}, consumers, rates)
    told = {"heard": [LastSeen("rack-1", AT - 1)]}
    assert any("stalled" in what for what in said(seen, **told)) == stalled
    told["heard"].append(LastSeen("rack-2", AT - 1))
    assert said(seen, **told) == [], "what rack-2 runs is not known yet"


def test_job_of_another_queue_does_not_hide_a_stalled_job() -> None:
    crew = [worker("rack-1/1", queue="mail"), worker("rack-1/2", queue="mail")]
    queues = {"video": counts(leased=3), "mail": counts(leased=2)}
    seen = Snapshot(AT, queues, [report("rack-1", crew, queues=["video", "mail"])])
    assert said(seen) == ["video has stalled jobs: claimed, but no worker runs them"]


@pytest.mark.parametrize(
    ("age", "reports", "silent"),
    [
        (6.0, True, False),
        (13.0, True, True),
        (400.0, True, False),  # a report is gone after 20 seconds: this one's clock is wrong
        (-400.0, True, False),
        (25.0, False, True),
        (2.0, False, False),  # new; the next snapshot has it
        (700.0, False, False),
    ],
)
def test_consumer_without_recent_reports_is_silent(
    age: float,
    reports: bool,  # noqa: FBT001
    silent: bool,  # noqa: FBT001
) -> None:
    consumers = [report("rack-1", 1, at=AT - age)] if reports else []
    found = issues(Snapshot(AT, {}, consumers), IssueInputs(heard=[LastSeen("rack-1", AT - age)]))
    assert [one.what for one in found] == ["consumer rack-1 went silent"] * silent


def test_many_silent_consumers_are_counted() -> None:
    heard = [LastSeen(f"rack-{number}", AT - 30) for number in range(MAX_NAMED + 7)]
    assert said(Snapshot(AT), heard=heard)[-1] == "7 more consumers went silent"


def test_consumer_whose_workers_cannot_start_is_wrong() -> None:
    trouble = "the resource shop.pool cannot be opened: OSError: no route to ada@db"
    consumers = [
        structs.replace(report(f"rack-{number}", 0), trouble=trouble) for number in range(MAX_NAMED + 2)
    ]
    found = said(Snapshot(AT, {}, consumers))
    assert found[0] == "workers of rack-0 cannot start: the resource shop.pool cannot be opened"
    assert found[-1] == "workers of 2 more consumers cannot start"


@pytest.mark.parametrize(
    ("before", "recent", "is_spike"),
    [(0, 4, False), (0, 5, True), (10, 6, False), (10, 7, True), (50, 30, False)],
)
def test_threefold_failures_are_reported(
    before: int,
    recent: int,
    is_spike: bool,  # noqa: FBT001
) -> None:
    minutes = [Point(60.0 * number) for number in range(60)]
    minutes[20] = Point(1200.0, Figures(failed=before))
    minutes[55] = Point(3300.0, Figures(failed=recent - 2, lost=2))
    assert said(Snapshot(AT), minutes=minutes) == ["failures are up on the previous hour"] * is_spike


@pytest.mark.parametrize(
    ("before", "recent", "is_storm"), [(0, 19, False), (0, 20, True), (100, 60, False), (100, 61, True)]
)
def test_threefold_retries_are_reported(
    before: int,
    recent: int,
    is_storm: bool,  # noqa: FBT001
) -> None:
    minutes = [Point(60.0 * number) for number in range(60)]
    minutes[20] = Point(1200.0, Figures(retried=before))
    minutes[55] = Point(3300.0, Figures(retried=recent))
    assert said(Snapshot(AT), minutes=minutes) == ["retries are up on the previous hour"] * is_storm


def test_crashed_workers_are_reported_for_ten_minutes() -> None:
    minutes = [Point(60.0 * number) for number in range(60)]
    minutes[49] = Point(2940.0, Figures(died=3))
    assert said(Snapshot(AT), minutes=minutes) == []
    minutes[50] = Point(3000.0, Figures(died=1))
    assert said(Snapshot(AT), minutes=minutes) == ["workers crashed in the last 10 minutes"]


def test_paused_workers_are_reported_as_a_note() -> None:
    (concern,) = issues(
        Snapshot(AT, {}, [report("rack-1", [worker("rack-1/1", paused=True)])]), IssueInputs()
    )
    assert (concern.level, concern.what) == ("note", "some workers are paused")


def test_killed_consumer_with_a_running_job_is_reported(
    one_server: Any,
    queue: Queue,
    path: Path,
    consume: Callable[..., Any],
    eventually: Callable[..., Any],
) -> None:
    running = consume(workers=1)
    queue.submit(jobs.sleep_for_ever, str(path))
    eventually(lambda: lines(path))
    name = running.name
    visitor = Visitor(queue.client.url)
    assert "went silent" not in visitor.see("/")
    running.kill()
    # As 25 seconds later, when its last report has expired.
    one_server.raw.delete(f"conveyor:consumer:{name}")
    one_server.raw.zadd("conveyor:consumers", {name: time.time() - 25})
    silent = f"consumer {name} went silent"
    for address in ("/", "/?span=day"):
        eventually(lambda address=address: silent in words_of(visitor.see(address)))
    missed = f"{queue.name} has running jobs and no workers"
    eventually(lambda: missed in words_of(visitor.see("/")))
