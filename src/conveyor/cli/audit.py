"""`conveyor audit`: the audit trail."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from conveyor.cli.connection import open_store
from conveyor.cli.exit_codes import Usage
from conveyor.cli.options import Json, option
from conveyor.cli.output import document, note, table
from conveyor.monitor import audit as trail
from conveyor.monitor.format import date_time, utc

if TYPE_CHECKING:
    from conveyor.monitor.audit import AuditRecord

_ID = re.compile(r"\d{1,18}-\d{1,18}", re.ASCII)


def audit(
    *,
    count: Annotated[int, option("N", "Show at most N actions.", "--count", "-n", min=1, max=200)] = 50,
    before: Annotated[str, option("ID", "Show only actions before this one.")] = "",
    as_json: Json = False,
) -> None:
    """List actions on queues, jobs and workers, newest first."""
    if before and not _ID.fullmatch(before):
        raise Usage(f"invalid id of an action {before!r}", hint="use an id from `conveyor audit --json`")
    found = trail.entries(before, count).ask(open_store(quiet=as_json))
    if as_json:
        document("audit/v1", acts=[_document(one) for one in found])
    elif found:
        table([_row(one) for one in found], may_shrink=("USER", "TARGET", "QUEUE", "OUTCOME", "REASON"))
    else:
        note("No actions yet.")


def _document(record: AuditRecord) -> dict[str, Any]:
    fields = msgspec.structs.asdict(record.act)
    del fields["nonce"]
    return {"id": record.id, "at": utc(record.at), **fields, "answers": record.answers}


def _row(record: AuditRecord) -> dict[str, str]:
    action = record.act
    return {
        "TIME": date_time(record.at),
        "USER": f"{action.who} {action.origin}".strip(),
        "ACTION": f"{action.action} {action.after.get('workers', '')}".strip(),  # of scale_workers
        "TARGET": action.target,
        "QUEUE": action.queue,
        "OUTCOME": record.result,
        "REASON": action.reason,
    }
