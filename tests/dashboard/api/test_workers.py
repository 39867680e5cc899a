"""The list of workers is paged, however many there are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.monitor import Inspector
from conveyor.store import control_channel
from conveyor.wire import control_messages
from conveyor.wire.control_messages import ConsumerReport, WorkerReport

if TYPE_CHECKING:
    from api_kit import Api

LARGEST = 200 * 1024


def tell(api: Api, name: str, workers: int, queue: str = "alpha") -> list[str]:
    """Report as a consumer would, and return the names of its workers."""
    crew = [
        WorkerReport(f"{name}/{number}", number, "busy", job="x" * 14) for number in range(1, workers + 1)
    ]
    told = ConsumerReport(name, "rack", 1, [queue], "process", 1.0, crew, at=time.time())
    api.client.run(control_channel.report(name, control_messages.encode(told), time.time()))
    return [one.name for one in crew]


def pages(api: Api, **query: Any) -> list[list[dict[str, Any]]]:
    """Return the consumers of all pages."""
    found, cursor = [], ""
    while True:
        response = api.ask("GET", "/api/v1/workers", params={**query, "cursor": cursor})
        assert response.status_code == 200
        assert len(response.content) < LARGEST
        found.append(response.json()["consumers"])
        cursor = response.json()["next"]
        if not cursor:
            return found


@pytest.mark.parametrize("count", [50, 200])
def test_each_of_many_workers_is_on_a_single_page(api: Api, count: int) -> None:
    wanted = [name for number in range(3) for name in tell(api, f"rack-{number}", 170)]
    found = pages(api, count=count)
    on_pages = [[worker["name"] for one in page for worker in one["workers"]] for page in found]
    assert [len(page) for page in on_pages[:-1]] == [count] * (len(found) - 1)
    assert [name for page in on_pages for name in page] == wanted


def test_page_has_50_workers_by_default_and_200_at_most(api: Api) -> None:
    tell(api, "rack-1", 201)
    assert len(api.get("/workers")["consumers"][0]["workers"]) == 50
    assert api.refusal("GET", "/workers?count=201") == (422, "bad-query")
    assert api.refusal("GET", "/workers?cursor=*") == (422, "bad-call")


def test_consumer_without_workers_is_listed_with_chosen_fields(api: Api) -> None:
    tell(api, "rack-1", 0)
    tell(api, "rack-2", 1, queue="beta")
    assert [one["name"] for one in api.get("/workers")["consumers"]] == ["rack-1", "rack-2"]
    assert api.get("/workers", queue="beta", fields="name") == {"consumers": [{"name": "rack-2"}], "next": ""}


def test_oversized_report_is_cut_to_the_worker_limit(api: Api) -> None:
    tell(api, "rack-1", 1200)
    (report,) = Inspector(api.client).consumers()
    assert len(report.workers) == 1000
    assert sum(len(one["workers"]) for page in pages(api, count=200) for one in page) == 1000
