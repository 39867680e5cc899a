"""A live job as a row of a list, and whether it is one that is looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.errors import BadCall
from conveyor.monitor.jobs import INDEXES, read_progress
from conveyor.monitor.lease import read_lease
from conveyor.monitor.previews import error, preview, state
from conveyor.monitor.tries import counted
from conveyor.wire import control_messages
from conveyor.wire.call import ITEM_WORD
from conveyor.wire.redaction import MORE

if TYPE_CHECKING:
    from conveyor.store.commands import Row
    from conveyor.wire.redaction import LabelsOf

#: Characters of what is searched for.
_SEARCH_ROOM = 200
#: Characters of a job's arguments in which is searched.
SEARCHED = 2048


class JobRow(NamedTuple):
    """A live job in a list."""

    id: str
    queue: str
    state: str
    task: str
    """`?` where the job's bytes are no job; empty for a plain item."""
    arguments: str
    """As text, shortened."""
    put_at: float | None
    """Seconds since 1970 by the producer's clock; None where the job is long."""
    due_at: float | None
    """When a delayed job is due, by the server's clock."""
    since: float | None
    """When a running job was claimed, or a dead one died, by the server's clock."""
    worker: str
    retries: int
    crashes: int
    attempt: int
    """Which attempt it is at, waits for or died of, from 1."""
    progress: control_messages.Progress | None
    size: int
    """Bytes of the job."""
    kind: str
    """Of a dead job the type of the error."""
    message: str


class Wanted(NamedTuple):
    """What a search is for; all that is given must hold, and what is empty always does."""

    task: str = ""
    """How the task's name begins; `item` for plain items."""
    worker: str = ""
    """How the worker's name begins, whole or short."""
    text: str = ""
    """Stands in the id, the task's name, the arguments as people may see them (of a long job in what is shown of its
    first 2,048 bytes), or the error; upper or lower case. What is hidden is not found."""

    def checked(self) -> Wanted:
        """Give back what may be searched for; raises BadCall where it is too long."""
        if any(len(text) > _SEARCH_ROOM for text in self):
            message = f"what is searched for has at most {_SEARCH_ROOM} characters"
            raise BadCall(message)
        return self


class Source(NamedTuple):
    """Of what the rows are that are read."""

    queue: str
    where: str
    labels_of: LabelsOf


def is_wanted(row: JobRow, raw: Row, wanted: Wanted, labels_of: LabelsOf) -> bool:
    """Tell whether a job is as wanted; `labels_of` as in `stories.story`."""
    text = wanted.text.lower()
    return (
        (row.task or ITEM_WORD).startswith(wanted.task)
        and (
            row.worker.startswith(wanted.worker)
            or control_messages.short_name(row.worker).startswith(wanted.worker)
        )
        and (
            not text
            or text in f"{row.id}\n{row.task}\n{row.kind}\n{row.message}\n{row.arguments}".lower()
            or (MORE in row.arguments and text in preview(raw.data, raw.size, labels_of, SEARCHED)[1].lower())
        )
    )


def row_of(of: Source, raw: Row) -> JobRow:
    """Give the row of an entry of an index."""
    index = of.where
    shown, score = preview(raw.data, raw.size, of.labels_of), float(raw.score)
    lease = read_lease(raw.lease)
    tries = counted(raw.tries.decode(errors="replace"), state(raw.reason))
    since = score / 1000 if index == "dead" else None
    if index == "leased":
        since = lease.since
    kind, message = error(raw.reason) if raw.reason else ("", "")
    return JobRow(
        *(raw.id, of.queue, index, *shown),
        due_at=(score - raw.shift) / 1000 if index == "delayed" else None,
        since=since,
        worker=lease.owner,
        retries=tries.retries,
        crashes=tries.crashes,
        attempt=tries.attempt,
        progress=read_progress(raw.progress),
        size=raw.size,
        kind=kind,
        message=message,
    )


def index_of(named: str) -> str:
    """Give the index of the jobs in a state; raises BadCall where there is none."""
    index = INDEXES.get(named, named)
    if index not in INDEXES.values():
        message = f"{named!r:.80} is none of {', '.join(INDEXES)}"
        raise BadCall(message)
    return index
