"""Every script does a bounded amount of work, however many jobs wait, come due together or have expired leases."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.store import lifecycle

from conveyor.store import commands
from conveyor.store.commands import PutParams, RowRange, Settlement
from conveyor.store.schedules import DueSchedule, Entry, Fired, How, Put

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Lane, Server

WAITING, DUE, LAPSED = 200_000, 10_000, 2_000
MAX_JOBS = 500  # jobs of one command
MOVES = ("ready", "delayed", "leased", "dead", "finished", "cancelled", "discarded", "lapsed", "orphans")
MAX_TIME = 0.01  # seconds of processor time; to go through all that waits takes longer
LONG = 1000.0


class Backlog:
    """A queue with a great deal of everything, and a call of each verb with the maximum number of jobs."""

    def __init__(self, lane: Lane, waiting: int) -> None:
        self.lane = lane
        taken = LAPSED + 2 * MAX_JOBS  # one batch is held, and one is dead
        self.fill("first", waiting + taken)
        self.fill("due", DUE, delay=LONG)
        batches = [lane.claim(MAX_JOBS) for _ in range(taken // MAX_JOBS)]
        self.held = [(job.id, batches[0].token) for job in batches[0].jobs]
        self.entries = [Entry(f"job{number:03}", "every 60", bytes(1000), 60.0) for number in range(1000)]
        self.instants = [Put(float(at), f"job:{at}", b"bytes", 0.0) for at in range(60, 160)]
        self.dead = [job.id for job in batches[1].jobs]
        settlements = [Settlement(one, b"no", 60.0) for one in self.dead]
        lane.client.run_all([commands.fail(lane.queue, batches[1].token, one) for one in settlements])
        lane.let_leases_run_out(*[job.id for batch in batches[2:] for job in batch.jobs])
        delayed = lane.key("delayed")
        lane.raw.zadd(delayed, dict.fromkeys(lane.raw.zrange(delayed, 0, -1), 1))

    def fill(self, name: str, count: int, **place: Any) -> None:
        """Put `count` jobs."""
        ids = [f"{name}{number:06}" for number in range(count)]
        for first in range(0, count, 3_000):
            jobs = [(one, b"bytes") for one in ids[first : first + 3_000]]
            self.lane.run(commands.put, jobs, PutParams(**place))

    def calls(self) -> dict[str, tuple[Any, ...]]:
        """Return the arguments of a call of each verb."""
        token = self.held[0][1]
        mine = [one for one, _ in self.held]
        one = Settlement(mine[0], b"no", 60.0)
        return {
            "put": ([(f"new{number}", b"bytes") for number in range(MAX_JOBS)], PutParams()),
            "claim": ("bob", "nonce", MAX_JOBS, LONG),
            "renew": ([(*each, "S") for each in self.held], LONG),
            "append": (token, mine[0], 0, [bytes(1 << 17)]),
            "retry": (token, mine[1], 0.0, b""),
            "fail": (token, Settlement(mine[2], b"no", 60.0)),
            "lost": (token, one, b"cancelled"),
            "release": (token, mine[3:200]),
            "finish": (token, [Settlement(each, b"done", 60.0) for each in mine[200:]]),
            "cancel": ("first020000", b"cancelled", 60.0),
            "revive": (self.dead[:100],),
            "discard": (self.dead[100:],),
            "promote": (),
            "reap": (),
            "purge": ("ready", 200, b"cancelled", 60.0),
            "count": (),
            "rows": ("ready", RowRange(200, down=True)),
            "state": ("first025000",),
            "listen": ("inbox", 60.0, [f"first{number:06}" for number in range(10_000, 10_000 + MAX_JOBS)]),
            "join": ("joiner",),
            "leave": ("joiner",),
            "series": ("minute", 1, 180),
            "tally": ("owner", 1, None, [("task", "s=1")]),
            "bound": (100_000,),
            "forget": (LONG,),
            "schedule": ("module", 1.0, self.entries),
            "due": (),
            "fire": (DueSchedule("job000", 60.0, b"", Fired()), 120.0, self.instants, How()),
            "reschedule": ("job001", "pause"),
            "pause": (),
            "resume": (),
            "shut": (),
        }


def processor_time(pid: int) -> float:
    """Return the seconds of processor time of a process's first thread, without waiting."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def check_work(server: Server, lane: Lane, quickest: Callable[..., float], waiting: int) -> None:
    """Run each verb on a backlog. Check that it is quick, and that even the first run moves no more than its limit."""
    calls, numbers = Backlog(lane, waiting).calls(), itertools.count()
    assert calls.keys() == lifecycle.VERBS

    def seconds(verb: str) -> float:
        words = [f"nonce.{next(numbers)}" if word == "nonce" else word for word in calls[verb]]
        count = lane.count()
        before = processor_time(server.pid)
        lane.run(lifecycle.function_of(verb), *words)
        time = processor_time(server.pid) - before
        moves = {name: getattr(lane.count(), name) - getattr(count, name) for name in MOVES}
        assert {name: moved for name, moved in moves.items() if abs(moved) > MAX_JOBS} == {}, verb
        return time

    times = {verb: quickest(lambda verb=verb: seconds(verb), MAX_TIME) for verb in calls}
    assert {verb: time for verb, time in times.items() if time >= MAX_TIME} == {}
    count = lane.count()
    assert (count.imbalance, count.torn) == (0, 0)
    assert count.ready > waiting - 2 * MAX_JOBS
    assert count.delayed > DUE // 2
    assert 0 < count.lapsed < LAPSED // 2


def test_script_work_is_independent_of_a_large_backlog(
    one_server: Server, lane_at: Callable[[Server], Lane], quickest: Callable[..., float]
) -> None:
    check_work(one_server, lane_at(one_server), quickest, WAITING)


@pytest.mark.slow
def test_script_work_is_independent_of_a_million_jobs(
    one_server: Server, lane_at: Callable[[Server], Lane], quickest: Callable[..., float]
) -> None:
    check_work(one_server, lane_at(one_server), quickest, 1_000_000)
