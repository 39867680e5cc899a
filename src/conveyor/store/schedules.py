"""Commands on the schedules of a queue, as values, and their replies: as `commands`, of recurring jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.errors import BadCall
from conveyor.store import keys, scripts
from conveyor.store.command import Command, checked, readable, script, word
from conveyor.store.commands import note_queue
from conveyor.store.query import Query
from conveyor.wire.ids import is_queue_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Schedules that one look finds due; the next look finds the others.
MAX_DUE = 16


class Fired(NamedTuple):
    """What a schedule has fired so far."""

    at: float = 0.0
    """The last instant, seconds since 1970; 0 if there was none."""
    job: str = ""
    """The id of its job, or of the last one if the instant was skipped."""
    fired: int = 0
    skipped: int = 0
    """Instants without a job, since an earlier one had not finished."""
    missed: int = 0
    """Instants without a job, since no consumer fired them in time."""
    held: bool = False
    """True if an instant waits until the last job has finished."""


class DueSchedule(NamedTuple):
    """A schedule whose next instant has come."""

    name: str
    at: float
    """That instant, seconds since 1970."""
    definition: bytes
    fired: Fired


class DueReply(NamedTuple):
    """The server's time, the seconds until the next instant (None without one), and what is due."""

    now: float
    wait: float | None
    due: list[DueSchedule]


class StoredSchedule(NamedTuple):
    """A schedule as the server keeps it."""

    name: str
    module: str
    """The module that declares it, or "" if it was added at run time."""
    definition: bytes
    at: float | None
    """The next instant, seconds since 1970, or None if it is paused."""
    fired: Fired


class Entry(NamedTuple):
    """A schedule to set."""

    name: str
    timing: str
    definition: bytes
    first: float
    """Its first instant, seconds since 1970."""


class Put(NamedTuple):
    """The job of an instant."""

    instant: float
    id: str
    data: bytes
    delay: float


class How(NamedTuple):
    """How the jobs of a schedule are put, and how many of its instants have none."""

    overlap: str = "allow"
    priority: int = 0
    skipped: int = 0
    missed: int = 0


def schedule(queue: str, module: str, start: float, entries: Iterable[Entry]) -> Command:
    """Set one schedule at run time (module ""), or replace those that a module declares. Reply: OK or STALE.

    `start` is when the consumer that declares them has started, by the server's clock. Raises BadCall if a module
    declares the one to set, or if there are too many.
    """

    def read(reply: Sequence[Any]) -> str:
        answer = checked(reply[0].decode())
        if answer == "TAKEN":
            raise BadCall(
                f"the schedule {reply[1].decode()} of {queue} is defined in code",
                hint="change it there, pause it, or use another name",
            )
        if answer == "MANY":
            raise BadCall(f"the queue {queue} would have more than 1,000 schedules")
        return answer

    words: list[Any] = [module, _exact(start)]
    for one in entries:
        words += (one.name, one.timing, one.definition, _exact(one.first))
    return script("schedule", queue, *words, read=read)


def reschedule(queue: str, name: str, action: str, first: float = 0.0) -> Command:
    """Pause, resume or remove a schedule; `first` is the next instant then. Reply: OK, SAME or GONE."""
    return script("reschedule", queue, name, action, _exact(first))


def due(queue: str, skip: int = 0) -> Command:
    """Find at most MAX_DUE schedules that are due, without the first `skip`. Reply: `DueReply`."""

    def read(reply: Sequence[Any]) -> DueReply:
        now, wait, *parts = reply
        found = [
            DueSchedule(name.decode(), int(at) / 1000, _definition(text), read_fired(fired))
            for name, at, text, fired in zip(*[iter(parts)] * 4, strict=True)
        ]
        return DueReply(int(now) / 1000, None if wait < 0 else wait / 1000, found)

    return script("due", queue, MAX_DUE, skip, read=read)


def fire(queue: str, due: DueSchedule, following: float | None, puts: Iterable[Put], how: How) -> Command:
    """Put the jobs of a schedule that is due. Reply: OK, or why nothing was put: STALE, HELD, FULL or SHUT."""
    words: list[Any] = [due.name, _exact(due.at), "" if following is None else _exact(following), *how]
    for one in puts:
        words += (_exact(one.instant), one.id, one.data, _exact(one.delay))
    return script("fire", queue, *words, read=word)


def note_scheduled(queue: str) -> Command:
    """Add the queue's name to the list of those that have schedules."""
    return Command((1, keys.SCHEDULED, queue), scripts.load_plain("note"))


def scheduled_queues() -> Command:
    """List the queues that have, or had, schedules. Reply: their names, sorted."""
    return Command(
        ("SMEMBERS", keys.SCHEDULED), read=lambda reply: sorted(filter(is_queue_name, map(readable, reply)))
    )


def scheduled_among(queues: Sequence[str]) -> Command:
    """Check which of these queues have, or had, schedules. Reply: their names, or none if that is forbidden."""

    def read(reply: Sequence[int] | None) -> list[str]:
        return [queue for queue, is_one in zip(queues, reply or (), strict=False) if is_one]

    return Command(("SMISMEMBER", keys.SCHEDULED, *queues), read=read, optional=True)


def declared(queue: str) -> Command:
    """Read which modules have declared schedules. Reply: module -> start of the consumer that did so last, seconds."""

    def read(reply: Sequence[bytes]) -> dict[str, float]:
        return {
            readable(name): int(start) / 1000 for name, start in zip(reply[::2], reply[1::2], strict=True)
        }

    return Command(("HGETALL", keys.key(queue, "declared")), read=read)


def setting(queue: str, module: str, start: float, entries: Sequence[Entry]) -> list[Command]:
    """Set schedules as `schedule` does, and note the names of the queue."""
    # The names first: a schedule whose queue is not listed would be found by no one.
    return [note_scheduled(queue), note_queue(queue), schedule(queue, module, start, entries)]


def stored(queue: str) -> Query[list[StoredSchedule]]:
    """Read all schedules of a queue, sorted by name."""

    def read(replies: Sequence[Any]) -> list[StoredSchedule]:
        texts, instants, fired = replies
        at = dict(zip(instants[::2], instants[1::2], strict=True))
        records = dict(zip(fired[::2], fired[1::2], strict=True))
        return sorted(
            StoredSchedule(
                readable(name),
                readable(text.partition(b"\n")[0]),
                _definition(text),
                None if name not in at else float(at[name]) / 1000,
                read_fired(records.get(name, b"")),
            )
            for name, text in zip(texts[::2], texts[1::2], strict=True)
        )

    return Query(
        (
            Command(("HGETALL", keys.key(queue, "schedules"))),
            Command(("ZRANGE", keys.key(queue, "instants"), 0, -1, "WITHSCORES")),
            Command(("HGETALL", keys.key(queue, "fired"))),
        ),
        read,
    )


def stored_one(queue: str, name: str) -> Query[StoredSchedule | None]:
    """Read one schedule, or None if there is none of that name."""

    def read(replies: Sequence[Any]) -> StoredSchedule | None:
        text, at, fired = replies
        if text is None:
            return None
        module = readable(text.partition(b"\n")[0])
        next_at = None if at is None else float(at) / 1000
        return StoredSchedule(name, module, _definition(text), next_at, read_fired(fired or b""))

    return Query(
        (
            Command(("HGET", keys.key(queue, "schedules"), name)),
            Command(("ZSCORE", keys.key(queue, "instants"), name)),
            Command(("HGET", keys.key(queue, "fired"), name)),
        ),
        read,
    )


def schedule_clock(queue: str) -> Query[float]:
    """Read the clock of a queue's schedules, seconds since 1970: the server's, unless a test has set it ahead."""

    def read(replies: Sequence[Any]) -> float:
        (seconds, microseconds), ahead = replies
        return int(seconds) + int(microseconds) / 1e6 + int(ahead or 0) / 1000

    return Query((Command(("TIME",)), Command(("HGET", keys.key(queue, "meta"), "ahead"))), read)


def set_ahead(queue: str, seconds: float) -> Command:
    """Set the clock of a queue's schedules ahead of the server's, by so much more. For tests."""
    return Command(("HINCRBY", keys.key(queue, "meta"), "ahead", _exact(seconds)))


def read_fired(data: bytes) -> Fired:
    """Read what a schedule has fired."""
    try:
        at, job, fired, skipped, missed, held = readable(data).split()
        job = "" if job == "-" else job
        return Fired(int(at) / 1000, job, int(fired), int(skipped), int(missed), held == "1")
    except ValueError:  # nothing yet, or another program has written it
        return Fired()


def _definition(text: bytes) -> bytes:
    """Return the definition behind the module and the timing."""
    return text.split(b"\n", 2)[-1]


def _exact(seconds: float) -> int:
    """Return a time in whole milliseconds, the nearest: instants are compared."""
    return round(seconds * 1000)
