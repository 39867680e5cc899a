"""With many watched pages and costly queries, live numbers still arrive every second."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import clock
from conveyor.dashboard.poller import MAX_CACHED, MAX_COSTLY, MAX_PAGES, SLOW_EVERY
from conveyor.errors import StoreUnavailable
from conveyor.monitor import poller as polling
from conveyor.store import commands
from conveyor.store.query import Query

from .core_kit import CountingClient, Listener, Shown, end, later, page

if TYPE_CHECKING:
    from conveyor.dashboard.page import PageRequest


@pytest.mark.usefixtures("quick_steps")
def test_many_watched_pages_take_turns(client: CountingClient, poller_of: Any, eventually: Any) -> None:
    addresses = [f"/many?number={number}" for number in range(100)]
    poller, listener = poller_of(page("many")), Listener(*addresses)
    poller.subscribe(listener)
    eventually(lambda: all(listener.versions(address) for address in addresses))
    base = min(client.trips[2:])
    assert max(client.trips) - base <= MAX_PAGES
    assert len(listener.pulses) >= 3, "every sample brings the numbers, whoever's turn it is"


@pytest.mark.usefixtures("quick_steps")
def test_costly_page_is_queried_every_ten_seconds_at_most(
    client: CountingClient, poller_of: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[float] = []

    def view(_: PageRequest, __: Any, ___: Any) -> Shown:
        made.append(clock.monotonic())
        return Shown(len(made))

    search = page("search", view, costly=lambda wanted: "text" in wanted.filters)
    poller, listener = poller_of(search), Listener("/search?text=x")
    poller.subscribe(listener)
    real, ahead = clock.monotonic, [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: real() + ahead[0])
    for ahead[0] in (0.0, 9.0):
        later(eventually, listener, 6)
        poller.page(*poller.registry.find("/search?text=x"))  # the one that is there
    ahead[0] = 11.0
    eventually(lambda: len(made) >= 2)
    later(eventually, listener, 6)
    assert all(second - first >= SLOW_EVERY for first, second in pairwise(made))


def is_search(wanted: PageRequest) -> bool:
    return "text" in wanted.filters


@pytest.mark.usefixtures("quick_steps")
def test_slow_searches_take_turns_and_do_not_delay_live_stats(
    client: CountingClient, poller_of: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_answer(answers: Any) -> Any:
        clock.sleep(polling.STEPS[0])  # alone it would lengthen the step
        return answers[0]

    def asks_much(_: PageRequest, __: Any) -> Query[Any]:
        return Query((commands.server_time(),), slow_answer)

    search = page("search", costly=is_search, question=asks_much)
    addresses = [f"/search?text={number}" for number in range(30)]
    poller, listener = poller_of(search, page("a")), Listener("/a", *addresses)
    poller.poll_snapshot()
    alone = client.trips[-1]
    timed: list[bool] = []
    """Of each poll that the step adapts to, whether it had a search."""
    monkeypatch.setattr(poller.interval, "succeeded", lambda _: timed.append(poller._schedule.has_costly))
    poller.subscribe(listener)
    eventually(lambda: all(listener.versions(address) for address in addresses))
    end(eventually, poller, listener)
    assert max(client.trips) <= alone + 1 + MAX_COSTLY
    assert len(timed) >= len(listener.pulses) // 2, "every other poll has none"
    assert not any(timed)
    assert len(listener.versions("/a")) == len(listener.pulses)


@pytest.mark.usefixtures("quick_steps")
def test_watched_pages_beyond_the_cache_limit_are_all_served(poller_of: Any, eventually: Any) -> None:
    addresses = [f"/many?number={number}" for number in range(2 * MAX_CACHED + 50)]
    poller, listener = poller_of(page("many")), Listener(*addresses)
    poller.subscribe(listener)
    eventually(lambda: all(len(listener.versions(address)) >= 2 for address in addresses))


def test_request_during_a_sample_shares_the_sample(
    client: CountingClient, poller_of: Any, eventually: Any
) -> None:
    poller, released, together = poller_of(), threading.Event(), threading.Barrier(21)
    client.before = lambda: released.wait(20) and None
    given: list[Any] = []

    def asks() -> None:
        together.wait(20)
        given.append(poller.fresh())

    threads = [threading.Thread(target=asks) for _ in range(20)]
    for thread in threads:
        thread.start()
    together.wait(20)
    eventually(lambda: client.trips)
    released.set()
    for thread in threads:
        thread.join()
    assert len(given) == 20
    assert len(client.trips) <= 3, "a thread may be late on a busy machine"


def test_request_shares_the_failure_of_its_own_sample_only(poller_of: Any) -> None:
    poller, real = poller_of(), CountingClient("unix:///nowhere/at/all")
    there, poller.client = poller.client, real
    with pytest.raises(StoreUnavailable):
        poller.fresh()
    poller.client = there
    assert poller.fresh() is poller.snapshot
    real.close()


def test_versions_of_thirty_pages_cost_a_single_round_trip(client: CountingClient, poller_of: Any) -> None:
    poller = poller_of(page("a"), page("search", costly=is_search))
    addresses = [f"/a?number={number}" for number in range(20)] + [f"/search?text={n}" for n in range(10)]
    poller.poll_snapshot()
    before = len(client.trips)
    found = poller.versions({address: poller.registry.find(address) for address in addresses})
    assert client.trips[before:] == [20 + MAX_COSTLY]
    assert len(found) == 20 + MAX_COSTLY
    poller.versions({address: poller.registry.find(address) for address in addresses[:20]})
    assert len(client.trips) == before + 1, "they were seen just now"
