"""A queue of the version before: taken over as it is, and refused to that version before it could misread anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.store import commands
from conveyor.store.answers import PutPlace, Settlement

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Lane

OLD = "1"
INBOX = "producer01"


@pytest.fixture
def old(lane: Lane) -> Lane:
    """A queue of version 1 with a job in each place: waiting, delayed, leased (tried before) and dead."""
    lane.run(commands.fail, lane.take("dead"), Settlement("dead", b"no", 600.0))
    lane.take("leased")
    lane.raw.hset(lane.key("tries"), "leased", "1 1 1")
    lane.put("waiting")
    lane.put("delayed", delay=1000.0)
    lane.raw.hset(lane.key("meta"), "version", OLD)
    return lane


def version(lane: Lane) -> str:
    return lane.raw.hget(lane.key("meta"), "version").decode()


@pytest.mark.parametrize("verb", ["put", "claim"])
def test_queue_of_version_before_is_taken_over(old: Lane, verb: str) -> None:
    if verb == "put":
        old.put("new")
    else:
        assert [job.id for job in old.claim(2).jobs] == ["waiting"]
        old.put("new")
    assert version(old) == commands.PROTOCOL != OLD
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


def test_claim_that_finds_nothing_takes_a_queue_over(lane: Lane) -> None:
    lane.raw.hset(lane.key("meta"), "version", OLD)
    assert lane.claim().state == "EMPTY"
    assert version(lane) == commands.PROTOCOL != OLD


def test_count_of_lapses_takes_a_queue_over(old: Lane) -> None:
    old.let_leases_run_out("leased")
    old.run(commands.reap)
    assert old.dump()["tries"]["leased"] == "1 1 2 1"
    assert version(old) == commands.PROTOCOL != OLD


def test_push_of_an_id_alone_takes_a_queue_over(old: Lane) -> None:
    ids = [f"{INBOX}{number}" for number in range(2)]
    old.run(commands.put, [(one, b"") for one in ids], PutPlace())
    old.raw.hset(old.key("meta"), "version", OLD)
    old.run(commands.listen, INBOX, 1000.0, [])
    for one in ids:
        assert version(old) == OLD
        old.run(commands.cancel, one, bytes(5000), 600.0)
    assert old.dump()[f"inbox:{INBOX}"][2:] == [ids[1], ""]
    assert version(old) == commands.PROTOCOL != OLD


LOOKS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (commands.forget, (1000.0,)),
    (commands.tally, ("ann", 1, None, [("task", "s=1")])),
    (commands.count, ()),
    (commands.cancel, ("waiting", b"away", 600.0)),
]


@pytest.mark.parametrize(("verb", "args"), LOOKS)
def test_what_is_written_as_before_takes_nothing_over(
    old: Lane, verb: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    old.run(verb, *args)
    assert version(old) == OLD
