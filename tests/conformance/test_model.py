"""The scripts against a model of them in Python: any commands in any order must leave both in the same state.

After each step the reply, all keys of the queue, their times to live and the ledger are compared, and the promises that
hold without a model are looked at: one outcome, no job without a wake-up, no room beyond the bound, tokens that grow,
moves of the table only. Times are the server's: those that it wrote must lie between the looks before and after the
step, and stay. The model notices each of `MUTANTS` within 500 examples (`-m slow`), and many within the usual 60.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.store.lifecycle import JobState, function_of, may_move
from tests.store.test_mutants import FAILURES, forget_scripts, load_mutant, name_of

from conveyor.errors import DuplicateJob, LeaseLost, ShutDown, TooLarge
from conveyor.store import commands, keys
from conveyor.store.commands import Batch, PutParams, RowRange, Settlement

from .reference import LAPSE_BUDGET, End, Model, Modelled, job_that_says, number_of
from .snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.store.mutants import Change

    from conftest import Server
    from conveyor.store.command import Command

LEASE = 1000.0  # seconds; the shortest lease and the shortest delay, longer than a test
SHORTEST = 5000  # ms: a waiter silent for longer is dead, and the lease clock advances by no more at a time
SLACK = 10  # ms by which the clock of a server's expiry may lag the one that it reports
MANY = 12  # jobs
QUEUE = "model"
PRODUCERS = ("producer-a", "producer-b")  # the prefixes of the ids of their jobs, and their inboxes
ODDS = st.sampled_from([True, True, True, False])
EVEN = st.sampled_from([True, False])
KEYS = 256  # priorities above it stand for keys
PRIORITIES = st.sampled_from([0, 1, 255, commands.key_priority(-1)])
KEEPS = st.sampled_from([None, None, 0.0, 50.0])
LEASES = st.sampled_from([LEASE, 2 * LEASE])
#: The steps of a verb, which include itself.
CHAINS = {
    "claim": ("promote", "reap", "claim"),
    "renew": ("promote", "reap"),
    "retry": ("retry", "promote"),
    "suspend": ("suspend", "promote"),
    "signal": ("signal", "promote"),
}
#: Verbs whose late copies change nothing.
SAFE_IF_LATE = {
    *("finish", "retry", "fail", "release", "lost", "claim", "put", "append", "step", "wait", "suspend"),
    "signal",
}
#: Verbs whose copies do more: the next chunk, or a new start.
SEEN_AGAIN = {"purge", "renew", "listen"}
LIVE = ("ready", "delayed", "leased", "dead")
STATES = tuple(map(str, JobState))
#: Guards and rules that can be lost, and that the model notices: holders, room, order, retries, cancellation.
MUTANTS: tuple[Change, ...] = (
    ("renew", "if is_holder(text, token) then", "if text then"),
    ("finish", "lease and string.sub(lease, 1, length) == prefix", "lease"),
    ("fail", "if not is_holder(text, token) then", "if not text then"),
    ("retry", "if not is_holder(text, token) then", "if not text then"),
    ("release", "if is_holder(text, token) then", "if text then"),
    ("lost", "if not is_holder(text, token) then", "if not text then"),
    (
        "append",
        "if not is_holder(redis.call('HGET', LEASES, id), token) then",
        "if not redis.call('HGET', LEASES, id) then",
    ),
    ("append", "if first ~= length then return {'OK', length} end", ""),
    ("renew", "redis.call('ZADD', LEASED, 'XX', till, id)", ""),
    ("shared/room", "maxsize - buffered() - ahead", "maxsize - buffered() - ahead + 1"),
    ("shared/room", "maxsize - buffered() - ahead", "maxsize - buffered()"),
    ("put", "if known_count == 0 then return free end", "if true then return known_count + free end"),
    ("shared/accept", "(255 - priority) * LEVEL + sequence + 1", "priority * LEVEL + sequence + 1"),
    (
        "shared/accept",
        "(255 - priority) * LEVEL - sequence - 1, -1",
        "(255 - priority) * LEVEL - sequence - 1, 1",
    ),
    ("purge", "math.max(first, base - upto)", "first"),
    ("shared/queue", "math.floor(score / LEVEL + 0.5)", "math.floor(score / LEVEL)"),
    ("shared/recover", "(255 - priority) * LEVEL", "255 * LEVEL"),
    ("retry", "if lease.how == 'C' then", "if false then"),
    ("shared/recover", "if lease.how == 'C' then", "if false then"),
    ("retry", "retries + 1", "retries"),
    ("shared/recover", "crashes >= CRASH_BUDGET", "crashes > CRASH_BUDGET"),
    ("shared/recover", "lapses >= LAPSE_BUDGET", "lapses > LAPSE_BUDGET"),
    ("shared/settle", "own_keep(id) or keep_ms", "keep_ms"),
)
USUAL = settings(stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))


class Machine(RuleBasedStateMachine):
    """A server and a model that execute the same commands, the server some of them once more."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.client, self.raw = server.client, server.raw
        self.raw.flushall()
        self.model = Model()
        self.numbers = itertools.count(1)
        self.last: tuple[Command, Any] | None = None
        self.sent: list[Command] = []
        self.verbs: list[str] = []
        self.before = Snapshot(self.raw, QUEUE)
        self.states: dict[str, str] = {}
        self.outcomes: dict[str, bytes] = {}

    def teardown(self) -> None:
        self.raw.flushall()

    # --- how commands are sent

    def run(self, verb: str, *args: Any, **options: bool) -> Any:
        """Run a verb and return its answer."""
        command = function_of(verb)(QUEUE, *args, **options)
        self.verbs.append(verb)
        self.last = None
        answer = self.client.run(command)
        self.last = command, answer
        if verb in SAFE_IF_LATE:
            self.sent.append(command)
        return answer

    def number(self) -> int:
        """Return a number like no other."""
        return next(self.numbers)

    def end(self, job: Modelled | None, *, noted: bool = True) -> tuple[Settlement, End]:
        """Return how a run ends, for the server and for the model; no two runs end alike."""
        number = self.number()
        keep = (600.0, 10.0)[number % 2]
        note = b"note %d" % number if noted else b""
        end = End(b"outcome %d" % number, keep, note, b"attempt %d" % number, f"group {number % 3}")
        return Settlement(job.id if job else "", *end), end

    def delay(self, *, delayed: bool) -> float:
        """Return a delay that ends after all those before; the steps are longer than a test."""
        return LEASE * (1 + self.number()) if delayed else 0.0

    def held(self, data: st.DataObject) -> Modelled:
        """Choose a job, usually a held one; claim some if there is none."""
        if not self.model.of("leased") and data.draw(ODDS):
            if not self.model.of("ready"):
                self.put_jobs(self.new(1), PutParams())
            self.claim_jobs("ann", 2)
            self.compare()
        marked = [job for job in self.model.of("leased") if job.how == "C"]
        return data.draw(st.sampled_from(marked)) if marked and data.draw(EVEN) else self.one(data, "leased")

    def one(self, data: st.DataObject, *states: str) -> Modelled:
        """Choose a job, usually in such a state."""
        jobs = list(self.model.jobs.values())
        fitting = [job for job in jobs if job.state in states] or jobs
        return data.draw(st.sampled_from(fitting if data.draw(ODDS) else jobs))

    def some(self, data: st.DataObject, first: Modelled) -> list[Modelled]:
        """Return a job and others behind it."""
        others = data.draw(st.lists(st.sampled_from(list(self.model.jobs.values())), max_size=2))
        return list({job.id: job for job in (first, *others)}.values())

    def token(self, data: st.DataObject, job: Modelled) -> str:
        """Choose the token of a job's lease, or that of another time or another job."""
        others = [job.old_token, "1", *(one.token for one in self.model.of("leased"))]
        return (job.token if data.draw(EVEN) else data.draw(st.sampled_from(others))) or "2"

    # --- jobs arrive

    @initialize(priorities=st.lists(PRIORITIES, min_size=1, max_size=4), keep=KEEPS, want=st.integers(0, 3))
    def begin(self, priorities: list[float], keep: float | None, want: int) -> None:
        """Start no run empty: Hypothesis leaves out some rules in each."""
        for priority in priorities:
            self.put_jobs(self.new(1, keep), PutParams(priority=priority))
        if want:
            self.claim_jobs("ann", want)

    def new(self, many: int, keep: float | None = None) -> list[Modelled]:
        ids = [f"{PRODUCERS[number % 2]}{number:04}" for number in (self.number() for _ in range(many))]
        return [Modelled(one, job_that_says(one, keep), keep=keep) for one in ids]

    @rule(
        many=st.integers(1, 3),
        keep=KEEPS,
        priority=PRIORITIES,
        delayed=st.sampled_from([False, False, True]),
        maxsize=st.sampled_from([0, 4]),
        front=st.booleans(),
    )
    def put(
        self, many: int, keep: float | None, priority: float, *, delayed: bool, maxsize: int, front: bool
    ) -> None:
        front = front and priority < KEYS  # keys have no front
        place = PutParams(maxsize, priority, self.delay(delayed=delayed), front=front)
        self.put_jobs(self.new(many, keep), place)

    @rule(
        many=st.integers(0, 3),
        rest=st.sampled_from([0, 0, 2]),
        waiter=st.sampled_from("xyz"),
        hears=st.booleans(),
    )
    def put_as_one_that_waits_for_room(self, many: int, rest: int, waiter: str, *, hears: bool) -> None:
        if hears and self.model.wakes.pop(waiter, None):
            self.raw.delete(keys.key(QUEUE, f"wake:{waiter}"))
        self.put_jobs(self.new(many), PutParams(waiter=waiter, rest=rest if many else 1))

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), again=st.booleans(), same=ODDS, many=st.integers(0, 3))
    def put_what_is_known(self, data: st.DataObject, many: int, *, again: bool, same: bool) -> None:
        old = self.one(data, "ready", "leased", "over")
        job = Modelled(old.id, old.data if same else b"other", keep=old.keep if same else None)
        self.put_jobs([*self.new(many), job], PutParams(again=again, own_ids=not again))

    def put_jobs(self, jobs: list[Modelled], place: PutParams) -> None:
        for job in jobs:
            job.priority = place.priority
        known = sum(job.id in self.model.jobs for job in jobs)
        accepted = self.model.ledger["accepted"]
        expected = self.model.put(jobs, place)
        sent = [(job.id, job.data) for job in jobs]
        if expected == "DUP":
            with pytest.raises(DuplicateJob):
                self.run("put", sent, place)
        elif expected == "SHUT":
            with pytest.raises(ShutDown) as raised:
                self.run("put", sent, place)
            assert raised.value.accepted == known
        else:
            answer = self.run("put", sent, place)
            assert (answer.accepted, answer.room) == expected
            assert answer.lineage.sequence == self.model.sequence
            if place.waiter or answer.accepted < len(jobs):
                self.sent.pop()  # its sender continues with the rest, so a late copy is no copy of this command
        if self.model.maxsize and self.model.ledger["accepted"] > accepted:
            assert self.model.size <= self.model.maxsize, "there was no room for it"

    # --- jobs are taken

    @rule(
        owner=st.sampled_from(["ann", "ann", "bob"]),
        want=st.sampled_from([0, 1, 1, 2, 4]),
        lease=LEASES,
        how=st.sampled_from("SSH"),
        hears=st.booleans(),
    )
    def claim(self, owner: str, want: int, lease: float, how: str, *, hears: bool) -> None:
        if hears and want:
            self.raw.lpop(keys.key(QUEUE, "bell"))
        self.claim_jobs(owner, want, lease, how)

    def claim_jobs(
        self, owner: str, want: int, lease: float = LEASE, how: str = "S", nonce: str = ""
    ) -> None:
        new = nonce or f"{owner}.{self.number()}"
        word, ids = self.model.claim(owner, new, want, how, again=False)
        batch: Batch = self.run("claim", owner, new, want, lease, how)
        assert (batch.state, [job.id for job in batch.jobs]) == (word, ids)
        if word == "OK":
            assert batch.left == len(self.model.waiting())
            if nonce:
                assert batch.token == self.model.claims[owner][1]
            else:
                assert int(batch.token) > self.model.token
                assert int(batch.token) >= 1000 * self.before.now
                self.model.hold(owner, batch.token, lease)
        for claimed in batch.jobs:
            job = self.model.jobs[claimed.id]
            crashes = job.crashes + job.lapses
            assert (claimed.data, claimed.retries, claimed.crashes) == (job.data, job.retries, crashes)

    @precondition(lambda self: self.model.claims)
    @rule(data=st.data(), older=st.sampled_from([False, False, True]))
    def claim_with_a_known_nonce(self, data: st.DataObject, *, older: bool) -> None:
        """Repeat the last batch of an owner, as far as it is still held, or an older one without effect."""
        owner = data.draw(st.sampled_from(sorted(self.model.claims)))
        self.claim_jobs(owner, 4, nonce=f"{owner}.0" if older else self.model.claims[owner][0])

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), how=st.sampled_from("SHL"), lease=LEASES)
    def renew(self, data: st.DataObject, how: str, lease: float) -> None:
        held = [(job, self.token(data, job), how) for job in self.some(data, self.held(data))]
        renewal = self.run("renew", [(job.id, *rest) for job, *rest in held], lease)
        assert (renewal.lost, renewal.cancelled) == self.model.renew(held, lease)

    @precondition(lambda self: self.model.of("leased"))
    @rule(data=st.data())
    def tell_progress(self, data: st.DataObject) -> None:
        job, progress = self.held(data), b"progress %d" % self.number()
        if job.state == "leased":
            self.raw.hset(keys.key(QUEUE, "progress"), job.id, progress)
            self.model.progress[job.id] = progress

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), ahead=st.integers(-2, 1), count=st.integers(0, 2), most=st.sampled_from([9999, 80]))
    def append(self, data: st.DataObject, ahead: int, count: int, most: int) -> None:
        """Append the next items, or some that are there already, or such that some before them are missing."""
        job = self.held(data)
        token, first = self.token(data, job), max(0, job.length + ahead)
        items = [b"%c" % (self.number() % 128) for _ in range(count)]
        expected = self.model.append(job, token, first, items, most)
        args = (token, job.id, first, items, most)
        try:
            if ahead > 0:  # then the run ends, so a copy that arrives later finds no lease
                self.last = None
                answer = self.client.run(commands.append(QUEUE, *args))
            else:
                answer = self.run("append", *args)
        except LeaseLost:
            answer = "STALE"
        except TooLarge:
            answer = "FULL"
        assert answer == expected

    # --- steps

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), name=st.sampled_from(["step a", "step b", "cursor"]))
    def step(self, data: st.DataObject, name: str) -> None:
        job = self.held(data)
        token, number = self.token(data, job), self.number()
        value, save = b"value %d" % number, number if name == "cursor" else 0
        expected = self.model.step(job, token, name, value, save)
        try:
            answer = self.run("step", token, job.id, name, value, save)
        except LeaseLost:
            answer = "STALE"
        assert answer == expected

    @precondition(lambda self: self.model.jobs)
    @rule(
        data=st.data(),
        kind=st.sampled_from(["wait", "wait", "sleep"]),
        name=st.sampled_from("ab"),
        ends=st.sampled_from(["now", "later", "never"]),
    )
    def wait(self, data: st.DataObject, kind: str, name: str, ends: str) -> None:
        job = self.held(data)
        seconds = self.delay(delayed=ends == "later") if ends != "never" or kind == "sleep" else None
        token = self.token(data, job)
        expected = self.model.wait(job, token, kind, name, seconds)
        try:
            answer = self.run("wait", token, job.id, kind, name, seconds)
        except LeaseLost:
            answer = "STALE", b""
        assert answer == expected

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), kind=st.sampled_from(["wait", "wait", "sleep"]), name=st.sampled_from("ab"))
    def suspend(self, data: st.DataObject, kind: str, name: str) -> None:
        job = self.held(data)
        token, (_, end) = self.token(data, job), self.end(job)
        answer = self.run("suspend", token, job.id, kind, name, end.attempt)
        assert answer == self.model.suspend(job, token, kind, name, end.attempt)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), name=st.sampled_from("ab"))
    def signal(self, data: st.DataObject, name: str) -> None:
        job, value = self.one(data, "delayed", "leased"), b"value %d" % self.number()
        answer = self.run("signal", job.id, name, value)
        assert answer == self.model.signal(job, name, value)
        if answer == "KEPT":
            self.sent.pop()  # a copy may arrive when the job is dead, and then has an effect

    # --- runs end

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), counter=st.sampled_from(["finished", "finished", "cancelled"]), noted=st.booleans())
    def finish(self, data: st.DataObject, counter: str, *, noted: bool) -> None:
        jobs = self.some(data, self.held(data))
        token = self.token(data, jobs[0])
        settlements, ends = zip(*(self.end(job, noted=noted) for job in jobs), strict=True)
        not_held = self.run("finish", token, settlements, counter)
        assert not_held == self.model.finish(jobs, token, list(ends), counter)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), delayed=st.booleans())
    def retry(self, data: st.DataObject, *, delayed: bool) -> None:
        job = self.held(data)
        token, delay, (_, end) = self.token(data, job), self.delay(delayed=delayed), self.end(job)
        answer = self.run("retry", token, job.id, delay, end.note, end.attempt)
        assert answer == self.model.retry(job, token, delay, end)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        job = self.held(data)
        token, (settlement, end) = self.token(data, job), self.end(job)
        assert self.run("fail", token, settlement) == self.model.fail(job, token, end)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), attempt=st.sampled_from([b"", b"given back"]))
    def release(self, data: st.DataObject, attempt: bytes) -> None:
        jobs = self.some(data, self.held(data))
        token = self.token(data, jobs[0])
        answer = self.run("release", token, [job.id for job in jobs], attempt)
        assert answer == self.model.release(jobs, token, attempt)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        job = self.held(data)
        token, (settlement, end) = self.token(data, job), self.end(job)
        answer = self.run("lost", token, settlement, b"cancelled")
        assert answer == self.model.lost(job, token, end, b"cancelled")

    # --- time passes

    @precondition(lambda self: self.model.of("delayed", "leased"))
    @rule(data=st.data())
    def be_over(self, data: st.DataObject) -> None:
        """End a delay or a lease; the next command may move the job, or its holder settle it before."""
        self.pass_time(data.draw(st.sampled_from(self.model.of("delayed", "leased"))))

    def pass_time(self, job: Modelled) -> None:
        self.last, job.time = None, self.number()
        self.raw.zadd(keys.key(QUEUE, job.state), {job.id: job.time})

    @rule(verb=st.sampled_from(["promote", "reap"]))
    def recover(self, verb: str) -> None:
        assert self.run(verb) == getattr(self.model, verb)()

    @precondition(lambda self: self.model.of("ready", "delayed", "leased"))
    @rule(data=st.data(), crashes=st.sampled_from([0, 2]), lapses=st.sampled_from([0, 9]), is_over=EVEN)
    def have_been_tried(self, data: st.DataObject, crashes: int, lapses: int, *, is_over: bool) -> None:
        """Create a job with a past: the next crash, or the next expired lease, is one too many."""
        job = self.held(data)
        if job.state in {"dead", "over"}:
            return
        self.last, job.crashes, job.lapses, job.recoveries = None, crashes, lapses, LAPSE_BUDGET
        self.raw.hset(keys.key(QUEUE, "tries"), job.id, job.tries)
        if is_over and job.state == "leased":
            self.pass_time(job)

    # --- actions of users

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), noted=st.booleans())
    def cancel(self, data: st.DataObject, *, noted: bool) -> None:
        job = self.held(data) if data.draw(ODDS) else self.one(data, "ready", "delayed", "leased")
        if data.draw(st.integers(0, 9)) == 9:
            job = None
        job_id, (_, end) = job.id if job else "no such job", self.end(job, noted=noted)
        assert self.run("cancel", job_id, end.outcome, end.keep, end.note) == self.model.cancel(job, end)

    @rule(
        data=st.data(),
        index=st.sampled_from(["ready", "delayed"]),
        most=st.integers(1, 3),
        bounded=st.booleans(),
    )
    def purge(self, data: st.DataObject, index: str, most: int, *, bounded: bool) -> None:
        upto, (_, end) = float("inf"), self.end(None)
        if bounded and self.model.of(index):
            job = data.draw(st.sampled_from(self.model.of(index)))
            upto = float(job.number if index == "ready" else job.time)
        answer = self.run("purge", index, most, end.outcome, end.keep, upto)
        assert answer == self.model.purge(index, upto, most, end)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), verb=st.sampled_from(["revive", "discard"]))
    def decide_about_the_dead(self, data: st.DataObject, verb: str) -> None:
        jobs = self.some(data, self.one(data, "dead"))
        answer = self.run(verb, ["no such job", *(job.id for job in jobs)])
        assert answer == getattr(self.model, verb)(jobs)

    @rule(
        verb=st.sampled_from(["bound", "bound", "pause", "resume", "resume", "shut"]),
        maxsize=st.integers(0, 6),
    )
    def control(self, verb: str, maxsize: int) -> None:
        arguments = [maxsize] if verb == "bound" else []
        assert self.run(verb, *arguments) == "OK"
        getattr(self.model, verb if verb != "shut" else "shut_down")(*arguments)

    @precondition(lambda self: any(map(self.model.is_gone, self.model.seen)) or not self.model.of(*LIVE))
    @rule(remove=st.booleans())
    def forget(self, *, remove: bool) -> None:
        self.forget_queue(remove=remove)

    def forget_queue(self, *, remove: bool) -> None:
        sizes = [*(len(self.model.of(state)) for state in LIVE), 0]  # none is deferred
        assert list(self.run("forget", 0.0, remove=remove)) == [self.model.forget(remove=remove), *sizes]
        if self.model.born is None:
            self.last, self.sent = None, []  # a late put would bring the queue back, without a job

    @precondition(lambda self: len(self.model.of(*LIVE)) > MANY)
    @rule()
    def end_everything_and_forget_the_queue(self) -> None:
        """Empty the queue after any history; it leaves nothing behind."""
        everything, (_, end) = len(self.model.jobs), self.end(None)
        for index in ("ready", "delayed"):
            answer = self.run("purge", index, everything, end.outcome, end.keep)
            assert answer == self.model.purge(index, float("inf"), everything, end)
        assert self.run("discard", list(self.model.jobs)) == self.model.discard(self.model.jobs.values())
        for job in self.model.of("leased"):
            settlement, end = self.end(job)
            assert self.run("finish", job.token, [settlement]) == []
            self.model.finish([job], job.token, [end], "finished")
        self.compare()
        self.forget_queue(remove=True)

    # --- waiters

    @rule(joiner=st.sampled_from("jk"), hears=st.booleans())
    def join(self, joiner: str, *, hears: bool) -> None:
        if hears and self.model.wakes.pop(joiner, None):
            self.raw.delete(keys.key(QUEUE, f"wake:{joiner}"))
        assert self.run("join", joiner) == self.model.join(joiner)

    @precondition(lambda self: self.model.seen)
    @rule(data=st.data(), dies=st.booleans())
    def leave(self, data: st.DataObject, *, dies: bool) -> None:
        """Make a waiter leave or miss its heartbeats."""
        waiter = data.draw(st.sampled_from(sorted(self.model.seen)))
        if dies:
            self.raw.hset(keys.key(QUEUE, "seen"), waiter, 1)
            self.last, self.model.seen[waiter] = None, 1
        else:
            assert self.run("leave", waiter) == "OK"
            self.model.leave(waiter)

    @rule(data=st.data(), inbox=st.sampled_from(PRODUCERS), hold=st.sampled_from([LEASE, LEASE, 0.0]))
    def listen(self, data: st.DataObject, inbox: str, hold: float) -> None:
        jobs = self.some(data, self.one(data, "ready", "leased")) if self.model.jobs else []
        letters = self.run("listen", inbox, hold, [job.id for job in jobs])
        assert (letters.outcomes, letters.was_open) == self.model.listen(inbox, hold, jobs)

    @rule(
        index=st.sampled_from(["ready", "delayed", "leased", "dead"]),
        down=st.booleans(),
        skip=st.integers(0, 2),
    )
    def look(self, index: str, *, down: bool, skip: int) -> None:
        jobs = self.model.waiting() if index == "ready" else self.model.timed(index)
        rows = self.client.run(commands.rows(QUEUE, index, RowRange(3, down, skip=skip)))
        assert rows.total == len(jobs)
        shown = [(row.id, row.data, row.tries.decode()) for row in rows.rows]
        assert shown == [(job.id, job.data, job.tries) for job in jobs[:: -1 if down else 1][skip : skip + 3]]

    # --- replies are lost, and commands arrive late

    @precondition(lambda self: self.last)
    @rule()
    def send_the_last_command_again(self) -> None:
        """As a client does that got no answer."""
        command, answer = self.last
        verb = command.script.name
        if verb in SEEN_AGAIN:
            return
        again = self.client.run(command.resent())
        if verb == "claim":
            word, ids = self.model.claim(*command.words[2:5], "S", again=True)
            assert (again.state, again.token, [job.id for job in again.jobs]) == (
                word,
                self.model.claims[command.words[2]][1] if word == "OK" else "",
                ids,
            )
            self.last = None  # an empty claim is remembered now, so a repetition is another claim
        elif verb == "put":
            assert again.accepted == answer.accepted
        elif verb in {"finish", "fail", "cancel"}:
            assert again[:1] == answer[:1]

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def receive_an_old_command_late(self, data: st.DataObject) -> None:
        """A copy that was under way for long arrives behind others."""
        command = data.draw(st.sampled_from(self.sent[-10:]))
        if command.script.name == "claim":
            owner, nonce = command.words[2:4]
            if number_of(nonce) > number_of(self.model.claims.get(owner, ("none.0",))[0]):
                return  # it brought nothing and none was sent behind it, so it is not late
        with suppress(DuplicateJob, LeaseLost, TooLarge):
            self.client.run(command)
            if command.script.name == "put" and self.model.maxsize:
                self.model.leave_out(one for one in self.model.line if self.model.is_gone(one))

    # --- conditions that hold after each step

    @invariant()
    def server_and_model_are_alike(self) -> None:
        self.compare()

    def compare(self) -> None:
        snapshot = Snapshot(self.raw, QUEUE)
        if snapshot.now - self.before.now >= SHORTEST:
            pytest.skip(
                "the machine stood still"
            )  # ends the run: time has changed parts the model does not know
        self.model.wake_joiners()
        self.compare_times(snapshot)
        assert snapshot.keys == self.model.keys()
        self.compare_lives(snapshot)
        self.compare_ledger(snapshot)
        self.compare_moves()
        for job in self.model.of("over"):
            assert self.outcomes.setdefault(job.id, job.outcome) == job.outcome, "it had an outcome"
        if self.model.of("ready") and not self.model.paused:
            assert 0 < snapshot.bell <= 32, "jobs wait, and no wake-up does"
        self.before, self.verbs = snapshot, []

    def compare_times(self, snapshot: Snapshot) -> None:
        """Check that new times lie between the last query and this one, and note them."""
        earliest, latest, meta = self.before.now, snapshot.now, snapshot.meta
        clock, old = meta.get("clock", 0), self.before.meta.get("clock", 0)
        if clock and old:
            assert old <= clock <= old + SHORTEST
        for job in self.model.of("delayed", "leased", "dead"):
            found = snapshot.keys.get(job.state, {}).get(job.id, 0)
            if job.time is not None:
                continue
            if job.state == "leased":
                assert found == clock + 1000 * job.lease
            else:
                ahead = 1000 * job.delay + meta.get("due_shift", 0) if job.state == "delayed" else 0
                assert earliest <= found - ahead <= latest
            job.time = found
        self.compare_ends(snapshot)
        for inbox, end in self.model.inboxes.items():
            if end is None:
                found = snapshot.keys.get("inboxes", {}).get(inbox, 0)
                assert earliest <= found - 1000 * LEASE <= latest
                self.model.inboxes[inbox] = found
        for waiter, seen in self.model.seen.items():
            if seen != 1:
                found = snapshot.keys.get("seen", {}).get(waiter, 0)
                assert earliest <= found <= latest
                self.model.seen[waiter] = found
        if self.model.born == 0:
            self.model.born = meta["born"]
            assert earliest <= self.model.born / 1000 <= latest + 1

    def compare_ends(self, snapshot: Snapshot) -> None:
        """Check and note the new ends of waits likewise."""
        for job in self.model.jobs.values():
            for name in [name for name, end in job.ends.items() if end is None]:
                found = int(snapshot.keys[f"steps:{job.id}"][name].split()[1])
                ahead = 1000 * job.ahead[name] + snapshot.meta.get("due_shift", 0)
                assert self.before.now <= found - ahead <= snapshot.now
                job.ends[name] = found if job.ahead[name] else 0.0
                job.steps[name] = b"%d" % found

    def compare_lives(self, snapshot: Snapshot) -> None:
        """Check that the keys that expire are those that should, at their time."""
        passed = snapshot.now - self.before.now + SLACK
        lives = {name: life for name, life in self.model.lives.items() if name in snapshot.keys}
        assert snapshot.lives.keys() == lives.keys()
        for name, life in snapshot.lives.items():
            assert lives[name] - passed <= life <= lives[name] + SLACK
        self.model.lives.clear()

    def compare_ledger(self, snapshot: Snapshot) -> None:
        model, meta = self.model, snapshot.meta
        expected = model.meta()
        assert {name: meta.get(name, 0) for name in expected} == expected
        assert meta.get("born", 0) == (model.born or 0)
        count = self.client.run(commands.count(QUEUE))
        assert (count.imbalance, count.torn, count.orphans, count.strange) == (0, 0, 0, 0)
        sizes = [len(model.of(state)) for state in LIVE]
        assert [count.ready, count.delayed, count.leased, count.dead] == sizes
        assert count.blocked == sum(not model.is_gone(waiter) for waiter in model.line)
        for name in (
            "accepted",
            "finished",
            "cancelled",
            "discarded",
            "lapsed",
            "maxsize",
            "paused",
            "shutdown",
        ):
            assert getattr(count, name) == expected.get(name, 0), name

    def compare_moves(self) -> None:
        """Check that each job moved as the table of moves allows, and is where the server reports it."""
        before, self.states = self.states, {job.id: job.state for job in self.model.jobs.values()}
        moved = [job for job in self.model.jobs.values() if before.get(job.id) != job.state]
        answers = self.client.run_all([commands.state(QUEUE, job.id) for job in moved])
        for job, answer in zip(moved, answers, strict=True):
            data = b"" if job.state == "over" else job.data
            assert (answer.state, answer.data, answer.tries) == (job.state, data, job.tries)
            if job.state in {"leased", "dead", "over"}:
                assert answer.detail == (job.text.encode() if job.state == "leased" else job.outcome)
            places = {before.get(job.id, "gone")}
            for verb in self.verbs:
                for part in CHAINS.get(verb, (verb,)):
                    places |= {
                        target for place in places for target in STATES if may_move(part, place, target)
                    }
            assert job.state in places, self.verbs


def compare(server: Server, how: settings) -> None:
    """Run server and model; start again if the host stood still, since the server's times prove nothing then."""
    for _ in range(2):
        with suppress(pytest.skip.Exception):
            return run_state_machine_as_test(lambda: Machine(server), settings=how)
    return run_state_machine_as_test(lambda: Machine(server), settings=how)


def test_any_command_sequence_leaves_server_and_model_equal(server: Server) -> None:
    compare(server, settings(USUAL, max_examples=60))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_long_command_sequences_leave_server_and_model_equal(server: Server) -> None:
    compare(server, settings(USUAL, max_examples=2_000, stateful_step_count=80))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("change", MUTANTS, ids=name_of)
def test_model_notices_a_mutant(
    change: Change, one_server: Server, monkeypatch: pytest.MonkeyPatch, unchanged: None
) -> None:
    load_mutant(change, monkeypatch)
    once = settings(
        USUAL, max_examples=500, database=None, phases=[Phase.generate], report_multiple_bugs=False
    )
    with pytest.raises((*FAILURES, DuplicateJob)):
        compare(one_server, once)


@pytest.fixture
def unchanged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Load the real scripts again in the end."""
    yield
    monkeypatch.undo()
    forget_scripts()
