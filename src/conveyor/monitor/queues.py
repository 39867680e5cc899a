"""Questions about queues: which there are, and how many jobs are where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.store import commands, records
from conveyor.store.query import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.commands import Count


def names() -> Query[list[str]]:
    """Which queues were ever put to, sorted."""
    return Query((commands.queue_names(),), lambda answers: list(answers[0]))


def memory(queues: Sequence[str]) -> Query[dict[str, int]]:
    """How many bytes of the server's memory the jobs of each queue take that are not over; about, from five samples."""
    told = tuple(records.memory(queue, index) for queue in queues for index in ("jobs", "ready"))

    def read(answers: Sequence[int]) -> dict[str, int]:
        pairs = zip(queues, answers[::2], answers[1::2], strict=True)
        return {queue: jobs + ready for queue, jobs, ready in pairs}

    return Query(told, read)


def counts(queues: Sequence[str]) -> Query[dict[str, Count]]:
    """How many jobs are where, by queue."""
    return Query(
        tuple(commands.count(name) for name in queues),
        lambda answers: dict(zip(queues, answers, strict=True)),
    )
