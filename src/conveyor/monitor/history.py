"""The history of a queue: its finished runs, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conveyor.store import records
from conveyor.store.query import Query
from conveyor.wire import control_messages
from conveyor.wire.call import ITEM_WORD
from conveyor.wire.outcome import Note, decode_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.records import Entry


class HistoryFilter(NamedTuple):
    """Which runs to find: those that match every field; an empty field matches all."""

    task: str = ""
    """Prefix of the task's name."""
    state: str = ""
    """done, failed, retried, timed out, lost or cancelled."""
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
    """A finished run; `entry` is its position in the history."""

    entry: str
    note: Note


class HistoryPage(NamedTuple):
    """Some finished runs of a queue, newest first."""

    finishes: list[Finish]
    searched: int
    """Entries that were read."""
    unreadable: int
    """Entries among them that cannot be decoded."""
    next: str
    """`before_id` of the next page; empty on the last one."""


_ANY_RUN = HistoryFilter()


def finishes(
    queue: str, before_id: str = "", count: int = 50, wanted: HistoryFilter = _ANY_RUN
) -> Query[HistoryPage]:
    """Return at most `count` matching runs that finished before the entry `before_id`, or the latest if it is empty.

    Reads at most 1,000 entries, so a page may be empty and still have a `next`. Raises BadCall if `before_id` is not
    an entry's id.
    """
    count = max(1, min(count, records.MAX_ENTRIES))
    budget = count if wanted == _ANY_RUN else records.MAX_ENTRIES
    command = records.history(queue, records.checked_entry(before_id), budget)
    return Query((command,), lambda replies: _page(replies[0], count, budget, wanted))


def finish_of(entry: Entry) -> Finish | None:
    """Return the run that an entry of the history describes, or None if it describes none or is unreadable."""
    try:
        return Finish(entry.id, decode_note(entry.data)) if entry.field == "end" else None
    except (msgspec.MsgspecError, ValueError):
        return None


def _page(entries: Sequence[Entry], count: int, budget: int, wanted: HistoryFilter) -> HistoryPage:
    found: list[Finish] = []
    unreadable = searched = 0
    for entry in entries:
        searched += 1
        finish = finish_of(entry)
        if finish is None:
            unreadable += entry.field == "end"
        elif wanted.matches(finish.note):
            found.append(finish)
            if len(found) == count:
                break
    more = searched < len(entries) or len(entries) == budget
    return HistoryPage(found, searched, unreadable, entries[searched - 1].id if more else "")
