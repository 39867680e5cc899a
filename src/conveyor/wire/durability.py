"""Levels of durability: which failures a job survives once its `put` has returned."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from conveyor.errors import BadCall

#: The notation of levels.
LEVELS = ("memory", "written", "fsync", "replicated:N")
_REPLICATED = re.compile(r"replicated:([1-9]\d{0,2})", re.ASCII)


class Durability(NamedTuple):
    """A level; `replicas` is how many have to receive a job, 0 unless the level is `replicated`."""

    level: str = "memory"
    replicas: int = 0

    def __str__(self) -> str:
        return f"{self.level}:{self.replicas}" if self.replicas else self.level

    @property
    def needs_file(self) -> bool:
        """True if the server needs an append-only file for it."""
        return self.level in {"written", "fsync"}


#: The default level: the server's reply is enough.
MEMORY = Durability()


def read_durability(text: str) -> Durability:
    """Parse a level. Raises BadCall if it is invalid."""
    if not isinstance(text, str):  # such as a list, which the cache could not keep
        raise _refused(text)
    return _read(text)


@functools.cache
def _read(text: str) -> Durability:
    if text in LEVELS[:3]:
        return Durability(text)
    if found := _REPLICATED.fullmatch(text):
        return Durability("replicated", int(found[1]))
    raise _refused(text)


def _refused(value: object) -> BadCall:
    message = f"durability must be memory, written, fsync or replicated:N, got {value!r:.80}"
    hint = "N is the number of replicas, from 1 to 999" if str(value).startswith("replicated") else ""
    return BadCall(message, hint=hint)
