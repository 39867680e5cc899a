"""A stream reports changed queues: idle ones cost nothing, and the sum of the changes has all numbers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conveyor.dashboard.live import Viewer, message
from conveyor.dashboard.live_stats import LiveStats, live_stats
from conveyor.monitor.snapshot import Snapshot

from ..visitor_kit import ADA  # noqa: TID252 - test folders are no packages
from .core_kit import counts

if TYPE_CHECKING:
    from collections.abc import Sequence


def pulse(**waiting: int) -> LiveStats:
    """Return live stats of queues with the given numbers of jobs."""
    return live_stats(Snapshot(1.0, {name: counts(ready=jobs) for name, jobs in waiting.items()}), 1.0)


def told(pulses: Sequence[LiveStats]) -> list[LiveStats]:
    """Return the messages to a viewer that takes each of the live stats."""

    async def taken() -> list[LiveStats]:
        viewer, found = Viewer([], ADA), []
        for one in pulses:
            viewer.notify("pulse", one)
            await asyncio.sleep(0)
            news = (await viewer.take(10))["pulse"]
            assert isinstance(news, LiveStats)
            found.append(news)
        return found

    return asyncio.run(taken())


def test_first_live_stats_are_complete_and_later_ones_partial() -> None:
    first, second, third = told(
        [pulse(mail=1, video=2), pulse(mail=1, video=3), pulse(mail=1, video=3, more=1)]
    )
    assert (first.whole, set(first.queues)) == (True, {"mail", "video"})
    assert (second.whole, set(second.queues), second.queues["video"].waiting) == (False, {"video"}, 3)
    assert (third.waiting, set(third.queues)) == (5, {"more"}), "the sums are those of all queues"


def test_dropped_queue_is_named_once_and_complete_on_return() -> None:
    _, without, same, again = told(
        [pulse(mail=1, video=2), pulse(mail=1), pulse(mail=1), pulse(mail=1, video=2)]
    )
    assert (without.queues, without.dropped) == ({}, ("video",))
    assert (same.queues, same.dropped) == ({}, ())
    assert again.queues["video"].waiting == 2


def test_slow_viewer_gets_all_changes_since_the_last_delivery() -> None:
    async def taken() -> object:
        viewer = Viewer([], ADA)
        viewer.notify("pulse", pulse(mail=1, video=1, other=1))
        await asyncio.sleep(0)
        await viewer.take(10)
        viewer.notify("pulse", pulse(mail=2, video=1, other=1))
        viewer.notify("pulse", pulse(mail=2, video=2, other=1))
        await asyncio.sleep(0)
        return (await viewer.take(10))["pulse"]

    news = asyncio.run(taken())
    assert isinstance(news, LiveStats)
    assert set(news.queues) == {"mail", "video"}


def test_hundred_idle_queues_cost_few_bytes() -> None:
    idle = pulse(**{f"queue_{number}": number for number in range(100)})
    first, second = told([idle, idle])
    assert len(message("pulse", first)) > 20_000
    assert len(message("pulse", second)) < 400
