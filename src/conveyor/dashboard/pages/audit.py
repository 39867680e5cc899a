"""The audit trail: who did what, when and why, and what it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.page import Page
from conveyor.dashboard.pages.paging import address
from conveyor.errors import BadCall
from conveyor.monitor import audit
from conveyor.store import records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.audit import ActRecord
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.query import Query
    from conveyor.wire.audit_entry import Act

#: Acts of one page; acts that are looked at for it where there is a filter.
ON_PAGE, SEARCHED = 40, 200
#: Changes of one act that are shown.
MOST_CHANGES = 6
LONGEST_FILTER = 100
_SHORT = 80
#: Where the page of an act's target is, by the last word of the action.
_PAGES = {"queue": "/queues/{}", "operation": "/operations"}


class Change(NamedTuple):
    """One fact before and after an act; empty where it was not told."""

    name: str
    before: str
    after: str


class ActRow(NamedTuple):
    """One act's line."""

    id: str
    at: float
    action: str
    target: str
    queue: str
    who: str
    origin: str
    reason: str
    changes: Sequence[Change]
    outcome: str
    well: bool
    """Whether it happened."""


class Audit(NamedTuple):
    """What the page shows."""

    rows: Sequence[ActRow]
    searched: int
    """Acts that were looked at for this page."""
    filters: dict[str, str]
    newest: str
    """Address of the first page; empty on it."""
    next: str


def _filters(wanted: PageRequest) -> dict[str, str]:
    return {
        name: wanted.filters.get(name, "").strip()[:LONGEST_FILTER] for name in ("action", "queue", "who")
    }


def _before(wanted: PageRequest) -> str:
    try:
        return records.checked_entry(wanted.filters.get("before", ""))
    except BadCall:
        return ""  # the newest, as for a filter that is none


def _question(wanted: PageRequest, _: Snapshot) -> Query[list[ActRecord]]:
    return audit.acts(_before(wanted), SEARCHED if any(_filters(wanted).values()) else ON_PAGE)


def _fits(act: Act, filters: dict[str, str]) -> bool:
    return (
        filters["action"].replace(" ", "_").casefold() in act.action.casefold()
        and filters["who"].casefold() in act.who.casefold()
        and (not filters["queue"] or filters["queue"] in (act.queue, act.target))
    )


def _said(facts: Any, name: str) -> str:
    if name not in facts:
        return ""
    value = facts[name]
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value!s:.{_SHORT}}"


def _changes(act: Act) -> list[Change]:
    names = list(dict.fromkeys([*act.before, *act.after]))[:MOST_CHANGES]
    return [Change(name[:_SHORT], _said(act.before, name), _said(act.after, name)) for name in names]


def _row(record: ActRecord) -> ActRow:
    act = record.act
    bad = act.outcome.startswith(("refused", "partly", "failed", "undecodable", "error"))
    return ActRow(
        id=record.id,
        at=record.at,
        action=act.action.replace("_", " "),
        target=act.target,
        queue=act.queue,
        who=act.who,
        origin=act.origin,
        reason=act.reason,
        changes=_changes(act),
        outcome=record.came_to,
        well=not (bad or record.came_to_nothing),
    )


def _view(wanted: PageRequest, _: Snapshot, records: list[ActRecord]) -> Audit:
    filters, before = _filters(wanted), _before(wanted)
    looked_at = SEARCHED if any(filters.values()) else ON_PAGE
    fitting = [record for record in records if _fits(record.act, filters)]
    shown = fitting[:ON_PAGE]
    last = shown[-1].id if len(fitting) > ON_PAGE else records[-1].id if len(records) == looked_at else ""
    return Audit(
        rows=[_row(record) for record in shown],
        searched=len(records),
        filters=filters,
        newest=address(wanted.path, filters) if before else "",
        next=address(wanted.path, filters | {"before": last}) if last else "",
    )


AUDIT = Page(
    "audit",
    "/audit",
    "Audit trail",
    _view,
    _question,
    right="inspect",
    menu="Audit",
    key="a",
    section="Audit",
)
