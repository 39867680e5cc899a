"""`conveyor audit` lists what people did."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from conveyor.cli import exits
from conveyor.cli.desk import open_store
from conveyor.cli.exits import Usage
from conveyor.cli.output import Column, document, moment, note, table
from conveyor.monitor import audit

if TYPE_CHECKING:
    from conveyor.cli.commands.look import Audit
    from conveyor.monitor.audit import ActRecord

_COLUMNS = (
    Column("WHEN"),
    Column("WHO", may_shrink=True),
    Column("WHAT"),
    Column("TARGET", may_shrink=True),
    Column("QUEUE", may_shrink=True),
    Column("OUTCOME", may_shrink=True),
    Column("REASON", may_shrink=True),
)
_ID = re.compile(r"\d{1,18}-\d{1,18}", re.ASCII)


def show(asked: Audit) -> int:
    """List the newest acts."""
    if asked.before and not _ID.fullmatch(asked.before):
        raise Usage(f"invalid id of a record {asked.before!r}", hint="`conveyor audit --json` shows them")
    found = audit.acts(asked.before, asked.count).ask(open_store(quiet=asked.json))
    if asked.json:
        document("audit/v1", acts=[_fields(one) for one in found])
    elif found:
        table(_COLUMNS, [_row(one) for one in found])
    else:
        note("Nobody has done anything yet.")
    return exits.OK


def _fields(one: ActRecord) -> dict[str, Any]:
    fields = msgspec.structs.asdict(one.act)
    del fields["nonce"]
    return {"id": one.id, "at": moment(one.at), **fields, "answers": one.answers}


def _row(one: ActRecord) -> list[str]:
    act = one.act
    who = f"{act.who} {act.origin}".strip()
    when = f"{moment(one.at):%Y-%m-%d %H:%M:%S}"
    return [when, who, act.action, act.target, act.queue, one.came_to, act.reason]
