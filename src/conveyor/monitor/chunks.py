"""One chunk of a bulk operation: the next jobs of its index, those that match, and what is done to them.

The cursor in an index is a score and an id, not a position, so jobs that come and go meanwhile shift nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from conveyor.job import cancel_jobs
from conveyor.monitor.job_data import read_call
from conveyor.store import commands, records
from conveyor.wire.audit_entry import Cursor
from conveyor.wire.call import KEEP
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store import Client
    from conveyor.wire.audit_entry import Matching, Operation

    Rows = list[tuple[str, float]]

#: Jobs whose bytes are read by one command: each may have a megabyte.
MAX_READ = 50
#: In `ready` a score is (255 - priority) times this, plus the sequence number of the put.
LEVEL = 1 << 45
_CANCELLED = encode_settled("cancelled")


def first_cursor(client: Client, operation: Operation, now: float) -> tuple[Cursor, int]:
    """Return where an operation begins, and the number of jobs to examine; `now` is the server's time."""
    queue, matching = operation.queue, operation.matching
    if operation.kind in {"retry", "discard"}:
        newest = client.run_all([records.highest(name, "dead") for name in operation.on])
        upto = max(float(int(now * 1000)), *newest)  # later than now if the server's clock was set back
        if matching.before_score:
            upto = min(upto, matching.before_score - 1)
        total: int = sum(client.run_all([records.count_upto(name, "dead", upto) for name in operation.on]))
        cursor = Cursor("dead", upto)
    elif operation.kind == "purge":
        queries = [records.sequence(queue), records.highest(queue, "delayed"), commands.count(queue)]
        last, due, count = client.run_all(queries)
        cursor, total = Cursor("delayed", due, score=float(last), place=count.delayed), count.qsize
        if not count.delayed:
            cursor = Cursor("ready", float(last))
    else:
        last, count = client.run_all([records.highest(queue, "delayed"), commands.count(queue)])
        cursor, total = Cursor("delayed", last), count.qsize
        if not count.delayed:
            cursor = _ready_cursor(client, queue, cursor.place)
    return cursor, len(matching.ids) or total


def process_chunk(client: Client, operation: Operation, chunk: int) -> Operation:
    """Process the next chunk and return the operation after it, in state done if that was the last."""
    if not operation.queues:
        return _process(client, operation, chunk)
    cursor = operation.cursor
    of_one = replace(operation, queue=operation.queues[cursor.queue], queues=())
    worked = _process(client, of_one, chunk)
    following = cursor.queue + 1
    if worked.state == "done" and following < len(operation.queues):
        worked = replace(worked, state="running", cursor=Cursor("dead", cursor.upto, queue=following))
    return replace(worked, queue=operation.queue, queues=operation.queues)


def _process(client: Client, operation: Operation, chunk: int) -> Operation:
    if operation.kind == "purge":
        return _purge(client, operation, chunk)
    if operation.matching.ids:
        rows, cursor = _named(client, operation, chunk)
        examined = cursor.place - operation.cursor.place
    else:
        rows, cursor = _next(client, operation, chunk)
        examined = len(rows)
    names = _matching(client, operation.queue, operation.matching, [job for job, _ in rows])
    done = _apply(client, operation, names) if names else 0
    return replace(
        operation,
        cursor=cursor,
        done=operation.done + done,
        skipped=operation.skipped + examined - done,
        state="running" if cursor.index else "done",
    )


def _purge(client: Client, operation: Operation, chunk: int) -> Operation:
    """Cancel the jobs that were waiting when the operation began, as active producers could otherwise keep it running.

    Delayed jobs come first, before they are due: `place` counts them down, `score` is where the ready ones end.
    """
    cursor = operation.cursor
    most = min(chunk, cursor.place) if cursor.index == "delayed" else chunk
    moved = client.run(commands.purge(operation.queue, cursor.index, most, _CANCELLED, KEEP, cursor.upto))
    done = operation.done + moved
    if cursor.index == "delayed":
        cursor = replace(cursor, place=cursor.place - moved)
        if moved == 0 or cursor.place == 0:
            cursor = Cursor("ready", cursor.score)
    elif moved == 0 or done >= operation.total:
        cursor = Cursor()
    return replace(operation, done=done, cursor=cursor, state="running" if cursor.index else "done")


def _named(client: Client, operation: Operation, chunk: int) -> tuple[Rows, Cursor]:
    """Return the next named jobs that are in the indexes of the operation, and the cursor after them."""
    cursor, wanted = operation.cursor, operation.matching.ids
    ids = wanted[cursor.place : cursor.place + chunk]
    indexes = ("dead",) if cursor.index == "dead" else ("ready", "delayed")
    found = client.run_all([records.scores(operation.queue, index, ids) for index in indexes])
    rows = []
    for place, job in enumerate(ids):
        scores = [column[place] for column in found if column[place] is not None]
        if scores and (cursor.index != "dead" or scores[0] <= cursor.upto):
            rows.append((job, scores[0]))
    place = cursor.place + len(ids)
    return rows, replace(cursor, place=place, index=cursor.index if place < len(wanted) else "")


def _next(client: Client, operation: Operation, chunk: int) -> tuple[Rows, Cursor]:
    """Return the next jobs of the operation's current index, and the cursor after them."""
    queue, cursor = operation.queue, operation.cursor
    high = 255 * LEVEL + cursor.upto if cursor.index == "ready" else cursor.upto
    rows, more = _after(client, queue, cursor, high, chunk)
    if cursor.index == "ready":
        old = [place for place, (_, score) in enumerate(rows) if score % LEVEL > cursor.upto]
        if old:  # the rest of this priority was put later: continue with the next priority
            level = rows[old[0]][1] // LEVEL + 1
            return rows[: old[0]], replace(cursor, score=level * LEVEL, last="")
    if more:
        return rows, replace(cursor, last=rows[-1][0], score=rows[-1][1])
    if cursor.index == "delayed":
        return rows, _ready_cursor(client, queue, cursor.place)
    return rows, replace(cursor, index="")


def _after(client: Client, queue: str, cursor: Cursor, high: float, chunk: int) -> tuple[Rows, bool]:
    """Return the jobs after the cursor, and True if there may be more. Many may have the score of the last one."""
    first = 0
    while True:
        rows: Rows = client.run(records.span(queue, cursor.index, (cursor.score, high), first, chunk))
        fresh = [row for row in rows if (row[1], row[0]) > (cursor.score, cursor.last)]
        if fresh or len(rows) < chunk:
            return fresh, len(rows) == chunk
        first += chunk


def _ready_cursor(client: Client, queue: str, place: int) -> Cursor:
    """Return the cursor of the waiting jobs that have been accepted by now.

    It is made after the delayed jobs are done, since those that became due meanwhile were accepted into `ready`.
    """
    return Cursor("ready", float(client.run(records.sequence(queue))), place=place)


def _matching(client: Client, queue: str, matching: Matching, names: Sequence[str]) -> list[str]:
    if matching.group and names:
        groups = client.run(records.fields(queue, "groups", names))
        wanted = matching.group.encode()
        names = [name for name, group in zip(names, groups, strict=True) if group == wanted]
    if not matching.task:
        return list(names)
    found = []
    for first in range(0, len(names), MAX_READ):
        some = names[first : first + MAX_READ]
        for job, data in zip(some, client.run(records.fields(queue, "jobs", some)), strict=True):
            call = read_call(data)
            if call is not None and call.task == matching.task:
                found.append(job)
    return found


def _apply(client: Client, operation: Operation, names: Sequence[str]) -> int:
    """Apply the operation to jobs, and return how many it changed."""
    if operation.kind == "cancel":
        states = cancel_jobs(client, operation.queue, names, operation.reason, who=operation.who)
        return sum(state in {"cancelled", "running"} for state in states)
    verb = commands.revive if operation.kind == "retry" else commands.discard
    done: int = client.run(verb(operation.queue, names))
    return done
