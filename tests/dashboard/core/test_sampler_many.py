"""However many pages are watched, and however much they ask, the numbers come to everybody every second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor import clock
from conveyor.dashboard import sampler as sampling

from .core_kit import CountingClient, Listener, Shown, later, page

if TYPE_CHECKING:
    import pytest

    from conveyor.dashboard.page import Wanted


def test_a_hundred_watched_pages_take_turns(client: CountingClient, sampler_of: Any, eventually: Any) -> None:
    addresses = [f"/many?number={number}" for number in range(100)]
    sampler, listener = sampler_of(page("many")), Listener(*addresses)
    sampler.watch(listener)
    eventually(lambda: all(listener.versions(address) for address in addresses))
    base = min(client.trips[2:])
    assert max(client.trips) - base <= sampling.MOST_PAGES
    assert len(listener.pulses) >= 3, "every sample brings the numbers, whoever's turn it is"


def test_a_costly_page_is_asked_every_ten_seconds_at_most(
    client: CountingClient, sampler_of: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def view(_: Wanted, __: Any, ___: Any) -> Shown:
        made.append(1)
        return Shown(len(made))

    search = page("search", view, costly=lambda wanted: "text" in wanted.filters)
    sampler, listener = sampler_of(search), Listener("/search?text=x")
    sampler.watch(listener)
    later(eventually, listener, 6)
    assert len(made) == 1
    sampler.look(*sampler.book.find("/search?text=x"))
    assert len(made) == 1, "whoever fetches the page meanwhile gets the one that is there"
    real = clock.monotonic
    monkeypatch.setattr(clock, "monotonic", lambda: real() + 11.0)
    eventually(lambda: len(made) == 2)
