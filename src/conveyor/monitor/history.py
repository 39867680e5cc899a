"""Finished runs in the history of a queue, and which of them to find."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.wire import control_messages
from conveyor.wire.call import ITEM_WORD
from conveyor.wire.codec import try_decode
from conveyor.wire.outcome import Note, decode_note

if TYPE_CHECKING:
    from conveyor.store.records import Entry


class HistoryFilter(NamedTuple):
    """Which runs to find: those that match every field; an empty field matches all."""

    task: str = ""
    """Prefix of the task's name."""
    state: str = ""
    """done, failed, retried, timed out, lost, cancelled or expired."""
    worker: str = ""
    """Prefix of the worker's full or short name."""
    id: str = ""
    text: str = ""
    """Part of id, task, worker or arguments, regardless of case."""
    exact: bool = False
    """True if task and worker are full names, not prefixes."""

    def matches(self, note: Note) -> bool:
        """Return True if a run matches."""
        text, workers = self.text.casefold(), (note.worker, control_messages.short_name(note.worker))
        return (
            self.state in {"", note.state}
            and self.id in {"", note.id}
            and self._names(self.task, note.task or ITEM_WORD)
            and any(self._names(self.worker, one) for one in workers)
            and any(text in one.casefold() for one in (note.id, note.task, note.worker, note.arguments))
        )

    def _names(self, wanted: str, name: str) -> bool:
        return not wanted or (name == wanted if self.exact else name.startswith(wanted))


class Finish(NamedTuple):
    """A finished run; `entry` is its position in the history of its queue."""

    queue: str
    entry: str
    note: Note


def finish_of(queue: str, entry: Entry) -> Finish | None:
    """Return the run that an entry of a history describes, or None if it describes none or is unreadable."""
    note = try_decode(decode_note, entry.data) if entry.field == "end" else None
    return None if note is None else Finish(queue, entry.id, note)
