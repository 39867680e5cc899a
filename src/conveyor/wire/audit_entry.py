"""What people did, as records: acts for the audit trail, and operations over many jobs."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from conveyor.wire import ids

#: What is told of a thing before and after an act, by name.
Facts: TypeAlias = "dict[str, str | int | float | bool | None]"

#: Characters that are kept of each text of an act.
TEXT_LIMIT = 500
#: Seconds without progress after which an operation that should run is taken for abandoned.
STALLED_AFTER = 30.0
#: What came of acts, in the words by which they are counted.
OUTCOMES = ("done", "begun", "unchanged", "stopped", "failed", "refused")
_WORD_ROOM = 40
KINDS = ("retry", "discard", "cancel", "purge")


class AuditEntry(msgspec.Struct, frozen=True):
    """One act of a person: what was done to what, why, by whom, and what came of it."""

    action: str
    """A verb and its object: pause_queue, cancel_job, stop_workers, …"""
    target: str
    """The name or id of what it was done to."""
    queue: str = ""
    reason: str = ""
    before: Facts = {}
    after: Facts = {}
    outcome: str = ""
    """A word or two: done, cancelled, not dead, refused: …"""
    who: str = ""
    origin: str = ""
    """Where it was done: `cli@host`, or the address of a browser."""
    nonce: str = msgspec.field(default_factory=ids.unique)
    """Lets the server recognise a record that arrives twice."""

    @property
    def order(self) -> str:
        """The id of what workers were told by it; empty where they were told nothing."""
        return str(self.after.get("order") or "")

    def counts_as(self) -> tuple[str, str]:
        """Give the words by which acts are counted: its action, and one of OUTCOMES."""
        action = "".join(letter for letter in self.action[:_WORD_ROOM] if letter.isalnum() or letter == "_")
        first = self.outcome.partition(":")[0]
        word = "unchanged" if first.startswith("not ") else first
        return action or "other", word if word in OUTCOMES else "done"

    def shortened(self) -> AuditEntry:
        """Give the same act with every text cut to 500 characters, so that no record is large."""
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
    """Which jobs an operation is about; what is empty does not narrow it."""

    task: str = ""
    ids: tuple[str, ...] = ()
    group: str = ""
    before_score: float = 0.0
    """Only dead jobs that died before this, ms since 1970; only for retry and discard."""


class Cursor(msgspec.Struct, frozen=True):
    """How far an operation is in an index of its queue."""

    index: str = ""
    """dead, delayed or ready."""
    upto: float = 0.0
    """Where the jobs end that were there when it began; in `ready` a number of acceptance, else a score."""
    score: float = float("-inf")
    last: str = ""
    """Score and id of the last job that was looked at; of a purge that is at delayed jobs, where the ready ones end."""
    queue: int = 0
    """Place of the queue it is at among `Operation.queues`."""
    place: int = 0
    """How many of `Matching.ids` were looked at; of a purge, how many delayed jobs are left to cancel."""


class Operation(msgspec.Struct, frozen=True):
    """One piece of work over many jobs of a queue or several, kept so that another process can go on with it."""

    kind: str
    """retry, discard: of dead jobs. cancel: of waiting and delayed ones. purge: of all that wait."""
    queue: str
    matching: Matching = Matching()
    reason: str = ""
    who: str = ""
    origin: str = ""
    id: str = ""
    state: str = "running"
    """running, done, stopped or failed; shown as stalled where nobody has gone on with it for 30 seconds."""
    total: int = 0
    """Jobs to look at, counted when it began."""
    done: int = 0
    skipped: int = 0
    """ForgetReply at and left alone: they do not match, or are no longer where they were."""
    cursor: Cursor = Cursor()
    started: float = 0.0
    changed: float = 0.0
    """Seconds since 1970 by the server's clock; when it began, and when it last made progress."""
    error: str = ""
    queues: tuple[str, ...] = ()
    """The queues, where they are several; `queue` is empty then. Only of retry and discard."""

    @property
    def on(self) -> tuple[str, ...]:
        """All queues that it is about."""
        return self.queues or (self.queue,)

    def stalled(self, now: float) -> bool:
        """Tell whether it should run and does not; `now` is the server's time."""
        return self.state == "running" and now - self.changed > STALLED_AFTER


encode = msgspec.msgpack.Encoder().encode
decode_entry = msgspec.msgpack.Decoder(AuditEntry).decode
decode_operation = msgspec.msgpack.Decoder(Operation).decode
