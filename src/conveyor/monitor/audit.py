"""The audit trail: what users did, written to the server and to the log `conveyor.audit`, and how to read it."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conveyor.errors import StoreError
from conveyor.store import records
from conveyor.store.query import Query
from conveyor.wire import audit_entry, control_messages
from conveyor.wire.audit_entry import AuditEntry, decode_entry
from conveyor.wire.codec import try_decode
from conveyor.wire.redaction import escaped, redacted_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.store import Client

#: Entries of one page.
MAX_ENTRIES = 200
#: Seconds to wait for the server when recording; short, since the action is done and the caller waits.
PATIENCE, WITHIN = 1.0, 3.0
_UNREADABLE = AuditEntry(action="?", target="?", outcome="undecodable", nonce="")
_log = logging.getLogger("conveyor.audit")


class AuditRecord(NamedTuple):
    """An entry of the audit trail, and how workers replied to its control command."""

    id: str
    """Position in the trail; the next page begins before it."""
    at: float
    """Seconds since 1970, by the server's clock."""
    act: AuditEntry
    answers: Mapping[str, str] = {}
    """The last acknowledgement of each target of the control command; kept for 30 days, of 200 targets."""
    unread: int = 0
    """Further acknowledgements, left out since the page has too many."""

    @property
    def result(self) -> str:
        """The outcome of the action, and how far its control command is with its targets."""
        states = self._states()
        if self.unread:
            return f"{self.act.outcome}: {self.unread} answered"
        if not states:
            return self.act.outcome
        counts = Counter(control_messages.WORDS.get(state, state) for state in states)
        parts = [f"{count} {state}" if len(states) > 1 else state for state, count in counts.items()]
        return f"{self.act.outcome}: {', '.join(parts)}"

    @property
    def had_no_effect(self) -> bool:
        """True if it was a control command that no target carried out."""
        states = self._states()
        return bool(states) and control_messages.NOT_DONE.issuperset(states)

    def _states(self) -> list[str]:
        return [answer.partition(":")[0] for answer in self.answers.values()]


def record(client: Client, act: AuditEntry) -> bool:
    """Record an action; return False if the server did not accept the entry, without raising an error.

    Each entry is also a line of level INFO, with ordered `name=value` pairs and the entry itself as `act` of the log
    record; one that the server did not accept is a WARNING, too. Strings are cut to 500 characters. The log shows no
    secret that the reason names.
    """
    act = act.shortened()
    shown = msgspec.structs.replace(act, reason=redacted_text(act.reason))
    _log.info("%s", log_line(shown), extra={"act": shown})
    try:
        command = records.record(audit_entry.encode(act), *act.counts_as(), act.order)
        client.run(command, patience=PATIENCE, within=WITHIN)
    except StoreError as error:
        _log.warning("not in the audit trail (%s): %s", error, log_line(shown), extra={"act": shown})
        return False
    return True


def log_line(act: AuditEntry) -> str:
    """Return an entry as one line of `name=value` pairs, strings as JSON, without empty values."""
    known = {name: value for name, value in msgspec.structs.asdict(act).items() if value and name != "nonce"}
    return escaped(" ".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in known.items()))


def entries(before_id: str = "", count: int = 50) -> Query[list[AuditRecord]]:
    """Return up to 200 entries from before the entry `before_id`, newest first.

    An unreadable entry has the action `?`, so that it hides no others.
    """
    command = records.audit_entries(before_id, max(1, min(count, MAX_ENTRIES)))
    return Query((command,), lambda replies: [_record_of(*one) for one in replies[0]])


def counts() -> Query[dict[tuple[str, str], int]]:
    """Return the number of entries ever recorded by action and outcome, as of `AuditEntry.counts_as`."""
    return Query((records.audit_counts(),), lambda replies: dict(replies[0]))


def _record_of(entry: str, data: bytes, answers: dict[str, str], unread: int) -> AuditRecord:
    act = try_decode(decode_entry, data) or _UNREADABLE
    act = msgspec.structs.replace(act, reason=redacted_text(act.reason))
    return AuditRecord(entry, int(entry.partition("-")[0]) / 1000, act, answers, unread)
