"""Commands on what is kept for people: progress, log lines, history, dead jobs, the audit trail, bulk operations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.errors import BadCall
from conveyor.store import commands, keys, scripts
from conveyor.store.command import Command, readable, texts
from conveyor.store.query import Query
from conveyor.wire.call import decode_call
from conveyor.wire.codec import try_decode
from conveyor.wire.statistics import read_figure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Entries that one command reads.
MAX_ENTRIES = 1000
#: Max bytes of a line that a job logs; longer lines are cut. Lines that are kept of a job, roughly.
MAX_LINE, MAX_LINES = 8192, 1000
#: Characters of the name of a line's level.
MAX_LEVEL = 20
#: Seconds that a log is kept after its last line.
LOG_KEEP = 3600
#: Max bytes of a step's result that is shown.
MAX_STEP_SHOWN = 500
#: Max bytes of a job that is read for its time.
MAX_READ = 1 << 16
#: Audit entries that are kept; the server drops the oldest in chunks of about a hundred.
MAX_AUDIT_ENTRIES = 10_000
#: Pairs of action and outcome that are counted separately; further ones count as `other`.
MAX_COUNTED = 200
#: Acknowledgements that are read with one page of the audit trail, which limits its cost.
MAX_ACKNOWLEDGEMENTS = 500
#: Seconds that a bulk operation is remembered, and how many are.
OPERATION_KEEP, MAX_OPERATIONS = 7 * 86400, 1000
#: Seconds that the last speedup experiment is kept.
SPEEDUP_KEEP = 30 * 86400
#: Seconds that an idempotency key is remembered.
REQUEST_KEEP = 86400
_ENTRY_ID = re.compile(r"\d{1,19}-\d{1,19}", re.ASCII)


# --- what running jobs report


def set_progress(queue: str, items: Sequence[tuple[str, bytes]]) -> Command:
    """Set the progress of running jobs; that of finished jobs is dropped."""
    words: list[Any] = [2, keys.key(queue, "progress"), keys.key(queue, "leases")]
    for item in items:
        words += item
    return Command(tuple(words), scripts.load_plain("progress"))


def progress(queue: str, ids: Sequence[str]) -> Command:
    """Read the latest progress of jobs. Reply: bytes of each, or None."""
    return Command(("HMGET", keys.key(queue, "progress"), *ids))


def log(  # noqa: PLR0913 - one for each field, most of them by name
    queue: str,
    job_id: str,
    text: str,
    *,
    level: str = "",
    attempt: int = 0,
    number: int = 0,
    age: float = 0.0,
) -> list[Command]:
    """Append a line to a job's log: a thousand lines of at most 8 KB each, until an hour after the last.

    `number` counts the lines of an attempt, and `age` is how many seconds ago it was logged.
    """
    key = keys.key(queue, f"log:{job_id}")
    line = text[:MAX_LINE].encode(errors="backslashreplace")
    if len(text) > MAX_LINE or len(line) > MAX_LINE:
        line = line[: MAX_LINE - 3].decode(errors="ignore").encode() + "…".encode()
    words: tuple[Any, ...] = ("XADD", key, "MAXLEN", "~", MAX_LINES, "*", "line", line)
    if attempt:
        name = level[:MAX_LEVEL].encode(errors="backslashreplace")
        words += ("level", name, "attempt", attempt, "number", number, "age", round(age * 1000))
    return [Command(words), Command(("EXPIRE", key, LOG_KEEP))]


# --- what the steps of a job have kept


def step_fields(queue: str, job_id: str) -> Command:
    """List the fields that the steps of a job have kept, such as `step charge`."""
    return Command(("HKEYS", keys.key(queue, f"steps:{job_id}")), read=texts)


def kept_step(queue: str, job_id: str, field: str) -> Command:
    """Read a value that the steps of a job have kept. Reply: bytes, or None."""
    return Command(
        ("HGET", keys.key(queue, f"steps:{job_id}"), field),
        read=lambda reply: None if reply is None else reply.partition(b" ")[2],
    )


class KeptStep(NamedTuple):
    """What a field of a job's steps has kept: its number in their order, its size, and its value if that is small."""

    field: str
    number: int
    size: int
    data: bytes


def steps(queue: str, job_id: str) -> Command:
    """Read what the steps of a job have kept. Reply: `KeptStep` of each, in their order."""

    def read(reply: Sequence[Any]) -> list[KeptStep]:
        rows = zip(*[iter(reply)] * 4, strict=True)
        found = [KeptStep(readable(field), number, size, data) for field, number, size, data in rows]
        return sorted(found, key=lambda one: one.number)

    words = (1, keys.key(queue, f"steps:{job_id}"), MAX_STEP_SHOWN)
    return Command(words, scripts.load_plain("steps"), read)


# --- streams: log lines and the history


class Entry(NamedTuple):
    """An entry of a stream: its id, which also orders it in time, its first field, and the others."""

    id: str
    field: str
    data: bytes
    others: dict[str, bytes] = {}  # noqa: RUF012 - nobody changes it

    @property
    def at(self) -> float:
        """When it was written: seconds since 1970, by the server's clock."""
        return int(self.id.partition("-")[0]) / 1000


def checked_entry(text: str) -> str:
    """Return the id of a stream's entry, or "". Raises BadCall if it is invalid."""
    if text and not _ENTRY_ID.fullmatch(text):
        raise BadCall(
            f"invalid entry id {text!r:.80}", hint="use the id of an entry, such as 1700000000000-0"
        )
    return text


def place_of(entry: str) -> tuple[int, int]:
    """Return the sort key of an entry id in its stream; "" comes before all. Raises BadCall if it is invalid."""
    moment, _, number = checked_entry(entry).partition("-")
    return (int(moment), int(number)) if entry else (-1, 0)


def history(queue: str, before: str = "", count: int = MAX_ENTRIES) -> Command:
    """Read the history before the entry `before`. Reply: `Entry`, the newest first."""
    words = ("XREVRANGE", keys.key(queue, "history"), f"({before}" if before else "+", "-", "COUNT", count)
    return Command(words, read=_entries)


def last_lines(queue: str, job_id: str, count: int) -> Command:
    """Read the last lines of a job's log. Reply: `Entry`, the oldest first."""
    words = ("XREVRANGE", keys.key(queue, f"log:{job_id}"), "+", "-", "COUNT", count)
    return Command(words, read=lambda reply: _entries(reply)[::-1])


def lines_after(queue: str, job_id: str, after: str, count: int) -> Command:
    """Read lines of a job's log after the entry `after`, or from the first. Reply: `Entry`, the oldest first."""
    words = ("XRANGE", keys.key(queue, f"log:{job_id}"), f"({after}" if after else "-", "+", "COUNT", count)
    return Command(words, read=_entries)


def _entries(reply: Sequence[Any]) -> list[Entry]:
    return [
        Entry(
            entry.decode(),
            readable(fields[0]),
            fields[1],
            dict(zip(map(readable, fields[2::2]), fields[3::2], strict=False)),
        )
        for entry, fields in reply
        if fields and len(fields) > 1
    ]


# --- single jobs, and the indexes they are in


def attempts(queue: str, job_id: str) -> Command:
    """Read a job's attempts. Reply: bytes of each, the oldest first."""
    return Command(("LRANGE", keys.key(queue, f"attempts:{job_id}"), 0, -1))


def has_attempts(queue: str, job_id: str) -> Command:
    """Check if a job has attempts that are kept. Reply: bool."""
    return Command(("EXISTS", keys.key(queue, f"attempts:{job_id}")), read=bool)


def cancellation(queue: str, job_id: str) -> Command:
    """Read who cancelled a job and why. Reply: bytes, or None if unknown."""
    return Command(("GET", keys.key(queue, f"cancel:{job_id}")))


def knows(queue: str, job_id: str) -> list[Command]:
    """Check if the queue has the job, and if it remembers it."""
    named = (keys.key(queue, f"{name}:{job_id}") for name in ("outcome", "attempts", "log"))
    return [
        Command(("HEXISTS", keys.key(queue, "jobs"), job_id), read=bool),
        Command(("EXISTS", *named), read=bool),
    ]


def fields(queue: str, name: str, ids: Sequence[str]) -> Command:
    """Read one of the queue's hashes for some ids. Reply: bytes of each, or None."""
    return Command(("HMGET", keys.key(queue, name), *ids))


def page(queue: str, index: str, first: int, last: int) -> Command:
    """List an index (ready, delayed, leased, dead) from position `first` to `last`. Reply: ids and scores."""
    words = ("ZRANGE", keys.key(queue, index), first, last, "WITHSCORES")
    return Command(words, read=lambda reply: _scored(map(readable, reply)))


def span(queue: str, index: str, bounds: tuple[float, float], first: int, count: int) -> Command:
    """List jobs of an index with scores within bounds, both included, from position `first`. Reply: ids and scores."""
    low, high = map(repr, bounds)
    words = ("ZRANGEBYSCORE", keys.key(queue, index), low, high, "WITHSCORES", "LIMIT", first, count)
    return Command(words, read=lambda reply: _scored(texts(reply)))


def _scored(reply: Iterable[str]) -> list[tuple[str, float]]:
    pairs = iter(reply)
    return [(job, float(score)) for job, score in zip(pairs, pairs, strict=True)]


def scores(queue: str, index: str, ids: Sequence[str]) -> Command:
    """Read the scores of jobs in an index. Reply: a float for each, or None if it is not there."""
    return Command(
        ("ZMSCORE", keys.key(queue, index), *ids),
        read=lambda reply: [None if score is None else float(score) for score in reply],
    )


def count_upto(queue: str, index: str, score: float) -> Command:
    """Count the jobs of an index with at most this score."""
    return Command(("ZCOUNT", keys.key(queue, index), "-inf", repr(score)))


def highest(queue: str, index: str) -> Command:
    """Read the highest score in an index. Reply: a float, minus infinity if it is empty."""
    return Command(
        ("ZREVRANGE", keys.key(queue, index), 0, 0, "WITHSCORES"),
        read=lambda reply: float(reply[1]) if reply else float("-inf"),
    )


def due_shift(queue: str) -> Command:
    """Read by how much the clock for delays is ahead of the server's. Reply: ms, or None if no job was ever delayed."""
    return Command(("HGET", keys.key(queue, "meta"), "due_shift"), read=lambda reply: reply and int(reply))


def set_due_shift(queue: str, shift: int) -> Command:
    """Set by how many ms the clock for delays is ahead of the server's. It must not go back."""
    return Command(("HSET", keys.key(queue, "meta"), "due_shift", shift))


def sequence(queue: str) -> Command:
    """Read the sequence number of the last job accepted."""
    return Command(("HGET", keys.key(queue, "meta"), "sequence"), read=lambda reply: int(reply or 0))


def memory(queue: str, index: str) -> Command:
    """Estimate the bytes that one of a queue's keys takes; 0 if it does not exist."""
    return Command(
        ("MEMORY", "USAGE", keys.key(queue, index), "SAMPLES", 5), read=lambda reply: int(reply or 0)
    )


def waiting_count(queues: Sequence[str]) -> Query[int]:
    """Count the waiting jobs of all these queues together, without those of paused queues."""
    sent: list[Command] = []
    for queue in queues:
        sent += (
            Command(("ZCARD", keys.key(queue, "ready"))),
            Command(("HGET", keys.key(queue, "meta"), "paused"), read=lambda reply: int(reply or 0)),
        )

    def read(replies: Sequence[Any]) -> int:
        pairs = zip(replies[::2], replies[1::2], strict=True)
        return sum(waiting for waiting, is_paused in pairs if not is_paused)

    return Query(tuple(sent), read)


def oldest_waiting(queues: Sequence[str]) -> Query[dict[str, float | None]]:
    """When the job at the head of each queue was put, seconds since 1970 by its producer's clock.

    None if no job is waiting, or if its bytes are invalid or more than 64 KiB.
    """

    def read(replies: Sequence[Any]) -> dict[str, float | None]:
        return {queue: _put_at(rows) for queue, rows in zip(queues, replies, strict=True)}

    head = commands.RowRange(1, cut=MAX_READ)
    return Query(tuple(commands.rows(queue, "ready", head) for queue in queues), read)


def _put_at(found: commands.Rows) -> float | None:
    if not found.rows or found.rows[0].size > MAX_READ:
        return None
    call = try_decode(decode_call, found.rows[0].data)
    return None if call is None else call.put_at


# --- groups of dead jobs


class GroupSlice(NamedTuple):
    """The dead jobs of one slice with the same failure."""

    fingerprint: str
    jobs: int
    newest: str
    """Id of the one that died last."""
    first_seen: float
    """Time of the first death, seconds since 1970, by the server's clock."""
    last_seen: float


def dead_groups(queue: str, first: int, count: int = MAX_ENTRIES) -> Command:
    """Group dead jobs from position `first` on, the one that died last being 0. Reply: `GroupSlice` of each group."""

    def read(reply: Sequence[Any]) -> list[GroupSlice]:
        return [
            GroupSlice(
                readable(name), number, readable(newest), float(oldest_at) / 1000, float(newest_at) / 1000
            )
            for name, number, newest, newest_at, oldest_at in zip(*[iter(reply)] * 5, strict=True)
        ]

    named = (keys.key(queue, name) for name in ("dead", "groups"))
    return Command((2, *named, first, first + count - 1), scripts.load_plain("groups"), read)


# --- the audit trail


def record(data: bytes, action: str, outcome: str, order: str = "") -> Command:
    """Add an entry to the audit trail and count it, even if the server is full. Reply: the entry's id.

    `action` and `outcome` are words, without spaces. `order` is the id of the control command that it sent.
    """
    counted = (f"{action} {outcome}", f"other {outcome}", MAX_COUNTED)
    words = (2, keys.AUDIT, keys.ACTS, data, MAX_AUDIT_ENTRIES, *counted, order)
    return Command(words, scripts.load_plain("record"), read=lambda reply: reply.decode())


def audit_counts() -> Command:
    """Count all actions ever taken. Reply: numbers by action and outcome, without invalid ones."""

    def read(reply: Sequence[bytes]) -> dict[tuple[str, str], int]:
        found = {}
        for field, count in zip(reply[::2], reply[1::2], strict=True):
            action, _, outcome = readable(field).partition(" ")
            figure = read_figure(readable(count))
            if figure is not None:
                found[action, outcome] = figure
        return found

    return Command(("HGETALL", keys.ACTS), read=read)


def audit_entries(before_id: str, count: int) -> Command:
    """Read the audit trail before an id, or from the newest entry. The newest comes first.

    Reply for each entry: its id, its bytes, the last acknowledgement of each target of its control command, and the
    number of targets whose acknowledgements are left out. An entry whose acknowledgements would exceed
    MAX_ACKNOWLEDGEMENTS for all comes without any.
    """

    def read(reply: Sequence[Any]) -> list[tuple[str, bytes, dict[str, str], int]]:
        return [(name.decode(), data, _by_name(words), unread) for name, data, unread, *words in reply]

    end = f"({before_id}" if before_id else "+"
    words = (1, keys.AUDIT, end, count, keys.ANSWERS, MAX_ACKNOWLEDGEMENTS)
    return Command(words, scripts.load_plain("trail"), read=read)


def _by_name(words: Sequence[bytes]) -> dict[str, str]:
    pairs = map(readable, words)
    return dict(zip(pairs, pairs, strict=True))


# --- bulk operations, and requests


def keep_operation(operation: str, data: bytes, started: float) -> Command:
    """Save the state of a bulk operation, even if the server is full."""
    names = (keys.operation_key(operation), keys.OPERATIONS)
    rest = (data, OPERATION_KEEP, started, operation, MAX_OPERATIONS)
    return Command((2, *names, *rest), scripts.load_plain("keep"))


def operations(first: int, count: int) -> Command:
    """List bulk operations. Reply: their ids, the last started first."""
    return Command(
        ("ZREVRANGE", keys.OPERATIONS, first, first + count - 1),
        read=lambda reply: [readable(name) for name in reply],
    )


def operation_states(names: Sequence[str]) -> Command:
    """Read the states of bulk operations. Reply: bytes of each, or None if it is forgotten."""
    return Command(("MGET", *(keys.operation_key(name) for name in names)))


def stop_operation(operation: str) -> Command:
    """Request a bulk operation to stop after its current chunk, even if the server is full."""
    return Command((1, keys.stop_key(operation), "1", OPERATION_KEEP), scripts.load_plain("keep"))


def unstop_operation(operation: str) -> Command:
    """Withdraw the request to stop."""
    return Command(("DEL", keys.stop_key(operation)))


def is_stopped(operation: str) -> Command:
    """Check if a bulk operation was requested to stop."""
    return Command(("EXISTS", keys.stop_key(operation)), read=bool)


def keep_request(name: str, request: str) -> Command:
    """Save what an idempotency key is used for, unless it was used before. Reply: its earlier use, or None.

    Sent twice, it returns its own string.
    """
    words = ("SET", keys.request_key(name), request, "NX", "GET", "EX", REQUEST_KEEP)
    return Command(words, read=lambda reply: None if reply is None else reply.decode())


# --- the last speedup experiment


def keep_speedup(data: bytes) -> Command:
    """Keep the last speedup experiment."""
    return Command(("SET", keys.SPEEDUP, data, "EX", SPEEDUP_KEEP))


def speedup() -> Command:
    """Read the last speedup experiment. Reply: bytes, or None."""
    return Command(("GET", keys.SPEEDUP))
