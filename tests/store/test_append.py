"""append: items of a running job, each position written once; the stream ends and expires with the job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.errors import LeaseLost, TooLarge
from conveyor.store import commands
from conveyor.store.commands import Settlement

if TYPE_CHECKING:
    from conftest import Lane

ONE, TWO, THREE = b"\x01", b"\x02", b"\x03"
KEEP = 600.0


def entries(lane: Lane, job_id: str = "a") -> list[tuple[str, bytes]]:
    """Return the ids of the entries of a stream, and their content."""
    return [
        (name.decode(), next(iter(fields.values())))
        for name, fields in lane.raw.xrange(lane.key(f"stream:{job_id}"))
    ]


def append(lane: Lane, token: str, first: int, *items: bytes, most: int = 1000) -> int:
    length: int = lane.run(commands.append, token, "a", first, items, most)
    return length


def test_entry_is_named_after_the_position_behind_its_items(lane: Lane) -> None:
    token = lane.take("a")
    before = lane.dump()
    assert append(lane, token, 0, ONE, TWO) == 2
    assert append(lane, token, 2, THREE) == 3
    assert entries(lane) == [("2-0", b"\xdc\x00\x02" + ONE + TWO), ("3-0", b"\xdc\x00\x01" + THREE)]
    assert lane.changes(before).keys() == {"stream:a", "streams"}
    assert lane.dump()["streams"] == {"a": f"3 {5 + 4 + 2 * 32}"}
    assert lane.raw.pttl(lane.key("stream:a")) == -1


def test_items_are_appended_only_at_the_end_of_the_stream(lane: Lane) -> None:
    token = lane.take("a")
    append(lane, token, 0, ONE, TWO)
    before = lane.dump()
    assert append(lane, token, 0, ONE, TWO) == 2
    assert append(lane, token, 1, THREE) == 2
    assert append(lane, token, 3, THREE) == 2
    assert append(lane, token, 0) == 2
    assert lane.changes(before) == {}


def test_later_run_continues_the_stream_of_an_earlier_run(lane: Lane) -> None:
    append(lane, lane.take("a"), 0, ONE, TWO)
    lane.let_leases_run_out()
    lane.run(commands.reap)
    token = lane.claim(owner="bob").token
    assert append(lane, token, 0, THREE) == 2
    assert append(lane, token, 2, THREE) == 3
    assert [name for name, _ in entries(lane)] == ["2-0", "3-0"]


@pytest.mark.parametrize("token", ["1", "", "#", "{}0", " {}"])
def test_append_with_a_wrong_token_is_refused_without_effect(lane: Lane, token: str) -> None:
    mine = lane.take("a")
    append(lane, mine, 0, ONE)
    before = lane.dump()
    with pytest.raises(LeaseLost):
        append(lane, token.format(mine), 1, TWO)
    assert lane.changes(before) == {}


def test_holder_of_an_expired_lease_appends_nothing(lane: Lane) -> None:
    late = lane.take("a")
    lane.let_leases_run_out()
    lane.run(commands.reap)
    with pytest.raises(LeaseLost):
        append(lane, late, 0, ONE)
    lane.claim(owner="bob")
    with pytest.raises(LeaseLost):
        append(lane, late, 0, ONE)
    assert entries(lane) == []


def test_stream_does_not_exceed_its_max_bytes(lane: Lane) -> None:
    token = lane.take("a")
    append(lane, token, 0, ONE, most=36)
    before = lane.dump()
    with pytest.raises(TooLarge):
        append(lane, token, 1, TWO, most=71)
    assert lane.changes(before) == {}
    assert append(lane, token, 1, TWO, most=72) == 2


@pytest.mark.parametrize("end", ["finish", "fail", "lost", "cancel", "retry"])
def test_stream_of_a_finished_job_expires_with_its_outcome(lane: Lane, end: str) -> None:
    token = lane.take("b", "a")
    append(lane, token, 0, ONE, TWO)
    settlement = Settlement("a", b"outcome", KEEP)
    if end == "lost":
        lane.raw.hset(lane.key("tries"), "a", "0 2 2")
    if end == "retry":  # it was to be cancelled
        lane.run(commands.renew, [("a", token, "S")], 1000.0)
        lane.run(commands.cancel, "a", b"away", KEEP)
    {
        "finish": lambda: lane.run(commands.finish, token, [Settlement("b", b"", KEEP), settlement]),
        "fail": lambda: lane.run(commands.fail, token, settlement),
        "lost": lambda: lane.run(commands.lost, token, settlement, b"cancelled"),
        "cancel": lambda: lane.run(commands.cancel, "a", b"away", KEEP),
        "retry": lambda: lane.run(commands.retry, token, "a", 9.0, b""),
    }[end]()
    assert entries(lane)[1:] == [("2-1", b"")]
    assert "streams" not in lane.dump()
    lives = lane.raw.pttl(lane.key("stream:a")), lane.raw.pttl(lane.key("outcome:a"))
    assert lives[0] > 0
    assert abs(lives[0] - lives[1]) < 1000


def test_stream_without_items_ends_as_well(lane: Lane) -> None:
    token = lane.take("a")
    assert append(lane, token, 0) == 0
    assert lane.dump()["streams"] == {"a": "0 0"}
    assert entries(lane) == []
    lane.run(commands.finish, token, [Settlement("a", b"outcome", KEEP)])
    assert entries(lane) == [("0-1", b"")]


def test_stream_stays_while_the_job_waits_for_another_run(lane: Lane) -> None:
    token = lane.take("a")
    append(lane, token, 0, ONE)
    lane.run(commands.retry, token, "a", 1000.0, b"")
    assert entries(lane) == [("1-0", b"\xdc\x00\x01" + ONE)]
    assert lane.raw.pttl(lane.key("stream:a")) == -1
    assert lane.dump()["streams"].keys() == {"a"}


def test_finish_of_other_jobs_leaves_a_stream_alone(lane: Lane) -> None:
    token = lane.take("a", "b")
    append(lane, token, 0, ONE)
    lane.run(commands.finish, token, [Settlement("b", b"outcome", KEEP)])
    assert lane.dump()["streams"].keys() == {"a"}
    assert lane.raw.pttl(lane.key("stream:a")) == -1


def test_revived_job_begins_its_stream_anew(lane: Lane) -> None:
    token = lane.take("a")
    append(lane, token, 0, ONE, TWO)
    lane.run(commands.fail, token, Settlement("a", b"no", KEEP))
    lane.run(commands.revive, ["a"])
    assert entries(lane) == []
    assert append(lane, lane.claim().token, 0, THREE) == 1


def test_stream_without_its_record_is_begun_again(lane: Lane) -> None:
    """As after an eviction: an entry with a lower id could not be added to it."""
    token = lane.take("a")
    append(lane, token, 0, ONE, TWO)
    lane.raw.delete(lane.key("streams"))
    assert append(lane, token, 2, THREE) == 0
    assert append(lane, token, 0, ONE, TWO, THREE) == 3
    assert entries(lane) == [("3-0", b"\xdc\x00\x03" + ONE + TWO + THREE)]
