"""Work over many jobs: the request, its progress and its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.dashboard.page import Page, Slice, href
from conveyor.monitor import bulk
from conveyor.wire.statistics import read_figure

if TYPE_CHECKING:
    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.query import Query
    from conveyor.wire.audit_entry import Matching, Operation

#: Operations of one page.
ON_PAGE = 25
_SHORT = 80


def in_words(matching: Matching) -> str:
    """Return which jobs are meant, in words."""
    if matching.ids:
        count = len(matching.ids)
        return "one job" if count == 1 else f"{count:,} chosen jobs"
    parts = []
    if matching.task:
        parts.append(f"task {matching.task:.{_SHORT}}")
    if matching.group:
        parts.append(f"failure group {matching.group:.{_SHORT}}")
    return " and ".join(parts) or "all of them"


def _first(request: PageRequest, snapshot: Snapshot) -> int:
    last = max(0, len(snapshot.operations) - 1)
    return min(read_figure(request.filters.get("first", "")) or 0, last) // ON_PAGE * ON_PAGE


def _question(request: PageRequest, snapshot: Snapshot) -> Query[Any]:
    first = _first(request, snapshot)
    return bulk.operations(snapshot.operations[first : first + ON_PAGE])


def _view(request: PageRequest, snapshot: Snapshot, found: list[Operation]) -> Slice[tuple[Operation, str]]:
    """Return the operations of a page, each with the jobs that it is about, in words."""
    first, total = _first(request, snapshot), len(snapshot.operations)
    return Slice(
        items=[(one, in_words(one.matching)) for one in found],
        first=first,
        total=total,
        previous=href(request.path, first=first - ON_PAGE) if first else "",
        next=href(request.path, first=first + ON_PAGE) if first + ON_PAGE < total else "",
    )


OPERATIONS = Page("operations", "/operations", "Operations", _view, _question, menu="Operations", key="b")
