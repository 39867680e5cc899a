"""The history in pages: nothing twice, nothing left out, and no request that reads everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.errors import BadCall
from conveyor.monitor import merged_list
from conveyor.monitor.history import HistoryFilter
from conveyor.monitor.merged_list import MergeLimits
from conveyor.store import keys
from conveyor.store.command import Command
from conveyor.wire import codec
from conveyor.wire.outcome import Done, Fail, Note, describe_text, encode

if TYPE_CHECKING:
    from conftest import Hand
    from conveyor import Queue
    from conveyor.monitor.history import Finish
    from conveyor.monitor.merged_list import MergedPage


def shout(text: str) -> None: ...


def written(queue: Queue, *notes: Note | bytes, field: str = "end") -> None:
    """Write entries straight into the history."""
    key = keys.key(queue.name, "history")
    data = [note if isinstance(note, bytes) else encode(note) for note in notes]
    queue.client.run_all([Command(("XADD", key, "*", field, one)) for one in data])


def note(number: int, **changes: str) -> Note:
    fields = {"id": f"job{number}", "task": "shout", "state": "done", "worker": "host/1", "arguments": ""}
    return Note(elapsed=0.5, attempt=1, at=1700.0 + number, **{**fields, **changes})


def ids(page: MergedPage[Finish]) -> list[str]:
    return [one.note.id for one in page.rows]


def test_latest_run_comes_first_with_its_details(queue: Queue, hand: Hand) -> None:
    jobs = [queue.submit(shout, text) for text in ("one", "two")]
    hand.end(Done(codec.encode(None)))
    hand.end(Fail(describe_text("ValueError", "no")))
    page = merged_list.finishes([queue.name]).ask(queue.client)
    assert ids(page) == [jobs[1].id, jobs[0].id]
    last = page.rows[0].note
    assert (last.state, last.arguments, last.elapsed, last.worker) == ("failed", "'two'", 0.5, "host/1")
    assert (page.searched, page.next) == (2, "")


def test_history_pages_have_no_gap_if_runs_are_added_meanwhile(queue: Queue) -> None:
    written(queue, *map(note, range(7)))
    first = merged_list.finishes([queue.name], limits=MergeLimits(3)).ask(queue.client)
    written(queue, note(99))
    second = merged_list.finishes([queue.name], first.next, limits=MergeLimits(3)).ask(queue.client)
    third = merged_list.finishes([queue.name], second.next, limits=MergeLimits(3)).ask(queue.client)
    assert [ids(page) for page in (first, second, third)] == [
        ["job6", "job5", "job4"],
        ["job3", "job2", "job1"],
        ["job0"],
    ]
    assert third.next == ""


@pytest.mark.parametrize(
    "matching",
    [
        HistoryFilter(task="whisper"),
        HistoryFilter(state="failed"),
        HistoryFilter(worker="host/2"),
        HistoryFilter(id="job5"),
        HistoryFilter(text="NEEDLE"),
        HistoryFilter(text="whisp", state="failed"),
    ],
)
def test_filter_finds_only_matching_runs(queue: Queue, matching: HistoryFilter) -> None:
    wanted = note(5, task="whisper", state="failed", worker="host/2", arguments="text='a needle'")
    written(queue, note(1), wanted, *map(note, range(10, 20)))
    page = merged_list.finishes([queue.name], wanted=matching).ask(queue.client)
    assert ids(page) == ["job5"]
    assert (page.searched, page.next) == (12, "")


def test_query_searches_a_thousand_entries_and_returns_a_cursor(queue: Queue) -> None:
    written(queue, note(1, state="failed"), *map(note, range(10, 1210)))
    page = merged_list.finishes([queue.name], wanted=HistoryFilter(state="failed")).ask(queue.client)
    assert (ids(page), page.searched) == ([], 1000)
    page = merged_list.finishes([queue.name], page.next, wanted=HistoryFilter(state="failed")).ask(
        queue.client
    )
    assert (ids(page), page.searched, page.next) == (["job1"], 201, "")


def test_full_page_continues_right_after_its_last_entry(queue: Queue) -> None:
    written(queue, *(note(number, state="failed" if number % 2 else "done") for number in range(8)))
    found, before = [], ""
    while True:
        page = merged_list.finishes([queue.name], before, HistoryFilter(state="failed"), MergeLimits(2)).ask(
            queue.client
        )
        found += ids(page)
        before = page.next
        if not before:
            break
    assert found == ["job7", "job5", "job3", "job1"]


def test_unreadable_entries_are_skipped(queue: Queue) -> None:
    written(queue, note(1), b"\xc1", b"", note(2))
    written(queue, b"job0", field="discarded")
    page = merged_list.finishes([queue.name]).ask(queue.client)
    assert (ids(page), page.searched) == (["job2", "job1"], 5)


@pytest.mark.parametrize("before", ["x", "1", "1-", "-", "+", "1-1 COUNT", "1" * 40 + "-1"])
def test_invalid_cursor_is_refused(before: str) -> None:
    with pytest.raises(BadCall):
        merged_list.finishes(["films"], before)


def test_empty_history_has_an_empty_page(queue: Queue) -> None:
    assert merged_list.finishes([queue.name]).ask(queue.client) == ([], "", 0)


def test_task_and_worker_match_by_prefix_unless_exact() -> None:
    note = Note("job1", "quick_test", "done", 0.1, "host-ab12/10", 1, 1.0)
    for matching in (
        HistoryFilter(task="quick"),
        HistoryFilter(worker="host-ab12/1"),
        HistoryFilter(worker="ab12/1"),
    ):
        assert matching.matches(note)
        assert not matching._replace(exact=True).matches(note)
    assert HistoryFilter(task="quick_test", worker="ab12/10", exact=True).matches(note)
    assert not HistoryFilter(task="test").matches(note)
