"""Work over many jobs: what was asked, how far it is, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.page import Page
from conveyor.dashboard.pages.paging import address
from conveyor.monitor import operations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.query import Query
    from conveyor.wire.audit_entry import Matching, Operation

#: Operations of one page.
ON_PAGE = 25
_KINDS = {
    "retry": "Retry dead letters",
    "discard": "Discard dead letters",
    "cancel": "Cancel jobs that wait",
    "purge": "Empty the queue",
}
_SHORT = 80


class OperationRow(NamedTuple):
    """One operation's line."""

    id: str
    what: str
    matching: str
    queue: str
    """Empty if it is about several."""
    queues: Sequence[str]
    """All that it is about."""
    state: str
    looked: int
    """Jobs that were looked at so far."""
    done: int
    skipped: int
    total: int
    who: str
    origin: str
    started: float
    changed: float
    reason: str
    error: str

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more will come of it by itself, and nothing can be taken up again."""
        return self.state == "done"


class Operations(NamedTuple):
    """What the page shows."""

    rows: Sequence[OperationRow]
    first: int
    total: int
    previous: str
    next: str


def in_words(matching: Matching) -> str:
    """Tell which jobs are meant."""
    if matching.ids:
        count = len(matching.ids)
        return "one job" if count == 1 else f"{count:,} chosen jobs"
    parts = []
    if matching.task:
        parts.append(f"task {matching.task:.{_SHORT}}")
    if matching.group:
        parts.append(f"failure group {matching.group:.{_SHORT}}")
    return " and ".join(parts) or "all of them"


def _row(one: Operation) -> OperationRow:
    return OperationRow(
        id=one.id,
        what=_KINDS.get(one.kind, one.kind),
        matching=in_words(one.matching),
        queue=one.queue,
        queues=one.on,
        state=one.state,
        looked=one.done + one.skipped,
        done=one.done,
        skipped=one.skipped,
        total=one.total,
        who=one.who,
        origin=one.origin,
        started=one.started,
        changed=one.changed,
        reason=one.reason,
        error=one.error,
    )


def _first(wanted: PageRequest, snapshot: Snapshot) -> int:
    last = max(0, len(snapshot.operations) - 1)
    return wanted.number("first", 0, 0, last) // ON_PAGE * ON_PAGE


def _question(wanted: PageRequest, snapshot: Snapshot) -> Query[Any]:
    first = _first(wanted, snapshot)
    return operations.operations(snapshot.operations[first : first + ON_PAGE])


def _view(wanted: PageRequest, snapshot: Snapshot, found: list[Operation]) -> Operations:
    first, total = _first(wanted, snapshot), len(snapshot.operations)
    return Operations(
        rows=[_row(one) for one in found],
        first=first,
        total=total,
        previous=address(wanted.path, {"first": str(first - ON_PAGE) if first > ON_PAGE else ""})
        if first
        else "",
        next=address(wanted.path, {"first": str(first + ON_PAGE)}) if first + ON_PAGE < total else "",
    )


OPERATIONS = Page(
    "operations",
    "/operations",
    "Operations",
    _view,
    _question,
    menu="Operations",
    key="b",
    section="Operations",
)
