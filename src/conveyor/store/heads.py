"""Since when the jobs at the head of queues wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from conveyor.store import commands
from conveyor.store.answers import RowsPlace
from conveyor.store.query import Query
from conveyor.wire.call import decode_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.answers import Rows

#: Bytes of a job that are read at most for its time.
LARGEST = 1 << 16


def oldest(queues: Sequence[str]) -> Query[dict[str, float | None]]:
    """When the job at the head of each queue was put, seconds since 1970 by its producer's clock.

    None where none waits, and where its bytes are more than 64 KiB or no job.
    """

    def read(answers: Sequence[Any]) -> dict[str, float | None]:
        return {queue: _put_at(rows) for queue, rows in zip(queues, answers, strict=True)}

    place = RowsPlace(1, cut=LARGEST)
    return Query(tuple(commands.rows(queue, "ready", place) for queue in queues), read)


def _put_at(found: Rows) -> float | None:
    if not found.rows or found.rows[0].size > LARGEST:
        return None
    try:
        return decode_call(found.rows[0].data).put_at
    except (msgspec.MsgspecError, ValueError):
        return None
