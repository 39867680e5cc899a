"""The callers' view if the reply to a command is lost, and its resend gets another one.

The tests hold what docs/guarantees.md says of such replies. Nothing is done twice; only the report differs.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Job, LeaseLost, NotEmpty, Queue, StoreUnavailable
from conveyor.monitor import bulk
from conveyor.monitor.actions import Actions, Actor
from conveyor.store import Client, commands, keys, scripts
from conveyor.store.commands import Settlement
from conveyor.torture.proxy import PASS, REPLIES, Mode, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Server


class Lossy:
    """A queue behind a proxy that loses replies, and the same queue without it."""

    def __init__(self, server: Server, proxy: Proxy, eventually: Callable[..., Any]) -> None:
        self.raw, self._proxy, self._eventually = server.raw, proxy, eventually
        self.client = Client(proxy.url)
        self.queue = Queue("work", store=self.client)
        self.direct = Queue("work", store=server.client)
        server.client.run_all(commands.load_scripts())  # or the lost reply would be that of an unknown script

    def lose_next(self, verb: str) -> None:
        """Lose the next reply to a verb."""
        self._proxy.mode = Mode(lost_replies=1, matching=scripts.load(verb).sha.encode())

    def resend_behind(
        self, verb: str, call: Callable[[], Any], is_done: Callable[[], Any], meanwhile: Callable[[], Any]
    ) -> Any:
        """Make a call whose verb is done, but resent only after another command. Return its result or error."""
        results: list[Any] = []

        def run() -> None:
            try:
                results.append(call())
            except NotEmpty as error:
                results.append(error)

        self._proxy.mode = Mode(held=frozenset({REPLIES}), matching=scripts.load(verb).sha.encode())
        thread = threading.Thread(target=run)
        thread.start()
        self._eventually(is_done)
        meanwhile()
        self._proxy.cut()
        self._proxy.mode = PASS
        thread.join()
        return results[0]

    def make_dead(self, *ids: str) -> None:
        """Put jobs and have them fail."""
        client, name = self.direct.client, self.direct.name
        client.run(commands.put(name, [(one, b"bytes") for one in ids], commands.PutParams()))
        token = client.run(commands.claim(name, "ann", "nonce", len(ids), 60.0)).token
        client.run_all([commands.fail(name, token, Settlement(one, b"no", 60.0)) for one in ids])


@pytest.fixture
def lossy(one_server: Server, eventually: Callable[..., Any]) -> Iterator[Lossy]:
    with Proxy(one_server.url) as proxy:
        lossy = Lossy(one_server, proxy, eventually)
        yield lossy
        lossy.client.close()


def test_clear_counts_too_few_if_a_reply_is_lost(lossy: Lossy) -> None:
    lossy.direct.put_many(range(600))
    lossy.lose_next("purge")
    assert lossy.queue.clear() == 100
    assert (lossy.direct.count().cancelled, lossy.direct.qsize()) == (600, 0)


def test_clear_may_cancel_delayed_jobs_put_meanwhile(lossy: Lossy) -> None:
    def put(name: str, delay: float) -> None:
        lossy.direct.client.run(commands.put("work", [(name, b"bytes")], commands.PutParams(delay=delay)))

    put("last", 60.0)
    cleared = lossy.resend_behind(
        "purge", lossy.queue.clear, lambda: lossy.direct.count().cancelled, lambda: put("new", 30.0)
    )
    assert cleared == 1
    assert (lossy.direct.count().cancelled, lossy.direct.qsize()) == (2, 0)


@pytest.mark.parametrize(("kind", "verb"), [("retry", "revive"), ("discard", "discard")])
def test_operation_counts_jobs_as_skipped_if_a_reply_is_lost(lossy: Lossy, kind: str, verb: str) -> None:
    lossy.make_dead("one", "two")
    begun = Actions(lossy.client, Actor("ada", "test")).begin(kind, "work")
    lossy.lose_next(verb)
    *_, ended = bulk.run(lossy.client, begun, pause=0)
    assert (ended.state, ended.done, ended.skipped) == ("done", 0, 2)
    assert lossy.direct.count().dead == 0


@pytest.mark.parametrize(("act", "verb"), [("retry_job", "revive"), ("discard_job", "discard")])
def test_dead_job_is_reported_as_unchanged_if_a_reply_is_lost(lossy: Lossy, act: str, verb: str) -> None:
    lossy.make_dead("one")
    actions = Actions(lossy.client, Actor("ada", "test"))
    lossy.lose_next(verb)
    assert not getattr(actions, act)("work", "one").changed
    assert lossy.direct.count().dead == 0


def test_cancel_is_false_if_the_job_ended_meanwhile(lossy: Lossy) -> None:
    client, leases = lossy.direct.client, keys.key("work", "leases")
    lossy.direct.put("item")
    batch = client.run(commands.claim("work", "ann", "nonce", 1, 60.0))
    (job,) = batch.jobs
    is_cancelled = lossy.resend_behind(
        "cancel",
        Job(job.id, "work", client=lossy.client).cancel,
        lambda: b" C " in lossy.raw.hget(leases, job.id),
        lambda: client.run(commands.release("work", batch.token, [job.id])),
    )
    assert not is_cancelled
    assert lossy.direct.count().cancelled == 1


def test_delete_raises_if_jobs_were_put_meanwhile(lossy: Lossy) -> None:
    lossy.direct.pause()
    meta = keys.key("work", "meta")
    error = lossy.resend_behind(
        "forget", lossy.queue.delete, lambda: not lossy.raw.exists(meta), lambda: lossy.direct.put("item")
    )
    assert isinstance(error, NotEmpty)
    count = lossy.direct.count()
    assert (count.ready, count.paused) == (1, 0)


def test_task_done_is_refused_once_its_outcome_is_forgotten(lossy: Lossy) -> None:
    lossy.client.patience = 0.0  # so it is sent once
    lossy.queue.put("item")
    assert lossy.queue.get() == "item"
    lossy.lose_next("finish")
    with pytest.raises(StoreUnavailable):
        lossy.queue.task_done()
    (outcome,) = lossy.raw.keys(keys.key("work", "outcome:*").replace("{", "\\{"))
    lossy.raw.delete(outcome)  # as after 20 seconds
    with pytest.raises(LeaseLost):
        lossy.queue.task_done()
    assert lossy.direct.count().finished == 1
