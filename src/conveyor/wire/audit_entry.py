"""Entries of the audit trail: what people did. And bulk operations over many jobs."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from conveyor.wire import ids

#: Facts about a target before and after an action, by name.
Facts: TypeAlias = "dict[str, str | int | float | bool | None]"

#: Max characters of each string of an entry.
TEXT_LIMIT = 500
#: Seconds without progress after which a running operation counts as stalled.
STALLED_AFTER = 30.0
#: The results by which actions are counted.
OUTCOMES = ("done", "begun", "unchanged", "stopped", "failed", "refused")
_MAX_ACTION = 40
#: Kinds of bulk operations.
KINDS = ("retry", "discard", "cancel", "purge")


class AuditEntry(msgspec.Struct, frozen=True):
    """One action of a person: what was done to what, why, by whom, and the result."""

    action: str
    """A verb and its object: pause_queue, cancel_job, stop_workers, …"""
    target: str
    """The name or id of the target."""
    queue: str = ""
    reason: str = ""
    before: Facts = {}
    after: Facts = {}
    outcome: str = ""
    """The result: done, cancelled, not dead, refused: …"""
    who: str = ""
    origin: str = ""
    """Where it was done: `cli@host`, or the IP address of a browser."""
    nonce: str = msgspec.field(default_factory=ids.unique)
    """Lets the server recognize a record that arrives twice."""

    @property
    def order(self) -> str:
        """The id of the control command that it sent, or empty."""
        return str(self.after.get("order") or "")

    def counts_as(self) -> tuple[str, str]:
        """Return by what it is counted: its action, and one of OUTCOMES."""
        action = "".join(letter for letter in self.action[:_MAX_ACTION] if letter.isalnum() or letter == "_")
        first = self.outcome.partition(":")[0]
        word = "unchanged" if first.startswith("not ") else first
        return action or "other", word if word in OUTCOMES else "done"

    def shortened(self) -> AuditEntry:
        """Return the entry with each string cut to 500 characters, so that no record is large."""
        texts = {
            name: _short(text) for name, text in msgspec.structs.asdict(self).items() if isinstance(text, str)
        }
        return msgspec.structs.replace(
            self, before=_shortened(self.before), after=_shortened(self.after), **texts
        )


def _short(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"


def _shortened(facts: Facts) -> Facts:
    return {name: _short(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}


class Matching(msgspec.Struct, frozen=True):
    """Which jobs an operation is about; empty fields match all."""

    task: str = ""
    ids: tuple[str, ...] = ()
    group: str = ""
    before_score: float = 0.0
    """Only dead jobs that died before this, ms since 1970; only for retry and discard."""


class Cursor(msgspec.Struct, frozen=True):
    """The position of an operation in an index of its queue."""

    index: str = ""
    """dead, deferred, delayed or ready."""
    upto: float = 0.0
    """The last of the jobs that were there at the start: a score, or a sequence number in `ready` and `deferred`."""
    score: float = float("-inf")
    last: str = ""
    """Score and id of the last job examined; during a purge of delayed jobs, the end of the others."""
    queue: int = 0
    """Position of the current queue in `Operation.queues`."""
    place: int = 0
    """How many of `Matching.ids` were examined; during a purge, how many delayed jobs are left to cancel."""


class Operation(msgspec.Struct, frozen=True):
    """A bulk operation over many jobs of one or several queues, saved so that another process can resume it."""

    kind: str
    """retry, discard: dead jobs. cancel: waiting, deferred and delayed ones. purge: all queued ones."""
    queue: str
    matching: Matching = Matching()
    reason: str = ""
    who: str = ""
    origin: str = ""
    id: str = ""
    state: str = "running"
    """running, done, stopped or failed; shown as stalled after 30 seconds without progress."""
    total: int = 0
    """Jobs to examine, counted at the start."""
    done: int = 0
    skipped: int = 0
    """Examined jobs that do not match, or have moved since."""
    cursor: Cursor = Cursor()
    started: float = 0.0
    changed: float = 0.0
    """Seconds since 1970 by the server's clock: the start, and the last progress."""
    error: str = ""
    queues: tuple[str, ...] = ()
    """The queues if there are several; `queue` is empty then. Only for retry and discard."""

    @property
    def on(self) -> tuple[str, ...]:
        """All its queues."""
        return self.queues or (self.queue,)

    def stalled(self, now: float) -> bool:
        """Return True if it is running without progress; `now` is the server's time."""
        return self.state == "running" and now - self.changed > STALLED_AFTER


encode = msgspec.msgpack.Encoder().encode
decode_entry = msgspec.msgpack.Decoder(AuditEntry).decode
decode_operation = msgspec.msgpack.Decoder(Operation).decode
