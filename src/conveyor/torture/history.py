"""The recorded history: one event per line, in a file per process.

Producers, tasks and the bench write; only the judge reads. Times are those of the machine's monotonic clock, which all
processes share. An event is written by one call before the program continues, so a recorded event survives a SIGKILL
of its process.
"""

from __future__ import annotations

import functools
import operator
import os
from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

#: The environment variable that names the folder.
FOLDER = "CONVEYOR_TORTURE_HISTORY"


class Event(msgspec.Struct, gc=False, array_like=True, tag=True):
    """The base of all events."""

    at: float
    """Seconds of the monotonic clock."""


class Put(Event):
    """A producer is about to put a job. Without an `Accepted`, nothing is promised about it."""

    key: str
    """The job's name in this history, and an argument of its task."""
    lane: str
    kind: str
    """A name of `load.KINDS`, for what its task does."""
    value: str = ""
    """The value that its task must return; the item itself if it is one."""
    delay: float = 0.0
    priority: int = 0
    limit: str = ""
    """The key of its limit, if it has one."""
    running: int = 0
    """Max jobs of this key that run at a time; 0 for any number."""
    before: list[str] = []
    """The jobs that it comes after, however they end."""
    starts: int = 0
    """Max jobs of this key that start within `per` seconds; 0 for any number."""
    per: float = 0.0
    unique: str = ""
    """The key of which it is to be the only job, if it has one."""
    has_hooks: bool = False
    """True if a job is put when it succeeds or fails. That one's `value` is the id of this one and how it ended."""


class Accepted(Event):
    """A put returned: from here on the job is promised."""

    key: str
    id: str
    held: bool = True
    """True if the producer has the handle from the put, with which it puts the job again if the server loses it."""
    level: str = "memory"
    """The level of durability that the put has reached."""


class Outcome(Event):
    """A producer received the outcome of a job, or a taker marked an item as processed."""

    key: str
    state: str
    """done, failed, lost, cancelled or gone."""
    value: str = ""
    """The return value, or the error."""


class Start(Event):
    """A task began, in this process, under this fencing token."""

    key: str
    id: str
    token: int
    pid: int
    attempt: int = 1


class End(Event):
    """A task ended; `how` is "done" or the name of the exception."""

    key: str
    token: int
    pid: int
    how: str


class Step(Event):
    """A run is about to do a step of its job; `kept` if it has returned, so that no later run does it again."""

    id: str
    number: int
    token: int
    kept: bool = False


class Fault(Event):
    """A fault was injected at `at` and undone at `until`."""

    until: float
    name: str
    pids: list[int]
    """The affected processes."""
    effects: list[str]
    """Its possible harm by the documented contract: names of `faults.Effect`."""
    stage: str
    lane: str = ""
    """The queue of the affected processes, if there is only one."""


class CancelAsked(Event):
    """The bench is about to cancel a job."""

    id: str


class LossSeen(Event):
    """A producer warned that the server had lost data of its queue."""

    lane: str


class ProcessEnded(Event):
    """A process of the bench ended; `wanted` if a fault or the end of the run requested that."""

    name: str
    pid: int
    status: int
    wanted: bool


class Depth(Event):
    """The number of waiting jobs of a queue, and its max size at that moment."""

    lane: str
    waiting: int
    maxsize: int


class Closed(Event):
    """The state of a queue at the end: its jobs, and what does not add up."""

    lane: str
    live: int
    imbalance: int
    torn: int
    orphans: int
    seconds: float | None
    """From the last fault's end until all was settled; None if that took longer than the bound."""
    accepted: int | None
    """Jobs that the server has accepted, by its own count, or None if it does not reply."""


class Usage(Event):
    """Bytes of memory in use at a moment and, of a server, keys of no known kind that never expire."""

    what: str
    memory: int
    keys: list[str] = []


E = TypeVar("E", bound=Event)
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(functools.reduce(operator.or_, Event.__subclasses__()))


def note(*events: Event) -> None:
    """Append events of this process to its file, in the folder named by its environment.

    The file is opened each time: tasks close file descriptors of others, and are forked.
    """
    data = b"".join([_encode(one) + b"\n" for one in events])
    place = f"{os.environ[FOLDER]}/{os.getpid()}.events"
    file = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, data)
    finally:
        os.close(file)


class History:
    """Events by kind, each kind in the order of its times."""

    def __init__(self, events: list[Event]) -> None:
        self._kinds: dict[type[Event], list[Event]] = defaultdict(list)
        for one in sorted(events, key=lambda one: one.at):
            self._kinds[type(one)].append(one)

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind."""
        return self._kinds[kind]  # type: ignore[return-value]


def read(folder: Path, pids: list[int] | None = None) -> History:
    """Return the events recorded in a folder, of all or some processes, without an incomplete last line."""
    events: list[Event] = []
    for file in sorted(folder.glob("*.events")):
        if pids is not None and int(file.stem) not in pids:
            continue
        lines = file.read_bytes().split(b"\n")
        events += [_decoder.decode(line) for line in lines[:-1]]
    return History(events)
