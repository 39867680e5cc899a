"""fail and revive: leased -> dead -> ready; dead jobs keep their bytes and are bounded, with a counter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.store import commands
from conveyor.store.commands import Settlement

if TYPE_CHECKING:
    from conftest import Lane

TOP = 255 * 2**45


def failure(job_id: str, outcome: str = "failed") -> Settlement:
    return Settlement(job_id, outcome.encode(), 600.0, b"note", b"attempt", "5af3")


def dead(lane: Lane, *ids: str) -> None:
    token = lane.take(*ids)
    for one in ids:
        lane.run(commands.fail, token, failure(one))


def test_failed_job_is_dead_with_its_bytes_tries_and_reason(lane: Lane) -> None:
    token = lane.take("a", "b")
    lane.raw.hset(lane.key("tries"), "a", "2 1 1")
    lane.raw.hset(lane.key("progress"), "a", "half")
    before = lane.dump()
    assert lane.run(commands.fail, token, failure("a")) == "OK"
    assert lane.changes(before) == {
        "leased": {"b": 1000},
        "leases": {"b": f"#1 ann H {TOP + 2}"},
        "progress": None,
        "dead": {"a": 0},
        "reasons": {"a": "failed"},
        "groups": {"a": "5af3"},
        "attempts:a": ["attempt"],
        "outcome:a": "failed",
        "history": ["note"],
    }


def test_attempts_of_a_dead_job_are_kept_for_a_week(lane: Lane) -> None:
    lane.put("a")
    lane.run(commands.retry, lane.claim().token, "a", 0.0, b"", b"first")
    lane.run(commands.fail, lane.claim().token, Settlement("a", b"failed", 600.0))
    assert lane.dump()["attempts:a"] == ["first"]
    assert 604_000_000 < lane.raw.pttl(lane.key("attempts:a")) <= 604_800_000


def test_second_fail_command_has_no_effect(lane: Lane) -> None:
    token = lane.take("a")
    lane.run(commands.fail, token, failure("a"))
    before = lane.dump()
    assert lane.run_again(commands.fail, token, failure("a")) == "OK"
    assert lane.changes(before) == {}


def test_fail_with_another_token_is_stale_and_has_no_effect(lane: Lane) -> None:
    token = lane.take("a")
    before = lane.dump()
    for wrong in ("1", token[:-1], token + "0"):
        assert lane.run(commands.fail, wrong, failure("a")) == "STALE"
    assert lane.run(commands.fail, token, failure("never put")) == "STALE"
    assert lane.changes(before) == {}


def test_fail_of_a_job_that_was_failed_differently_is_stale(lane: Lane) -> None:
    token = lane.take("a")
    lane.run(commands.fail, token, failure("a", "one reason"))
    before = lane.dump()
    assert lane.run(commands.fail, token, failure("a", "another reason")) == "STALE"
    assert lane.changes(before) == {}


def test_oldest_dead_job_beyond_ten_thousand_is_dropped(lane: Lane) -> None:
    """The ten thousand are written straight into the keys, as fail would have."""
    ids = [f"old{number:05}" for number in range(10_000)]
    lane.raw.zadd(lane.key("dead"), {one: place + 1 for place, one in enumerate(ids)})
    lane.raw.hset(lane.key("reasons"), mapping=dict.fromkeys(ids, "failed"))
    lane.raw.hset(lane.key("groups"), mapping=dict.fromkeys(ids, "5af3"))
    lane.raw.rpush(lane.key("attempts:old00000"), "first")
    lane.raw.hset(lane.key("tries"), "old00000", "1 0 0")
    lane.raw.hset(lane.key("priorities"), "old00000", "9")
    lane.raw.hset(lane.key("jobs"), mapping=dict.fromkeys(ids, "bytes"))
    lane.raw.hset(lane.key("meta"), mapping={"accepted": 10_000, "version": 1})
    dead(lane, "one", "more")
    count = lane.count()
    assert (count.dead, count.discarded, count.imbalance) == (10_000, 2, 0)
    state = lane.dump()
    assert {"old00000", "old00001"} & state["jobs"].keys() == set()
    assert {"attempts:old00000", "tries", "priorities"} & state.keys() == set()
    assert {"old00002", "one", "more"} <= state["dead"].keys()
    assert [entry for entry in state["history"] if entry.startswith("old")] == ["old00000", "old00001"]


def test_revived_job_has_no_tries_and_waits_behind_the_others(lane: Lane) -> None:
    dead(lane, "a", "b")
    lane.put("c")
    before = lane.dump()
    assert lane.run(commands.revive, ["a", "b", "c", "never put"]) == 2
    assert lane.changes(before) == {
        "dead": None,
        "reasons": None,
        "groups": None,
        "outcome:a": None,
        "outcome:b": None,
        "ready": {"c": TOP + 3, "a": TOP + 4, "b": TOP + 5},
        "bell": before["bell"] + ["1", "1"],
        "meta.sequence": "5",
    }
    assert [(job.id, job.data, job.retries) for job in lane.claim(3).jobs] == [
        (one, f"bytes of {one}".encode(), 0) for one in "cab"
    ]


def die(lane: Lane, how: str) -> None:
    """Take the first job and kill it: it fails, its third worker dies, or its tenth lease ends."""
    if how == "fail":
        lane.run(commands.fail, lane.claim().token, failure("a"))
        return
    for _ in range(3 if how == "lost" else 10):
        token = lane.claim().token
        if how == "lost":
            lane.run(commands.lost, token, failure("a"), b"cancelled")
        else:
            lane.let_leases_run_out()
            lane.run(commands.reap)


def test_oldest_dead_job_is_dropped_with_all_its_records(lane: Lane, few_dead: None) -> None:
    lane.put("a", priority=3)
    die(lane, "lost")
    state = lane.dump()
    assert {"attempts:a", "tries", "priorities"} <= state.keys()
    dead(lane, "b", "c")
    state = lane.dump()
    assert {"attempts:a", "tries", "priorities"} & state.keys() == set()
    for name in ("dead", "jobs", "reasons", "groups"):
        assert state[name].keys() == {"b", "c"}
    assert state["meta.discarded"] == "1"
    assert "a" in state["history"]


def test_newest_dead_job_stays_if_the_clock_was_set_back(lane: Lane, few_dead: None) -> None:
    dead(lane, "first", "second")
    later = lane.raw.time()[0] * 1000 + 3_600_000
    lane.raw.zadd(lane.key("dead"), {"first": later, "second": later + 1})
    dead(lane, "newest")
    assert lane.dump()["dead"].keys() == {"second", "newest"}
    dead(lane, "last")
    assert lane.dump()["dead"].keys() == {"newest", "last"}


@pytest.mark.parametrize("how", ["fail", "lost", "reap"])
def test_revived_job_keeps_its_priority(lane: Lane, how: str) -> None:
    lane.put("a", priority=7)
    die(lane, how)
    lane.put("b", priority=6)
    lane.put("c", priority=7)
    assert lane.dump()["dead"] == {"a": 0}
    assert lane.run(commands.revive, ["a"]) == 1
    assert [job.id for job in lane.claim(3).jobs][-1] == "b"
    assert {"priorities", "tries"} & lane.dump().keys() == set()


def test_retried_job_keeps_its_priority_when_dead_and_revived(lane: Lane) -> None:
    lane.put("a", priority=255)
    lane.run(commands.retry, lane.claim().token, "a", 0.0, b"")
    die(lane, "fail")
    lane.put("b", priority=254)
    lane.run(commands.revive, ["a"])
    assert [job.id for job in lane.claim(2).jobs] == ["a", "b"]


def test_entry_keeps_its_key_when_dead_and_revived(lane: Lane) -> None:
    for key in (-1, 0, 1):
        lane.put(str(key), priority=commands.key_priority(key))
    token = lane.claim(2).token
    for one in ("-1", "0"):
        lane.run(commands.fail, token, Settlement(one, b"failed", 60.0))
    assert lane.dump()["priorities"] == {"-1": "383.0001220703125", "0": "383"}
    lane.run(commands.revive, ["0", "-1"])
    assert [job.id for job in lane.claim(3).jobs] == ["-1", "0", "1"]


def test_discarded_job_leaves_no_priority_and_no_tries(lane: Lane) -> None:
    lane.put("a", priority=3)
    die(lane, "lost")
    state = lane.dump()
    assert (state["priorities"], state["tries"]) == ({"a": "3"}, {"a": "0 3 2"})
    lane.run(commands.discard, ["a"])
    assert {"priorities", "tries"} & lane.dump().keys() == set()


def test_second_revive_has_no_effect(lane: Lane) -> None:
    dead(lane, "a")
    lane.run(commands.revive, ["a"])
    before = lane.dump()
    assert lane.run_again(commands.revive, ["a"]) == 0
    assert lane.changes(before) == {}


def test_discarded_dead_job_is_removed_and_counted(lane: Lane) -> None:
    dead(lane, "a", "b")
    lane.put("c")
    before = lane.dump()
    assert lane.run(commands.discard, ["a", "c", "never put"]) == 1
    assert lane.changes(before) == {
        "dead": {"b": before["dead"]["b"]},
        "reasons": {"b": "failed"},
        "groups": {"b": before["groups"]["b"]},
        "jobs": {"b": "bytes of b", "c": "bytes of c"},
        "meta.discarded": "1",
    }
    assert lane.run(commands.state, "a").detail == b"failed", "its outcome is kept"


def test_second_discard_has_no_effect(lane: Lane) -> None:
    dead(lane, "a")
    lane.run(commands.discard, ["a"])
    before = lane.dump()
    assert lane.run_again(commands.discard, ["a"]) == 0
    assert lane.changes(before) == {}
