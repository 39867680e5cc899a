"""listen: an inbox is held open, gets the outcomes from then on, and earlier ones on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.store import commands
from conveyor.store.commands import Settlement

if TYPE_CHECKING:
    from conftest import Lane

MINE = "producer01"  # the name of an inbox: the first ten characters of every id its producer makes
OTHER = "producer02"
HOLD = 1000.0


def listen(lane: Lane, *ids: str, inbox: str = MINE, hold: float = HOLD) -> commands.ListenReply:
    return lane.run(commands.listen, inbox, hold, ids)


def pushed(lane: Lane, inbox: str = MINE) -> list[str]:
    return lane.dump().get(f"inbox:{inbox}", [])


def end(lane: Lane, *ids: str) -> None:
    token = lane.take(*ids)
    lane.run(commands.finish, token, [Settlement(one, f"of {one}".encode(), 600.0) for one in ids])


def test_open_inbox_is_recorded_with_its_end_only(lane: Lane) -> None:
    for was_open in (False, True):
        assert listen(lane) == commands.ListenReply({}, 0, was_open)
        assert lane.dump() == {"inboxes": {MINE: 1000}}


def test_closed_inbox_is_removed_with_its_content(lane: Lane) -> None:
    listen(lane)
    end(lane, f"{MINE}0001")
    for _ in range(2):
        assert listen(lane, hold=0.0) == commands.ListenReply({}, 0)
        state = lane.dump()
        assert "inboxes" not in state
        assert f"inbox:{MINE}" not in state


@pytest.mark.parametrize("way", ["finish", "fail", "cancel", "purge", "lost"])
def test_outcome_of_any_ending_is_pushed_to_the_producer(lane: Lane, way: str) -> None:
    listen(lane)
    job_id = f"{MINE}0001"
    lane.put(job_id)
    lane.raw.hset(lane.key("tries"), job_id, "0 2 2")
    settlement = Settlement(job_id, b"the outcome", 600.0)
    {
        "finish": lambda: lane.run(commands.finish, lane.claim().token, [settlement]),
        "fail": lambda: lane.run(commands.fail, lane.claim().token, settlement),
        "cancel": lambda: lane.run(commands.cancel, job_id, b"the outcome", 600.0),
        "purge": lambda: lane.run(commands.purge, "ready", 1, b"the outcome", 600.0),
        "lost": lambda: lane.run(commands.lost, lane.claim().token, settlement, b""),
    }[way]()
    assert pushed(lane) == [job_id, "the outcome"]
    assert 100_000 < lane.raw.pttl(lane.key(f"inbox:{MINE}")) <= 120_000


def test_outcomes_of_a_batch_are_pushed_to_their_producers(lane: Lane) -> None:
    listen(lane)
    listen(lane, inbox=OTHER)
    end(lane, f"{MINE}0001", f"{OTHER}0001", f"{MINE}0002")
    assert pushed(lane) == [f"{MINE}0001", f"of {MINE}0001", f"{MINE}0002", f"of {MINE}0002"]
    assert pushed(lane, OTHER) == [f"{OTHER}0001", f"of {OTHER}0001"]
    queue, pairs, _ = lane.client.run(commands.await_outcomes(["elsewhere", lane.queue], OTHER, 0.1))
    assert (queue, pairs) == (lane.queue, [f"{OTHER}0001".encode(), f"of {OTHER}0001".encode()])


def test_outcome_is_kept_without_a_push_if_no_inbox_is_open(lane: Lane) -> None:
    end(lane, f"{MINE}0001")
    assert pushed(lane) == []
    assert listen(lane, f"{MINE}0001").outcomes == {f"{MINE}0001": f"of {MINE}0001".encode()}


def test_expired_inbox_is_closed(lane: Lane) -> None:
    listen(lane)
    lane.raw.zadd(lane.key("inboxes"), {MINE: 1})
    end(lane, f"{MINE}0001")
    assert pushed(lane) == []
    listen(lane, inbox=OTHER)
    assert lane.dump()["inboxes"] == {OTHER: 1000}


def test_listen_returns_the_outcomes_of_jobs_that_have_ended(
    lane: Lane,
) -> None:
    end(lane, "over")
    lane.run(commands.fail, lane.take("dead"), Settlement("dead", b"why", 600.0))
    lane.raw.delete(lane.key("outcome:dead"))
    lane.take("runs")
    lane.put("waits")
    letters = listen(lane, "over", "dead", "runs", "waits", "never put")
    assert letters.outcomes == {"over": b"of over", "dead": b"why", "never put": b""}
    assert letters.looked == 5


def test_outcome_of_a_watched_job_is_pushed_to_all_watchers(lane: Lane) -> None:
    job_id = f"{OTHER}0001"
    lane.put(job_id)
    for inbox in (MINE, "producer03", MINE):
        listen(lane, job_id, inbox=inbox)
    assert lane.dump().get("watchers") == {job_id: f"{MINE} producer03"}
    lane.run(commands.cancel, job_id, b"away", 600.0)
    assert pushed(lane) == [job_id, "away"]
    assert pushed(lane, "producer03") == [job_id, "away"]
    assert "watchers" not in lane.dump()


def test_each_outcome_of_a_batch_is_pushed_to_its_watchers(lane: Lane) -> None:
    ids = [f"{OTHER}0001", f"{OTHER}0002"]
    lane.put(*ids)
    for one in ids:
        listen(lane, one)
    token = lane.claim(2).token
    lane.run(commands.finish, token, [Settlement(one, f"of {one}".encode(), 600.0) for one in ids])
    assert pushed(lane) == [ids[0], f"of {ids[0]}", ids[1], f"of {ids[1]}"]


def test_watchers_of_dead_processes_are_forgotten(lane: Lane) -> None:
    job_id = f"{OTHER}0001"
    lane.put(job_id)
    dead = [f"dead{number:06}" for number in range(20)]
    for inbox in (MINE, *dead):
        listen(lane, job_id, inbox=inbox)
    lane.raw.zadd(lane.key("inboxes"), dict.fromkeys(dead, 1))
    listen(lane, job_id, inbox="producer03")
    assert lane.dump()["watchers"] == {job_id: f"{MINE} producer03"}
    lane.raw.zadd(lane.key("inboxes"), {"producer03": 1})
    lane.run(commands.cancel, job_id, b"away", 600.0)
    assert pushed(lane) == [job_id, "away"]
    assert [pushed(lane, inbox) for inbox in ("producer03", *dead)] == [[]] * 21


def test_own_job_needs_no_watcher(lane: Lane) -> None:
    lane.put(f"{MINE}0001")
    listen(lane, f"{MINE}0001")
    assert "watchers" not in lane.dump()


def test_bounded_reply_has_the_number_of_covered_jobs(lane: Lane) -> None:
    ids = [f"job{number}" for number in range(5)]
    token = lane.take(*ids)
    big = b"x" * 600_000
    lane.run(commands.finish, token, [Settlement(one, big, 600.0) for one in ids])
    letters = listen(lane, *ids)
    assert letters.looked == 2
    assert [*letters.outcomes] == ids[:2]


def test_empty_push_wakes_the_reader_without_an_outcome(lane: Lane) -> None:
    lane.client.run(commands.nudge(lane.queue, MINE))
    assert lane.client.run(commands.await_outcomes([lane.queue], MINE, 0.1)) == (
        lane.queue,
        [b"", b""],
        False,
    )


def test_expired_inbox_was_not_open(lane: Lane) -> None:
    listen(lane)
    lane.raw.zadd(lane.key("inboxes"), {MINE: 1})
    assert [listen(lane).was_open, listen(lane).was_open] == [False, True]


def finish(lane: Lane, outcome: bytes, *ids: str) -> None:
    token = lane.take(*ids)
    lane.run(commands.finish, token, [Settlement(one, outcome, 600.0) for one in ids])


def test_large_outcome_is_pushed_as_its_id_unless_first(lane: Lane) -> None:
    listen(lane)
    names = [f"{MINE}000{number}" for number in range(3)]
    finish(lane, b"x" * 100_000, *names)
    finish(lane, b"small", f"{MINE}0003")
    first, *rest = zip(*[iter(pushed(lane))] * 2, strict=True)
    assert first == (names[0], "x" * 100_000)
    assert rest == [(names[1], ""), (names[2], ""), (f"{MINE}0003", "small")]
    assert listen(lane, *names[1:]).outcomes == dict.fromkeys(names[1:], b"x" * 100_000)


def test_stopped_reader_leaves_a_bounded_inbox(lane: Lane) -> None:

    listen(lane)
    for start in range(0, 6000, 500):
        finish(lane, b"x" * 1500, *(f"{MINE}{number:04}" for number in range(start, start + 500)))
    letters = lane.raw.lrange(lane.key(f"inbox:{MINE}"), 0, -1)
    assert len(letters) == 12_000
    assert [len(one) for one in letters[1::2]] == [1500] * 5000 + [0] * 1000
    lane.raw.rpush(lane.key(f"inbox:{MINE}"), *["filler"] * 88_000)
    for number in (6000, 6001):
        finish(lane, b"small", f"{MINE}{number}")
    assert lane.raw.llen(lane.key(f"inbox:{MINE}")) == 100_000
    lane.raw.ltrim(lane.key(f"inbox:{MINE}"), 0, 99_995)
    for number in (6002, 6003, 6004):
        finish(lane, b"small", f"{MINE}{number}")
    tail = lane.raw.lrange(lane.key(f"inbox:{MINE}"), 99_996, -1)
    assert tail == [f"{MINE}6002".encode(), b"", f"{MINE}6003".encode(), b"", b"", b"more"]
