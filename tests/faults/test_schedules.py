"""Five consumers die at random and the server's clock is turned: each instant is fired exactly once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from test_clock import Clock, clock

from conveyor import Queue, Schedules
from conveyor.wire.schedule import MAX_MISSED, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["clock"]
CONSUMERS = 5
#: Seconds by which the clock is turned, in turn: back to the right time in the end.
TURNS = (0, 25, -20, 30, 0)


@pytest.fixture
def queue(clock: Clock) -> Queue:
    """Return the queue that `consume` takes from."""
    return Queue("work", store=clock.client)


def add(queue: Queue, **options: Any) -> Schedules:
    import consumer_jobs  # noqa: PLC0415

    schedules = Schedules(queue)
    schedules.add(consumer_jobs.add, Schedule(every=1, name="tick", args=(1, 1), missed="all", **options))
    return schedules


def test_each_instant_is_fired_once_whatever_dies(
    clock: Clock,
    queue: Queue,
    short_lease: float,
    consume: Callable[..., Any],
    eventually: Callable[..., Any],
    torture_seed: str,
) -> None:
    chance = random.Random(torture_seed)
    schedules = add(queue)
    consumers = [consume(kind="thread") for _ in range(CONSUMERS)]
    for turn in TURNS:
        clock.turn(turn)
        before = schedules.get("tick").fired
        place = chance.randrange(CONSUMERS)
        if chance.random() < 0.5:
            os.kill(consumers[place].pid, signal.SIGSTOP)
        else:
            consumers[place].kill()
            consumers[place] = consume(kind="thread")
        if turn >= max(TURNS[: TURNS.index(turn) + 1]):
            eventually(lambda before=before: schedules.get("tick").fired > before)
        with contextlib.suppress(ProcessLookupError):
            os.kill(consumers[place].pid, signal.SIGCONT)
    clock.turn(60)
    eventually(lambda: schedules.get("tick").last_at.timestamp() > datetime.now().timestamp() + 50)  # noqa: DTZ005
    schedules.pause("tick")
    found = schedules.get("tick")
    queue.join(60)
    count = queue.count()
    assert (count.accepted, count.finished, count.dead, count.imbalance) == (found.fired, found.fired, 0, 0)
    assert found.skipped == 0
    ids = {name.partition("outcome:")[2] for name in names(clock, "outcome:tick:*")}
    assert len(ids) == found.fired, "an instant was fired twice"
    instants = sorted(datetime.fromisoformat(one.removeprefix("tick:")).timestamp() for one in ids)
    assert instants[-1] - instants[0] == len(instants) - 1 <= MAX_MISSED * len(TURNS), "one was left out"


def names(clock: Clock, pattern: str) -> list[str]:
    """Return the keys of the queue that match."""
    from conveyor.store.command import Command  # noqa: PLC0415

    found = clock.client.run(Command(("KEYS", f"conveyor:{{work}}:{pattern}")))
    return [one.decode() for one in found]
