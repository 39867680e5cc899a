"""series: what is kept of a range of minutes, hours or days."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.store import commands
from conveyor.store.answers import Bucket

if TYPE_CHECKING:
    from conftest import Lane

LONG = 1 << 30  # seconds


def keep(lane: Lane, name: str, **fields: str) -> None:
    """Write a hash as tally would."""
    lane.raw.hset(lane.key(name), mapping={field.replace("all", "*"): text for field, text in fields.items()})
    lane.raw.expire(lane.key(name), LONG)


def test_buckets_come_in_order_and_those_that_are_not_there_are_left_out(lane: Lane) -> None:
    keep(lane, "minute:100", all="s=1", depth="3")
    keep(lane, "minute:102", all="s=2")
    keep(lane, "minute:103", depth="4")
    keep(lane, "minute:104", all="s=4")
    assert lane.run(commands.series, "minute", 100, 103, ("*", "depth")) == [
        Bucket(100, {"*": "s=1", "depth": "3"}),
        Bucket(102, {"*": "s=2"}),
        Bucket(103, {"depth": "4"}),
    ]


def test_without_fields_all_are_given(lane: Lane) -> None:
    keep(lane, "hour:7", all="s=1", running="2")
    assert lane.run(commands.series, "hour", 0, 20) == [Bucket(7, {"*": "s=1", "running": "2"})]


def test_totals_are_one_bucket(lane: Lane) -> None:
    assert lane.run(commands.series, "totals", 0, 0) == []
    lane.run(commands.tally, "ann", 1, None, [("cut", "s=1")])
    assert lane.run(commands.series, "totals", 0, 0) == [Bucket(0, {"*": "s=1", ":cut": "s=1"})]


def test_no_more_than_180_are_read(lane: Lane) -> None:
    for number in (1000, 1179, 1180):
        keep(lane, f"day:{number}", all="s=1")
    found = lane.run(commands.series, "day", 1000, 1 << 39, ("*",))
    assert [one.number for one in found] == [1000, 1179]


def test_asking_changes_nothing(lane: Lane) -> None:
    lane.run(commands.tally, "ann", 1, None, [("cut", "s=1")])
    before = lane.dump()
    lane.run(commands.series, "minute", 0, 179)
    assert lane.changes(before) == {}
