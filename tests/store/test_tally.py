"""tally: counts are added to minute, hour, day and totals, once; gauges are recorded; memory is bounded."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.store import commands, keys, scripts
from conveyor.wire import statistics

if TYPE_CHECKING:
    from conftest import Lane

_numbers = itertools.count(1)


def tally(
    lane: Lane, *figures: tuple[str, str], owner: str = "ann", number: int | None = None, oldest: Any = None
) -> Any:
    """Tally as the next of its owner, unless a number is given."""
    return lane.run(commands.tally, owner, next(_numbers) if number is None else number, oldest, figures)


@pytest.fixture(autouse=True)
def made(lane: Lane) -> None:
    """Create the queue."""
    lane.run(commands.bound, 0)


def kept(lane: Lane, name: str) -> dict[str, str]:
    """Return the fields of a tier, merged from all its hashes, since the test may cross the end of a minute."""
    found: dict[str, str] = {}
    for key in lane.raw.scan_iter(match=f"*{lane.queue}[}}]:{name}*", count=1000):
        found |= {field.decode(): value.decode() for field, value in lane.raw.hgetall(key).items()}
    return found


def hashes(lane: Lane, tier: str) -> list[dict[str, str]]:
    """Return each hash of a tier."""
    return [
        {field.decode(): value.decode() for field, value in lane.raw.hgetall(key).items()}
        for key in lane.raw.scan_iter(match=f"*{lane.queue}[}}]:{tier}:*", count=1000)
    ]


def test_tally_is_added_to_every_tier_by_queue_and_by_task(lane: Lane) -> None:
    assert tally(lane, ("cut", "b=2 s=1 f=1 R=30 R0=2"), ("paste", "b=1 s=1 R=5 R1=1")) == "OK"
    figures = {
        "*": "b=3 s=2 f=1 R=35 R0=2 R1=1",
        ":cut": "b=2 s=1 f=1 R=30 R0=2",
        ":paste": "b=1 s=1 R=5 R1=1",
    }
    gauges = {"depth": "0", "running": "0", "oldest": "0"}
    assert kept(lane, "totals") == figures
    for tier in statistics.TIERS:
        assert kept(lane, tier) == figures | gauges


def test_tallies_of_several_workers_add_up(lane: Lane) -> None:
    tally(lane, ("cut", "s=1"), owner="ann", number=1)
    tally(lane, ("cut", "s=10 f=1"), owner="bob", number=1)
    tally(lane, ("cut", "s=100"), owner="ann", number=2)
    assert kept(lane, "totals")[":cut"] == "s=111 f=1"


def test_repeated_tally_counts_once_even_after_a_later_tally(lane: Lane) -> None:
    for number, figures in ((1, "s=1"), (1, "s=1"), (2, "s=10"), (1, "s=1"), (2, "s=10")):
        assert tally(lane, ("cut", figures), number=number) == "OK"
    assert kept(lane, "totals") == {"*": "s=11", ":cut": "s=11"}


def test_large_sums_stay_exact(lane: Lane) -> None:
    for _ in range(3):
        tally(lane, ("cut", f"R={2**50 + 1}"))
    assert kept(lane, "totals")["*"] == f"R={3 * (2**50 + 1)}"


def test_longest_run_and_wait_are_kept(lane: Lane) -> None:
    long = " ".join(f"R{place}=1 W{place}=1" for place in range(20))
    for greatest in ("M=700 X=20", "M=1000 X=3", f"{long} M=800 X=5", "M=5 X=4"):
        tally(lane, ("cut", greatest), ("paste", greatest))
    for name in ("totals", *statistics.TIERS):
        for field in ("*", ":cut"):
            figures = statistics.read_figures(kept(lane, name)[field])
            assert (figures.runs.longest, figures.waits.longest) == (0.001, 2e-05)


def test_tally_without_longest_times_can_be_continued(lane: Lane) -> None:
    lane.raw.hset(lane.key("totals"), mapping={"*": "s=1 R=5 R0=1", ":cut": "s=1 R=5 R0=1"})
    tally(lane, ("cut", "s=1 R=7 R0=1 M=7"))
    assert kept(lane, "totals")[":cut"] == "s=2 R=12 R0=2 M=7"


def test_gauges_are_recorded_without_figures(lane: Lane) -> None:
    lane.put("a", "b", "c")
    lane.put("d", delay=1000.0)
    lane.claim(1)
    now = lane.raw.time()[0]
    assert tally(lane, number=0, oldest=now - 60.0) == "OK"
    found = kept(lane, "minute")
    assert (found["depth"], found["running"]) == ("3", "1")
    assert 60_000 <= int(found["oldest"]) < 90_000
    assert kept(lane, "totals") == {}


def test_oldest_wait_is_never_in_the_future_and_kept_if_unknown(lane: Lane) -> None:
    lane.put("a")
    tally(lane, oldest=lane.raw.time()[0] + 1000.0)
    assert kept(lane, "minute")["oldest"] == "0"
    lane.raw.hset(next(iter(lane.raw.scan_iter(match=f"*{lane.queue}[}}]:day:*"))), "oldest", 5)
    tally(lane)
    assert kept(lane, "day")["oldest"] == "5"


def test_tasks_beyond_two_hundred_are_counted_as_other(lane: Lane) -> None:
    for number in range(0, 250, 50):
        tally(lane, *((f"task{one}", "s=1") for one in range(number, number + 50)))
    tally(lane, ("task7", "s=1"), ("another", "s=1"))
    found = kept(lane, "totals")
    assert len(found) == 202
    assert (found["*"], found[":_other"], found[":task7"]) == ("s=252", "s=51", "s=2")
    for tier in ("hour", "day"):
        assert max(map(len, hashes(lane, tier))) <= 202 + 3


def test_minute_counts_twenty_tasks_and_an_hour_two_hundred(lane: Lane) -> None:
    tally(lane, *((f"task{one}", "s=1") for one in range(15)))
    tally(lane, *((f"task{one}", "s=1") for one in range(10, 30)))
    tally(lane, ("task3", "s=10"), ("task29", "s=10"), ("_other", "s=100"))
    for found in hashes(lane, "minute"):
        assert len(found) <= 20 + 5
    if len(hashes(lane, "minute")) == 1:  # otherwise the minute has just ended
        found = kept(lane, "minute")
        assert (found["*"], found[":_other"], found[":task3"]) == ("s=155", "s=120", "s=11")
        assert (found[":task10"], found[":task19"]) == ("s=2", "s=1")
        assert ":task29" not in found
    assert sum(int(one["*"].removeprefix("s=")) for one in hashes(lane, "minute")) == 155
    assert kept(lane, "totals")[":task29"] == "s=11"


def test_memory_of_a_minute_is_bounded_for_any_number_of_tasks(lane: Lane) -> None:
    figures = "b=1200 s=1150 f=50 R=123456789 " + " ".join(f"R{place}=100" for place in range(3, 12))
    figures += " W=123456789 " + " ".join(f"W{place}=100" for place in range(3, 12))
    figures += " M=12345678 X=12345678"
    for first in range(0, 200, 20):
        tally(lane, *((f"module.task{one}", figures) for one in range(first, first + 20)))
    keys = list(lane.raw.scan_iter(match=f"*{lane.queue}[}}]:minute:*", count=1000))
    assert keys
    assert max(lane.raw.memory_usage(key, samples=0) for key in keys) < 6.5 * 1024
    assert len(kept(lane, "totals")) == 201


@pytest.mark.parametrize(
    ("tier", "seconds"), [("minute", 6 * 3600), ("hour", 14 * 86400), ("day", 400 * 86400)]
)
def test_each_tier_expires_in_its_time(lane: Lane, tier: str, seconds: int) -> None:
    tally(lane, ("cut", "s=1"))
    (key,) = list(lane.raw.scan_iter(match=f"*{lane.queue}[}}]:{tier}:*"))
    assert seconds - 60 < lane.raw.ttl(key) <= seconds
    now, number = lane.raw.time()[0], int(key.decode().rpartition(":")[2])
    assert statistics.bucket(tier, now - 60) <= number <= statistics.bucket(tier, now)


def test_script_and_python_have_the_same_tiers() -> None:
    text = scripts.load("tally").text
    for tier, seconds in statistics.TIERS.items():
        assert f"{{'{tier}', {seconds * 1000}, " in text
    assert f"':{statistics.OTHER}'" in text


def test_tally_number_is_remembered_for_an_hour(lane: Lane) -> None:
    tally(lane, ("cut", "s=1"), owner="cid")
    assert 3500 < lane.raw.ttl(lane.key("tally:cid")) <= 3600


def test_tally_of_all_queues_counts_once_without_gauges(lane: Lane) -> None:
    owner = f"{lane.queue}/1"

    def total() -> dict[str, str]:
        found = lane.client.run(commands.series(keys.ALL_QUEUES, "totals", 0, 0))
        return found[0].fields if found else {}

    before = statistics.read_figures(total().get("*", "")).succeeded
    first, second = (
        commands.tally(keys.ALL_QUEUES, owner, number, 5.0, [("*", f"b={number} s={number}")])
        for number in (2, 3)
    )
    for one in (first, first, second, first, second):
        assert lane.client.run(one) == "OK"
    assert set(total()) == {"*"}
    assert statistics.read_figures(total()["*"]).succeeded == before + 5
    base = keys.key(keys.ALL_QUEUES, "")
    hashes = list(lane.raw.scan_iter(match=base.replace("*", "[*]") + "minute:*"))
    assert hashes
    for key in hashes:
        assert set(lane.raw.hgetall(key)) == {b"*"}
        assert 0 < lane.raw.ttl(key) <= 172800


def test_histories_of_a_busy_queue_take_less_than_a_megabyte(lane: Lane) -> None:
    figures = " ".join(f"{name}{place}=123" for name in "RW" for place in range(9))
    tally(lane, ("module.task", f"b=1200 s=1200 R=254963856 W=776718217 M=2398509 X=12577574 {figures}"))
    size = 0.0
    for tier, seconds in statistics.TIERS.items():
        (key,) = list(lane.raw.scan_iter(match=f"*{lane.queue}[}}]:{tier}:*"))
        size += lane.raw.memory_usage(key, samples=0) * lane.raw.ttl(key) / seconds
    assert 100_000 < size < 1_000_000
