"""Every script does a bounded amount of work, however many jobs wait, come due together or have expired leases."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.store import lifecycle
from tests.store.conftest import packed_hook

from conveyor.store import commands
from conveyor.store.commands import PutParams, RowRange, Settlement, Terms, pack_terms
from conveyor.store.schedules import DueSchedule, Entry, Fired, How, Put
from conveyor.store.waiting import MAX_WITH_TERMS
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Lane, Server
    from conveyor.store.command import Command

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
            "submit": ([("with terms", b"bytes")], PutParams(terms=Terms({"with terms": pack_terms("key")}))),
            "follow": (self.dead[0], "other", ["follower"]),
            "go_on": (["due000000"], "other before", encode_settled("done")),
            "hook": ("hook", "other before", packed_hook(commands.HookJob("d", "", "", b"bytes"))),
            "throttle": (token, mine[199], 0.001),
            "limit": (0, 0, 1.0),
            "age": (1,),
            "claim": ("bob", "nonce", MAX_JOBS, LONG),
            "renew": ([(*each, "S") for each in self.held], LONG),
            "append": (token, mine[0], 0, [bytes(1 << 17)]),
            "step": (token, mine[0], "cursor", bytes(1 << 17)),
            "wait": (token, mine[0], "sleep", "name", LONG),
            "suspend": (token, mine[199], "sleep", "name"),
            "signal": (mine[0], "name", bytes(1 << 17)),
            "retry": (token, mine[1], 0.0, b""),
            "fail": (token, Settlement(mine[2], b"no", 60.0)),
            "lost": (token, one, b"cancelled"),
            "release": (token, mine[3:199]),
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
            "flow": (["first025000"],),
            "limits": (),
            "end_rest": (),
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


# --- jobs with terms

MAX_CLAIMED = 100  # jobs with terms of one claim
#: The promise, in seconds of processor time; the machine may be busy, so the fastest of some runs counts.
MAX_SCRIPT = 0.005
#: What a script may do in that time, in commands; it is the same on any machine.
MAX_COMMANDS = 1_700
#: Times that each is measured.
TIMES = 4


class TermsBacklog:
    """A queue with many keys, one of which has many jobs, and a job with many followers and one with many before it."""

    def __init__(self, lane: Lane, keys: int, graph: int) -> None:
        self.lane = lane
        self.names = itertools.count()
        for first in range(0, keys, MAX_WITH_TERMS):
            self.submit(
                limits=(1, 0, 60.0, False), keys=[f"key{first + one}" for one in range(MAX_WITH_TERMS)]
            )
        for _ in range(0, graph, MAX_WITH_TERMS):
            self.submit(limits=(2, 1000, 60.0, False), keys=["many"] * MAX_WITH_TERMS)
        for one in range(TIMES):
            self.lane.put(f"followed{one}", f"failing{one}", priority=9)
            for _ in range(0, graph // TIMES, MAX_WITH_TERMS):
                self.submit(after=[f"{lane.queue} followed{one}"], policy="di")
            for _ in range(4):
                self.submit(after=[f"{lane.queue} failing{one}"])
        self.before = [f"before{number}" for number in range(graph)]
        for first in range(0, graph, MAX_JOBS):
            self.lane.put(*self.before[first : first + MAX_JOBS], priority=5)

    def command(self, keys: list[str] | None = None, **options: Any) -> Command:
        """Return the command that puts as many jobs as one carries, or one for each key."""
        limits = options.pop("limits", (0, 0, 0.0, False))
        own = {}
        for number in range(len(keys) if keys is not None else options.pop("count", MAX_WITH_TERMS)):
            own[f"job{next(self.names)}"] = pack_terms(keys[number] if keys is not None else "", **options)
        jobs = [(one, b"bytes") for one in own]
        return commands.submit(self.lane.queue, jobs, PutParams(terms=Terms(own, limits)))

    def submit(self, **options: Any) -> None:
        self.lane.client.run(self.command(**options))

    def claim(self, want: int = MAX_CLAIMED) -> Command:
        return commands.claim(self.lane.queue, "bob", f"bob.{next(self.names)}", want, LONG)


def commands_run(lane: Lane) -> int:
    """Return how many commands the server has run, those of scripts included."""
    return sum(one["calls"] for one in lane.raw.info("commandstats").values())


def check_work_with_terms(server: Server, lane: Lane, keys: int, graph: int) -> None:
    """Run what meets many jobs with terms, and check that no script takes long."""
    backlog = TermsBacklog(lane, keys, graph)
    times: dict[str, list[float]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)

    def timed(name: str, command: Command) -> Any:
        first = commands_run(lane)
        before = processor_time(server.pid)
        reply = lane.client.run(command)
        times[name].append(processor_time(server.pid) - before)
        counts[name] = max(counts[name], commands_run(lane) - first)
        return reply

    def finish(name: str, batch: commands.Batch) -> None:
        done = [Settlement(job.id, encode_settled("done"), 60.0) for job in batch.jobs]
        timed(name, commands.finish(lane.queue, batch.token, done))

    first = lane.claim(2 * TIMES)
    ended = [Settlement(f"failing{number}", encode_settled("failed"), 60.0) for number in range(TIMES)]
    earlier = [f"{lane.queue} {one}" for one in backlog.before]
    for number in range(TIMES):
        job = next(job for job in first.jobs if job.id == f"followed{number}")
        finish("finish of one with many followers", first._replace(jobs=[job]))
        timed("failure of one with many followers", commands.fail(lane.queue, first.token, ended[number]))
        for state, some in (("done", 64), ("failed", 32)):
            elsewhere = backlog.command(after=["other before"], count=some)
            lane.client.run(elsewhere)
            ids, outcome = [*elsewhere.words[10::3]], encode_settled(state)
            timed(f"go_on: {state}", commands.go_on(lane.queue, ids, "other before", outcome))
    for number in range(TIMES):
        timed("put of one with many before it", backlog.command(after=earlier, policy="di", count=1))
        fresh = [f"new{number}-{one}" for one in range(MAX_WITH_TERMS)]
        timed("put with keys", backlog.command(keys=fresh, limits=(1, 5, 60.0, False)))
        timed("put of followers", backlog.command(after=earlier[:1]))
        timed("put of jobs with many before each", backlog.command(after=earlier[:50]))
        finish("finish of those before", timed("claim of those before", backlog.claim()))
        timed("promote", commands.promote(lane.queue))
        timed("cancel", commands.cancel(lane.queue, f"job{number}", b"away", 60.0))
        timed("purge", commands.purge(lane.queue, "deferred", MAX_JOBS, b"away", 60.0))
    lane.run(commands.purge, "ready", 1, b"away", 60.0)
    lane.raw.zremrangebyscore(lane.key("ready"), "-inf", 251 * 2**45)  # those before, which have no terms
    for _ in range(TIMES):
        finish("finish with keys", timed("claim with keys", backlog.claim()))
    lane.raw.flushall()
    assert {name: count for name, count in counts.items() if count > MAX_COMMANDS} == {}
    assert {name: min(some) for name, some in times.items() if min(some) >= MAX_SCRIPT} == {}


def test_script_work_is_independent_of_many_keys_and_followers(
    one_server: Server, lane_at: Callable[[Server], Lane]
) -> None:
    check_work_with_terms(one_server, lane_at(one_server), 5_000, 3_000)


@pytest.mark.slow
def test_script_work_is_independent_of_a_hundred_thousand_keys(
    one_server: Server, lane_at: Callable[[Server], Lane]
) -> None:
    check_work_with_terms(one_server, lane_at(one_server), 100_000, 10_000)
