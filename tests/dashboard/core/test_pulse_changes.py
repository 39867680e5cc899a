"""A stream tells of the queues that have changed: idle ones cost nothing, and whoever adds up has all numbers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conveyor.dashboard.pulse import Pulse, pulse_of
from conveyor.dashboard.stream import Viewer, message
from conveyor.monitor.snapshot import Snapshot

from ..crew_kit import ADA  # noqa: TID252 - test folders are no packages
from .core_kit import counts

if TYPE_CHECKING:
    from collections.abc import Sequence


def pulse(**waiting: int) -> Pulse:
    """Give a pulse of queues with so many jobs."""
    return pulse_of(Snapshot(1.0, {name: counts(ready=jobs) for name, jobs in waiting.items()}), 1.0)


def told(pulses: Sequence[Pulse]) -> list[Pulse]:
    """Give what a viewer is told who takes each pulse."""

    async def taken() -> list[Pulse]:
        viewer, found = Viewer([], ADA), []
        for one in pulses:
            viewer.tell("pulse", one)
            await asyncio.sleep(0)
            news = (await viewer.take(10))["pulse"]
            assert isinstance(news, Pulse)
            found.append(news)
        return found

    return asyncio.run(taken())


def test_the_first_pulse_of_a_stream_is_whole_and_later_ones_tell_what_changed() -> None:
    first, second, third = told(
        [pulse(mail=1, video=2), pulse(mail=1, video=3), pulse(mail=1, video=3, more=1)]
    )
    assert (first.whole, set(first.queues)) == (True, {"mail", "video"})
    assert (second.whole, set(second.queues), second.queues["video"].waiting) == (False, {"video"}, 3)
    assert (third.waiting, set(third.queues)) == (5, {"more"}), "the sums are those of all queues"


def test_a_queue_that_is_told_of_no_more_is_named_once_and_told_whole_when_it_is_back() -> None:
    _, without, same, again = told(
        [pulse(mail=1, video=2), pulse(mail=1), pulse(mail=1), pulse(mail=1, video=2)]
    )
    assert (without.queues, without.dropped) == ({}, ("video",))
    assert (same.queues, same.dropped) == ({}, ())
    assert again.queues["video"].waiting == 2


def test_a_slow_viewer_hears_of_all_that_changed_since_it_last_took_something() -> None:
    async def taken() -> object:
        viewer = Viewer([], ADA)
        viewer.tell("pulse", pulse(mail=1, video=1, other=1))
        await asyncio.sleep(0)
        await viewer.take(10)
        viewer.tell("pulse", pulse(mail=2, video=1, other=1))
        viewer.tell("pulse", pulse(mail=2, video=2, other=1))
        await asyncio.sleep(0)
        return (await viewer.take(10))["pulse"]

    news = asyncio.run(taken())
    assert isinstance(news, Pulse)
    assert set(news.queues) == {"mail", "video"}


def test_a_hundred_idle_queues_cost_next_to_nothing() -> None:
    idle = pulse(**{f"queue_{number}": number for number in range(100)})
    first, second = told([idle, idle])
    assert len(message("pulse", first)) > 20_000
    assert len(message("pulse", second)) < 400
