"""Questions about what people did."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.store import records
from conveyor.store.query import Query
from conveyor.wire import control_messages
from conveyor.wire.audit_entry import AuditEntry, decode_entry
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Acts of one page at most.
MOST_ACTS_ON_PAGE = 200
_UNREADABLE = AuditEntry(action="?", target="?", outcome="undecodable", nonce="")


class ActRecord(NamedTuple):
    """An act as the audit trail has it."""

    id: str
    """Its place in the trail; the next page begins before it."""
    at: float
    """Seconds since 1970, by the server's clock."""
    act: AuditEntry
    answers: Mapping[str, str] = {}
    """What the supervisors said last of each target of an order that the act gave; kept for 30 days, of 200 targets."""
    unread: int = 0
    """Targets whose last words are kept and were left out, as those of other acts of the page were too many."""

    @property
    def came_to(self) -> str:
        """What came of it, in words: the act's outcome, and how many targets of its order are how far."""
        states = [word.partition(":")[0] for word in self.answers.values()]
        if self.unread:
            return f"{self.act.outcome}: {self.unread} answered"
        if not states:
            return self.act.outcome
        counts = Counter(control_messages.WORDS.get(state, state) for state in states)
        words = [f"{count} {state}" if len(states) > 1 else state for state, count in counts.items()]
        return f"{self.act.outcome}: {', '.join(words)}"

    @property
    def came_to_nothing(self) -> bool:
        """Whether it was an order that nobody followed."""
        states = {word.partition(":")[0] for word in self.answers.values()}
        return bool(states) and states <= control_messages.NOT_DONE


def counts() -> Query[dict[tuple[str, str], int]]:
    """How many acts there were in all time, by action and outcome, as `AuditEntry.counts_as` gives them."""
    return Query((records.audit_counts(),), lambda answers: dict(answers[0]))


def acts(before_id: str = "", count: int = 50) -> Query[list[ActRecord]]:
    """What was done, newest first, from before the record `before_id`; 200 at most.

    A record that cannot be read is shown as an act `?`, so that it hides no others.
    """
    return Query((records.audit_entries(before_id, max(1, min(count, MOST_ACTS_ON_PAGE))),), _read)


def _read(answers: Sequence[Any]) -> list[ActRecord]:
    return [
        ActRecord(one.id, int(one.id.partition("-")[0]) / 1000, _act(one.data), one.answers, one.unread)
        for one in answers[0]
    ]


def _act(data: bytes) -> AuditEntry:
    try:
        act = decode_entry(data)
    except (msgspec.MsgspecError, ValueError):
        return _UNREADABLE
    return msgspec.structs.replace(act, reason=redacted_text(act.reason))
