"""Renewals of an explicit list of leases: grouped by queue, limited in size, with replies about each lease."""

from __future__ import annotations

from typing import NamedTuple

from conveyor.store import commands, leases
from conveyor.store.commands import Renewal


class Held(NamedTuple):
    queue: str
    id: str
    token: str = "7"
    progress: str = commands.STARTED


def test_renewals_are_grouped_by_queue_and_limited_in_size() -> None:
    held = [Held(queue, str(number)) for number in range(commands.MAX_RENEWED + 1) for queue in ("a", "b")]
    renewals = leases.renewals(held, 15.0)
    assert [len(one.read([b"OK", 0]).leases) for one in renewals] == [commands.MAX_RENEWED, 1] * 2
    assert [one.read([b"OK", 0]).leases[0].queue for one in renewals] == ["a", "a", "b", "b"]
    assert renewals[1].words[-4:] == (15_000, str(commands.MAX_RENEWED), "7", commands.STARTED)


def test_reply_names_lost_and_cancelled_leases_by_position() -> None:
    """Two workers may hold the same job, one of them under an expired lease."""
    held = [Held("a", "x", "7"), Held("a", "x", "8"), Held("a", "y", "9")]
    (command,) = leases.renewals(held, 15.0)
    assert commands.renew("a", [], 15.0).read([b"OK", 1, 0, 2]) == Renewal([0], [2])
    renewed = command.read([b"OK", 1, 0, 2])
    assert (renewed.leases, renewed.lost, renewed.cancelled) == (held, [held[0]], [held[2]])


def test_no_leases_need_no_command() -> None:
    assert leases.renewals([], 15.0) == []
