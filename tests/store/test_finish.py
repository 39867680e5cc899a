"""finish: leased -> over, a batch under a token; the outcome is kept, counted and pushed to its waiters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.store import commands, records
from conveyor.store.commands import Settlement

if TYPE_CHECKING:
    from conftest import Lane

TOP = 255 * 2**45
KEEP = 600.0


def settlement(job_id: str, outcome: str = "done", keep: float = KEEP, note: str = "") -> Settlement:
    return Settlement(job_id, outcome.encode(), keep, note.encode())


def test_finish_removes_all_records_but_the_outcome(lane: Lane) -> None:
    token = lane.take("a", "b")
    lane.raw.hset(lane.key("progress"), "a", "half")
    lane.raw.hset(lane.key("tries"), "a", "1 0 0")
    before = lane.dump()
    assert lane.run(commands.finish, token, [settlement("a", note="a is done")]) == []
    assert lane.changes(before) == {
        "leased": {"b": 1000},
        "leases": {"b": f"#1 ann H {TOP + 2}"},
        "jobs": {"b": "bytes of b"},
        "progress": None,
        "tries": None,
        "outcome:a": "done",
        "history": ["a is done"],
        "meta.finished": "1",
    }
    assert 590_000 < lane.raw.pttl(lane.key("outcome:a")) <= 600_000


def test_last_finish_leaves_only_outcomes_last_claim_and_ledger(lane: Lane) -> None:
    token = lane.take("a", "b")
    lane.run(commands.finish, token, [settlement("a"), settlement("b")])
    state = lane.dump()
    assert {name for name in state if not name.startswith("meta.")} == {
        "bell",
        "claim:ann",
        "outcome:a",
        "outcome:b",
    }


def test_trimmed_history_costs_no_job(lane: Lane) -> None:
    """All streams of a queue are for people: none is needed to run or end a job."""
    lane.run(commands.finish, lane.take("done"), [settlement("done", note="it is done")])
    lane.run(commands.fail, lane.take("dead"), settlement("dead", note="it is dead"))
    token = lane.take("held")
    lane.put("waits")
    lane.put("delayed", delay=1000.0)
    before = lane.dump()
    streams = [key for key in lane.raw.scan_iter() if lane.raw.type(key) == b"stream"]
    assert streams == [lane.key("history").encode()]
    lane.raw.xtrim(streams[0], 0, approximate=False)
    assert lane.changes(before) == {"history": []}
    assert lane.run(commands.revive, ["dead"]) == 1
    assert lane.run(commands.finish, token, [settlement("held", note="it is done")]) == []
    assert [job.id for job in lane.claim(3).jobs] == ["waits", "dead"]
    assert lane.count().imbalance == 0


def test_finish_can_be_counted_as_a_cancellation(lane: Lane) -> None:
    token = lane.take("a")
    lane.run(commands.finish, token, [settlement("a")], "cancelled")
    count = lane.count()
    assert (count.finished, count.cancelled) == (0, 1)


def test_finish_sent_twice_has_no_second_effect(lane: Lane) -> None:
    token = lane.take("a", "b")
    lane.run(commands.finish, token, [settlement("a"), settlement("b")])
    before = lane.dump()
    assert lane.run_again(commands.finish, token, [settlement("a"), settlement("b")]) == []
    assert lane.changes(before) == {}


@pytest.mark.parametrize("token", ["1", "", "#", "{}0", " {}"])
def test_finish_with_a_wrong_token_changes_nothing(lane: Lane, token: str) -> None:
    mine = lane.take("a", "b")
    wrong = token.format(mine)
    before = lane.dump()
    assert lane.run(commands.finish, wrong, [settlement("a"), settlement("b")]) == ["a", "b"]
    assert lane.changes(before) == {}


def test_token_with_the_same_prefix_is_wrong(lane: Lane) -> None:
    token = lane.take("a")
    before = lane.dump()
    assert lane.run(commands.finish, token[:-1], [settlement("a")]) == ["a"]
    assert lane.changes(before) == {}


def test_finish_settles_only_the_held_jobs_of_a_batch(lane: Lane) -> None:
    token = lane.take("a", "b", "c")
    lane.run(commands.release, token, ["b"])
    answer = lane.run(
        commands.finish, token, [settlement("a"), settlement("b"), settlement("c"), settlement("never put")]
    )
    assert answer == ["b", "never put"]
    assert lane.count().finished == 2
    assert lane.run(commands.state, "b").state == "ready"


def test_holder_of_an_expired_lease_cannot_settle_a_retaken_job(lane: Lane) -> None:
    late = lane.take("a")
    lane.let_leases_run_out()
    lane.run(commands.reap)
    current = lane.claim(owner="bob").token
    assert lane.run(commands.finish, late, [settlement("a", "of the late one")]) == ["a"]
    assert lane.run(commands.finish, current, [settlement("a", "of the holder")]) == []
    assert lane.run(commands.finish, late, [settlement("a", "of the late one")]) == ["a"]
    assert lane.run(commands.state, "a").detail == b"of the holder"


def test_finish_on_an_emptied_server_settles_and_adds_nothing(lane: Lane) -> None:
    token = lane.take("a")
    lane.raw.flushall()
    assert lane.run(commands.finish, token, [settlement("a")]) == ["a"]
    assert lane.dump() == {}
    lane.put("b")
    assert [job.id for job in lane.claim().jobs] == ["b"]


def test_outcome_without_keep_time_is_kept_for_resent_commands(lane: Lane) -> None:
    """This is longer than a client retries: otherwise a put whose reply was lost would run a second time."""
    token = lane.take("a")
    lane.run(commands.finish, token, [settlement("a", keep=0.0)])
    assert 15_000 < lane.raw.pttl(lane.key("outcome:a")) <= 20_000


def test_five_hundred_jobs_are_settled_together(lane: Lane) -> None:
    ids = [f"job{number:03}" for number in range(500)]
    token = lane.take(*ids)
    assert lane.run(commands.finish, token, [settlement(one) for one in ids]) == []
    count = lane.count()
    assert (count.live, count.finished) == (0, 500)


def test_history_keeps_about_the_last_five_thousand_entries(lane: Lane) -> None:
    for _ in range(11):
        ids = [f"job{number:03}" for number in range(500)]
        token = lane.take(*ids)
        lane.run(commands.finish, token, [settlement(one, note=one) for one in ids])
        lane.raw.delete(*(lane.key(f"outcome:{one}") for one in ids))
    assert 5000 <= lane.raw.xlen(lane.key("history")) < 5200


@pytest.mark.parametrize("end", ["finish", "fail", "release", "retry", "lost", "cancel", "reap"])
def test_progress_after_the_end_is_not_kept(lane: Lane, end: str) -> None:
    token = lane.take("a", "b")
    lane.client.run(
        records.set_progress(lane.queue, [("a", b"half"), ("never put", b"half"), ("b", b"more")])
    )
    assert lane.dump()["progress"] == {"a": "half", "b": "more"}
    if end == "reap":
        lane.let_leases_run_out("b")
        lane.run(commands.reap)
    else:
        {
            "finish": lambda: lane.run(commands.finish, token, [settlement("b")]),
            "fail": lambda: lane.run(commands.fail, token, settlement("b")),
            "release": lambda: lane.run(commands.release, token, ["b"]),
            "retry": lambda: lane.run(commands.retry, token, "b", 9.0, b""),
            "lost": lambda: lane.run(commands.lost, token, settlement("b"), b"cancelled"),
            "cancel": lambda: lane.run(commands.cancel, "b", b"away", KEEP),
        }[end]()
    assert lane.dump()["progress"] == {"a": "half"}
    lane.client.run(records.set_progress(lane.queue, [("b", b"all")]))
    assert lane.dump()["progress"] == {"a": "half"}
