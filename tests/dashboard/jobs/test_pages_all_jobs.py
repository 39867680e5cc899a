"""The list of jobs of all queues: its content, its pages, and the rights to see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pages_kit import Line, Visitor, call

from conveyor.monitor import job_record
from conveyor.monitor.merged_list import MAX_QUEUES

if TYPE_CHECKING:
    from collections.abc import Callable

    Visit = Callable[..., Visitor]

#: Bytes of a page.
BUDGET = 60 * 1024


@pytest.fixture
def other(line: Line) -> Line:
    """Return a second queue."""
    return Line(line.client)


def walk(visitor: Visitor, address: str) -> list[list[tuple[str, str]]]:
    """Return queue and id of all rows, page by page."""
    found = []
    while address:
        seen = visitor.see(address)
        queues = seen.words("tbody td[data-label=Queue]")
        found.append(list(zip(queues, seen.words("tbody th a"), strict=True)))
        address = next((node.attributes["href"] or "" for node in seen.all("a[rel=next]")), "")
    return found


def test_jobs_of_all_queues_are_listed_with_their_queue(line: Line, other: Line, visit: Visit) -> None:
    expected: dict[str, list[tuple[str, str]]] = {
        "dead": [(one.name, one.die(call("shop.prices", 1))) for one in (line, other)][::-1],
        "ended": [(one.name, one.finish(call("shop.prices", 2), 1)) for one in (line, other)][::-1],
        "running": [(one.name, one.run(call("shop.prices", 3))) for one in (other, line)],
        "delayed": [(one.name, one.put(call("shop.prices", 4), delay=600)) for one in (line, other)],
        "waiting": [(one.name, one.put(call("shop.prices", 5))) for one in (line, other)],
    }
    delayed = [job for _, job in expected["delayed"]]
    expected["deferred"] = [
        (one.name, one.defer(call("shop.prices", 6), job))
        for one, job in zip((line, other), delayed, strict=True)
    ]
    visitor = visit()
    for state, jobs in expected.items():
        seen = visitor.see("/jobs", state=state)
        rows = walk(visitor, f"/jobs?state={state}")[0]
        assert rows == jobs or (state == "ended" and set(rows) == {*jobs, *expected["dead"]})
        assert f"/queues/{other.name}" in seen.links()
        assert seen.words("h1") == ["Jobs"]
        assert seen.words("option[selected]") == []
    assert visitor.see("/jobs").words(".tabs .count") == ["2", "2", "2", "2", "2", "4"]


def test_pages_of_all_queues_lose_no_job(line: Line, other: Line, visit: Visit) -> None:
    put = [(line.name, job) for job in line.put_many(call("shop.prices", 1), 70)]
    put += [(other.name, job) for job in other.put_many(call("shop.prices", 1), 65)]
    pages = walk(visit(), "/jobs?state=waiting")
    assert [len(page) for page in pages] == [50, 50, 35]
    assert sorted(row for page in pages for row in page) == sorted(put)
    assert "50 of 135" in visit().see("/jobs", state="waiting").text


def test_filters_work_across_queues(line: Line, other: Line, visit: Visit) -> None:
    red, green = other.run(call("shop.red", "an apple")), line.run(call("shop.green", "a pear"))
    done = other.finish(call("shop.green", "a plum"), 1)
    failed = line.die(call("shop.red", "a peach"))
    visitor = visit()
    for filters, jobs in (
        ({"state": "running", "task": "shop.g"}, [green]),
        ({"state": "running", "text": "APPLE"}, [red]),
        ({"state": "running", "worker": "ab12/3"}, [red, green]),
        ({"state": "running", "worker": "cd34/3"}, []),
        ({"state": "ended", "task": "shop.green"}, [done]),
        ({"state": "ended", "outcome": "failed"}, [failed]),
        ({"state": "ended", "worker": "ab12/3", "text": "plum"}, [done]),
    ):
        seen = visitor.see("/jobs", **filters)
        assert seen.words("tbody th a") == jobs, filters
    assert "were searched" in visitor.see("/jobs", state="running", worker="cd34/3").text


def test_list_covers_the_queues_with_the_most_jobs_and_says_so(line: Line, visit: Visit) -> None:
    line.put(call("shop.prices", 1))
    many = [Line(line.client) for _ in range(MAX_QUEUES)]
    for one in many:
        one.put_many(call("shop.prices", 1), 2)
    seen = visit().see("/jobs", state="waiting")
    assert set(seen.words("tbody td[data-label=Queue]")) == {one.name for one in many}
    assert f"{MAX_QUEUES + 1} queues have waiting jobs" in seen.text
    assert seen.words(".tabs a[aria-current]") == [f"Waiting {2 * MAX_QUEUES + 1}"]
    assert f"of the {MAX_QUEUES}" not in visit().see("/jobs", state="waiting", queue=line.name).text


def test_list_of_a_single_queue_is_that_of_the_queue(line: Line, visit: Visit) -> None:
    line.put(call("shop.prices", 1))
    seen = visit().see("/jobs", state="waiting")
    assert seen.words("h1") == [f"Jobs in {line.name}"]
    assert seen.all("[data-bulk-all]")


def test_bulk_actions_on_everything_require_a_chosen_queue(line: Line, other: Line, visit: Visit) -> None:
    jobs = [one.die(call("shop.prices", 1)) for one in (line, other)]
    seen = visit().see("/jobs", state="dead")
    assert len(seen.all("[data-select]")) == len(jobs)
    assert not seen.all("[data-bulk-all]")
    assert "choose a queue" in seen.all("[data-bulk]")[0].text()


def test_empty_list_of_all_queues_suggests_the_next_step(line: Line, other: Line, visit: Visit) -> None:
    other.put(call("shop.prices", 1))
    assert "conveyor consume" in visit().see("/jobs").text
    assert "No dead jobs in any queue" in visit().see("/jobs", state="dead").text
    assert "Nothing is delayed in any queue" in visit().see("/jobs", state="delayed").text


def test_invalid_cursor_is_refused_with_an_explanation(line: Line, other: Line, visit: Visit) -> None:
    other.put(call("shop.prices", 1))
    for state in ("waiting", "dead", "ended"):
        seen = visit().see("/jobs", state=state, cursor="nonsense")
        assert seen.status == 400
        assert seen.words("h1")


def test_fifty_full_rows_of_all_queues_are_at_most_60_kb(line: Line, visit: Visit) -> None:
    task, lines = "a.module.with.a.long.name.and.a_task", [line, *(Line(line.client) for _ in range(4))]
    for number in range(50):
        one = lines[number % 5]
        job = one.run(call(task, "https://shop.example/" + "e" * 400), worker="worker-7c9f/12")
        one.progress(job, number, 50, "at https://shop.example/" + "e" * 400)
        one.die(call(task, "https://shop.example/" + "e" * 400), message="no " * 400)
    for one in lines:
        one.put_many(call(task, '{"city": "A & B"}, ' * 200), 15)
    for state in ("waiting", "running", "dead", "ended"):
        seen: Any = visit().see("/jobs", state=state)
        assert len(seen.all("tbody tr")) == 50
        assert len(seen.response.content) <= BUDGET, state


def test_job_search_is_limited_to_a_number_of_queues_and_says_so(
    line: Line, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_record, "MAX_SEARCHED_QUEUES", 2)
    names = [f"{line.name}.{number}" for number in range(2)]
    first, last = (Line(line.client, name).put(call("shop.prices")) for name in (line.name, names[1]))
    Line(line.client, names[0])
    told = "2 of the 3 queues were searched; name the queue of the job."
    visitor = visit()
    for address in ("/jobs/{}", "/jobs?id={}", "/api/v1/jobs/{}"):
        assert first in visitor.see(address.format(first)).html
        assert told not in visitor.see(address.format(first)).html
        assert told in visitor.see(address.format(last)).html, address
    assert told not in visitor.see(f"/queues/{names[1]}/jobs/never").html
    assert visitor.see(f"/queues/{names[1]}/jobs/{last}").status == 200
