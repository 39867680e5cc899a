"""Bulk operations: retry, discard, cancel or purge many jobs, in chunks, so that the server stays responsive.

The jobs of an operation are fixed when it begins: those that are dead then, or the waiting ones accepted by then. So a
job that dies again or is put meanwhile is not affected. The state of an operation is stored on the server after every
chunk, so any process can show, stop or resume it. The cursor in an index is a score and an id, not a position, so jobs
that come and go meanwhile shift nothing.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from conveyor import clock
from conveyor.errors import BadCall, ConveyorError, StoreError, StoreUnavailable
from conveyor.job import cancel_jobs
from conveyor.monitor import audit
from conveyor.monitor.job_data import read_call
from conveyor.store import commands, records
from conveyor.store.outbox import deliver_soon
from conveyor.store.query import Query, known
from conveyor.wire import audit_entry, ids
from conveyor.wire.audit_entry import (
    KINDS,
    STALLED_AFTER,
    AuditEntry,
    Cursor,
    Matching,
    Operation,
    decode_operation,
)
from conveyor.wire.call import KEEP
from conveyor.wire.codec import try_decode
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from conveyor.store import Client
    from conveyor.wire.audit_entry import Operation

    Rows = list[tuple[str, float]]


#: Jobs whose bytes are read by one command: each may have a megabyte.
MAX_READ = 50
#: From one base of scores in `ready` to the next, of priorities and of a `PriorityQueue`'s keys. A score is a base plus
#: the sequence number of the put, or minus it for jobs put at the front.
LEVEL, KEY_LEVEL = 1 << 45, 1 << 32
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
            cursor = Cursor("deferred" if count.deferred else "ready", float(last))
    else:
        last, count = client.run_all([records.sequence(queue), commands.count(queue)])
        cursor, total = Cursor("deferred", float(last)), count.qsize
        if not count.deferred:
            cursor = _delayed_cursor(client, queue, cursor.place)
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

    Delayed jobs come first, before they are due: `place` counts them down, `score` is where the others end. Deferred
    ones are next, or they would become ready behind that.
    """
    cursor = operation.cursor
    most = min(chunk, cursor.place) if cursor.index == "delayed" else chunk
    moved = client.run(commands.purge(operation.queue, cursor.index, most, _CANCELLED, KEEP, cursor.upto))
    client.perform(deliver_soon(operation.queue))  # jobs of other queues may come after them
    done = operation.done + moved
    if cursor.index == "delayed":
        cursor = replace(cursor, place=cursor.place - moved)
        if moved == 0 or cursor.place == 0:
            cursor = Cursor("deferred", cursor.score)
    elif cursor.index == "deferred" and moved == 0:
        cursor = Cursor("ready", cursor.upto)
    elif moved == 0 or done >= operation.total:
        cursor = Cursor()
    return replace(operation, done=done, cursor=cursor, state="running" if cursor.index else "done")


def _named(client: Client, operation: Operation, chunk: int) -> tuple[Rows, Cursor]:
    """Return the next named jobs that are in the indexes of the operation, and the cursor after them."""
    cursor, wanted = operation.cursor, operation.matching.ids
    ids = wanted[cursor.place : cursor.place + chunk]
    indexes = ("dead",) if cursor.index == "dead" else ("ready", "deferred", "delayed")
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
    is_in_order = cursor.index in {"ready", "deferred"}
    high = 255 * LEVEL + cursor.upto if is_in_order else cursor.upto
    rows, more = _after(client, queue, cursor, high, chunk)
    if is_in_order:
        for place, (_, score) in enumerate(rows):
            first, last, following = _span(score, cursor.upto)
            if not first <= score <= last:  # this one was put later, and so were the others up to `start`
                start = first if score < first else following
                return rows[:place], replace(cursor, score=start, last="")
    if more:
        return rows, replace(cursor, last=rows[-1][0], score=rows[-1][1])
    if cursor.index == "deferred":
        return rows, _delayed_cursor(client, queue, cursor.place)
    if cursor.index == "delayed":
        return rows, _ready_cursor(client, queue, cursor.place)
    return rows, replace(cursor, index="")


def _span(score: float, upto: float) -> tuple[float, float, float]:
    """Return the first and the last score of a priority or key up to a sequence number, and where the next begins.

    `score` is one of its scores. The scripts compute the same in `base_of`.
    """
    if score < -LEVEL / 2:
        base = score // KEY_LEVEL * KEY_LEVEL
        return base, base + min(upto, KEY_LEVEL - 1), base + KEY_LEVEL
    base = (score + LEVEL / 2) // LEVEL * LEVEL
    return base - upto, base + upto, base + LEVEL / 2


def _after(client: Client, queue: str, cursor: Cursor, high: float, chunk: int) -> tuple[Rows, bool]:
    """Return the jobs after the cursor, and True if there may be more. Many may have the score of the last one."""
    first = 0
    while True:
        rows: Rows = client.run(records.span(queue, cursor.index, (cursor.score, high), first, chunk))
        fresh = [row for row in rows if (row[1], row[0]) > (cursor.score, cursor.last)]
        if fresh or len(rows) < chunk:
            return fresh, len(rows) == chunk
        first += chunk


def _delayed_cursor(client: Client, queue: str, place: int) -> Cursor:
    """Return the cursor of the jobs that are delayed now, or of the waiting ones if there are none."""
    due = client.run(records.highest(queue, "delayed"))
    return Cursor("delayed", due, place=place) if due > 0 else _ready_cursor(client, queue, place)


def _ready_cursor(client: Client, queue: str, place: int) -> Cursor:
    """Return the cursor of the waiting jobs that have been accepted by now.

    It is made after the deferred and delayed jobs are done: those that became ready meanwhile are behind the others.
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


#: Jobs of one chunk, 1,000 at most, and seconds between two chunks, in which the server serves others.
CHUNK, PAUSE, MAX_CHUNK = 500, 0.05, 1000
#: Ids, and queues, that one operation can name.
MAX_IDS, MAX_QUEUES = 1000, 1000
#: Operations that one query lists, and that one runner accepts.
MAX_LISTED, MAX_PENDING = 200, 100
ALL_JOBS = Matching()
_ACTIONS = {"retry": "retry_jobs", "discard": "discard_jobs", "cancel": "cancel_jobs", "purge": "purge_queue"}
_log = logging.getLogger("conveyor")


def begin(client: Client, wanted: Operation) -> Operation:
    """Return the operation with an id and its jobs fixed, stored on the server. Changes no job yet.

    Raises BadCall for an invalid combination of kind and filter.
    """
    _check(wanted)
    now: float = client.run(commands.server_time())
    cursor, total = first_cursor(client, wanted, now)
    begun = replace(wanted, id=ids.unique(), cursor=cursor, total=total, started=now, changed=now)
    return save(client, begun)


def run(
    client: Client, operation: Operation, chunk: int = CHUNK, pause: float = PAUSE
) -> Generator[Operation, None, None]:
    """Run an operation that was begun or resumed; yield its state after each chunk.

    Ends once it is done or stopped; closing the generator, or Ctrl-C, stops it, too. If the server refuses a command,
    the operation has failed, and the error is raised. If the server is unavailable, StoreUnavailable is raised and the
    operation stays as it was. `resume` continues after any of these. If two processes run the same operation, only its
    counts are wrong. If a process crashes, the jobs of its last chunk may be missing in the counts.
    """
    chunk = max(1, min(chunk, MAX_CHUNK))
    try:
        while operation.state == "running":
            operation = _step(client, operation, chunk)
            yield operation
            if operation.state == "running":
                clock.sleep(pause)
    except (GeneratorExit, KeyboardInterrupt):
        if operation.state == "running":
            _end(client, operation, "stopped")
        raise
    except StoreUnavailable:
        raise
    except ConveyorError as error:
        with contextlib.suppress(StoreError):
            _end(client, operation, "failed", str(error))
        raise


def stop(client: Client, operation_id: str) -> Operation:
    """Request that an operation stops after its current chunk, and return it. Raises BadCall if it is unknown.

    A stalled one stops immediately.
    """
    found = load(client, operation_id)
    if found.state == "running":
        # Request it of a stalled one, too: its process may only be slow.
        client.run(records.stop_operation(operation_id))
        if found.stalled(client.run(commands.server_time())):
            return _end(client, found, "stopped")
    return found


def resume(client: Client, operation_id: str, stalled_after: float = STALLED_AFTER) -> Operation:
    """Return a stopped, failed or stalled operation in state running again, for `run`.

    Raises BadCall if it is unknown, done, or made progress within the last `stalled_after` seconds.
    """
    found = load(client, operation_id)
    now: float = client.run(commands.server_time())
    if found.state == "done":
        message = f"operation {operation_id} is done"
        raise BadCall(message)
    if found.state == "running" and now - found.changed <= stalled_after:
        message = f"operation {operation_id} is running"
        hint = f"wait for its end, or until it has made no progress for {stalled_after:g} s"
        raise BadCall(message, hint=hint)
    client.run(records.unstop_operation(operation_id))
    return save(client, replace(found, state="running", changed=now, error=""))


def load(client: Client, operation_id: str) -> Operation:
    """Return an operation from the server. Raises BadCall if it is unknown."""
    data = client.run(records.operation_states([operation_id]))[0]
    if data is None:
        message = f"unknown operation {operation_id!r:.80}"
        raise BadCall(
            message, hint=f"use the id of an operation of the last {records.OPERATION_KEEP // 86400} days"
        )
    return decode_operation(data)


def save(client: Client, operation: Operation) -> Operation:
    """Save the state of an operation on the server, and return the operation."""
    client.run(records.keep_operation(operation.id, audit_entry.encode(operation), operation.started))
    return operation


def operation_names(first: int = 0, count: int = 50) -> Query[list[str]]:
    """Return the ids of up to 200 operations, the one that began last first; some may be forgotten."""
    count = max(1, min(count, MAX_LISTED))
    return Query((records.operations(first, count),), lambda replies: list(replies[0]))


def operations(names: Sequence[str]) -> Query[list[Operation]]:
    """Return the state of operations, without forgotten and unreadable ones.

    The state of one without progress for 30 seconds is `stalled`.
    """
    return Query((records.operation_states(names), commands.server_time()), _read) if names else known([])


def audit_entry_of(operation: Operation) -> AuditEntry:
    """Return the audit entry of an operation."""
    narrowed = msgspec.structs.asdict(operation.matching)
    before: dict[str, Any] = {name: value for name, value in narrowed.items() if value}
    if "ids" in before:
        before["ids"] = ", ".join(before["ids"][:20])
    who, origin = operation.who, operation.origin
    action = _ACTIONS.get(operation.kind, operation.kind)
    target = operation.queue
    if operation.queues:
        target = f"{len(operation.queues):,} queues"
        before["queues"] = ", ".join(operation.queues[:20])
    return AuditEntry(
        action, target, operation.queue, operation.reason, before=before, who=who, origin=origin
    )


class OperationRunner:
    """Runs operations one after another in a daemon thread, and keeps pending ones from counting as stalled."""

    def __init__(self, client: Client, *, chunk: int = CHUNK, pause: float = PAUSE) -> None:
        self.client = client
        self._chunk, self._pause = chunk, pause
        self._pending: deque[Operation] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._touched = clock.monotonic()
        self._thread = threading.Thread(target=self._run_all, name="conveyor operations", daemon=True)
        self._thread.start()

    def add(self, begun: Operation) -> bool:
        """Accept an operation that was begun or resumed; return False if 100 are pending, or the runner is closed."""
        with self._changed:
            if self._closed or len(self._pending) >= MAX_PENDING:
                return False
            self._pending.append(begun)
            self._changed.notify()
        return True

    def close(self, timeout: float = 5.0) -> None:
        """Stop the current operation after its chunk; pending ones become stalled."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run_all(self) -> None:
        while (begun := self._next()) is not None:
            try:
                self._run(begun)
            except ConveyorError as error:
                _log.warning("operation %s: %s", begun.id, error)
            except Exception:  # noqa: BLE001 - the thread must run the next one
                _log.exception("operation %s", begun.id)

    def _run(self, begun: Operation) -> None:
        with contextlib.closing(run(self.client, begun, self._chunk, self._pause)) as steps:
            for _ in steps:
                if self._closed:
                    return
                self._touch()

    def _next(self) -> Operation | None:
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closed)
            return None if self._closed else self._pending.popleft()

    def _touch(self) -> None:
        """Update pending operations from time to time, so that they do not count as stalled."""
        if clock.monotonic() - self._touched < STALLED_AFTER / 3:
            return
        self._touched = clock.monotonic()
        now = self.client.run(commands.server_time())
        with self._changed:
            pending = list(self._pending)
        for one in pending:
            save(self.client, replace(one, changed=now))


def _step(client: Client, operation: Operation, chunk: int) -> Operation:
    is_stopped, now = client.run_all([records.is_stopped(operation.id), commands.server_time()])
    if is_stopped:
        return _end(client, operation, "stopped")
    worked = process_chunk(client, replace(operation, changed=now), chunk)
    return _end(client, worked, "done") if worked.state == "done" else save(client, worked)


def _end(client: Client, operation: Operation, state: str, error: str = "") -> Operation:
    ended = save(client, replace(operation, state=state, error=error))
    facts: audit_entry.Facts = {"operation": ended.id, "done": ended.done, "skipped": ended.skipped}
    outcome = f"{state}: {error}" if error else state
    audit.record(client, replace(audit_entry_of(ended), after=facts, outcome=outcome))
    return ended


def _check(wanted: Operation) -> None:
    for queue in wanted.on:
        ids.checked_queue(queue)
    matching = wanted.matching
    message = ""
    if wanted.kind not in KINDS:
        message = f"operation must be one of {', '.join(KINDS)}, got {wanted.kind!r:.80}"
    elif wanted.kind == "purge" and matching != ALL_JOBS:
        message = "purge takes no filter: use cancel for some of the waiting jobs"
    elif wanted.kind == "cancel" and matching.before_score:
        message = "before_score applies to dead jobs only"
    elif wanted.queues and (wanted.queue or wanted.kind not in {"retry", "discard"} or matching.ids):
        message = "an operation on several queues must retry or discard dead jobs, and name no ids"
    elif len(wanted.queues) > MAX_QUEUES:
        message = f"an operation must name at most {MAX_QUEUES:,} queues, got {len(wanted.queues):,}"
    elif len(matching.ids) > MAX_IDS:
        message = f"an operation must name at most {MAX_IDS:,} ids, got {len(matching.ids):,}"
    if message:
        raise BadCall(message)


def _read(replies: Sequence[Any]) -> list[Operation]:
    states, now = replies
    found = filter(None, (try_decode(decode_operation, data) for data in states))
    return [replace(one, state="stalled") if one.stalled(now) else one for one in found]
