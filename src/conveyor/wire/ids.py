"""Names: ids of jobs, names of queues and hosts, nonces. And objects of which each process has its own.

The producer makes the ids before the first send, so that a put can be sent twice without harm. An id is 14 letters and
digits: ten that identify the process (59 random bits, the name of its inbox) and four that count. A server script
can therefore tell from the id alone which inbox a result belongs to.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import socket
import threading
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from conveyor.errors import BadCall

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: Characters of an id that identify the producing process.
PRODUCER_LENGTH = 10
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_PER_PRODUCER = len(_PAIRS) ** 2
#: The format of a job's id, and of a queue's name.
ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}"
QUEUE_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
#: Max characters of the name of a step, a signal or a sleep.
MAX_STEP_NAME = 200
_VALID_ID = re.compile(ID_PATTERN, re.ASCII)
_VALID_QUEUE = re.compile(QUEUE_PATTERN, re.ASCII)


class PerProcess(Generic[P, T]):
    """A function that makes an object for its arguments once per process; a forked child makes its own. Thread-safe."""

    def __init__(self, make: Callable[P, T]) -> None:
        self.make = make
        self.made: dict[tuple[Any, ...], T] = {}
        os.register_at_fork(after_in_child=self.made.clear)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the object of this process."""
        key = (os.getpid(), *args)  # C code forks without hooks, as uWSGI does
        # setdefault: two threads may race here, and both must get the same one
        return self.made.get(key) or self.made.setdefault(key, self.make(*args, **kwargs))


class Nonces:
    """Names for the claims of one owner, in order, so that the server knows which came before. Thread-safe."""

    def __init__(self) -> None:
        self._stem = unique(8)
        self._numbers = itertools.count(1)

    def next(self) -> str:
        """Return a new one."""
        return f"{self._stem}.{next(self._numbers)}"


class _Producer:
    """The process's part of the id, and how many ids were made with it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.renew()

    def renew(self) -> None:
        self.name = unique(PRODUCER_LENGTH)
        self.next = 0


_producer = PerProcess(_Producer)


def unique(length: int = 12) -> str:
    """Return `length` random letters and digits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def host_name() -> str:
    """Return the name of this host, with a hyphen for each character that is invalid in the server's records."""
    return "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in socket.gethostname())


def new_ids(count: int) -> list[str]:
    """Return `count` new job ids, in counting order; never the same twice, on any host."""
    if count > _PER_PRODUCER:
        return [*new_ids(_PER_PRODUCER), *new_ids(count - _PER_PRODUCER)]
    made = _producer()
    with made.lock:
        if made.next + count > _PER_PRODUCER:
            made.renew()
        first = made.next
        made.next += count
        name = made.name
    base = len(_PAIRS)
    return [name + _PAIRS[number // base] + _PAIRS[number % base] for number in range(first, first + count)]


def producer() -> str:
    """Return the part of the id that identifies this process: the name of its inbox."""
    return _producer().name


def producer_of(job_id: str) -> str:
    """Return the name of the inbox that an id points to."""
    return job_id[:PRODUCER_LENGTH]


def checked_id(job_id: str) -> str:
    """Return a job id that a user chose. Raises BadCall unless it is 1 to 64 letters, digits or `._:-`."""
    if not isinstance(job_id, str) or not _VALID_ID.fullmatch(job_id):
        raise BadCall(
            f"invalid job id {job_id!r:.80}",
            hint="use 1 to 64 letters, digits or ._:- and start with a letter or digit",
        )
    return job_id


def checked_step(name: str) -> str:
    """Return the name of a step, a signal or a sleep. Raises BadCall unless it is a str of 1 to 200 characters."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_STEP_NAME:
        raise BadCall(f"invalid name {name!r:.80}", hint=f"use a str of 1 to {MAX_STEP_NAME} characters")
    if not name.isprintable():
        raise BadCall(
            f"invalid name {name!r:.80}: a character is not printable", hint="use letters and digits"
        )
    return name


def is_queue_name(name: str) -> bool:
    """Return True if the name of a queue is valid."""
    return _VALID_QUEUE.fullmatch(name) is not None


def checked_queue(name: str) -> str:
    """Return the name of a queue. Raises BadCall unless it is 1 to 100 letters, digits or `_.-`."""
    if not isinstance(name, str) or not _VALID_QUEUE.fullmatch(name):
        raise BadCall(
            f"invalid queue name {name!r:.80}",
            hint="use 1 to 100 letters, digits, _, . or - and do not start with . or -",
        )
    return name
