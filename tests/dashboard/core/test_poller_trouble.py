"""The poller if a page fails, or the server is unavailable: trouble affects no other page, and does not last."""

from __future__ import annotations

from typing import Any

import pytest

from conveyor import clock
from conveyor.dashboard.page import NoSuchThing, Page
from conveyor.dashboard.poller import LEFT_OUT
from conveyor.errors import StoreUnavailable
from conveyor.store import commands
from conveyor.store.command import Command
from conveyor.store.query import Query

from .core_kit import CountingClient, Listener, Shown, asks_time, end, later, page

pytestmark = pytest.mark.usefixtures("quick_steps")


def raises_bug(*_: Any) -> Any:
    message = "a fault of the page"
    raise ZeroDivisionError(message)


def raises_gone(*_: Any) -> Any:
    message = "there is no such job"
    raise NoSuchThing(message)


def unreadable(*_: Any) -> Query[Any]:
    return Query((commands.server_time(),), raises_bug)


def unreadable_later(*_: Any) -> Query[Any]:
    return Query((commands.server_time(),), unreadable)


def refused(*_: Any) -> Query[Any]:
    return Query((Command(("GET",)),), lambda answers: answers[0])


def unsendable(*_: Any) -> Query[Any]:
    return Query((Command(("GET", object())),), lambda answers: answers[0])


@pytest.mark.parametrize(
    "bad",
    [
        page("bad", raises_bug),
        page("bad", question=raises_bug),
        page("bad", question=unreadable),
        page("bad", question=unreadable_later),
        page("bad", question=refused),
        page("bad", question=unsendable),
        page("bad", slow=raises_bug),
        page("bad", question=raises_gone),
    ],
    ids=["view", "question", "reading", "later", "refused", "unsendable", "slow", "gone"],
)
def test_failing_page_does_not_block_the_others(bad: Page, poller_of: Any, eventually: Any) -> None:
    numbers = iter(range(1000))
    poller = poller_of(page("a", lambda *_: Shown(next(numbers))), bad, page("z"))
    listener = Listener("/a", "/bad", "/nowhere", "/z")
    poller.subscribe(listener)
    later(eventually, listener)
    assert len(set(listener.versions("/a"))) >= 3
    assert len(listener.versions("/z")) >= 3
    assert listener.of("trouble") == []
    assert set(listener.versions("/bad")) <= {"gone"}


@pytest.mark.parametrize("question", [refused, unsendable, unreadable])
def test_failing_page_does_not_multiply_round_trips(
    question: Any, client: CountingClient, poller_of: Any, eventually: Any
) -> None:
    poller = poller_of(page("bad", question=question), *[page(f"p{number}") for number in range(5)])
    listener = Listener("/bad", *[f"/p{number}" for number in range(5)])
    poller.subscribe(listener)
    later(eventually, listener, 2)
    pulses, trips = len(listener.pulses), len(client.trips)
    later(eventually, listener, 8)
    end(eventually, poller, listener)
    assert len(client.trips) - trips <= len(listener.pulses) - pulses + 2
    assert len(listener.versions("/p4")) == len(listener.pulses)


def test_refused_page_is_queried_again_later(
    poller_of: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def question(*_: Any) -> Query[Any]:
        asked.append(1)
        return refused() if len(asked) == 1 else asks_time(*_)

    poller, listener = poller_of(page("a", question=question)), Listener("/a")
    poller.subscribe(listener)
    later(eventually, listener, 4)
    assert len(asked) == 1
    real = clock.monotonic
    monkeypatch.setattr(clock, "monotonic", lambda: real() + LEFT_OUT + 1)
    eventually(lambda: [version for version in listener.versions("/a") if version != "gone"])


def test_broken_page_is_logged_once(
    poller_of: Any, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    poller, listener = poller_of(page("bad", raises_bug)), Listener("/bad")
    poller.subscribe(listener)
    later(eventually, listener, 5)
    assert [record.getMessage() for record in caplog.records] == ["the page /bad cannot be made"]


@pytest.mark.parametrize(
    "facts", [{"view": raises_gone}, {"question": raises_gone}], ids=["view", "question"]
)
def test_subject_of_a_page_can_be_gone(facts: dict[str, Any], poller_of: Any, eventually: Any) -> None:
    poller, listener = poller_of(page("a", **facts)), Listener("/a")
    poller.subscribe(listener)
    assert eventually(lambda: listener.versions("/a"))[0] == "gone"
    with pytest.raises(NoSuchThing):
        poller.page(*poller.registry.find("/a"))


def test_removed_subject_is_not_shown_from_the_cache(poller_of: Any, eventually: Any) -> None:
    is_there = True
    poller = poller_of(page("a", lambda *_: Shown(1) if is_there else raises_gone()))
    listener = Listener("/a")
    poller.subscribe(listener)
    eventually(lambda: listener.versions("/a"))
    assert poller.page(*poller.registry.find("/a")).view == Shown(1)
    is_there = False
    eventually(lambda: listener.versions("/a")[-1] == "gone")
    with pytest.raises(NoSuchThing):
        poller.page(*poller.registry.find("/a"))


def test_unavailable_server_is_reported_until_it_is_back(
    one_server: Any, poller_of: Any, eventually: Any
) -> None:
    poller, listener = poller_of(page("a")), Listener("/a")
    poller.subscribe(listener)
    later(eventually, listener, 1)
    one_server.stop()
    try:
        trouble = eventually(lambda: listener.of("trouble"))[0]
        assert "no reply from the server" in trouble["why"]
        assert "conveyor doctor" in trouble["try"]
        assert str(poller.error) == trouble["why"]
        with pytest.raises(StoreUnavailable):
            eventually(lambda: poller.page(*poller.registry.find("/a")) and None)
    finally:
        one_server.start()
    later(eventually, listener, 3)
    assert poller.error is None
    eventually(lambda: poller.interval.step == 0)
