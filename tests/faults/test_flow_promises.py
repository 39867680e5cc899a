"""Limits, order, unique keys and graphs, seen from outside: tasks note their starts and ends, workers are killed.

Two consumers with two workers each serve three queues; one of their workers is killed now and then. What is judged are
the notes of the tasks, the kills, and the ends that producers see.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import signal
import time
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import flow_jobs as jobs
import pytest
from consumer_kit import lines

from conveyor import JobCancelled, JobFailed, JobLost, Limit, Queue, Unique, results_of
from conveyor.store import commands, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conveyor import Job

_numbers = itertools.count(1)
#: Seconds by which a start may be seen after the claim that it counts from.
SLACK = 0.3
#: Seconds around the end of a task in which a kill of its worker may keep it from being settled: it runs again.
SETTLING = 1.0


class Run(NamedTuple):
    """A run, from its start to its end, or to the end of its process."""

    name: str
    start: float
    end: float
    attempt: int
    pid: int


class Stage:
    """Queues, their consumers, and what can be seen of them."""

    def __init__(self, server: Any, consume: Callable[..., Any], path: Path, queues: int) -> None:
        number, self.client = next(_numbers), connect(server.url)
        self.queues = [Queue(f"flow{number}-{one}", store=self.client) for one in range(queues)]
        self.path = path
        self.kills: dict[int, float] = {}
        names = [one.name for one in self.queues]
        self.consumers = [
            consume(names, workers=2, store=self.client, modules=("flow_jobs",)) for _ in range(2)
        ]

    def kill(self, chance: random.Random) -> None:
        """Kill one of the workers."""
        workers = chance.choice(self.consumers).workers()
        if workers:
            pid = chance.choice(workers).pid
            before = time.monotonic()  # once it is killed, its job may start elsewhere before we run again
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills.setdefault(pid, before)

    def wait(
        self, submitted: list[Job[Any]], chance: random.Random, kills: int, within: float = 60.0
    ) -> None:
        """Kill some workers while the jobs run, and wait for all ends."""
        end = time.monotonic() + within
        for _ in range(kills):
            if all(one.done() for one in submitted[-5:]):
                break
            self.kill(chance)
            time.sleep(chance.uniform(0.2, 0.6))
        for one in submitted:
            with suppress(JobCancelled, JobFailed, JobLost):
                one.result(max(0.1, end - time.monotonic()))

    def runs(self) -> list[Run]:
        """Return all runs, by their starts."""
        found = []
        begun: dict[tuple[str, str], tuple[float, int]] = {}
        for line in lines(self.path):
            what, name, pid, at, attempt = line.split()
            if what == "start":
                begun[name, pid] = float(at), int(attempt)
            elif (name, pid) in begun:
                start, number = begun.pop((name, pid))
                found.append(Run(name, start, float(at), number, int(pid)))
        for (name, pid), (start, number) in begun.items():
            assert int(pid) in self.kills, f"{name} vanished on {pid}"
            found.append(Run(name, start, self.kills[int(pid)], number, int(pid)))
        return sorted(found, key=lambda run: run.start)

    def was_settled(self, run: Run) -> bool:
        """Return True if a run has ended, and its worker was not killed before it had time to settle that."""
        return abs(self.kills.get(run.pid, math.inf) - run.end) > SETTLING

    def check_books(self) -> None:
        """Check that nothing is left, and that the books balance."""
        for one in self.queues:
            count = one.count()
            assert (count.live, count.imbalance, count.torn) == (0, 0, 0)


@pytest.fixture
def stage(server: Any, consume: Callable[..., Any], path: Path) -> Iterator[Callable[[int], Stage]]:
    """Return a function that starts consumers of some queues, on each kind of server."""
    return lambda queues: Stage(server, consume, path, queues)


def most_at_once(runs: list[Run]) -> int:
    """Return how many runs there were at one moment."""
    changes = sorted([(run.end, -1) for run in runs] + [(run.start, 1) for run in runs])
    return max(itertools.accumulate(change for _, change in changes), default=0)


def most_within(runs: list[Run], seconds: float) -> int:
    """Return how many runs started within so many seconds."""
    starts = [run.start for run in runs]
    return max((sum(one <= other < one + seconds for other in starts) for one in starts), default=0)


@pytest.mark.parametrize("seed", [1, 2])
def test_no_more_run_than_limits_allow(stage: Callable[[int], Stage], seed: int) -> None:
    chance, made = random.Random(seed), stage(2)
    first, second = made.queues
    made.client.run(commands.limit(first.name, 3, 0, 1.0))
    submitted = []
    limits = {"a": 1, "b": 2, "c": 3}
    for number in range(80):
        key = chance.choice("abc")
        limit = Limit(running=limits[key], name=key)
        options = jobs.mark.options(limit=limit, retries=2, first_delay=0.05)
        how = chance.choice(("done", "done", "retried"))
        seconds = chance.choice((0.0, 0.003, 0.05))
        submitted.append(
            chance.choice((first, second)).submit(options, str(made.path), f"{key}{number}", seconds, how)
        )
    made.wait(submitted, chance, kills=6)
    runs = made.runs()
    places = {job.id: job.queue_name for job in submitted}
    names = {job.id: run for job, run in zip(submitted, range(80), strict=True)}
    for queue in made.queues:
        numbers = {names[one] for one, place in places.items() if place == queue.name}
        mine = [run for run in runs if int(run.name[1:]) in numbers]
        for key, limit in limits.items():
            assert most_at_once([run for run in mine if run.name[0] == key]) <= limit
        assert queue is second or most_at_once(mine) <= 3
    made.check_books()


def test_no_more_start_within_a_period_than_limits_allow(stage: Callable[[int], Stage]) -> None:
    chance, made = random.Random(3), stage(2)
    first, second = made.queues
    made.client.run(commands.limit(second.name, 0, 6, 1.0))
    task = jobs.mark.options(limit=Limit(starts=4, per=1.0, name="rate"))
    submitted = first.submit_many(task, [(str(made.path), f"a{number}", 0.0) for number in range(16)])
    submitted += second.submit_many(jobs.mark, [(str(made.path), f"b{number}", 0.0) for number in range(18)])
    made.wait(submitted, chance, kills=2)
    for letter, most in (("a", 4), ("b", 6)):
        mine = [run for run in made.runs() if run.name[0] == letter]
        assert most_within(mine, 1.0 - SLACK) <= most
    made.check_books()


@pytest.mark.parametrize("seed", [4, 5])
def test_order_of_a_key_is_kept_over_retries_and_crashes(stage: Callable[[int], Stage], seed: int) -> None:
    chance, made = random.Random(seed), stage(1)
    submitted = []
    for number in range(25):
        for key in "xyz":
            task = jobs.mark.options(limit=Limit(in_order=True, name=key), retries=3, first_delay=0.05)
            how = chance.choice(("done", "done", "done", "retried", "fails"))
            args = (str(made.path), f"{key}{number}", chance.choice((0.0, 0.01, 0.03)), how)
            submitted.append(made.queues[0].submit(task, *args))
    made.wait(submitted, chance, kills=5)
    runs = made.runs()
    for key in "xyz":
        mine = [run for run in runs if run.name[0] == key]
        order = [int(run.name[1:]) for run in mine]
        assert order == sorted(order)
        assert set(order) == set(range(25))
        assert most_at_once(mine) == 1
    made.check_books()


def test_no_key_waits_for_the_many_jobs_of_another(stage: Callable[[int], Stage]) -> None:
    """A hundred keys, of which one has thousands of jobs, which were put before."""
    made = stage(1)
    task = jobs.mark.options(limit=Limit(running=2, by="how"))
    queue = made.queues[0]
    queue.pause()
    many = queue.submit_many(task, [(str(made.path), "many", 0.0, "many")] * 3000)
    others = [queue.submit(task, str(made.path), f"key{number}", 0.0, f"key{number}") for number in range(99)]
    queue.resume()
    for one in others:
        one.result(30)
    queue.clear()
    queue.join(30)
    runs = made.runs()
    last = max(place for place, run in enumerate(runs) if run.name != "many")
    assert sum(run.name == "many" for run in runs[:last]) < 1500
    assert many[-1].cancelled()
    made.check_books()


@pytest.mark.parametrize("seed", [6, 7])
def test_one_job_of_a_unique_key_runs_at_a_time(stage: Callable[[int], Stage], seed: int) -> None:
    chance, made = random.Random(seed), stage(1)
    task = jobs.mark.options(unique=Unique(by="name"), retries=1, first_delay=0.05)
    handles: dict[str, list[Job[Any]]] = defaultdict(list)
    for _ in range(150):
        name = chance.choice("pqr")
        how = chance.choice(("done", "retried"))
        handles[name].append(made.queues[0].submit(task, str(made.path), name, 0.01, how))
        if chance.random() < 0.1:
            time.sleep(0.05)
        if chance.random() < 0.03:
            made.kill(chance)
    made.wait([*itertools.chain(*handles.values())], chance, kills=0)
    runs = made.runs()
    for name, some in handles.items():
        assert most_at_once([run for run in runs if run.name == name]) == 1
        assert len({one.id for one in some}) < len(some)
        assert all(one.done() for one in some)
    made.check_books()


@pytest.mark.parametrize("seed", [8, 9, 10])
def test_graphs_end_with_each_job_once_whatever_dies(stage: Callable[[int], Stage], seed: int) -> None:
    chance, made = random.Random(seed), stage(3)
    submitted: list[Job[Any]] = []
    earlier: dict[str, tuple[list[Job[Any]], str]] = {}
    for number in range(90):
        some = chance.sample(submitted[-30:], min(len(submitted), chance.choice((0, 1, 1, 2, 4))))
        when = chance.choice(("done", "done", "failed", "ended"))
        how = chance.choice(("done", "done", "done", "done", "fails", "retried"))
        task = jobs.mark.options(when=when, retries=2 if how == "retried" else 0, first_delay=0.05)
        inputs = results_of(some) if chance.random() < 0.5 else None
        if inputs is None:
            task = task.options(after=some)
        args = (
            str(made.path),
            f"j{number}",
            chance.choice((0.0, 0.005, 0.03)),
            how,
            inputs if some else None,
        )
        job = chance.choice(made.queues).submit(task, *args)
        earlier[f"j{number}"] = some, when
        submitted.append(job)
    cancelled = {job.id for job in chance.sample(submitted, 5) if job.cancel()}
    made.wait(submitted, chance, kills=6)
    states = {job.id: state_of(job) for job in submitted}
    runs: dict[str, list[Run]] = defaultdict(list)
    for run in made.runs():
        runs[run.name].append(run)
    fitting = {
        "done": {"done"},
        "failed": {"failed", "lost"},
        "ended": {"done", "failed", "lost", "cancelled"},
    }
    numbers = {job.id: f"j{number}" for number, job in enumerate(submitted)}
    for job in submitted:
        name, state = numbers[job.id], states[job.id]
        some, when = earlier[name]
        fits = all(states[one.id] in fitting[when] for one in some)
        if state == "cancelled":
            assert job.id in cancelled or not fits, name
        else:
            assert fits, (name, state, [states[one.id] for one in some])
            assert runs[name], name
        for first, second in itertools.pairwise(runs[name]):
            assert first.end <= second.start, name
        settled = [run for run in runs[name] if made.was_settled(run)]
        assert state != "done" or len(settled) <= 1 + (runs[name][0].attempt < runs[name][-1].attempt), name
        for one in some:
            ended = max([run.end for run in runs[numbers[one.id]]], default=0.0)
            assert all(run.start >= ended for run in runs[name]), f"{name} before {numbers[one.id]} had ended"
    made.check_books()


def state_of(job: Job[Any]) -> str:
    """Return how a job has ended."""
    error = job.exception(0)
    kinds = {JobCancelled: "cancelled", JobLost: "lost"}
    return "done" if error is None else kinds.get(type(error), "failed")


def test_consumer_that_leaves_an_empty_queue_has_told_the_others(
    server: Any, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    client, number = connect(server.url), next(_numbers)
    first, second = (Queue(f"flow{number}-{one}", store=client) for one in "ab")
    job = first.submit(jobs.mark, str(path), "first", 0.0)
    follower = second.submit(jobs.mark.options(after=[job]), str(path), "second", 0.0)
    leaving = consume(first.name, store=client, modules=("flow_jobs",), until_empty=True)
    eventually(leaving.has_left)
    assert (job.result(0), follower.status()) == ("first", "waiting")


def test_graph_is_put_again_by_a_server_that_has_lost_it(
    server: Any, consume: Callable[..., Any], path: Path
) -> None:
    """Its first job has ended before, and is forgotten, too: those that come after it cannot wait for it."""
    client = connect(server.url)
    queue = Queue(f"flow{next(_numbers)}", store=client)
    consumer = consume(queue.name, store=client, modules=("flow_jobs",))
    ended = queue.submit(jobs.mark, str(path), "ended", 0.0)
    ended.result(30)
    consumer.end()
    second = queue.submit(jobs.mark.options(after=[ended], when="ended", delay=0.5), str(path), "second", 0.0)
    third = queue.submit(jobs.mark.options(limit=Limit(running=1)), str(path), "third", 0.0)
    fourth = queue.submit(jobs.mark, str(path), "fourth", 0.0, before=results_of([second, third]))
    needs = queue.submit(jobs.mark.options(after=[ended], delay=0.5), str(path), "needs", 0.0)
    server.raw.flushall()
    consume(queue.name, store=client, modules=("flow_jobs",))
    assert fourth.result(60) == "fourth"
    with suppress(JobCancelled):  # nobody knows any more that it has ended well
        needs.result(60)
    assert [line.split()[1] for line in lines(path) if line.startswith("start")].count("fourth") == 1
