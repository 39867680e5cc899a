"""limits and end_rest: the limit of a queue, the keys that jobs wait for, and rests that tasks have asked for."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.store import commands
from conveyor.store.commands import PutParams, Terms

if TYPE_CHECKING:
    from conftest import Lane

LONG = 1000.0
_numbers = itertools.count(1)


def put(lane: Lane, key: str, count: int, running: int = 1, starts: int = 0) -> list[str]:
    """Put jobs of a limit and return their ids."""
    ids = [f"{key}{number:04}" for number in range(count)]
    own = {one: commands.pack_terms(limit=key) for one in ids}
    params = PutParams(terms=Terms(own, limit=(running, starts, 60.0, False)))
    lane.run(commands.put, [(one, b"bytes") for one in ids], params)
    return ids


def claim(lane: Lane, want: int = 1) -> Any:
    return lane.run(commands.claim, "ann", f"nonce.{next(_numbers)}", want, LONG)


def test_queue_without_limits_has_none(lane: Lane) -> None:
    assert lane.run(commands.limits) == (None, [], 0, 0)


def test_limit_of_the_queue_says_how_much_is_used(lane: Lane) -> None:
    lane.run(commands.limit, 3, 100, 60.0)
    lane.put("a", "b")
    claim(lane, 2)
    own = lane.run(commands.limits).queue
    assert (own.max_running, own.max_starts, own.period, own.started) == (3, 100, 60.0, 2)
    lane.run(commands.limit, 0, 0, 1.0)
    assert lane.run(commands.limits).queue is None


def test_keys_that_most_jobs_wait_for_come_first(lane: Lane) -> None:
    for key, count in (("few", 2), ("many", 5), ("free", 1), ("also", 2)):
        put(lane, key, count)
    found = lane.run(commands.limits)
    assert [(one.key, one.waiting, one.running) for one in found.keys] == [
        ("many", 4, 1),
        ("also", 1, 1),
        ("few", 1, 1),
    ]
    assert (found.known, found.read) == (4, 4)
    (one,) = lane.run(commands.limits, "free").keys
    assert (one.key, one.waiting, one.max_running) == ("free", 0, 1)


def test_key_without_starts_left_says_until_when(lane: Lane) -> None:
    put(lane, "api", 3, running=0, starts=1)
    claim(lane)
    (one,) = lane.run(commands.limits).keys
    now = lane.client.run(commands.server_time())
    assert (one.started, one.waiting) == (1, 2)
    assert 0 < one.until - now <= 60


@pytest.mark.parametrize("count", [800])
def test_of_many_keys_those_of_random_jobs_are_read(lane: Lane, count: int) -> None:
    ids = [f"j{number}" for number in range(2 * count)]
    own = {one: commands.pack_terms(limit=f"k{number % count}") for number, one in enumerate(ids)}
    params = PutParams(terms=Terms(own, limit=(1, 0, 60.0, False)))
    for first in range(0, len(ids), 400):
        lane.run(commands.put, [(one, b"b") for one in ids[first : first + 400]], params)
    put(lane, "big", 500)
    found = lane.run(commands.limits)
    assert found.known == count + 1
    assert 0 < found.read <= commands.MAX_KEYS_READ
    assert len(found.keys) == commands.MAX_KEYS
    assert (found.keys[0].key, found.keys[0].waiting) == ("big", 499)


def test_rest_of_the_queue_is_counted_until_it_ends(lane: Lane) -> None:
    lane.put("a", "b")
    batch = claim(lane)
    assert lane.run(commands.throttle, batch.token, "a", 60.0) == "OK"
    now = lane.client.run(commands.server_time())
    assert 0 < lane.count().rest / 1000 - now <= 60
    assert claim(lane).state == "EMPTY"
    assert [lane.run(commands.end_rest) for _ in range(2)] == [1, 0]
    assert lane.count().rest == 0
    assert [one.id for one in claim(lane, 2).jobs] == ["a", "b"]


def test_rest_of_a_key_ends_alone(lane: Lane) -> None:
    put(lane, "api", 2, running=5)
    batch = claim(lane)
    assert lane.run(commands.throttle, batch.token, batch.jobs[0].id, 60.0) == "OK"
    assert claim(lane, 2).state == "EMPTY"
    (one,) = lane.run(commands.limits).keys
    assert (one.waiting, one.until > 0, lane.count().rest) == (2, True, 0)
    assert lane.run(commands.end_rest) == 0
    assert lane.run(commands.end_rest, "nosuch") == 0
    assert lane.run(commands.end_rest, "api") == 1
    assert [one.id for one in claim(lane, 2).jobs] == ["api0000", "api0001"]
    assert lane.raw.hkeys(lane.key("limits")) == [b"api"]


def test_job_of_a_resting_key_is_not_taken_by_its_age_either(lane: Lane) -> None:
    put(lane, "api", 3, running=5)
    lane.run(commands.age, 1)  # each claim
    batch = claim(lane)
    assert lane.run(commands.throttle, batch.token, batch.jobs[0].id, 60.0) == "OK"
    assert claim(lane, 2).state == "EMPTY"
    lane.put("other")
    assert [one.id for one in claim(lane, 2).jobs] == ["other"]
    lane.check()


def test_end_of_a_rest_wakes_consumers(lane: Lane) -> None:
    lane.put("a")
    lane.run(commands.throttle, claim(lane).token, "a", 60.0)
    lane.raw.delete(lane.key("bell"))
    lane.run(commands.end_rest)
    assert lane.raw.llen(lane.key("bell")) == 1


def test_rows_of_deferred_jobs_have_their_terms(lane: Lane) -> None:
    put(lane, "disk", 2)
    own = {"after": commands.pack_terms(after=[f"{lane.queue} disk0000"])}
    lane.run(commands.put, [("after", b"bytes")], PutParams(terms=Terms(own)))
    rows = lane.run(commands.rows, "deferred", commands.RowRange(9)).rows
    assert [(row.id, row.terms[:1], row.after, row.before) for row in rows] == [
        ("disk0001", b"b", 0, ""),
        ("after", b"a", 1, f"{lane.queue} disk0000"),
    ]
    assert rows[0].terms == b"b.disk"


def test_hooks_are_left_out_of_the_terms_in_lists(lane: Lane) -> None:
    ids = [f"j{number}" for number in range(2)]
    hooks = [commands.HookJob("d", lane.queue, "hook", b"x" * 100_000)]
    own = {one: commands.pack_terms(limit="disk", hooks=hooks) for one in ids}
    params = PutParams(terms=Terms(own, limit=(1, 0, 60.0, False)))
    lane.run(commands.put, [(one, b"bytes") for one in ids], params)
    (row,) = lane.run(commands.rows, "deferred", commands.RowRange(9)).rows
    (node,) = lane.run(commands.flow, ["j1"])
    assert row.terms == node.detail == b"b+disk"
