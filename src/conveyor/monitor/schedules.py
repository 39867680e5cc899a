"""The schedules of all queues, for every surface."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from conveyor.schedules import ScheduleInfo, info_of
from conveyor.store import schedules as stored
from conveyor.store.query import Query, together

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Queues whose schedules are read at a time.
MAX_QUEUES = 200


def all_schedules() -> Query[list[ScheduleInfo]]:
    """Read the schedules of all queues, or of the first 200 that have some, sorted by queue and name."""

    def read(replies: Sequence[Any]) -> Any:
        queues: list[str] = replies[0][:MAX_QUEUES]
        return together([of_queue(queue) for queue in queues]).map(lambda found: list(chain(*found)))

    return Query((stored.scheduled_queues(),), read)


def of_queue(queue: str) -> Query[list[ScheduleInfo]]:
    """Read the schedules of one queue, sorted by name."""
    return stored.stored(queue).map(lambda found: [info_of(queue, one) for one in found])
