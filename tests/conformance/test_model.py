"""The scripts against a model of them in Python: any commands in any order must leave both in the same state."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from conveyor import lifecycle
from conveyor.store import commands, keys
from conveyor.store.answers import Batch, PutPlace, Settlement
from conveyor.store.client import exchange

from .reference import MAXSIZE, Model, Modelled

if TYPE_CHECKING:
    from conftest import Server

LEASE = 1000.0  # seconds; never over by itself
PAST = 1  # a time that is over, ms
ODDS = st.sampled_from([True, True, True, False])
_queues = (f"model{number}" for number in itertools.count())


class Machine(RuleBasedStateMachine):
    """Runs each command on the server and on the model, now and then the server's once more, and compares."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.client, self.raw = server.client, server.raw
        self.queue = next(_queues)
        self.client.run(commands.bound(self.queue, MAXSIZE))
        self.model = Model()
        self.names = (f"job{number:03}" for number in itertools.count())
        self.numbers = itertools.count()
        self.last: commands.Command | None = None
        self.last_batch: tuple[str, Batch] | None = None

    def run(self, verb: str, *args: Any) -> Any:
        """Run a verb, and see that each job it moved was moved as the table of moves allows."""
        before = {one: self.state_of(one) for one in self.model.jobs}
        self.last = getattr(commands, verb)(self.queue, *args)
        answer = self.client.run(self.last)
        for one, source in before.items():
            assert lifecycle.may_move(verb, source, self.state_of(one))
        return answer

    def state_of(self, job_id: str) -> str:
        return self.client.run(commands.state(self.queue, job_id)).state

    def outcome(self, job: Modelled) -> Settlement:
        """Give an outcome like no other: two runs never take the same time."""
        return Settlement(job.id, f"outcome {next(self.numbers)}".encode(), 600.0)

    def delay(self, *, delayed: bool) -> float:
        """Give a delay that ends after all those before; the steps are longer than a test."""
        return LEASE * (1 + next(self.numbers)) if delayed else 0.0

    def one(self, data: st.DataObject, *states: str) -> Modelled:
        """Choose a job, one in such a state as a rule, or any."""
        jobs = list(self.model.jobs.values())
        fitting = [job for job in jobs if job.state in states] or jobs
        return data.draw(st.sampled_from(fitting if data.draw(ODDS) else jobs))

    def token(self, data: st.DataObject, job: Modelled) -> tuple[str, bool]:
        """Choose the token of a job's lease as a rule, or one of another time; tell whether it holds."""
        token = data.draw(st.sampled_from([job.token, job.token, job.token, job.old_token, "1"])) or "2"
        return token, job.state == "leased" and token == job.token

    @rule(many=st.integers(1, 3), priority=st.sampled_from([0, 0, 1, 255]), delayed=st.booleans())
    def put(self, many: int, priority: int, *, delayed: bool) -> None:
        ids = [next(self.names) for _ in range(many)]
        place = PutPlace(priority=priority, delay=self.delay(delayed=delayed))
        answer = self.run("put", [(one, one.encode()) for one in ids], place)
        assert answer.accepted == self.model.put(ids, priority, place.delay)

    @rule(want=st.integers(1, 4))
    def claim(self, want: int) -> None:
        nonce = f"nonce{next(self.numbers)}"
        batch: Batch = self.run("claim", "ann", nonce, want, LEASE)
        assert [job.id for job in batch.jobs] == self.model.claim(want, batch.token)
        for claimed in batch.jobs:
            job = self.model.jobs[claimed.id]
            assert (claimed.data, claimed.retries, claimed.crashes) == (
                job.id.encode(),
                job.retries,
                job.crashes + job.lapses,
            )
        if batch.jobs:
            self.last_batch = nonce, batch

    @precondition(lambda self: self.last_batch)
    @rule()
    def claim_with_the_same_nonce(self) -> None:
        """The batch once more, as far as it is still held."""
        nonce, batch = self.last_batch
        again = self.run("claim", "ann", nonce, 4, LEASE)
        held = [job.id for job in batch.jobs if self.model.jobs[job.id].is_held_by(batch.token)]
        assert (again.token, [job.id for job in again.jobs]) == (batch.token, held)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        job = self.one(data, "leased")
        token, holds = self.token(data, job)
        assert self.run("finish", token, [self.outcome(job)]) == ([] if holds else [job.id])
        if holds:
            self.model.end(job, "over", "finished")

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), delayed=st.booleans())
    def retry(self, data: st.DataObject, *, delayed: bool) -> None:
        job = self.one(data, "leased")
        token, holds = self.token(data, job)
        delay = self.delay(delayed=delayed)
        answer = self.run("retry", token, job.id, delay, b"")
        assert answer == (self.model.retry(job, delay) if holds else "STALE")

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        job = self.one(data, "leased")
        token, holds = self.token(data, job)
        assert self.run("fail", token, self.outcome(job)) == ("OK" if holds else "STALE")
        if holds:
            self.model.end(job, "dead")

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        job = self.one(data, "leased")
        token, holds = self.token(data, job)
        assert self.run("release", token, [job.id]) == int(holds)
        if holds:
            self.model.release(job)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        job = self.one(data, "leased")
        token, holds = self.token(data, job)
        answer = self.run("lost", token, self.outcome(job), b"cancelled")
        assert answer == (self.model.take_back(job, crashed=True) if holds else "STALE")

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), how=st.sampled_from("SHL"))
    def renew(self, data: st.DataObject, how: str) -> None:
        job = self.one(data, "leased")
        token, holds = self.token(data, job)
        renewal = self.run("renew", [(job.id, token, how)], LEASE)
        assert renewal.lost == ([] if holds else [0])
        assert renewal.cancelled == ([0] if holds and job.how == "C" else [])
        if holds and job.how != "C":
            job.how = how

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = self.one(data, "ready", "delayed", "leased")
        answer = self.run("cancel", job.id, self.outcome(job).outcome, 600.0)
        assert answer[0] == self.model.cancel(job)

    @rule(index=st.sampled_from(["ready", "delayed"]), most=st.integers(1, 3))
    def purge(self, index: str, most: int) -> None:
        assert self.run("purge", index, most, b"purged", 600.0) == self.model.purge(index, most)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def revive(self, data: st.DataObject) -> None:
        job = self.one(data, "dead")
        assert self.run("revive", [job.id]) == self.model.revive(job)

    @precondition(lambda self: self.model.of("delayed"))
    @rule(data=st.data())
    def come_due(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.model.of("delayed")))
        self.raw.zadd(keys.key(self.queue, "delayed"), {job.id: PAST})
        assert self.run("promote") == 1
        self.model.stand(job)

    @precondition(lambda self: self.model.of("leased"))
    @rule(data=st.data())
    def run_out(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.model.of("leased")))
        self.raw.zadd(keys.key(self.queue, "leased"), {job.id: PAST})
        assert self.run("reap") == 1
        self.model.take_back(job, crashed=False)

    @precondition(lambda self: self.last)
    @rule()
    def send_the_last_command_again(self) -> None:
        """As a client does that got no answer; only a purge may go on, since it is a slice."""
        if self.last.script.name == "purge":
            return
        if self.last.script.name == "claim" and self.last_batch and self.last_batch[0] not in self.last.words:
            self.last_batch = None  # a claim sent again is remembered, even if it brought nothing
        connection = self.client.connection()
        exchange(connection, [self.last], again=True)
        connection.disconnect()

    @invariant()
    def every_job_is_where_it_should_be(self) -> None:
        answers = self.client.run_all([commands.state(self.queue, one) for one in self.model.jobs])
        assert [answer.state for answer in answers] == [job.state for job in self.model.jobs.values()]
        for answer, job in zip(answers, self.model.jobs.values(), strict=True):
            assert answer.data == (b"" if job.state == "over" else job.id.encode())
            assert answer.tries == job.tries
            if job.state == "leased":
                assert answer.detail.decode().split()[:3] == [job.token, "ann", job.how]

    @invariant()
    def the_order_is_as_it_should_be(self) -> None:
        ready = self.raw.zrange(keys.key(self.queue, "ready"), 0, -1)
        assert [one.decode() for one in ready] == self.model.waiting()

    @invariant()
    def the_books_balance(self) -> None:
        count = self.client.run(commands.count(self.queue))
        assert count.imbalance == 0
        assert (count.accepted, count.finished, count.cancelled) == tuple(
            self.model.books[counter] for counter in ("accepted", "finished", "cancelled")
        )


def test_any_commands_in_any_order_leave_server_and_model_alike(server: Server) -> None:
    run_state_machine_as_test(
        lambda: Machine(server), settings=settings(max_examples=80, stateful_step_count=40, deadline=None)
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_great_many_commands_leave_server_and_model_alike(server: Server) -> None:
    run_state_machine_as_test(
        lambda: Machine(server), settings=settings(max_examples=2_000, stateful_step_count=80, deadline=None)
    )
