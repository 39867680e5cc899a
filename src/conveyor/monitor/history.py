"""Questions about runs that have ended: the history of a queue, a page at a time, the newest first."""

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


class Matching(NamedTuple):
    """Which runs are wanted: those that have all that is not empty here."""

    task: str = ""
    """How its name begins."""
    state: str = ""
    """done, failed, retried, timed out, lost or cancelled."""
    worker: str = ""
    """How its name begins, whole or short."""
    id: str = ""
    text: str = ""
    """Occurs in id, task, worker or arguments, in upper or lower case."""
    exact: bool = False
    """Whether task and worker are whole names."""

    def fits(self, note: Note) -> bool:
        """Tell whether a run is one of those wanted."""
        for wanted, is_one in (
            (self.state, note.state),
            (self.id, note.id),
        ):
            if wanted and wanted != is_one:
                return False
        if not self._names(self.task, note.task or ITEM_WORD):
            return False
        if not any(
            self._names(self.worker, one) for one in (note.worker, control_messages.short_name(note.worker))
        ):
            return False
        text = self.text.casefold()
        return not text or any(
            text in field.casefold() for field in (note.id, note.task, note.worker, note.arguments)
        )

    def _names(self, wanted: str, name: str) -> bool:
        return not wanted or (name == wanted if self.exact else name.startswith(wanted))


class Finish(NamedTuple):
    """A run that has ended; `entry` is its place in the history."""

    entry: str
    note: Note


class HistoryPage(NamedTuple):
    """Some runs of a queue, the newest first."""

    finishes: list[Finish]
    searched: int
    """Entries that were looked at."""
    unreadable: int
    """Those of them that could not be read."""
    next: str
    """What to ask with as `before_id` for those before; empty if there are none."""


_EVERYTHING = Matching()


def finishes(
    queue: str, before_id: str = "", count: int = 50, matching: Matching = _EVERYTHING
) -> Query[HistoryPage]:
    """Which runs ended before the entry `before_id` (empty: now), at most `count` of those that match.

    One question looks at 1000 entries at most: a page may be empty, and still have a `next`.
    Raises BadCall if `before_id` is no entry's id.
    """
    count = max(1, min(count, records.MAX_ENTRIES))
    looked_at = count if matching == _EVERYTHING else records.MAX_ENTRIES
    command = records.history(queue, records.checked_entry(before_id), looked_at)
    return Query((command,), lambda answers: _page(answers[0], count, looked_at, matching))


def _page(entries: Sequence[Entry], count: int, looked_at: int, matching: Matching) -> HistoryPage:
    found: list[Finish] = []
    unreadable = searched = 0
    for entry in entries:
        searched += 1
        finish = finish_of(entry)
        if finish is None:
            unreadable += entry.field == "end"
        elif matching.fits(finish.note):
            found.append(finish)
            if len(found) == count:
                break
    more = searched < len(entries) or len(entries) == looked_at
    return HistoryPage(found, searched, unreadable, entries[searched - 1].id if more else "")


def finish_of(entry: Entry) -> Finish | None:
    """Give the run that an entry of the history tells of; None where it tells of none, or cannot be read."""
    try:
        return Finish(entry.id, decode_note(entry.data)) if entry.field == "end" else None
    except (msgspec.MsgspecError, ValueError):
        return None
