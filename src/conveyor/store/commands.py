"""One function per verb: what to send and how to read the answer, as a value. No input, no output happens here.

Only this module knows the order of KEYS and ARGV. Times are seconds in Python and milliseconds on the wire.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

from conveyor.errors import DuplicateJob, ShutDown
from conveyor.store import keys, scripts
from conveyor.store.answers import (
    Batch,
    Bucket,
    Cancelled,
    Claimed,
    Count,
    Letters,
    Lineage,
    Looked,
    PutAnswer,
    PutPlace,
    Renewal,
    Row,
    Rows,
    RowsPlace,
    Settlement,
    State,
    read_tries,
    shown,
)
from conveyor.store.command import PROTOCOL, Command, checked, milliseconds, number, script, texts, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [  # noqa: RUF022 - in the order of a job's life
    # values
    "PROTOCOL",
    "Batch",
    "Bucket",
    "Cancelled",
    "Claimed",
    "Command",
    "Count",
    "Letters",
    "Lineage",
    "Looked",
    "PutAnswer",
    "PutPlace",
    "Renewal",
    "Row",
    "Rows",
    "RowsPlace",
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
    "forget",
    # looking and waiting
    "count",
    "tally",
    "series",
    "rows",
    "state",
    "listen",
    "join",
    "leave",
]

#: Bytes of jobs that one claim brings, and of outcomes that one listen brings.
MOST_BYTES = 1 << 20
#: How a job is held.
HELD: Final = "H"
STARTED: Final = "S"
LEAVING: Final = "L"
#: Leases that one renewal is for at most: the server does nothing else meanwhile.
MOST_RENEWED = 500


def put(queue: str, jobs: Sequence[tuple[str, bytes]], place: PutPlace) -> Command:
    """(new) -> ready or delayed; answers PutAnswer, raises DuplicateJob or ShutDown."""

    def read(reply: Sequence[Any]) -> PutAnswer:
        word = checked(reply[0].decode())
        if word == "DUP":
            message = f"a job with the id {reply[1].decode()} is known already"
            raise DuplicateJob(message, hint="use `Job(id, queue)` as its handle, or put with another id")
        if word == "SHUT":
            message = f"the queue {queue} was shut down"
            error = ShutDown(message, hint=f"conveyor resume {queue} opens it again")
            error.accepted = reply[1]
            raise error
        _, accepted, waiting, room, born, sequence, fresh = reply
        return PutAnswer(accepted, waiting, room, Lineage(int(born), sequence, sequence - fresh))

    rest: list[Any] = [place.maxsize, place.priority, milliseconds(place.delay), place.waiter, place.rest]
    for job in jobs:
        rest += job
    first, again = ("check", "check") if place.own_ids else ("new", "again")
    if place.again:
        first = again = "again"
    return Command(
        words(queue, (first, *rest)), scripts.load("put"), read, again=words(queue, (again, *rest))
    )


def claim(
    queue: str, owner: str, nonce: str, want: int, lease: float, first: Literal["S", "H"] = "S"
) -> Command:
    """Ready -> leased, up to `want`; answers a Batch. The same nonce again gives the same batch.

    The nonces of one owner are in order (`ids.Nonces`), so a duplicate of an old claim brings nothing. With `want` 0
    the batch is what the nonce has brought before; if that claim is still under way, it brings nothing any more.
    `first` tells how the first job is held: as started, or as held if its taker says by a renewal that it has it.
    """
    args = (owner, nonce, want, milliseconds(lease), MOST_BYTES, first)
    new, again = words(queue, (*args, "new")), words(queue, (*args, "again"))
    return Command(new, scripts.load("claim"), _read_batch, again=again)


def _read_batch(reply: Sequence[Any]) -> Batch:
    state = checked(reply[0].decode())
    if state != "OK":
        return Batch(state, wait=reply[1] / 1000 if len(reply) > 1 else 60.0)
    jobs = []
    for place in range(3, len(reply), 3):
        tries = reply[place + 2]
        retries, crashes = read_tries(tries.decode()) if tries else (0, 0)
        jobs.append(Claimed(reply[place].decode(), reply[place + 1], retries, crashes))
    return Batch(state, reply[1].decode(), jobs, reply[2])


def renew(queue: str, held: Iterable[tuple[str, str, str]], lease: float) -> Command:
    """Leased -> leased, later, for each (id, token, how it is held), at most MOST_RENEWED; answers a Renewal.

    How: HELD, STARTED, or LEAVING if its consumer is leaving: should its lease end, the job is not blamed.
    """
    rest: list[Any] = [milliseconds(lease)]
    for one in held:
        rest += one

    def read(reply: Sequence[Any]) -> Renewal:
        lost = int(reply[1])
        return Renewal(list(reply[2 : 2 + lost]), list(reply[2 + lost :]))

    return script("renew", queue, *rest, read=read)


def finish(queue: str, token: str, settlements: Iterable[Settlement], counter: str = "finished") -> Command:
    """Leased -> over, a batch under one token; answers the ids that this token does not hold."""
    rest: list[Any] = [token, counter]
    for one in settlements:
        rest += (one.id, one.outcome, milliseconds(one.keep), one.note)
    return script("finish", queue, *rest, read=lambda reply: texts(reply[1:]))


def retry(queue: str, token: str, job_id: str, delay: float, note: bytes, attempt: bytes = b"") -> Command:
    """Leased -> delayed, one retry used; answers OK or STALE."""
    return script("retry", queue, token, job_id, milliseconds(delay), note, attempt)


def fail(queue: str, token: str, settlement: Settlement) -> Command:
    """Leased -> dead; answers OK or STALE."""
    one = settlement
    keep = milliseconds(one.keep)
    return script("fail", queue, token, one.id, one.outcome, keep, one.note, one.attempt, one.group)


def release(queue: str, token: str, ids: Iterable[str], attempt: bytes = b"") -> Command:
    """Leased -> ready at the old place, without blame; answers how many. `attempt`: the run that it ended.

    A claim after it in a round trip brings what it released, since that was put first.
    """
    return replace(script("release", queue, token, attempt, *ids, read=number), leads=True)


def lost(queue: str, token: str, settlement: Settlement, cancelled: bytes) -> Command:
    """Leased -> ready, dead or cancelled: its worker died; answers which, or STALE."""
    one = settlement
    rest = (milliseconds(one.keep), one.note, one.attempt, one.group)
    return script("lost", queue, token, one.id, one.outcome, cancelled, *rest)


def cancel(queue: str, job_id: str, outcome: bytes, keep: float, note: bytes = b"") -> Command:
    """Cancel a waiting job, or mark a running one. `keep` is for a job that does not say it itself.

    `note` says who cancels it and why, for people; empty for none.
    Reply: Cancelled. The owner of a job that was only held is named as well, for it may have begun a moment ago.
    """
    told = (job_id, outcome, milliseconds(keep), *([note] if note else []))
    return script(
        "cancel", queue, *told, read=lambda reply: Cancelled(checked(reply[0].decode()), *texts(reply[1:]))
    )


def revive(queue: str, ids: Iterable[str]) -> Command:
    """Dead -> ready; answers how many."""
    return script("revive", queue, *ids, read=number)


def discard(queue: str, ids: Iterable[str]) -> Command:
    """Dead -> over, for good; answers how many."""
    return script("discard", queue, *ids, read=number)


def promote(queue: str) -> Command:
    """Delayed -> ready, a slice of those due; answers how many."""
    return script("promote", queue, read=number)


def reap(queue: str) -> Command:
    """Leased -> ready, dead or cancelled, a slice of the lapsed; answers how many."""
    return script("reap", queue, read=number)


def purge(
    queue: str, index: str, most: int, outcome: bytes, keep: float, upto: float = float("inf")
) -> Command:
    """Cancel a slice of the jobs in `ready` or `delayed`. Reply: how many, 0 at the end.

    `upto` bounds them: in `ready` the number of the job accepted last, in `delayed` the due time in ms. `keep` is for
    jobs that do not say themselves how long their outcome is kept.
    """
    return script("purge", queue, index, repr(upto), most, outcome, milliseconds(keep), read=number)


def count(queue: str) -> Command:
    """Answer a Count."""
    return script("count", queue, read=lambda reply: Count(*map(int, reply)))


def tally(
    queue: str, owner: str, number: int, oldest: float | None, figures: Iterable[tuple[str, str]]
) -> Command:
    """Add (task, figures as text) to the histories and note the gauges; `number` 0 where there is nothing to add.

    A number that is not greater than the last of this owner adds nothing. `oldest` is the put_at of the job at the
    head, None where it is not known.
    """
    head: int | str = "" if oldest is None else milliseconds(oldest)
    if queue == keys.ALL_QUEUES:  # gauges are of one queue each
        head = "-"
    return script("tally", queue, owner, number, head, *(word for one in figures for word in one))


def series(queue: str, tier: str, first: int, last: int, fields: Sequence[str] = ()) -> Command:
    """Answer the Bucket of each minute, hour or day there is from `first` to `last`, at most 180 of them."""

    def read(reply: Sequence[Any]) -> list[Bucket]:
        return [
            Bucket(at, _values(fields, found)) for at, found in zip(reply[1::2], reply[2::2], strict=True)
        ]

    return script("series", queue, tier, first, last, *fields, read=read)


def _values(fields: Sequence[str], found: Sequence[bytes | None]) -> dict[str, str]:
    names = fields or [shown(one) for one in found[::2] if one]
    values = found if fields else found[1::2]
    return {name: shown(value) for name, value in zip(names, values, strict=True) if value is not None}


def rows(queue: str, index: str, place: RowsPlace) -> Command:
    """Answer the Rows of an index (ready, delayed, leased, dead) behind a place, at most 200."""

    def read(reply: Sequence[Any]) -> Rows:
        shift = reply[3]
        found = [Row(shown(job), score.decode(), *[*rest, shift]) for job, score, *rest in reply[4:]]
        return Rows(reply[1], reply[2], found)

    order = "down" if place.down else "up"
    return script(
        "rows", queue, index, order, place.want, place.score, place.id, place.skip, place.cut, read=read
    )


def bound(queue: str, maxsize: int) -> Command:
    """Set how many jobs may wait."""
    return script("bound", queue, maxsize)


def pause(queue: str) -> Command:
    """Let claims give nothing until resume."""
    return script("pause", queue)


def resume(queue: str) -> Command:
    """Undo pause and shutdown."""
    return script("resume", queue)


def shut(queue: str) -> Command:
    """Let no put be accepted any more."""
    return script("shut", queue)


def forget(queue: str, unused: float, *, remove: bool = False) -> Command:
    """Remove a queue if it is empty and was unused for so many seconds, or only look. Reply: `Looked`."""

    def read(reply: Sequence[Any]) -> Looked:
        return Looked(checked(reply[0].decode()), *reply[1:])

    return script("forget", queue, milliseconds(unused), "yes" if remove else "no", read=read)


def join(queue: str, joiner: str) -> Command:
    """Answer how many jobs are not over; if any, the joiner is woken when none is left."""
    return script("join", queue, joiner, read=lambda reply: 0 if reply[0] == b"DONE" else int(reply[1]))


def leave(queue: str, waiter: str) -> Command:
    """Stop waiting for room or for the end of all jobs."""
    return script("leave", queue, waiter)


def listen(queue: str, inbox: str, hold: float, ids: Iterable[str] = ()) -> Command:
    """Hold an inbox open for `hold` seconds (0 closes it) and ask for outcomes; answers Letters."""

    def read(reply: Sequence[Any]) -> Letters:
        *answered, looked, was_open, born, sequence = reply
        pairs = zip(answered[::2], answered[1::2], strict=True)
        outcomes = {job_id.decode(): outcome for job_id, outcome in pairs}
        return Letters(outcomes, looked, bool(was_open), Lineage(int(born), int(sequence), int(sequence)))

    return script("listen", queue, inbox, milliseconds(hold), MOST_BYTES, *ids, read=read)


def state(queue: str, job_id: str) -> Command:
    """Answer the State of one job."""
    return script(
        "state",
        queue,
        job_id,
        read=lambda reply: State(reply[0].decode(), reply[1], reply[2], shown(reply[3]), reply[4]),
    )
