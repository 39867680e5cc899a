"""Jobs of all queues through the API: the same list as on the page, limited by the caller's rights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor import Queue
from conveyor.monitor.merged_list import MAX_QUEUES
from conveyor.store import keys
from conveyor.store.command import Command
from conveyor.wire.outcome import Run, note_of

if TYPE_CHECKING:
    from api_kit import Api


def put(api: Api, queue: str, name: str = "Secretary", count: int = 1) -> list[str]:
    """Put jobs that greet somebody."""
    body = {"task": "greet", "arguments": {"name": name}, "queue": queue, "count": count}
    jobs: list[str] = api.post("/jobs", body)["jobs"]
    return jobs


def test_jobs_of_all_queues_are_listed_in_pages(api: Api) -> None:
    jobs = {("alpha", one) for one in put(api, "alpha", count=7)}
    jobs |= {("beta", one) for one in put(api, "beta", count=5)}
    found, cursor, sizes = [], "", []
    while True:
        page = api.get("/jobs", count=5, cursor=cursor)
        found += [(row["queue"], row["id"]) for row in page["jobs"]]
        sizes.append(len(page["jobs"]))
        assert (page["total"], page["left_out"], page["hidden"]) == (12, 0, False)
        if not (cursor := page["next"]):
            break
    assert sizes == [5, 5, 2]
    assert (len(found), set(found)) == (12, jobs)


def test_filters_and_ended_runs_work_across_queues(api: Api) -> None:
    put(api, "alpha", "Alice")
    (bob,) = put(api, "beta", "Bob")
    assert [row["id"] for row in api.get("/jobs", text="BOB")["jobs"]] == [bob]
    note = note_of("job", "done", Run("greet", "", 1.0, "host-ab12/1", 1), 0.5)
    api.client.run(Command(("XADD", keys.key("alpha", "history"), "*", "end", note)))
    page = api.get("/jobs", state="ended")
    assert [(row["queue"], row["state"]) for row in page["jobs"]] == [("alpha", "done")]
    assert page["total"] is None
    assert not api.get("/jobs", state="failed")["jobs"]
    assert "put_at" not in page["jobs"][0]
    for where in ({}, {"queue": "alpha"}):
        assert [row["id"] for row in api.get("/jobs", state="ended", outcome="done", **where)["jobs"]] == [
            "job"
        ]
        assert not api.get("/jobs", state="ended", outcome="failed", **where)["jobs"]
    assert api.refusal("GET", "/jobs?state=waiting&outcome=done") == (422, "bad-query")
    assert api.refusal("GET", "/jobs?state=ended&outcome=odd") == (422, "bad-query")


def test_plain_items_are_found_by_a_common_name(api: Api) -> None:
    put(api, "alpha")
    Queue("alpha", store=api.client).put("x")
    for where in ({}, {"queue": "alpha"}):
        assert [row["task"] for row in api.get("/jobs", task="item", **where)["jobs"]] == ["item"]


def test_number_of_omitted_queues_is_reported(api: Api) -> None:
    for number in range(MAX_QUEUES + 2):
        put(api, f"queue{number}")
    page = api.get("/jobs", count=200)
    assert (len(page["jobs"]), page["left_out"], page["total"]) == (MAX_QUEUES, 2, MAX_QUEUES + 2)


def test_inspect_right_is_required_to_see_or_search_arguments(api: Api) -> None:
    put(api, "alpha")
    page = api.get("/jobs", "viewer")
    assert ([row["arguments"] for row in page["jobs"]], page["hidden"]) == ([None], True)
    assert api.refusal("GET", "/jobs?text=Secretary", who="viewer") == (403, "forbidden")
