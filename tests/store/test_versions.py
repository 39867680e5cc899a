"""Queues of other versions: one of the previous version is taken over, and one of a later version is left alone.

Only what a client holds already it may settle, and renew until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.store import lifecycle
from tests.store.conftest import packed_hook

from conveyor.errors import StoreMismatch
from conveyor.store import commands, scripts
from conveyor.store.command import PROTOCOL, Command
from conveyor.store.commands import PutParams, RowRange, Settlement
from conveyor.store.schedules import DueSchedule, Entry, Fired, How, Put
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Lane

OLD, NEWER = "1", "3"
INBOX = "producer01"


@pytest.fixture
def old(lane: Lane) -> Lane:
    """A queue of version 1 with a job in each state, and two leases, one of a job that was tried before."""
    lane.run(commands.fail, lane.take("dead"), Settlement("dead", b"no", 600.0))
    lane.take("leased")
    lane.raw.hset(lane.key("tries"), "leased", "1 1 1")
    lane.take("other")
    lane.put("waiting")
    lane.put("delayed", delay=1000.0)
    lane.raw.hset(lane.key("meta"), "version", OLD)
    return lane


def version(lane: Lane) -> str:
    return lane.raw.hget(lane.key("meta"), "version").decode()


@pytest.mark.parametrize("verb", ["put", "claim"])
def test_queue_of_the_previous_version_is_taken_over(old: Lane, verb: str) -> None:
    if verb == "put":
        old.put("new")
    else:
        assert [job.id for job in old.claim(2).jobs] == ["waiting"]
        old.put("new")
    assert version(old) == PROTOCOL != OLD
    old.let_leases_run_out("leased")
    old.raw.zadd(old.key("delayed"), {"delayed": 1})
    old.run(commands.reap)
    old.run(commands.promote)
    assert old.run(commands.revive, ["dead"]) == 1
    assert old.dump()["tries"]["leased"] == "1 1 2 1"
    found: list[str] = [] if verb == "put" else ["waiting"]
    while batch := old.claim(9).jobs:
        found += [job.id for job in batch]
    assert sorted(found) == ["dead", "delayed", "leased", "new", "waiting"]


def test_empty_claim_takes_a_queue_over(lane: Lane) -> None:
    lane.raw.hset(lane.key("meta"), "version", OLD)
    assert lane.claim().state == "EMPTY"
    assert version(lane) == PROTOCOL != OLD


def test_count_of_lapses_takes_a_queue_over(old: Lane) -> None:
    old.let_leases_run_out("leased")
    old.run(commands.reap)
    assert old.dump()["tries"]["leased"] == "1 1 2 1"
    assert version(old) == PROTOCOL != OLD


def test_push_of_a_bare_id_takes_a_queue_over(old: Lane) -> None:
    ids = [f"{INBOX}{number}" for number in range(2)]
    old.run(commands.put, [(one, b"") for one in ids], PutParams())
    old.raw.hset(old.key("meta"), "version", OLD)
    old.run(commands.listen, INBOX, 1000.0, [])
    for one in ids:
        assert version(old) == OLD
        old.run(commands.cancel, one, bytes(5000), 600.0)
    assert old.dump()[f"inbox:{INBOX}"][2:] == [ids[1], ""]
    assert version(old) == PROTOCOL != OLD


LOOKS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (commands.forget, (1000.0,)),
    (commands.tally, ("ann", 1, None, [("task", "s=1")])),
    (commands.count, ()),
    (commands.cancel, ("waiting", b"away", 600.0)),
    (commands.signal, ("waiting", "go", b"yes")),
]


@pytest.mark.parametrize(("verb", "args"), LOOKS)
def test_compatible_writes_do_not_take_a_queue_over(
    old: Lane, verb: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    old.run(verb, *args)
    assert version(old) == OLD


@pytest.fixture
def newer(old: Lane) -> Lane:
    """A queue of a later version that is paused, with a job in each state, of which one is due and one is dead."""
    old.submit("deferred", after=["other before"])
    old.run(commands.pause)
    old.raw.zadd(old.key("delayed"), {"delayed": 1})
    old.raw.hset(old.key("meta"), "version", NEWER)
    return old


def end(job: str) -> Settlement:
    return Settlement(job, b"end", 600.0)


#: Refused verbs, with arguments that would have an effect.
REFUSED: dict[str, tuple[Any, ...]] = {
    "put": ([("new", b"bytes")], PutParams()),
    "submit": ([("new", b"bytes")], PutParams(terms=commands.Terms({"new": commands.pack_terms("k")}))),
    "follow": ("waiting", "other", ["follower"]),
    "go_on": (["deferred"], "other before", encode_settled("done")),
    "hook": ("new", "other before", packed_hook(commands.HookJob("d", "", "", b"bytes"))),
    "limit": (1, 0, 1.0),
    "age": (16,),
    "claim": ("ann", "nonce.1", 1, 10.0),
    "cancel": ("waiting", b"away", 600.0),
    "signal": ("waiting", "go", b"yes"),
    "revive": (["dead"],),
    "discard": (["dead"],),
    "purge": ("ready", 9, b"away", 600.0),
    "bound": (3,),
    "pause": (),
    "resume": (),
    "end_rest": (),
    "shut": (),
    "forget": (0.0,),
    "tally": ("ann", 1, None, [("task", "s=1")]),
    "promote": (),
    "reap": (),
    "fire": (DueSchedule("report", 60.0, b"", Fired()), 120.0, [Put(60.0, "id", b"bytes", 0.0)], How()),
    "schedule": ("", 0.0, [Entry("report", "every 60", b"definition", 60.0)]),
    "reschedule": ("report", "remove"),
}
#: Verbs that the holder of a lease may use.
HOLDING: dict[str, Callable[[str], tuple[Any, ...]]] = {
    "renew": lambda token: ([("leased", token, "S")], 500.0),
    "finish": lambda token: (token, [end("leased")]),
    "retry": lambda token: (token, "leased", 0.0, b"note"),
    "fail": lambda token: (token, end("leased")),
    "release": lambda token: (token, ["leased"]),
    "throttle": lambda token: (token, "leased", 1.0),
    "lost": lambda token: (token, end("leased"), b"cancelled"),
    "append": lambda token: (token, "leased", 0, [b"\x01"]),
    "step": lambda token: (token, "leased", "step one", b"1"),
    "wait": lambda token: (token, "leased", "sleep", "nap", 9.0),
    "suspend": lambda token: (token, "leased", "sleep", "nap"),
}
LOOKING: dict[str, tuple[Any, ...]] = {
    "due": (),
    "count": (),
    "rows": ("dead", RowRange(9)),
    "state": ("waiting",),
    "flow": (["waiting"],),
    "limits": (),
    "series": ("minute", 1, 2),
    "listen": (INBOX, 0.0),
    "join": ("ann",),
    "leave": ("ann",),
}


def test_each_verb_has_a_case_for_a_newer_queue() -> None:
    assert {*REFUSED, *HOLDING, *LOOKING} == lifecycle.VERBS


@pytest.mark.parametrize("verb", REFUSED)
def test_newer_queue_is_left_alone(newer: Lane, verb: str) -> None:
    newer.let_leases_run_out()
    before = newer.dump()
    with pytest.raises(StoreMismatch):
        newer.run(lifecycle.function_of(verb), *REFUSED[verb])
    assert newer.changes(before) == {}


@pytest.mark.parametrize("verb", HOLDING)
def test_lease_in_a_newer_queue_may_be_used(newer: Lane, verb: str) -> None:
    newer.let_leases_run_out("other")
    states = {
        "waiting": "ready",
        "delayed": "delayed",
        "dead": "dead",
        "other": "leased",
        "deferred": "deferred",
    }
    newer.run(lifecycle.function_of(verb), *HOLDING[verb](newer.tokens[1]))
    assert {job: newer.run(commands.state, job).state for job in states} == states
    left = newer.run(commands.state, "leased").state
    assert (left == "leased") == (verb in {"append", "renew", "step", "wait"})
    assert version(newer) == NEWER


@pytest.mark.parametrize("verb", LOOKING)
def test_queries_change_no_job_of_a_newer_queue(newer: Lane, verb: str) -> None:
    before = newer.dump()
    newer.run(lifecycle.function_of(verb), *LOOKING[verb])
    assert newer.changes(before).keys() <= {"joiners", "seen"}


@pytest.fixture
def later(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that runs a verb as a client of the later version does."""
    read = scripts._read
    changes = {"PROTOCOL = '2'": f"PROTOCOL = '{NEWER}'", "BEFORE = '1'": "BEFORE = '2'"}

    def read_later(file: str) -> str:
        text = read(file)
        for old, new in changes.items() if file == "shared/queue.lua" else ():
            assert old in text
            text = text.replace(old, new)
        return text

    def run(verb: Callable[..., Command], *args: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(scripts, "_read", read_later)
            scripts.load.cache_clear()
            command = verb(lane.queue, *args)
        scripts.load.cache_clear()
        return lane.client.run(command)

    return run


def test_client_can_end_its_held_jobs_in_a_queue_taken_over(lane: Lane, later: Callable[..., Any]) -> None:
    token = lane.take("held")
    lane.put("waiting")
    batch = later(commands.claim, "bob", "nonce.1", 2, 1000.0)
    assert ([job.id for job in batch.jobs], version(lane)) == (["waiting"], NEWER)
    with pytest.raises(StoreMismatch):
        lane.put("new")
    with pytest.raises(StoreMismatch):
        lane.claim()
    assert lane.run(commands.renew, [("held", token, "S")], 1000.0).lost == []
    assert lane.run(commands.finish, token, [end("held")]) == []
    assert later(commands.finish, batch.token, [end("waiting")]) == []
    count = later(commands.count)
    assert (count.finished, count.live, count.imbalance) == (2, 0, 0)
