"""One function per verb: what to send and how to read the answer, as a value. No input, no output happens here.

Only this module knows the order of KEYS and ARGV. Times are seconds in Python and milliseconds on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from conveyor.errors import DuplicateJob, ShutDown, StoreMismatch
from conveyor.store import keys, scripts
from conveyor.store.answers import (
    Batch,
    Claimed,
    Count,
    Letters,
    PutAnswer,
    PutPlace,
    Renewal,
    Settlement,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [  # noqa: RUF022 - in the order of a job's life
    # values
    "Batch",
    "Claimed",
    "Command",
    "Count",
    "Letters",
    "PutAnswer",
    "PutPlace",
    "Renewal",
    "Settlement",
    "State",
    # jobs come in, are taken, and end
    "put",
    "claim",
    "renew",
    "finish",
    "retry",
    "fail",
    "release",
    "lost",
    "promote",
    "reap",
    # what people do to jobs and to queues
    "cancel",
    "revive",
    "discard",
    "purge",
    "bound",
    "pause",
    "resume",
    "shut",
    # looking and waiting
    "count",
    "state",
    "listen",
    "join",
    "leave",
]

#: Bytes of jobs that one claim brings, and of outcomes that one listen brings.
MOST_BYTES = 1 << 20
PROTOCOL = "1"


@dataclass(frozen=True, slots=True)
class Command:
    """What to send, and how to read the answer. May be sent twice without harm."""

    words: tuple[Any, ...]
    """A plain command; for a script the words after EVALSHA and the hash."""
    script: scripts.Script | None = None
    read: Callable[[Any], Any] = field(default=lambda reply: reply)
    block: float = 0.0
    """Seconds that the server may let us wait."""
    again: tuple[Any, ...] | None = None
    """The words to use when it is sent a second time, where they differ."""


def _script(name: str, queue: str, *args: Any, read: Callable[[Any], Any] | None = None) -> Command:
    words = _words(queue, args)
    return Command(words, scripts.load(name), read or _word)


def _words(queue: str, args: Iterable[Any]) -> tuple[Any, ...]:
    names = keys.queue_keys(queue)
    return (len(names), *names, *args)


def _word(reply: Sequence[bytes]) -> str:
    return _checked(reply[0].decode())


def _number(reply: Sequence[Any]) -> int:
    _checked(reply[0].decode())
    return int(reply[1])


def _checked(word: str) -> str:
    if word == "VERSION":
        message = f"this queue was written by another protocol version than {PROTOCOL}"
        raise StoreMismatch(message, hint="use the same version of conveyor for all who share a server")
    return word


def _texts(items: Iterable[bytes]) -> list[str]:
    return [item.decode() for item in items]


def milliseconds(seconds: float) -> int:
    """Give whole milliseconds for the wire."""
    return int(seconds * 1000)


def put(queue: str, jobs: Sequence[tuple[str, bytes]], place: PutPlace) -> Command:
    """(new) -> ready or delayed; answers PutAnswer, raises DuplicateJob or ShutDown."""

    def read(reply: Sequence[Any]) -> PutAnswer:
        word = _checked(reply[0].decode())
        if word == "DUP":
            message = f"a job with the id {reply[1].decode()} is known already"
            raise DuplicateJob(message, hint="use another id, or wait until its outcome is forgotten")
        if word == "SHUT":
            message = f"the queue {queue} was shut down"
            raise ShutDown(message, hint=f"conveyor resume {queue} opens it again")
        return PutAnswer(reply[1], reply[2])

    rest = [place.maxsize, place.priority, milliseconds(place.delay), place.waiter]
    for job in jobs:
        rest += job
    first, again = ("check", "check") if place.own_ids else ("new", "again")
    return Command(
        _words(queue, (first, *rest)), scripts.load("put"), read, again=_words(queue, (again, *rest))
    )


def claim(queue: str, owner: str, nonce: str, want: int, lease: float) -> Command:
    """Ready -> leased, up to `want`; answers a Batch. The same nonce again gives the same batch."""
    return _script("claim", queue, owner, nonce, want, milliseconds(lease), MOST_BYTES, read=_read_batch)


def _read_batch(reply: Sequence[Any]) -> Batch:
    state = _checked(reply[0].decode())
    if state != "OK":
        return Batch(state, wait=reply[1] / 1000 if len(reply) > 1 else 60.0)
    jobs = []
    for place in range(3, len(reply), 3):
        tries = reply[place + 2]
        retries, crashes = map(int, tries.split()[:2]) if tries else (0, 0)
        jobs.append(Claimed(reply[place].decode(), reply[place + 1], retries, crashes))
    return Batch(state, reply[1].decode(), jobs, reply[2])


def renew(queue: str, held: Iterable[tuple[str, str, bool]], lease: float) -> Command:
    """Leased -> leased, later, for each (id, token, started); answers a Renewal."""
    rest: list[Any] = [milliseconds(lease)]
    for job_id, token, started in held:
        rest += (job_id, token, "S" if started else "H")

    def read(reply: Sequence[Any]) -> Renewal:
        lost = int(reply[1])
        return Renewal(_texts(reply[2 : 2 + lost]), _texts(reply[2 + lost :]))

    return _script("renew", queue, *rest, read=read)


def finish(queue: str, token: str, settlements: Iterable[Settlement], counter: str = "finished") -> Command:
    """Leased -> over, a batch under one token; answers the ids that this token does not hold."""
    rest: list[Any] = [token, counter]
    for one in settlements:
        rest += (one.id, one.outcome, milliseconds(one.keep), one.note)
    return _script("finish", queue, *rest, read=lambda reply: _texts(reply[1:]))


def retry(queue: str, token: str, job_id: str, delay: float, note: bytes, attempt: bytes = b"") -> Command:
    """Leased -> delayed, one retry used; answers OK or STALE."""
    return _script("retry", queue, token, job_id, milliseconds(delay), note, attempt)


def fail(queue: str, token: str, settlement: Settlement) -> Command:
    """Leased -> dead; answers OK or STALE."""
    one = settlement
    keep = milliseconds(one.keep)
    return _script("fail", queue, token, one.id, one.outcome, keep, one.note, one.attempt, one.group)


def release(queue: str, token: str, ids: Iterable[str]) -> Command:
    """Leased -> ready at the old place, without blame; answers how many."""
    return _script("release", queue, token, *ids, read=_number)


def lost(queue: str, token: str, settlement: Settlement, cancelled: bytes) -> Command:
    """Leased -> ready, dead or cancelled: its worker died; answers which, or STALE."""
    one = settlement
    rest = (milliseconds(one.keep), one.note, one.attempt, one.group)
    return _script("lost", queue, token, one.id, one.outcome, cancelled, *rest)


def cancel(queue: str, job_id: str, outcome: bytes, keep: float) -> Command:
    """Ready or delayed -> over; answers (cancelled | running | dead | over | gone, owner of a running one)."""
    return _script(
        "cancel", queue, job_id, outcome, milliseconds(keep), read=lambda reply: (*_texts(reply), "")[:2]
    )


def revive(queue: str, ids: Iterable[str]) -> Command:
    """Dead -> ready; answers how many."""
    return _script("revive", queue, *ids, read=_number)


def discard(queue: str, ids: Iterable[str]) -> Command:
    """Dead -> over, for good; answers how many."""
    return _script("discard", queue, *ids, read=_number)


def promote(queue: str) -> Command:
    """Delayed -> ready, a slice of those due; answers how many."""
    return _script("promote", queue, read=_number)


def reap(queue: str) -> Command:
    """Leased -> ready, dead or cancelled, a slice of the lapsed; answers how many."""
    return _script("reap", queue, read=_number)


def purge(queue: str, most: int, outcome: bytes, keep: float) -> Command:
    """Ready and delayed -> over, a slice; answers how many."""
    return _script("purge", queue, most, outcome, milliseconds(keep), read=_number)


def count(queue: str) -> Command:
    """Answer a Count."""
    return _script("count", queue, read=lambda reply: Count(*map(int, reply)))


def bound(queue: str, maxsize: int) -> Command:
    """Set how many jobs may wait."""
    return _script("bound", queue, maxsize)


def pause(queue: str) -> Command:
    """Let claims give nothing until resume."""
    return _script("pause", queue)


def resume(queue: str) -> Command:
    """Undo pause and shutdown."""
    return _script("resume", queue)


def shut(queue: str) -> Command:
    """Let no put be accepted any more."""
    return _script("shut", queue)


def join(queue: str, joiner: str) -> Command:
    """Answer how many jobs are not over; if any, the joiner is woken when none is left."""
    return _script("join", queue, joiner, read=lambda reply: 0 if reply[0] == b"DONE" else int(reply[1]))


def leave(queue: str, waiter: str) -> Command:
    """Stop waiting for room or for the end of all jobs."""
    return _script("leave", queue, waiter)


def listen(queue: str, inbox: str, hold: float, ids: Iterable[str] = ()) -> Command:
    """Hold an inbox open for `hold` seconds (0 closes it) and ask for outcomes; answers Letters."""

    def read(reply: Sequence[Any]) -> Letters:
        pairs = zip(reply[0:-1:2], reply[1:-1:2], strict=True)
        return Letters({job_id.decode(): outcome for job_id, outcome in pairs}, reply[-1])

    return _script("listen", queue, inbox, milliseconds(hold), MOST_BYTES, *ids, read=read)


def state(queue: str, job_id: str) -> Command:
    """Answer the State of one job."""
    return _script(
        "state",
        queue,
        job_id,
        read=lambda reply: State(reply[0].decode(), reply[1], reply[2], reply[3].decode(), reply[4]),
    )
