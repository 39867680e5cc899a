"""Searches: a few at a time, and a clear refusal beyond the limit."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.dashboard import searches
from conveyor.dashboard.access.policy import Policy
from conveyor.dashboard.access.security import SecurityMiddleware
from conveyor.dashboard.app import application
from conveyor.dashboard.searches import AT_ONCE, MOST_WAITING, Busy, Searches
from conveyor.store import plain
from conveyor.store.query import Query

from ..asking import ask  # noqa: TID252 - test folders are no packages
from ..crew_kit import ADA  # noqa: TID252
from .core_kit import CountingClient, page, put

if TYPE_CHECKING:
    from conveyor.dashboard.sampler import Sampler


def test_searches_wait_for_a_slot_up_to_a_limit(eventually: Any) -> None:
    turns, go, done = Searches(), threading.Event(), []

    def search(number: int) -> None:
        with turns.turn():
            go.wait(20)
            done.append(number)

    threads = [threading.Thread(target=search, args=(number,)) for number in range(AT_ONCE + MOST_WAITING)]
    for thread in threads:
        thread.start()
    eventually(lambda: turns._inside._value == 0)
    with pytest.raises(Busy), turns.turn():
        pass
    go.set()
    for thread in threads:
        thread.join()
    assert len(done) == AT_ONCE + MOST_WAITING
    with turns.turn():
        pass


def test_ten_searches_run_two_at_a_time_and_equal_ones_once(client: CountingClient, sampler_of: Any) -> None:
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

        return Query((plain.server_time(),), read)

    sampler = sampler_of(page("search", question=question, costly=lambda _: True))
    found = [sampler.book.find(f"/search?text={number % 4}") for number in range(8)]
    threads = [threading.Thread(target=sampler.look, args=one) for one in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] <= AT_ONCE
    assert asked[0] <= 4 + AT_ONCE, "who waited sees what the one before has found"


def test_refused_search_has_the_time_of_the_next_try(
    client: CountingClient, one_server: Any, samplers: list[Sampler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searches, "LONGEST_WAIT", 0.01)
    put(one_server, "mail", 2)
    policy = Policy(resolve=lambda _: ADA)
    site = SecurityMiddleware(application(client, policy), policy)
    with contextlib.ExitStack() as others:
        for _ in range(AT_ONCE):
            others.enter_context(samplers[-1].searches.turn())
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
