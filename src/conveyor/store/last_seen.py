"""Who is on the list of consumers, and when each last reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.store import keys
from conveyor.store.answers import shown
from conveyor.store.command import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Consumers that are told of, those that reported last.
MOST_CONSUMERS = 1000


class Heard(NamedTuple):
    """When a consumer last reported: seconds since 1970, by its own machine's clock."""

    name: str
    at: float


def heard() -> Command:
    """Answer when each consumer on the list last reported, those that did last first; some may be gone."""
    words = ("ZREVRANGE", keys.CONSUMERS, 0, MOST_CONSUMERS - 1, "WITHSCORES")
    return Command(words, read=_heard)


def _heard(reply: Sequence[bytes]) -> list[Heard]:
    return [Heard(shown(name), float(at)) for name, at in zip(reply[::2], reply[1::2], strict=True)]
