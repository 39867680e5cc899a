"""Five consumers look and fire in any order, with old views and copies of commands, while the clock is turned.

Each instant becomes one job, and none is left out.
"""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor import Queue, Schedule
from conveyor.consumer.scheduler import fire_due, firing
from conveyor.schedules import ScheduleInfo, Schedules
from conveyor.store import commands, keys, schedules
from conveyor.store.commands import Settlement
from conveyor.task_def.sleep import sleep

if TYPE_CHECKING:
    from conftest import Server

CONSUMERS = 5
_numbers = itertools.count()

#: A consumer looks; it fires what it saw then; it sends that again; the clock is turned (s); jobs run; outcomes expire.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("look"), st.integers(0, CONSUMERS - 1)),
        st.tuples(st.just("fire"), st.integers(0, CONSUMERS - 1)),
        st.tuples(st.just("again"), st.integers(0, CONSUMERS - 1)),
        st.tuples(st.just("turn"), st.one_of(st.integers(-40, 120), st.integers(-2000, 2000))),
        st.tuples(st.just("run"), st.just(0)),
        st.tuples(st.just("expire"), st.just(0)),
        st.tuples(st.just("declare"), st.integers(0, CONSUMERS - 1)),
    ),
    min_size=5,
    max_size=40,
)


class Bench:
    """A queue with a schedule, and what its consumers know."""

    def __init__(self, server: Server, **options: Any) -> None:
        self.client, self.raw = server.client, server.raw
        self.queue = Queue(f"bench{next(_numbers)}", store=self.client)
        self.schedules = Schedules(self.queue)
        self.schedule = Schedule(every=20, name="tick", args=(0,), **options)
        self.schedules.add(sleep, self.schedule)
        self.views: list[schedules.DueReply | None] = [None] * CONSUMERS
        self.sent: list[list[Any]] = [[] for _ in range(CONSUMERS)]
        self.ran: list[str] = []
        self._claims = itertools.count()

    def step(self, action: str, number: int) -> None:
        """Do one step."""
        name = self.queue.name
        if action == "look":
            self.views[number] = self.client.run(schedules.due(name))
        elif action == "fire" and (view := self.views[number]) is not None:
            self.sent[number] = [firing(name, one, view.now)[0] for one in view.due]
            self.client.run_all(self.sent[number])
        elif action == "again":
            self.client.run_all(self.sent[number])
        elif action == "turn":
            self.client.run(schedules.set_ahead(name, float(number)))
        elif action == "run":
            self.run()
        elif action == "expire":
            for one in self.ran:
                self.raw.delete(keys.key(name, f"outcome:{one}"))
        elif action == "declare":
            self.schedules.add(sleep, self.schedule)

    def run(self) -> None:
        """Take and finish all jobs."""
        while (batch := self._claim()).jobs:
            self.ran += [job.id for job in batch.jobs]
            done = [Settlement(job.id, b"done", 60.0) for job in batch.jobs]
            assert self.client.run(commands.finish(self.queue.name, batch.token, done)) == []

    def _claim(self) -> commands.Batch:
        return self.client.run(commands.claim(self.queue.name, "ann", f"n.{next(self._claims)}", 100, 60.0))

    def info(self) -> ScheduleInfo:
        return self.schedules.get("tick")


@given(steps=STEPS)
@settings(max_examples=60)
def check_each_instant_once(server: Server, steps: list[tuple[str, int]]) -> None:
    bench = Bench(server, missed="all")
    for action, number in steps:
        bench.step(action, number)
    for _ in range(2):
        bench.step("turn", 60)
        fire_due(bench.client, bench.queue.name)
    bench.run()
    assert len(bench.ran) == len(set(bench.ran)), "an instant was fired twice"
    count = bench.queue.count()
    assert (count.accepted, count.imbalance) == (bench.info().fired, 0) == (len(bench.ran), 0)
    if bench.ran:
        instants = sorted(bench.ran)
        found = [one.removeprefix("tick:") for one in instants]
        spans = bench.schedule.between(at(found[0]) - 1, at(found[-1]), most=10_000)
        assert [at(one) for one in found] == spans or count.accepted >= 100, "an instant was left out"


@given(steps=STEPS)
@settings(max_examples=40)
def check_one_at_a_time(server: Server, steps: list[tuple[str, int]]) -> None:
    bench = Bench(server, missed="one", overlap="queue")
    for action, number in steps:
        bench.step(action, number)
        assert bench.queue.count().live <= 1
    bench.run()
    assert len(bench.ran) == len(set(bench.ran))
    assert bench.queue.count().accepted == bench.info().fired == len(bench.ran)


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_each_instant_becomes_one_job(server: Server) -> None:
    check_each_instant_once(server)


def test_instants_that_queue_run_one_at_a_time(server: Server) -> None:
    check_one_at_a_time(server)


@pytest.mark.parametrize("missed", ["skip", "one"])
def test_instants_of_a_jump_of_the_clock_are_missed(server: Server, missed: Any) -> None:
    bench = Bench(server, missed=missed)
    bench.step("turn", 1000)
    fire_due(bench.client, bench.queue.name)
    found = bench.info()
    assert found.fired <= 1
    assert found.fired + found.missed in {50, 51}
    bench.step("turn", -1000)
    fire_due(bench.client, bench.queue.name)
    assert bench.info().fired == found.fired
