"""What is asked of the server for each thing that is open, as values, so that all of it travels in one round trip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.inspector import INDEXES, failures, history
from conveyor.inspector.jobs import read_line
from conveyor.outcome import decode_settled
from conveyor.store import plain
from conveyor.store.query import Query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.inspector import JobLine

#: Jobs that are listed.
MOST_ROWS = 100
#: The lists of a queue's jobs, in the order in which they are leafed through.
STATES = ("waiting", "running", "delayed", "dead", "finished")


class Wish(NamedTuple):
    """What is looked at, beside queues and workers, which always are."""

    queue: str = ""
    """The queue whose jobs are listed; empty: none are."""
    state: str = "waiting"
    text: str = ""
    """What finished jobs must contain; other lists are filtered where they are shown."""
    failures: bool = False
    story: tuple[str, str] = ("", "")
    """Queue and id of the job that is open."""


NO_WISH = Wish()


class Ended(NamedTuple):
    """What a dead job ended with."""

    kind: str
    message: str


class Place(NamedTuple):
    """A job in one of a queue's indexes; what the score means depends on the index."""

    id: str
    score: float


class Known(NamedTuple):
    """What was learned of jobs once and does not change any more."""

    lines: Mapping[str, JobLine]
    endings: Mapping[str, Ended]


NOTHING_KNOWN = Known({}, {})


def places(wish: Wish) -> Query[list[Place]]:
    """Which jobs the list has: those at its front, of dead ones those that died last."""
    if not wish.queue or wish.state not in INDEXES:
        return Query((), lambda _: [])
    dead = wish.state == "dead"
    first, last = (-MOST_ROWS, -1) if dead else (0, MOST_ROWS - 1)
    command = plain.page(wish.queue, INDEXES[wish.state], first, last)

    def read(answers: Sequence[Any]) -> list[Place]:
        found = [Place(*pair) for pair in answers[0]]
        return found[::-1] if dead else found

    return Query((command,), read)


def learned(wish: Wish, ids: Sequence[str]) -> Query[Known]:
    """What these jobs are: a job's bytes may be many, so each is asked for only once."""
    if not ids:
        return Query((), lambda _: NOTHING_KNOWN)
    dead = wish.state == "dead"
    commands = [plain.fields(wish.queue, "jobs", ids)]
    if dead:
        commands.append(plain.fields(wish.queue, "reasons", ids))

    def read(answers: Sequence[Any]) -> Known:
        lines = {
            job: read_line(job, wish.state, 0.0, data)
            for job, data in zip(ids, answers[0], strict=True)
            if data
        }
        endings = {job: _ending(data) for job, data in zip(ids, answers[1], strict=True)} if dead else {}
        return Known(lines, endings)

    return Query(tuple(commands), read)


def finished(wish: Wish) -> Query[list[history.Finish]]:
    """Which runs of the queue ended last."""
    if not wish.queue or wish.state != "finished":
        return Query((), lambda _: [])
    asked = history.finishes(wish.queue, count=MOST_ROWS, matching=history.Matching(text=wish.text))
    return Query(asked.commands, lambda answers: asked.read(answers).finishes)


def groups(wish: Wish, queues: Sequence[str]) -> Query[list[failures.GroupCount]]:
    """Which failures the dead letters of these queues form."""
    return failures.groups(queues) if wish.failures else Query((), lambda _: [])


def _ending(data: bytes | None) -> Ended:
    try:
        error = decode_settled(data or b"").error()
    except (msgspec.MsgspecError, ValueError):
        return Ended("", "")
    return Ended(getattr(error, "kind", ""), getattr(error, "reason", ""))
