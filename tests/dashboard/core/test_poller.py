"""The poller: one round trip a step for all viewers, none without viewers, and no viewer's trouble affects others."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import clock
from conveyor.dashboard.page import PageRequest
from conveyor.dashboard.poller import MAX_CACHED, SLOW_EVERY
from conveyor.monitor import poller as polling
from conveyor.monitor import snapshot as snapshots
from conveyor.monitor.snapshot import Rate
from conveyor.store import commands
from conveyor.store.query import Query

from ..visitor_kit import report, tell  # noqa: TID252 - test folders are no packages
from .core_kit import CountingClient, Listener, Shown, asks_time, counts, each, end, later, page, put

pytestmark = pytest.mark.usefixtures("quick_steps")

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.monitor.snapshot import Snapshot


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "conveyor-poller"]


def test_nothing_is_queried_without_viewers(
    client: CountingClient, one_server: Any, poller_of: Any, eventually: Any
) -> None:
    poller, listener = poller_of(page("a")), Listener("/a")
    assert (client.trips, threads()) == ([], [])
    poller.subscribe(listener)
    later(eventually, listener)
    poller.unsubscribe(listener)
    eventually(lambda: threads() == [])
    asked, told = len(client.trips), len(listener.told)
    other, another = Listener(), poller_of()
    another.client = one_server.client
    another.subscribe(other)  # its samples are the measure of time here
    later(eventually, other, 5)
    assert (len(client.trips), len(listener.told)) == (asked, told)
    poller.subscribe(listener)
    later(eventually, listener)


def test_twenty_viewers_of_ten_pages_cost_a_trip_per_sample(
    client: CountingClient, poller_of: Any, eventually: Any
) -> None:
    names = [f"p{number}" for number in range(10)]
    poller = poller_of(*[page(name) for name in names])
    poller.poll_snapshot()
    before = len(client.trips)
    listeners = each([f"/{name}" for name in names], 20)
    for listener in listeners:
        poller.subscribe(listener)
    later(eventually, listeners[-1], 5)
    for listener in listeners:
        poller.unsubscribe(listener)
    eventually(lambda: poller._thread is None)
    samples = len({id(pulse) for listener in listeners for pulse in listener.pulses})
    assert samples <= len(client.trips) - before <= samples + 1, "the last one may have found nobody to tell"
    assert max(client.trips) == client.trips[0] + 10, "a page is asked about once, not once for each viewer"
    assert all(listener.versions("/p9") for listener in listeners)


def test_sampler_has_a_single_thread_and_ends_with_its_viewers(poller_of: Any, eventually: Any) -> None:
    poller = poller_of(page("a"))
    one, two = Listener(), Listener()
    for _ in range(3):
        poller.subscribe(one)
        poller.subscribe(two)
        later(eventually, two, 1)
        assert len(threads()) == 1
        poller.unsubscribe(one)
        later(eventually, two, 1)
        poller.unsubscribe(two)
        eventually(lambda: threads() == [])


def test_version_changes_exactly_with_the_view(poller_of: Any, eventually: Any) -> None:
    number = [1]
    poller, listener = poller_of(page("a", lambda *_: Shown(number[0]))), Listener("/a")
    poller.subscribe(listener)
    later(eventually, listener, 4)
    assert len(set(listener.versions("/a"))) == 1
    number[0] = 2
    later(eventually, listener, 4)
    first, second = dict.fromkeys(listener.versions("/a"))
    number[0] = 1
    eventually(lambda: listener.versions("/a")[-1] == first)
    assert second not in (first, "gone")


def test_slow_query_runs_every_ten_seconds_at_most(
    client: CountingClient, poller_of: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    moments: list[float] = []
    """When that was, by the clock of the test."""

    def slow(_: PageRequest, __: Any) -> Query[float]:
        def read(answers: Sequence[Any]) -> float:
            asked.append(answers[0])
            moments.append(clock.monotonic())
            return float(answers[0])

        return Query((commands.server_time(),), read)

    def view(_: PageRequest, __: Any, answers: tuple[float, float]) -> Shown:
        quick, kept = answers
        assert kept == asked[-1]
        assert quick >= kept - 0.1  # one round trip may ask the quick query first
        return Shown(len(asked))

    poller, listener = poller_of(page("a", view, slow=slow)), Listener("/a")
    poller.subscribe(listener)
    later(eventually, listener, 6)
    real, ahead = clock.monotonic, [9.0]
    monkeypatch.setattr(clock, "monotonic", lambda: real() + ahead[0])
    later(eventually, listener, 3)
    ahead[0] = 10.5
    eventually(lambda: len(moments) >= 2)
    later(eventually, listener, 3)
    end(eventually, poller, listener)
    assert all(second - first >= SLOW_EVERY for first, second in pairwise(moments))
    assert len(set(listener.versions("/a"))) == len(moments)


def test_poll_interval_adapts_to_the_speed_of_replies(
    client: CountingClient, poller_of: Any, eventually: Any
) -> None:
    poller, listener = poller_of(page("a")), Listener("/a")
    client.before = lambda: clock.sleep(poller.interval.seconds / 2)
    poller.subscribe(listener)
    eventually(lambda: poller.interval.step == 3)
    later(eventually, listener, 2)
    client.before = lambda: None
    eventually(lambda: listener.pulses[-1].interval == 0.04)
    told = [pulse.interval for pulse in listener.pulses]
    longest = told.index(0.6)
    assert told[: longest + 1] == [0.08, 0.2, 0.6]
    places = [polling.STEPS.index(interval) for interval in told[longest:]]
    assert all(abs(later - earlier) <= 1 for earlier, later in pairwise(places)), "back step by step"


def test_changes_are_in_the_second_live_stats_at_the_latest(
    one_server: Any, poller_of: Any, eventually: Any
) -> None:
    poller, listener = poller_of(), Listener()
    poller.subscribe(listener)
    later(eventually, listener, 1)
    put(one_server, "video", 3)
    tell(one_server, report(workers=2))
    before = len(listener.pulses)
    eventually(lambda: len(listener.pulses) >= before + 3)  # the first may have been under way already
    pulse = listener.pulses[before + 2]
    assert (pulse.queues["video"].waiting, pulse.waiting) == (3, 3)
    assert (pulse.queues["video"].workers, pulse.workers, pulse.busy) == (2, 2, 2)


def test_first_live_stats_of_a_new_process_have_the_numbers(
    one_server: Any, poller_of: Any, eventually: Any
) -> None:
    put(one_server, "video", 3, 40)
    tell(one_server, report(workers=2))
    poller, listener = poller_of(), Listener()
    poller.subscribe(listener)
    pulse = eventually(lambda: listener.pulses)[0]
    assert (pulse.waiting, pulse.workers, pulse.busy) == (3, 2, 2)
    assert pulse.queues["video"].belt.words == "video: 3 of 40 slots taken, 2 of 2 workers at work."
    assert (pulse.rate_in, pulse.rate_out) == (0, 0), "of what was there before there is no rate"


def test_rates_cover_the_last_few_seconds() -> None:
    def look(at: float, accepted: int, before: Snapshot, names: tuple[str, ...] = ("video",)) -> Snapshot:
        known = {name: counts(ready=accepted) for name in names}
        return snapshots.snapshot_of(snapshots.Sample(at, list(names), known), before)

    first = look(100.0, 10, snapshots.NOTHING)
    assert first.rates["video"] == Rate(0, 0)
    assert look(100.1, 20, first).rates["video"] == Rate(0, 0), "a moment is too short to say a rate"
    second = look(102.0, 20, first)
    assert second.rates["video"] == Rate(5, 0)
    third = look(104.0, 20, second, ("video", "mail"))
    assert third.rates == {"video": Rate(2.5, 0), "mail": Rate(0, 0)}, (
        "jobs that end in bursts have a rate, too"
    )
    assert look(105.0, 30, third, ("mail",)).rates == {"mail": Rate(10, 0)}, "what is gone has none"
    late = look(130.0, 30, third)
    assert late.rates["video"] == Rate(10 / 26, 0), "where looks are rarer than that, since the last one"


def test_request_for_a_watched_page_gets_the_last_sample(
    client: CountingClient, poller_of: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "STEPS", (5.0, 5.0, 5.0, 5.0))  # the next sample is far away
    poller = poller_of(page("a"), page("b"))
    listener = Listener("/a")
    poller.subscribe(listener)
    eventually(lambda: listener.versions("/a"))
    poller.page(*poller.registry.find("/b"))
    asked, real = len(client.trips), clock.monotonic
    monkeypatch.setattr(clock, "monotonic", lambda: real() + 6)
    sight = poller.page(*poller.registry.find("/a"))
    assert (sight.version, sight.snapshot) == (listener.versions("/a")[-1], poller.snapshot)
    assert len(client.trips) == asked
    poller.page(*poller.registry.find("/b"))
    assert len(client.trips) > asked, "nobody watches this one, so it is asked about"


def test_request_for_an_unwatched_page_is_fresh_after_a_step(
    poller_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter(range(10))
    poller = poller_of(page("a", lambda *_: Shown(next(numbers))))
    found = poller.registry.find("/a")
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    assert [poller.page(*found).view.number for _ in range(3)] == [0, 0, 0]
    now[0] += 0.05
    assert [poller.page(*found).view.number for _ in range(3)] == [1, 1, 1]


def test_number_of_cached_pages_is_bounded(poller_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "monotonic", lambda: 100.0)
    one = page("a", lambda *_: Shown(1), slow=asks_time)
    poller = poller_of(one)
    for number in range(2 * MAX_CACHED + 1):
        poller.page(one, PageRequest("/a", {}, {"n": str(number)}))
        assert len(poller._cache._pages) <= MAX_CACHED
        assert len(poller._cache._slow) <= MAX_CACHED
