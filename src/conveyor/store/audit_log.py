"""Commands about what people do: the audit trail, operations over many jobs, and the slices that those work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.store import keys, scripts
from conveyor.store.answers import shown
from conveyor.store.command import Command
from conveyor.wire.statistics import read_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Acts that are kept; the server drops the oldest in pieces of about a hundred.
MOST_ACTS = 10_000
#: Pairs of action and outcome that are counted apart; what more there are counts as `other`.
MOST_COUNTED = 200
#: Last words that are read with the acts of one page, which bounds the work of it.
MOST_WORDS = 500
#: Seconds that an operation is remembered, and how many are.
OPERATION_KEEP, MOST_OPERATIONS = 7 * 86400, 1000


def record(data: bytes, action: str, outcome: str, order: str = "") -> Command:
    """Write one act to the audit trail and count it, on a full server too; answers its id there.

    `action` and `outcome` are words, without spaces. `order` is the id of what workers were told by it.
    """
    words = (
        2,
        keys.AUDIT,
        keys.ACTS,
        data,
        MOST_ACTS,
        f"{action} {outcome}",
        f"other {outcome}",
        MOST_COUNTED,
        order,
    )
    return Command(words, scripts.load_plain("record"), read=lambda reply: reply.decode())


def act_counts() -> Command:
    """Answer how many acts there were in all time, by action and outcome; what is no number is left out."""

    def read(reply: Sequence[bytes]) -> dict[tuple[str, str], int]:
        found = {}
        for field, count in zip(reply[::2], reply[1::2], strict=True):
            action, _, outcome = shown(field).partition(" ")
            figure = read_figure(shown(count))
            if figure is not None:
                found[action, outcome] = figure
        return found

    return Command(("HGETALL", keys.ACTS), read=read)


class Recorded(NamedTuple):
    """An act as it is kept."""

    id: str
    data: bytes
    answers: dict[str, str]
    """The last word on each target of its order."""
    unread: int
    """Last words that there are besides."""


def acts(before_id: str, count: int) -> Command:
    """Answer what is Recorded, newest first, from before an id (empty: from the newest).

    An act whose last words would make those of all more than MOST_WORDS has none.
    """

    def read(reply: Sequence[Any]) -> list[Recorded]:
        return [
            Recorded(name.decode(), data, _by_name(words), unread) for name, data, unread, *words in reply
        ]

    end = f"({before_id}" if before_id else "+"
    words = (1, keys.AUDIT, end, count, keys.ANSWERS, MOST_WORDS)
    return Command(words, scripts.load_plain("trail"), read=read)


def _by_name(words: Sequence[bytes]) -> dict[str, str]:
    texts = [shown(word) for word in words]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def keep_operation(operation: str, data: bytes, started: float) -> Command:
    """Keep the state of an operation, on a full server too."""
    words = (2, keys.operation_key(operation), keys.OPERATIONS)
    rest = (data, OPERATION_KEEP, started, operation, MOST_OPERATIONS)
    return Command((*words, *rest), scripts.load_plain("keep"))


def operations(first: int, count: int) -> Command:
    """Answer the ids of operations, those that began last first."""
    return Command(
        ("ZREVRANGE", keys.OPERATIONS, first, first + count - 1),
        read=lambda reply: [shown(name) for name in reply],
    )


def operation_states(names: Sequence[str]) -> Command:
    """Answer the bytes of each operation, None where it is forgotten."""
    return Command(("MGET", *(keys.operation_key(name) for name in names)))


def stop_operation(operation: str) -> Command:
    """Wish that an operation stops after the slice it is at, on a full server too."""
    return Command((1, keys.stop_key(operation), "1", OPERATION_KEEP), scripts.load_plain("keep"))


def unstop_operation(operation: str) -> Command:
    """Take the wish back."""
    return Command(("DEL", keys.stop_key(operation)))


def is_stopped(operation: str) -> Command:
    """Answer whether somebody wishes that an operation stops."""
    return Command(("EXISTS", keys.stop_key(operation)), read=bool)


def span(queue: str, index: str, bounds: tuple[float, float], first: int, count: int) -> Command:
    """Answer ids and scores of jobs of one index whose score is within bounds, both included, from place `first`."""

    def read(reply: Sequence[bytes]) -> list[tuple[str, float]]:
        return [(job.decode(), float(score)) for job, score in zip(reply[::2], reply[1::2], strict=True)]

    low, high = bounds
    words = (
        "ZRANGEBYSCORE",
        keys.key(queue, index),
        repr(low),
        repr(high),
        "WITHSCORES",
        "LIMIT",
        first,
        count,
    )
    return Command(words, read=read)


def scores(queue: str, index: str, ids: Sequence[str]) -> Command:
    """Answer the score of each job in one index, None where it is not there."""
    return Command(
        ("ZMSCORE", keys.key(queue, index), *ids),
        read=lambda reply: [None if score is None else float(score) for score in reply],
    )


def count_upto(queue: str, index: str, score: float) -> Command:
    """Answer how many jobs of one index have at most this score."""
    return Command(("ZCOUNT", keys.key(queue, index), "-inf", repr(score)))


def highest(queue: str, index: str) -> Command:
    """Answer the highest score in one index, minus infinity where it is empty."""
    return Command(
        ("ZREVRANGE", keys.key(queue, index), 0, 0, "WITHSCORES"),
        read=lambda reply: float(reply[1]) if reply else float("-inf"),
    )


def sequence(queue: str) -> Command:
    """Answer the number of the job that was accepted last."""
    return Command(("HGET", keys.key(queue, "meta"), "sequence"), read=lambda reply: int(reply or 0))
