"""Random walks over two queues of jobs with terms, judged from outside, by the replies alone.

Producers, workers and operators send any commands in any order, some of them twice or late; messages between the
queues are carried over late, twice, or only in the end. After each step the judge looks: no more jobs of a key are held
than its limit allows, nor start within a period; one job of a unique key is live; none is held before those that it
comes after have ended as it wants. In the end all that is left runs, and nothing stays behind.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from tests.store.conftest import Lane
from tests.store.test_mutants import FAILURES, forget_scripts, load_mutant, name_of

from conveyor.errors import JobGone, StoreRefused
from conveyor.store import commands, outbox
from conveyor.store.commands import PutParams, Settlement, Terms, pack_terms
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.store.mutants import Change

    from conftest import Server
    from conveyor.store.command import Command

STEPS = 120
LONG = 1000.0
#: By key: max running, max starts within the LONG period, in order.
LIMITS = {"one": (1, 0, False), "two": (2, 0, False), "rate": (0, 5, False), "order": (1, 0, True)}
FITTING = {"d": {"done"}, "f": {"failed", "lost"}, "e": {"done", "failed", "lost", "cancelled", "gone"}}
#: Commands of which a late copy changes nothing.
SAFE_IF_LATE = {"submit", "finish", "fail", "retry", "release", "throttle"}


@dataclass
class Known:
    """What the judge knows of a job."""

    lane: Lane
    id: str
    limit: str = ""
    unique: str = ""
    before: list[Known] = field(default_factory=list)
    policy: str = "d"
    inputs: bool = False
    """Whether it gets the results of the jobs before."""
    result: bytes = b""
    token: str = ""
    waits: bool = False
    """Whether it came after others, or was delayed."""
    started: bool = False
    ends: list[str] = field(default_factory=list)
    """How it has ended; more than once only if it was revived."""

    @property
    def reference(self) -> str:
        return f"{self.lane.queue} {self.id}"

    @property
    def state(self) -> str:
        return self.ends[-1] if self.ends else ""


class Walk:
    """The walk of one seed."""

    def __init__(self, server: Server, seed: int) -> None:
        self.chance = random.Random(seed)
        self.lanes = [Lane(server), Lane(server)]
        self.jobs: dict[str, Known] = {}
        self.held: dict[str, Known] = {}
        self.sent: list[Command] = []
        self.starts: Counter[tuple[str, str]] = Counter()
        self.first: dict[str, Known] = {}
        """By queue, of the jobs in order the one that was started last."""
        self.number = 0

    def run(self, command: Command) -> Any:
        """Run a command, sometimes twice, and keep it for later."""
        reply = self.lanes[0].client.run(command)
        if self.chance.random() < 0.2:
            self.copy(command.resent() if command.again else command)
        if command.script is not None and command.script.name in SAFE_IF_LATE:
            self.sent.append(command)
        return reply

    def copy(self, command: Command) -> None:
        """Run a copy of a command, which has no effect."""
        if command.script is not None and command.script.name in SAFE_IF_LATE:
            self.lanes[0].client.run(command)

    def step(self) -> None:
        """Do something, and look."""
        steps: list[tuple[Callable[[], None], float]] = [
            (self.submit, 5), (self.claim, 6), (self.end, 6), (self.cancel, 1), (self.revive, 0.5),
            (self.lapse, 0.4), (self.carry, 1.5), (self.late, 1), (self.purge, 0.15), (self.due, 1),
        ]  # fmt: skip
        choices, weights = zip(*steps, strict=True)
        self.chance.choices(choices, weights)[0]()
        self.look()

    # --- steps

    def submit(self) -> None:
        lane = self.chance.choice(self.lanes)
        count, own, jobs = self.chance.choice((1, 1, 1, 3)), {}, []
        limit = self.chance.choice(("", "", *LIMITS))
        period = self.chance.choice((0.0, 0.0, -1.0))
        before = self.chance.sample(
            [*self.jobs.values()], min(len(self.jobs), self.chance.choice((0, 0, 1, 2)))
        )
        policy, inputs = self.chance.choice("ddfe"), self.chance.random() < 0.5
        for _ in range(count):
            self.number += 1
            unique = self.chance.choice(("", "", "u1", "u2")) if limit != "order" else ""
            one = Known(
                lane,
                f"job{self.number}",
                limit,
                f"{unique} {period}" if unique else "",
                before,
                policy,
                inputs,
            )
            words = policy + "i" * inputs
            own[one.id] = pack_terms(limit, one.unique, [each.reference for each in before], words)
            jobs.append(one)
        running, starts, in_order = LIMITS.get(limit, (0, 0, False))
        delay = self.chance.choice((0.0, 0.0, 0.0, LONG))
        terms = Terms(own, (running, starts, LONG, in_order), (period, self.chance.random() < 0.3))
        params = PutParams(
            terms=terms, delay=delay, priority=0 if limit == "order" else self.chance.choice((0, 0, 7))
        )
        put = [(one.id, b"bytes of %s" % one.id.encode()) for one in jobs]
        try:
            reply = self.run(commands.submit(lane.queue, put, params))
        except JobGone:
            assert any(each.lane is lane and each.id not in self.jobs for each in before)
            return
        for one in jobs:
            if one.id not in reply.same:
                self.jobs[one.id] = one
                one.waits = bool(before or delay)
            else:
                other = self.jobs[reply.same[one.id]]
                assert one.unique == other.unique
                assert other.state == ""

    def claim(self, want: int = 0) -> int:
        lane = self.chance.choice(self.lanes)
        self.number += 1
        owner = self.chance.choice(("ann", "bob"))
        batch = self.run(
            commands.claim(
                lane.queue, owner, f"{owner}.{self.number}", want or self.chance.randint(1, 4), LONG
            )
        )
        for job in batch.jobs:
            one = self.jobs[job.id]
            assert one.id not in self.held, f"{one.id} is held twice"
            one.token, self.held[one.id] = batch.token, one
            self.starts[lane.queue, one.limit] += 1
            if one.limit == "order":
                self.check_order(one)
            for each in one.before:
                self.ask(each)
                assert each.ends, f"{one.id} is held before {each.id} has ended"
                assert set(each.ends) & FITTING[one.policy], (one.id, each.id, each.ends)
            self.check_inputs(one)
        return len(batch.jobs)

    def end(self, how: str = "") -> None:
        if not self.held:
            return
        one = self.held.pop(self.chance.choice([*self.held]))
        queue = one.lane.queue
        outcome = encode_settled("done", one.id.encode() * self.chance.choice((1, 1000)))
        how = how or self.chance.choice(
            ("done", "done", "done", "failed", "retry", "release", "throttle", "lost")
        )
        if how == "done":
            assert self.run(commands.finish(queue, one.token, [Settlement(one.id, outcome, 600.0)])) == []
            one.result = outcome
            one.ends.append("done")
        elif how == "failed":
            failed = Settlement(one.id, encode_settled("failed"), 600.0)
            self.run(commands.fail(queue, one.token, failed))
            one.ends.append("failed")
        elif how == "retry":
            self.run(commands.retry(queue, one.token, one.id, self.chance.choice((0.0, LONG)), b""))
        elif how == "release":
            attempt = self.chance.choice((b"", b"attempt"))
            self.run(commands.release(queue, one.token, [one.id], attempt))
        elif how == "throttle":
            self.run(commands.throttle(queue, one.token, one.id, 0.002, b"attempt"))
        else:
            lost = Settlement(one.id, encode_settled("lost"), 600.0)
            if self.run(commands.lost(queue, one.token, lost, outcome)) == "dead":
                one.ends.append("lost")

    def cancel(self) -> None:
        if self.jobs:
            one = self.chance.choice([*self.jobs.values()])
            reply = self.run(
                commands.cancel(one.lane.queue, one.id, encode_settled("cancelled"), 600.0, only_waiting=True)
            )
            if reply[0] == "cancelled" and not one.ends:
                one.ends.append("cancelled")

    def revive(self) -> None:
        dead = [one for one in self.jobs.values() if one.state in {"failed", "lost"}]
        if dead:
            one = self.chance.choice(dead)
            if self.run(commands.revive(one.lane.queue, [one.id])):
                one.ends.append("")
                if self.first.get(one.lane.queue) is one:
                    del self.first[one.lane.queue]

    def lapse(self) -> None:
        for one in [each for each in self.held.values() if self.chance.random() < 0.5]:
            one.lane.let_leases_run_out(one.id)
            del self.held[one.id]

    def carry(self) -> None:
        """Carry messages over, sometimes without removing them."""
        lane = self.chance.choice(self.lanes)
        if self.chance.random() < 0.3:
            for message in lane.run(commands.outbox):
                if message.verb == "follow":
                    of_queue, ids = message.source.split(" ")
                    wants = message.outcome
                    self.run(commands.follow(message.queue, message.id, of_queue, ids.split(","), wants))
        else:
            lane.client.perform(outbox.deliver(lane.queue))

    def late(self) -> None:
        if self.sent:
            self.copy(self.chance.choice(self.sent))

    def purge(self) -> None:
        lane, index = self.chance.choice(self.lanes), self.chance.choice(("ready", "deferred", "delayed"))
        lane.run(commands.purge, index, 3, encode_settled("cancelled"), 600.0)

    def due(self) -> None:
        """Make delayed jobs due, and start a new period of the rate."""
        lane = self.chance.choice(self.lanes)
        raw, key = lane.raw, lane.key
        for one in raw.zrange(key("delayed"), 0, -1):
            raw.zadd(key("delayed"), {one: 1})
        if raw.zrange(key("turns"), 0, -1) and self.chance.random() < 0.5:
            raw.delete(key("starts:rate"))
            self.starts[lane.queue, "rate"] = 0
            raw.zadd(key("turns"), dict.fromkeys(raw.zrange(key("turns"), 0, -1), 1))
        lane.run(commands.promote)

    # --- the judge

    def look(self) -> None:
        """Compare what the server says of all jobs with what is promised."""
        for lane in self.lanes:
            lane.dump()
            mine = [one for one in self.jobs.values() if one.lane is lane]
            live: Counter[str] = Counter()
            for one in mine:
                self.ask(one)
                state = one.lane.state(one.id)
                assert (state == "leased") >= (one.id in self.held), (one.id, state)
                if one.unique.endswith(" 0.0") and state not in {"over", "dead", "gone"}:
                    live[one.unique] += 1
            assert not live or max(live.values()) == 1, live
            held = Counter(one.limit for one in self.held.values() if one.lane is lane)
            for key, (running, starts, _) in LIMITS.items():
                assert not running or held[key] <= running, (key, held[key])
                assert not starts or self.starts[lane.queue, key] <= starts, key

    def ask(self, one: Known) -> None:
        """Note the end of a job that a script has cancelled, or made dead."""
        found = one.lane.run(commands.state, one.id)
        if found.state == "over" and not one.state:
            self.check_cancelled(one, found.detail)
        elif found.state == "dead" and not one.state:
            one.ends.append("lost")

    def check_order(self, one: Known) -> None:
        """Check that a job overtakes none that has started, and none that was put before it."""
        queue, place = one.lane.queue, int(one.id[3:])
        last = self.first.get(queue)
        if last is not None and last is not one:
            self.ask(last)
            assert last.state, f"{one.id} has overtaken {last.id}"
        self.first[queue] = one
        if not (one.waits or one.started):
            for other in self.jobs.values():
                is_alike = other.lane is one.lane and other.limit == "order" and not other.waits
                if is_alike and not (other.started or other.ends) and int(other.id[3:]) < place:
                    self.ask(other)
                    assert other.ends, f"{one.id} has overtaken {other.id}"
        one.started = True

    def check_inputs(self, one: Known) -> None:
        """Check that a job gets the results of those before it, or how they have ended."""
        found = one.lane.inputs(one.id)
        assert found.keys() == ({each.reference for each in one.before} if one.inputs else set())
        for each in one.before if one.inputs else ():
            is_result = each.result and found[each.reference] == each.result
            assert is_result or len(found[each.reference]) < 200, (one.id, each.id)
            assert is_result or each.ends[0] != "done", (one.id, each.id)

    def check_cancelled(self, one: Known, outcome: Any) -> None:
        """Check that a job that nobody has cancelled was so by its policy, or by a purge."""
        text = bytes(outcome)
        if b"which it comes after, ended as" in text:
            culprits = [each for each in one.before if f"the job {each.id}, ".encode() in text]
            assert culprits, text
            state = text.rpartition(b"ended as ")[2][:-1].decode().partition(" (first ")[0]
            assert state not in FITTING[one.policy], text
            assert state in {*culprits[0].ends, "gone", "cancelled"}, (text, culprits[0].ends)
        one.ends.append("cancelled")

    def drain(self) -> None:
        """Run all that is left; nothing stays behind."""
        for _ in range(2000):
            for lane in self.lanes:
                raw, key = lane.raw, lane.key
                raw.delete(key("starts:rate"))
                self.starts[lane.queue, "rate"] = 0
                for name in ("delayed", "turns"):
                    if some := raw.zrange(key(name), 0, -1):
                        raw.zadd(key(name), dict.fromkeys(some, 1))
                raw.hdel(key("meta"), "rest")
                lane.client.perform(outbox.deliver(lane.queue))
            taken = self.claim(4)
            while self.held:
                self.end("done")
            if not taken and all(lane.count().live == 0 for lane in self.lanes):
                break
        self.look()
        for lane in self.lanes:
            lane.run(commands.promote)
            lane.client.perform(outbox.deliver(lane.queue))
            state = lane.dump()
            left = {name.partition(":")[0] for name in state}
            assert (
                left
                & {
                    "deferred",
                    "lane",
                    "after",
                    "before",
                    "followers",
                    "followed",
                    "ended",
                    "outbox",
                    "unlinked",
                    "unique",
                }
                == set()
            )
            assert left & {"limits", "turns"} == set() or state["limits"] == {}, state
            assert {
                one for one in self.jobs if self.jobs[one].lane is lane and not self.jobs[one].state
            } == set()
            count = lane.count()
            assert (count.live, count.imbalance, count.torn) == (0, 0, 0)


def walk(server: Server, seed: int) -> None:
    """Go one way. Raises AssertionError with its seed."""
    server.raw.flushall()
    made = Walk(server, seed)
    try:
        for _ in range(STEPS):
            made.step()
        made.drain()
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_random_commands_keep_the_promises_of_terms(server: Server, first: int) -> None:
    for seed in range(first, first + 10):
        walk(server, seed)


#: What can be lost in the scripts, and is noticed by the judge within SEEDS walks.
MUTANTS: tuple[Change, ...] = (
    ("shared/terms", "if limit[RUNNING] > 0 then free =", "if false then free ="),
    ("shared/terms", "starts_within(key, limit) + limit[READY_SLOTS]", "starts_within(key, limit)"),
    ("shared/terms", "or {own[1] or 0, own[2] or 0,", "or {0, 0,"),
    ("shared/terms", "letter = 'k' else leave(id, text) end", "leave(id, text) else leave(id, text) end"),
    ("shared/terms", "limit[slots] = math.max(0, limit[slots] - 1)", ""),
    ("shared/terms", "if terms.u and not terms.uk then free_key(id, terms) end", ""),
    ("revive", "(not terms or may_return(read_terms(terms), id))", "true"),
    (
        "submit",
        "if other and not holders[own.u] and not is_standing(other) then other = nil end",
        "other = nil",
    ),
    ("shared/after", "if not fits(string.sub(terms.p or 'd', 1, 1), state) then", "if false then"),
    ("shared/after", "redis.call('EXISTS', BASE .. 'after:' .. id, BASE .. 'before:' .. id) > 0", "false"),
    ("shared/after", "if redis.call('SREM', BASE .. 'after:' .. id, from) == 0 then return end", ""),
    ("shared/deliver", "if redis.call('EXISTS', FOLLOWED) == 1 then note_ended(ids) end", ""),
    ("claim", "if is_special then admit_next() end", ""),
    ("follow", "if outcome then return {'OVER', wanted(outcome, wants)} end", ""),
    ("shared/terms", "redis.call('HINCRBY', key, 'jobs', 1)", ""),
)
SEEDS = 40


@pytest.mark.slow
@pytest.mark.parametrize("change", MUTANTS, ids=name_of)
def test_walks_notice_each_mutant(
    one_server: Server, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_mutant(change, monkeypatch)
    try:
        for seed in range(SEEDS):
            walk(one_server, seed)
    except (*FAILURES, StoreRefused, KeyError):
        return
    finally:
        one_server.raw.flushall()
        monkeypatch.undo()
        forget_scripts()
    pytest.fail("no walk notices it")
