"""rows: pages of an index that omit nothing and repeat nothing, for any scores and if jobs leave meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.errors import BadCall
from conveyor.monitor import job_data, job_list, merged_list
from conveyor.monitor.merged_list import MergeLimits
from conveyor.store import commands, records
from conveyor.store.commands import RowRange, Settlement
from conveyor.wire.codec import encode
from conveyor.wire.outcome import describe_text, encode_settled

if TYPE_CHECKING:
    from conftest import Lane

TIED = [f"tied{number:03}" for number in range(60)]


def job(task: str = "tasks.cut", argument: Any = "film", at: float = 1000.5) -> bytes:
    return b"\x94" + encode(task) + encode([argument]) + encode({}) + encode(at)


def put(lane: Lane, jobs: dict[str, bytes], **place: Any) -> None:
    lane.run(commands.put, list(jobs.items()), commands.PutParams(**place))


def delay_alike(lane: Lane) -> None:
    """Put jobs that are due at the very same time."""
    put(lane, dict.fromkeys(TIED, job()), delay=1000.0)
    lane.raw.zadd(lane.key("delayed"), dict.fromkeys(TIED, 9e12))


def walk(lane: Lane, state: str, count: int) -> list[str]:
    """Return the ids of all pages from the first on; check that every page leads back to the previous one."""
    found: list[str] = []
    cursor, before = "", []
    while True:
        page = job_list.page(lane.queue, state, cursor, count).ask(lane.client)
        ids = [row.id for row in page.rows]
        assert page.first == len(found)
        assert bool(page.previous) == bool(found)
        if page.previous:
            again = job_list.page(lane.queue, state, page.previous, count).ask(lane.client)
            assert [row.id for row in again.rows] == before
        found += ids
        before, cursor = ids, page.next
        if not cursor:
            return found


@pytest.mark.parametrize("count", [1, 7, 60, 200])
def test_ties_are_neither_repeated_nor_skipped_in_either_order(lane: Lane, count: int) -> None:
    delay_alike(lane)
    assert walk(lane, "delayed", count) == TIED
    lane.raw.zadd(lane.key("dead"), dict.fromkeys(TIED, 9e12))
    assert walk(lane, "dead", count) == TIED[::-1]
    lane.raw.delete(lane.key("dead"))


def test_page_continues_after_a_removed_job(lane: Lane) -> None:
    delay_alike(lane)
    page = job_list.page(lane.queue, "delayed", count=10).ask(lane.client)
    for gone in (TIED[9], TIED[11]):
        lane.run(commands.cancel, gone, b"cancelled", 60.0)
    after = job_list.page(lane.queue, "delayed", page.next, 3).ask(lane.client)
    assert [row.id for row in after.rows] == [TIED[10], TIED[12], TIED[13]]
    before = job_list.page(lane.queue, "delayed", after.previous, 3).ask(lane.client)
    assert [row.id for row in before.rows] == [TIED[6], TIED[7], TIED[8]]
    assert after.total == 58


def test_waiting_jobs_are_listed_in_run_order(lane: Lane) -> None:
    put(lane, {"low1": job(), "low2": job()})
    put(lane, {"high": job()}, priority=255)
    assert walk(lane, "waiting", 1) == ["high", "low1", "low2"]
    assert walk(lane, "ready", 2) == ["high", "low1", "low2"]


def test_empty_index_is_an_empty_page(lane: Lane) -> None:
    for state in ("waiting", "delayed", "running", "dead"):
        assert job_list.page(lane.queue, state).ask(lane.client) == job_list.JobPage([], "", "", 0, 0)


def test_row_of_a_running_job_has_its_known_facts(lane: Lane) -> None:
    put(lane, {"a": job("tasks.cut", "film.mp4")})
    lane.raw.hset(lane.key("tries"), "a", "2 1 1")
    lane.claim(owner="host-1/7")
    lane.raw.hset(lane.key("progress"), "a", b"\x93\x01\x04\xa4half")
    (row,) = job_list.page(lane.queue, "running").ask(lane.client).rows
    assert (row.task, row.arguments, row.put_at) == ("tasks.cut", "'film.mp4'", 1000.5)
    assert (row.worker, row.retries, row.crashes, row.size) == (
        "host-1/7",
        2,
        1,
        len(job("tasks.cut", "film.mp4")),
    )
    assert row.progress is not None
    assert row.progress.message == "half"
    assert row.since is not None
    assert abs(row.since - lane.raw.time()[0]) < 60


def make_dead(lane: Lane, *ids: str, text: str = "no such file") -> None:
    for one in ids:
        put(lane, {one: job()})
        reason = encode_settled("failed", describe_text("OSError", text, "trace" * 1000), 0.5)
        lane.run(commands.fail, lane.claim().token, Settlement(one, reason, 60.0, b"note"))


def test_dead_jobs_come_newest_first_with_their_error(lane: Lane) -> None:
    make_dead(lane, "first", "second")
    lane.raw.zadd(lane.key("dead"), {"first": 1_000.0, "second": 2_000.0})
    rows = job_list.page(lane.queue, "dead").ask(lane.client).rows
    assert [(row.id, row.kind, row.message, row.since) for row in rows] == [
        ("second", "OSError", "no such file", 2.0),
        ("first", "OSError", "no such file", 1.0),
    ]


def test_row_of_a_large_job_has_its_task_and_the_first_bytes(lane: Lane) -> None:
    data = job("tasks.cut", "x" * ((1 << 20) - 100))
    put(lane, {f"large{number}": data for number in range(3)})
    answer = lane.run(commands.rows, "ready", RowRange(3))
    assert [(len(row.data), row.size) for row in answer.rows] == [(2048, len(data))] * 3
    row = job_list.page(lane.queue, "waiting").ask(lane.client).rows[0]
    assert (row.task, row.put_at) == ("tasks.cut", None)
    assert row.arguments.endswith(f"x… ({len(data):,} bytes)")
    assert len(row.arguments) < 110


def test_page_of_many_large_jobs_has_all_rows(lane: Lane) -> None:
    data = job("tasks.cut", "x" * ((1 << 20) - 100))
    for number in range(20):
        put(lane, {f"large{number:02}": data})
    rows = job_list.page(lane.queue, "waiting").ask(lane.client).rows
    assert len(rows) == 20
    assert (rows[-1].task, rows[-1].arguments) == ("?", f"… ({len(data):,} bytes)")


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x94", b"no job at all", b"\x94\xa3", b"\xc1" * 3000, b"\x94\xc1" * 3000]
)
def test_undecodable_job_has_a_row(lane: Lane, data: bytes) -> None:
    put(lane, {"odd": data})
    (row,) = job_list.page(lane.queue, "waiting").ask(lane.client).rows
    assert (row.task, row.arguments) == ("?", f"undecodable, {len(data):,} bytes")


@pytest.mark.parametrize("size", range(0, 60, 3))
def test_job_cut_anywhere_has_a_row(size: int) -> None:
    data = job("tasks.cut", "some film")
    assert job_data.preview(data[:size], 99_999).arguments.endswith("(99,999 bytes)") or size < 3


@pytest.mark.parametrize(
    "cursor", ["?", "x" * 300, "YSAxIA", "YyAxIGE", "YSBuYW4gYQ", "YSAoMSBh", "é", "YSAx=IGE", " "]
)
def test_invalid_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(BadCall):
        job_list.page("work", "waiting", cursor)


def test_invalid_state_is_refused() -> None:
    with pytest.raises(BadCall):
        job_list.page("work", "meta")


def search(
    lane: Lane, cursor: str = "", state: str = "waiting", **how: Any
) -> merged_list.MergedPage[job_list.JobRow]:
    limits = MergeLimits(**{name: how.pop(name) for name in ("budget", "most") if name in how})
    asked = merged_list.jobs([lane.queue], state, cursor, job_list.JobFilter(**how), limits)
    found: merged_list.MergedPage[job_list.JobRow] = asked.ask(lane.client)
    return found


def test_search_covers_its_budget_and_returns_a_cursor(lane: Lane) -> None:
    put(lane, {f"job{number:04}": job(f"tasks.t{number % 250}") for number in range(700)})
    found = search(lane, task="tasks.t7", budget=450)
    assert [row.id for row in found.rows if row.task == "tasks.t7"] == ["job0007", "job0257"]
    assert found.searched == 450
    more = search(lane, found.next, task="tasks.t7", budget=450)
    assert [row.id for row in more.rows if row.task == "tasks.t7"] == ["job0507"]
    assert (more.searched, more.next) == (250, "")


def test_search_continues_after_its_last_result(lane: Lane) -> None:
    put(lane, {f"job{number:04}": job() for number in range(300)})
    ids, cursor = [], ""
    while True:
        found = search(lane, cursor, most=70)
        ids += [row.id for row in found.rows]
        cursor = found.next
        if not cursor:
            break
    assert ids == [f"job{number:04}" for number in range(300)]


def test_search_covers_text_and_workers(lane: Lane) -> None:
    make_dead(lane, "three", text="disk on fire")
    make_dead(lane, "four", text="disk full")
    assert [row.id for row in search(lane, state="dead", text="FIRE").rows] == ["three"]
    put(lane, {"one": job(argument="Casablanca"), "two": job(argument="Metropolis")})
    assert [row.id for row in search(lane, text="metro").rows] == ["two"]
    lane.claim(owner="host-1/7")
    assert [row.id for row in search(lane, state="running", worker="host-1/").rows] == ["one"]
    assert search(lane, state="running", worker="host-2/").rows == []


def test_oldest_wait_is_the_put_time_of_the_head(lane: Lane) -> None:
    def oldest() -> float | None:
        return records.oldest_waiting([lane.queue]).ask(lane.client)[lane.queue]

    assert oldest() is None
    put(lane, {"a": job(argument="x" * 50_000, at=1234.5)})
    put(lane, {"b": job(argument="x" * 70_000)})
    put(lane, {"c": b"no job"})
    put(lane, {"d": job(at=5.0)})
    seen = []
    for _ in "abcd":
        seen.append(oldest())
        lane.claim()
    assert seen == [1234.5, None, None, 5.0]


def test_listing_and_search_change_nothing(lane: Lane) -> None:
    put(lane, {"a": job(), "b": job()})
    lane.claim()
    before = lane.dump()
    for state in ("waiting", "delayed", "running", "dead"):
        job_list.page(lane.queue, state).ask(lane.client)
        search(lane, state=state)
    assert lane.changes(before) == {}
