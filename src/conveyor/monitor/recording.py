"""Writing down what people did: to the audit trail on the server, and as a line of the log `conveyor.audit`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from conveyor.errors import StoreError
from conveyor.store import records
from conveyor.wire import audit_entry
from conveyor.wire.redaction import printable, redacted_text

if TYPE_CHECKING:
    from conveyor.store import Client
    from conveyor.wire.audit_entry import AuditEntry

#: Seconds that a record may take. What it tells of has happened, so its caller should not wait for long.
PATIENCE, WITHIN = 1.0, 3.0
_log = logging.getLogger("conveyor.audit")


def record(client: Client, act: AuditEntry) -> bool:
    """Write an act down; gives False where the server did not take it, and never raises for that.

    Each act is a line of level INFO, `name=value` pairs in order, with the act itself as `act` of the log record; one
    that the server did not take is a WARNING besides. Texts are cut to 500 characters. The log shows no secret that the
    reason names.
    """
    act = act.shortened()
    shown = msgspec.structs.replace(act, reason=redacted_text(act.reason))
    _log.info("%s", line_of(shown), extra={"act": shown})
    try:
        command = records.record(audit_entry.encode(act), *act.counts_as(), act.order)
        client.run(command, patience=PATIENCE, within=WITHIN)
    except StoreError as error:
        _log.warning("not in the audit trail (%s): %s", error, line_of(shown), extra={"act": shown})
        return False
    return True


def line_of(act: AuditEntry) -> str:
    """Give an act as one line of `name=value` pairs, texts as JSON; what is empty is left out."""
    known = {name: value for name, value in msgspec.structs.asdict(act).items() if value and name != "nonce"}
    return printable(
        " ".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in known.items())
    )
