"""The list of jobs: its rows, its pages, and its handling of invalid requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pages_kit import Line, Role, Visitor, call

from conveyor.dashboard import pages
from conveyor.dashboard.page import PageRegistry
from conveyor.dashboard.poller import PagePoller

if TYPE_CHECKING:
    from collections.abc import Callable

    Visit = Callable[..., Visitor]

#: Bytes of a page.
BUDGET = 60 * 1024


def test_running_jobs_show_their_worker_and_progress(line: Line, visit: Visit) -> None:
    job = line.run(call("shop.prices", "https://shop.example", depth=2))
    line.progress(job, 30, 120, "page 30")
    seen = visit().see("/jobs", queue=line.name)
    assert seen.status == 200
    assert seen.words("tbody tr .state") == ["running"]
    assert seen.words("tbody tr td.wide b") == ["shop.prices"]
    assert "https://shop.example" in seen.text
    assert "25 %" in seen.text
    assert "page 30" in seen.text
    assert f"/queues/{line.name}/jobs/{job}" in seen.links()
    assert "/workers/host-ab12/3" in seen.links()
    assert seen.all("td time[data-time=for]")


def test_waiting_delayed_and_dead_jobs_have_separate_lists(line: Line, visit: Visit) -> None:
    dead = line.die(call("shop.prices", 1))
    waiting = line.put(call("shop.prices", 2))
    delayed = line.put(call("shop.prices", 3), delay=600)
    for state, job, fact in (
        ("waiting", waiting, "time[data-time=ago]"),
        ("delayed", delayed, "time[data-time=in]"),
        ("dead", dead, "td.why b"),
    ):
        seen = visit().see("/jobs", queue=line.name, state=state)
        assert seen.words("tbody th a") == [job]
        assert seen.all(f"tbody {fact}")
    assert seen.words(".tabs .count") == ["1", "0", "1", "0", "1", "1"]
    assert seen.words(".tabs a[aria-current]") == ["Dead 1"]


def test_finished_runs_are_listed_by_their_outcome(line: Line, visit: Visit) -> None:
    done = line.finish(call("shop.prices", 1), {"price": 5})
    failed = line.die(call("shop.prices", 2))
    seen = visit().see("/jobs", queue=line.name, state="ended")
    assert seen.words("tbody th a") == [failed, done]
    assert seen.words("tbody .state") == ["failed", "done"]
    assert "250 ms" in seen.text
    only = visit().see("/jobs", queue=line.name, state="ended", outcome="done")
    assert only.words("tbody th a") == [done]


def test_pages_of_results_are_consecutive_and_lose_no_job(line: Line, visit: Visit) -> None:
    put = line.put_many(call("shop.prices", 1), 120)
    visitor, found, address = visit(), [], f"/jobs?queue={line.name}&state=waiting"
    pages = []
    while address:
        seen = visitor.see(address)
        pages.append(seen)
        found += seen.words("tbody th a")
        address = next((node.attributes["href"] or "" for node in seen.all("a[rel=next]")), "")
    assert found == put
    assert [len(page.all("tbody tr")) for page in pages] == [50, 50, 20]
    assert "51 to 100 of 120" in pages[1].text
    back = visitor.see(pages[2].all("a[rel=prev]")[0].attributes["href"] or "")
    assert back.words("tbody th a") == put[50:100]


def test_later_page_is_unchanged_if_earlier_jobs_leave(line: Line, visit: Visit) -> None:
    line.put_many(call("shop.prices", 1), 120)
    visitor = visit()
    first = visitor.see("/jobs", queue=line.name, state="waiting")
    address = first.all("a[rel=next]")[0].attributes["href"] or ""
    before = visitor.see(address).words("tbody th a")
    line._take("host-ab12/3")
    assert visit().see(address).words("tbody th a") == before


def test_search_reports_its_coverage_and_continues(line: Line, visit: Visit) -> None:
    line.put_many(call("shop.prices", "red"), 1100)
    wanted = line.put(call("shop.prices", "a green one"))
    visitor = visit()
    seen = visitor.see("/jobs", queue=line.name, state="waiting", text="GREEN")
    assert not seen.all("tbody tr")
    assert "1,000 waiting jobs were searched" in seen.text
    on = visitor.see(next(link for link in seen.links() if "cursor=" in link))
    assert on.words("tbody th a") == [wanted]


def test_job_is_found_by_its_id_in_any_queue_and_state(line: Line, visit: Visit) -> None:
    elsewhere = Line(line.client)
    job = elsewhere.die(call("shop.prices", 1))
    line.put(call("shop.prices", 2))
    seen = visit().see("/jobs", id=job)
    assert seen.words("tbody th a") == [job]
    assert f"/queues/{elsewhere.name}/jobs/{job}" in seen.links()
    assert "No job" in visit().see("/jobs", id="nowhere").text


def test_task_of_a_job_is_shown_only_if_known(line: Line, visit: Visit) -> None:
    over = line.finish_in_a_flood(call("shop.prices", 1))
    item, nonsense = line.put(call("", "an item")), line.put(b"\xc1 no job at all")
    for job, words in (
        (over, "no longer known"),
        (item, "item"),
        (nonsense, "not readable"),
    ):
        assert visit().see("/jobs", id=job).words("tbody td.wide b") == [words]


def test_items_are_found_by_their_label(line: Line, visit: Visit) -> None:
    item, other = line.put(call("", "an item")), line.put(call("shop.prices", 1))
    visitor = visit()
    assert visitor.see("/jobs", queue=line.name, state="waiting", task="item").words("tbody th a") == [item]
    assert visitor.see("/jobs", queue=line.name, state="waiting", task="shop").words("tbody th a") == [other]


def test_tab_row_and_page_share_the_label_of_a_state(line: Line, visit: Visit) -> None:
    job = line.die(call("shop.prices", 1))
    visitor = visit()
    assert visitor.see("/jobs", queue=line.name, state="dead").words("tbody .state") == ["dead"]
    assert visitor.see("/jobs", id=job).words("tbody .state") == ["dead"]
    assert visitor.see(f"/queues/{line.name}/jobs/{job}").words(".job-line .state") == ["dead"]


@pytest.mark.parametrize("name", ["host-ab12/3", "ab12/3"])
def test_worker_is_found_by_its_displayed_name(line: Line, visit: Visit, name: str) -> None:
    done = line.finish(call("shop.prices", 1), 1)
    running = line.run(call("shop.prices", 2), worker="host-ab12/3")
    line.run(call("shop.prices", 3), worker="host-cd34/3")
    visitor = visit()
    for state, job in (("running", running), ("ended", done)):
        seen = visitor.see("/jobs", queue=line.name, state=state, worker=name)
        assert seen.words("tbody th a") == [job]
        assert "ab12/3" in seen.words("tbody td.tight a")
    assert not visitor.see("/jobs", queue=line.name, state="ended", worker="b12/3").all("tbody tr")


@pytest.mark.parametrize("state", ["waiting", "dead", "ended"])
def test_arguments_require_the_right_to_inspect(line: Line, visit: Visit, state: str) -> None:
    line.finish(call("shop.prices", "hunter-1"), 1)
    line.die(call("shop.prices", "hunter-2"), message="hunter-3")
    line.put(call("shop.prices", "hunter-4"))
    assert "hunter" in visit(Role.OPERATOR).see("/jobs", queue=line.name, state=state).html
    seen = visit(Role.VIEWER).see("/jobs", queue=line.name, state=state)
    assert seen.words("tbody td.wide b")[0] == "shop.prices"
    assert "hunter" not in seen.html


def test_search_without_the_right_to_inspect_finds_no_arguments(line: Line, visit: Visit) -> None:
    line.put(call("shop.prices", "hunter"))
    seen = visit(Role.VIEWER).see("/jobs", queue=line.name, state="waiting", text="hunter")
    assert not seen.all("tbody tr")
    assert "right to inspect" in seen.text


def test_selection_requires_the_right_to_change_many_jobs(line: Line, visit: Visit) -> None:
    line.die(call("shop.prices", 1))
    admin = visit().see("/jobs", queue=line.name, state="dead")
    assert len(admin.all("[data-select]")) == 1
    assert [node.attributes["data-yes"] for node in admin.all("[data-chosen]")] == [
        "Retry {n}",
        "Discard {n}",
    ]
    operator = visit(Role.OPERATOR).see("/jobs", queue=line.name, state="dead")
    assert not operator.all("[data-select], [data-chosen]")


def test_bulk_action_on_everything_requires_a_matching_filter(line: Line, visit: Visit) -> None:
    line.put(call("shop.prices", 1))
    visitor = visit()
    assert visitor.see("/jobs", queue=line.name, state="waiting").all("[data-bulk-all]")
    assert visitor.see("/jobs", queue=line.name, state="waiting", task="shop.prices").all("[data-bulk-all]")
    for narrower in ({"task": "shop"}, {"text": "shop"}):
        seen = visitor.see("/jobs", queue=line.name, state="waiting", **narrower)
        assert seen.all("tbody tr")
        assert not seen.all("[data-bulk-all]")


@pytest.mark.parametrize(
    "filters",
    [
        {"cursor": "nonsense"},
        {"cursor": "\x00ÿ"},
        {"cursor": "YSAxIGE", "state": "ended"},
        {"state": "eaten"},
        {"state": "ended", "outcome": "eaten"},
        {"text": "x" * 500},
        {"task": "x" * 500, "state": "ended"},
        {"id": "../../etc"},
        {"id": "x" * 100},
        {"queue": "no such queue"},
        {"queue": "{x}"},
    ],
)
def test_invalid_filters_are_refused_with_an_explanation(
    line: Line, visit: Visit, filters: dict[str, str]
) -> None:
    line.put(call("shop.prices", 1))
    seen = visit().see("/jobs", **{"queue": line.name, **filters})
    assert seen.status in {400, 404}
    assert seen.words("h1")


def test_fifty_full_rows_are_at_most_60_kb(line: Line, visit: Visit) -> None:
    task = "a.module.with.a.long.name.and.a_task"
    for number in range(50):
        job = line.run(call(task, "https://shop.example/" + "e" * 400), worker="worker-7c9f/12")
        line.progress(job, number, 50, "at https://shop.example/" + "e" * 400)
        line.die(
            call(task, "https://shop.example/" + "e" * 400, options={"x" * 50: "y" * 900}),
            message="no " * 400,
        )
    line.put_many(call(task, '{"city": "A & B"}, ' * 200), 60)
    for state in ("waiting", "running", "dead", "ended"):
        seen = visit().see("/jobs", queue=line.name, state=state)
        assert len(seen.all("tbody tr")) == 50
        assert len(seen.response.content) <= BUDGET, state


def test_undecodable_job_has_a_row(line: Line, visit: Visit) -> None:
    line.put(b"\xc1 no job at all")
    seen = visit().see("/jobs", queue=line.name, state="waiting")
    assert seen.words("tbody td.wide b") == ["not readable"]


def test_empty_list_suggests_the_next_step(line: Line, visit: Visit) -> None:
    line.put(call("shop.prices", 1))
    assert f"conveyor consume {line.name}" in visit().see("/jobs", queue=line.name).text
    assert "No dead jobs" in visit().see("/jobs", queue=line.name, state="dead").text


def test_page_without_queues_suggests_the_first_step(visit: Visit) -> None:
    assert "conveyor produce" in visit().see("/jobs").text


class Ear:
    """A watcher of pages."""

    def __init__(self, *addresses: str) -> None:
        self.addresses, self.access = addresses, None
        self.heard: dict[str, Any] = {}

    def notify(self, topic: str, data: object) -> None:
        """Keep the message."""
        self.heard[topic] = data


def test_viewer_of_an_invalid_page_does_not_block_others(line: Line, eventually: Callable[..., Any]) -> None:
    line.put(call("shop.prices", 1))
    poller = PagePoller(line.client, PageRegistry(pages.ALL))
    good = f"/jobs?queue={line.name}&state=waiting"
    bad = [
        f"/jobs?queue={line.name}&cursor=x",
        "/jobs?state=x",
        "/jobs?id=..",
        "/queues/{x}/jobs/..",
        "/jobs/..",
    ]
    strange, other = Ear(*bad), Ear(good)
    for one in (strange, other):
        poller.subscribe(one)
    eventually(lambda: f"changed {good}" in other.heard and "pulse" in strange.heard)
    for one in (strange, other):
        poller.unsubscribe(one)
