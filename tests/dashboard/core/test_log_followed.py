"""Many followers of a log cost the server what one costs, and each of them gets every line once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.dashboard.access.policy import Policy
from conveyor.dashboard.access.security import SecurityMiddleware
from conveyor.dashboard.app import application
from conveyor.monitor.job_record import MAX_LINES
from conveyor.store import records

from ..asgi_client import ask, ask_all  # noqa: TID252 - test folders are no packages
from ..visitor_kit import ADA  # noqa: TID252
from .core_kit import CountingClient, Listener, each, put

if TYPE_CHECKING:
    from conveyor.dashboard.poller import PagePoller

#: How often the log grows while it is followed.
TIMES = 5
JOB, PAGE = "job1", "/queues/mail/jobs/job1"
LOG = f"/api/v1/jobs/{JOB}/log?queue=mail"


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten a second to 300 ms: long enough for ten followers to fetch their updates."""
    monkeypatch.setattr("conveyor.monitor.poller.STEPS", (0.3, 0.3, 0.3, 0.3))


class Follower:
    """A browser's tab with the page of a job."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    @property
    def request(self) -> tuple[str, str, dict[str, Any]]:
        after = self.lines[-1]["id"] if self.lines else ""
        return "GET", f"{LOG}&after={after}", {}

    @property
    def texts(self) -> list[str]:
        return [line["text"] for line in self.lines]


@pytest.fixture
def site(client: CountingClient, pollers: list[PagePoller], eventually: Any) -> Any:
    """Return the page; it has no viewers afterwards."""
    policy = Policy(resolve=lambda _: ADA)
    yield SecurityMiddleware(application(client, policy), policy)
    for watcher in list(pollers[-1]._subscribers):
        pollers[-1].unsubscribe(watcher)
    eventually(lambda: pollers[-1]._thread is None)


def log(server: Any, *texts: str) -> None:
    for text in texts:
        server.client.run_all(records.log("mail", JOB, text))


def follow(site: Any, followers: list[Follower]) -> None:
    for follower, reply in zip(followers, ask_all(site, [one.request for one in followers]), strict=True):
        follower.lines += reply.json()["lines"]


def test_ten_log_followers_cost_a_single_round_trip_per_sample(
    site: Any, client: CountingClient, one_server: Any, pollers: list[PagePoller], eventually: Any
) -> None:
    put(one_server, "mail")
    log(one_server, "line 0")
    listeners, followers = each([PAGE], 10), [Follower() for _ in range(10)]
    for listener in listeners:
        pollers[-1].subscribe(listener)
    eventually(lambda: len(listeners[0].versions(PAGE)) >= 2)
    trips, samples = len(client.trips), len(listeners[0].pulses)
    follow(site, followers)
    for number in range(1, TIMES):
        before = listeners[0].versions(PAGE)[-1]
        log(one_server, f"line {number}", f"line {number} and a half")
        eventually(lambda before=before: listeners[0].versions(PAGE)[-1] != before)
        follow(site, followers)
    besides = len(client.trips) - trips - (len(listeners[0].pulses) - samples)
    assert besides < TIMES, "one may be under way, but those who fetched 50 times asked nobody"
    log(one_server, "the end")
    eventually(lambda: follow(site, followers) or all(one.texts[-1] == "the end" for one in followers))
    wanted = [
        "line 0",
        *(f"line {n}{half}" for n in range(1, TIMES) for half in ("", " and a half")),
        "the end",
    ]
    assert all(follower.texts == wanted for follower in followers), "none lost, none twice"


def test_late_follower_gets_lines_the_page_no_longer_has(
    site: Any, one_server: Any, pollers: list[PagePoller], eventually: Any
) -> None:
    put(one_server, "mail")
    log(one_server, "first")
    away = Follower()
    follow(site, [away])
    lines = [f"line {number}" for number in range(MAX_LINES + 50)]
    log(one_server, *lines)
    listener = Listener(PAGE)
    pollers[-1].subscribe(listener)
    eventually(lambda: listener.versions(PAGE))
    follow(site, [away])
    follow(site, [away])
    assert away.texts == ["first", *lines]
    follow(site, [away])
    assert away.texts == ["first", *lines]


def test_follower_without_the_right_to_inspect_gets_no_log_line(
    one_server: Any, client: CountingClient
) -> None:
    put(one_server, "mail")
    log(one_server, "my secret")
    who = [ADA]
    policy = Policy(resolve=lambda _: who[0])
    site = SecurityMiddleware(application(client, policy), policy)
    assert "my secret" in ask(site, "GET", PAGE).text
    who[0] = ADA.without(frozenset({"inspect"}))
    reply = ask(site, "GET", LOG)
    assert (reply.status_code, reply.json()["hidden"], reply.json()["lines"]) == (200, True, None)


def test_polling_followers_are_served_from_the_last_sample(
    site: Any, client: CountingClient, one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conveyor.monitor.poller.STEPS", (60.0, 60.0, 60.0, 60.0))
    put(one_server, "mail")
    log(one_server, "one", "two")
    ask(site, "GET", f"/api/v1/snapshot?watch={PAGE}")
    trips, followers = len(client.trips), [Follower() for _ in range(10)]
    follow(site, followers)
    assert [follower.texts for follower in followers] == [["one", "two"]] * 10
    assert len(client.trips) == trips
