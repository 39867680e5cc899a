"""Searches: a few at a time, and a clear refusal beyond the limit."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.dashboard import poller
from conveyor.dashboard.access.policy import Policy
from conveyor.dashboard.access.security import SecurityMiddleware
from conveyor.dashboard.app import application
from conveyor.dashboard.poller import MAX_SEARCHES, MAX_WAITING, Busy, SearchSlots
from conveyor.store import commands
from conveyor.store.query import Query

from ..asgi_client import ask  # noqa: TID252 - test folders are no packages
from ..visitor_kit import ADA  # noqa: TID252
from .core_kit import CountingClient, page, put

if TYPE_CHECKING:
    from conveyor.dashboard.poller import PagePoller


def test_searches_wait_for_a_slot_up_to_a_limit(eventually: Any) -> None:
    slots, go, done = SearchSlots(), threading.Event(), []

    def search(number: int) -> None:
        with slots.slot():
            go.wait(20)
            done.append(number)

    threads = [
        threading.Thread(target=search, args=(number,)) for number in range(MAX_SEARCHES + MAX_WAITING)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: slots._admitted._value == 0)
    with pytest.raises(Busy), slots.slot():
        pass
    go.set()
    for thread in threads:
        thread.join()
    assert len(done) == MAX_SEARCHES + MAX_WAITING
    with slots.slot():
        pass


def test_ten_searches_run_two_at_a_time_and_equal_ones_once(client: CountingClient, poller_of: Any) -> None:
    under_way, most, asked, lock = [0], [0], [0], threading.Lock()

    def question(_: Any, __: Any) -> Query[Any]:
        def read(answers: Any) -> Any:
            with lock:
                asked[0] += 1
                under_way[0] += 1
                most[0] = max(most[0], under_way[0])
            threading.Event().wait(0.02)
            with lock:
                under_way[0] -= 1
            return answers[0]

        return Query((commands.server_time(),), read)

    poller = poller_of(page("search", question=question, costly=lambda _: True))
    found = [poller.registry.find(f"/search?text={number % 4}") for number in range(8)]
    threads = [threading.Thread(target=poller.page, args=one) for one in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] <= MAX_SEARCHES
    assert asked[0] <= 4 + MAX_SEARCHES, "who waited sees what the one before has found"


def test_refused_search_has_the_time_of_the_next_try(
    client: CountingClient, one_server: Any, pollers: list[PagePoller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "MAX_WAIT", 0.01)
    put(one_server, "mail", 2)
    policy = Policy(resolve=lambda _: ADA)
    site = SecurityMiddleware(application(client, policy), policy)
    with contextlib.ExitStack() as others:
        for _ in range(MAX_SEARCHES):
            others.enter_context(pollers[-1].searches.slot())
        shown = ask(site, "GET", "/jobs?queue=mail&state=waiting&text=x")
        assert (shown.status_code, shown.headers["retry-after"]) == (429, "2")
        assert "Too many are searching at the moment" in shown.text
        for filters in ("state=waiting&text=x", "state=ended&task=x"):
            told = ask(site, "GET", f"/api/v1/jobs?queue=mail&{filters}")
            assert (told.status_code, told.json()["code"], told.headers["retry-after"]) == (429, "busy", "2")
        assert ask(site, "GET", "/jobs?queue=mail&state=waiting").status_code == 200
        assert ask(site, "GET", "/api/v1/jobs?queue=mail&state=waiting").status_code == 200
    assert ask(site, "GET", "/jobs?queue=mail&state=waiting&text=x").status_code == 200
    assert ask(site, "GET", "/api/v1/jobs?queue=mail&state=waiting&text=x").status_code == 200
