"""The audit trail: who did what, when and why, and what it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.page import Page, href
from conveyor.errors import BadCall
from conveyor.monitor import audit
from conveyor.store import records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.audit import AuditRecord
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.query import Query
    from conveyor.wire.audit_entry import AuditEntry

#: Actions of one page; those that are searched for it with a filter.
ON_PAGE, SEARCHED = 40, 200
#: Changes of one action that are shown.
MAX_CHANGES = 6
MAX_FILTER = 100
_SHORT = 80


class ActionRow(NamedTuple):
    """One action's line."""

    record: AuditRecord
    changes: Sequence[tuple[str, str, str]]
    """Facts: name, and text before and after the action; "" if not recorded."""
    happened: bool


class AuditView(NamedTuple):
    """What the page shows."""

    rows: Sequence[ActionRow]
    searched: int
    """Actions that were searched for this page."""
    filters: dict[str, str]
    newest: str
    """Address of the first page; "" on it."""
    next: str


def _filters(request: PageRequest) -> dict[str, str]:
    names = ("action", "queue", "who")
    return {name: request.filters.get(name, "").strip()[:MAX_FILTER] for name in names}


def _before(request: PageRequest) -> str:
    try:
        return records.checked_entry(request.filters.get("before", ""))
    except BadCall:
        return ""  # the newest, as for an invalid filter


def _question(request: PageRequest, _: Snapshot) -> Query[list[AuditRecord]]:
    return audit.entries(_before(request), SEARCHED if any(_filters(request).values()) else ON_PAGE)


def _fits(entry: AuditEntry, filters: dict[str, str]) -> bool:
    return (
        filters["action"].replace(" ", "_").casefold() in entry.action.casefold()
        and filters["who"].casefold() in entry.who.casefold()
        and (not filters["queue"] or filters["queue"] in (entry.queue, entry.target))
    )


def _text(facts: Any, name: str) -> str:
    if name not in facts:
        return ""
    value = facts[name]
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value!s:.{_SHORT}}"


def _row(record: AuditRecord) -> ActionRow:
    entry = record.act
    names = list(dict.fromkeys([*entry.before, *entry.after]))[:MAX_CHANGES]
    changes = [(name[:_SHORT], _text(entry.before, name), _text(entry.after, name)) for name in names]
    bad = entry.outcome.startswith(("refused", "partly", "failed", "undecodable", "error"))
    return ActionRow(record, changes, not (bad or record.had_no_effect))


def _view(request: PageRequest, _: Snapshot, records: list[AuditRecord]) -> AuditView:
    filters, before = _filters(request), _before(request)
    limit = SEARCHED if any(filters.values()) else ON_PAGE
    fitting = [record for record in records if _fits(record.act, filters)]
    shown = fitting[:ON_PAGE]
    last = shown[-1].id if len(fitting) > ON_PAGE else records[-1].id if len(records) == limit else ""
    return AuditView(
        rows=[_row(record) for record in shown],
        searched=len(records),
        filters=filters,
        newest=href(request.path, **filters) if before else "",
        next=href(request.path, **filters, before=last) if last else "",
    )


AUDIT = Page("audit", "/audit", "Audit trail", _view, _question, right="inspect", menu="Audit", key="a")
