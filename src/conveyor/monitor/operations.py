"""Questions about operations over many jobs: which there are, and how far they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from conveyor.store import commands, records
from conveyor.store.query import Query
from conveyor.wire.audit_entry import Operation, decode_operation

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Operations of one page at most.
MOST_OPERATIONS_ON_PAGE = 200


def names(first: int = 0, count: int = 50) -> Query[list[str]]:
    """Which operations there are, those that began last first; 200 at most. Some may be forgotten."""
    count = max(1, min(count, MOST_OPERATIONS_ON_PAGE))
    return Query((records.operations(first, count),), lambda answers: list(answers[0]))


def operations(ids: Sequence[str]) -> Query[list[Operation]]:
    """How far operations are; without those that are forgotten or not readable.

    The state of one that nobody has gone on with for 30 seconds is `stalled`.
    """
    if not ids:
        return Query((), lambda _: [])
    return Query((records.operation_states(ids), commands.server_time()), _read)


def _read(answers: Sequence[Any]) -> list[Operation]:
    states, now = answers
    found = []
    for data in states:
        try:
            if data is not None:
                found.append(_shown(decode_operation(data), now))
        except (msgspec.MsgspecError, ValueError):
            continue
    return found


def _shown(operation: Operation, now: float) -> Operation:
    return msgspec.structs.replace(operation, state="stalled") if operation.stalled(now) else operation
