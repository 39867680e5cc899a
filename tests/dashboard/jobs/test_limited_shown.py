"""Pages as shown to users limited to some queues: as if there were no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from crew_kit import report, tell, worker
from pages_kit import Line, Visitor, call

from conveyor.dashboard import pages
from conveyor.dashboard.access.rights import RIGHTS, Access, Role
from conveyor.dashboard.page import Book
from conveyor.dashboard.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable

MINE = "zz-mine"
VERA = Access("vera", Role.VIEWER, RIGHTS[Role.VIEWER], frozenset({MINE}))
ADDRESSES = ("/", "/queues", "/jobs?state=waiting", "/jobs?state=dead", "/workers", "/failures", "/system")


class Ear:
    """A watcher of pages."""

    def __init__(self, access: Access | None, *addresses: str) -> None:
        self.access, self.addresses = access, addresses
        self.heard: dict[str, Any] = {}

    def tell(self, topic: str, data: object) -> None:
        """Keep the message."""
        self.heard[topic] = data


@pytest.fixture
def hidden(one_server: Any) -> str:
    """Set up a permitted queue and many hidden ones that come first by name and by jobs; return a hidden job."""
    for number in range(40):
        secret = Line(one_server.client, f"secret-{number}")
        for _ in range(2):
            secret.die(call("shop.hidden", 1))
        job = secret.put_many(call("shop.hidden", 1), 3)[0]
    mine = Line(one_server.client, MINE)
    mine.die(call("shop.prices", 1))
    mine.put(call("shop.prices", 1))
    alone = report("rack-1", [worker("rack-1/1", queue="secret-1")], queues=["secret-1"])
    crew = [worker("rack-2/1", queue="secret-1", message="page 7"), worker("rack-2/2", queue=MINE)]
    tell(one_server, alone, report("rack-2", crew, queues=[MINE, "secret-1"]))
    return job


@pytest.fixture
def vera(one_server: Any) -> Visitor:
    """Return a visitor who may see a single queue."""
    visitor = Visitor(one_server.url, Role.VIEWER)
    visitor.allow(VERA)
    return visitor


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize("address", ADDRESSES)
def test_page_shows_the_permitted_queue_and_names_no_other(vera: Visitor, address: str) -> None:
    seen = vera.see(address)
    assert seen.status == 200
    assert MINE in seen.html
    for hidden in ("secret", "rack-1", "page 7", "shop.hidden"):
        assert hidden not in seen.html


@pytest.mark.usefixtures("hidden")
def test_sums_cover_permitted_queues_only(vera: Visitor) -> None:
    assert "1 dead letters" in vera.see("/").words(".tiles li")
    pulse = vera.see("/api/v1/snapshot").response.json()["pulse"]
    assert {name: pulse[name] for name in ("waiting", "dead", "workers")} == {
        "waiting": 1,
        "dead": 1,
        "workers": 2,
    }
    told = vera.see("/api/v1/system").response.json()
    assert (told["queues"], told["consumers"], told["workers"]) == (1, 1, 2)
    assert "secret" not in vera.see("/api/v1/workers").html


def test_job_of_a_hidden_queue_is_reported_as_unknown(vera: Visitor, hidden: str) -> None:
    seen = vera.see(f"/jobs/{hidden}")
    assert seen.status == vera.see("/jobs/never").status == 404
    assert "secret" not in seen.html
    assert vera.see("/workers/rack-1/1").status == 404


@pytest.mark.usefixtures("hidden")
def test_viewers_of_the_same_path_see_only_their_queues(
    one_server: Any, eventually: Callable[..., Any]
) -> None:
    sampler = Sampler(one_server.client, Book(pages.ALL))
    topic, ears = "changed /failures", [Ear(None, "/failures"), Ear(VERA, "/failures")]
    whole, limited = ears
    for one in ears:
        sampler.watch(one)
    try:
        eventually(lambda: all({topic, "pulse"} <= one.heard.keys() for one in ears))
        assert (whole.heard["pulse"].dead, limited.heard["pulse"].dead) == (81, 1)
        before = {one: one.heard[topic]["version"] for one in ears}
        assert before[whole] != before[limited]
        Line(one_server.client, "secret-x").die(call("shop.hidden", 1))
        eventually(lambda: whole.heard[topic]["version"] != before[whole])
        eventually(lambda: whole.heard["pulse"].dead == 82)
        assert limited.heard[topic]["version"] == before[limited]
        assert list(limited.heard["pulse"].queues) == [MINE]
    finally:
        for one in ears:
            sampler.unwatch(one)
