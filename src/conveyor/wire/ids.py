"""Names of jobs: made by the producer before the first send, so that a put can be sent twice without harm.

An id is 14 letters and digits: ten that are this process's own (59 random bits, the name of its results inbox),
four that count. A server script can therefore tell from the id alone whose inbox a result belongs to.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import socket
import threading

from conveyor.errors import BadCall

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: Characters of an id that name the producing process.
PRODUCER_LENGTH = 10
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_PER_PRODUCER = len(_PAIRS) ** 2
#: What the whole of a job's id, and of a queue's name, looks like.
ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}"
QUEUE_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
_VALID_ID = re.compile(ID_PATTERN, re.ASCII)
_VALID_QUEUE = re.compile(QUEUE_PATTERN, re.ASCII)


class _Numbers:
    """The producer's part of the id, and how many were made with it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.renew()

    def renew(self) -> None:
        self.producer = unique(PRODUCER_LENGTH)
        self.next = 0


def unique(length: int = 12) -> str:
    """Give `length` random letters and digits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


class Nonces:
    """Names for the claims of one owner, in order, so that the server can tell which came before. Thread-safe."""

    def __init__(self) -> None:
        self._stem = unique(8)
        self._numbers = itertools.count(1)

    def next(self) -> str:
        """Return a new one."""
        return f"{self._stem}.{next(self._numbers)}"


def host_name() -> str:
    """Return this machine's name, with a hyphen for each character that the server's records cannot have."""
    return "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in socket.gethostname())


def new_ids(count: int) -> list[str]:
    """Give `count` new job ids, in counting order; never the same twice, on any machine."""
    if count > _PER_PRODUCER:
        return [*new_ids(_PER_PRODUCER), *new_ids(count - _PER_PRODUCER)]
    numbers = _own_numbers()
    with numbers.lock:
        if numbers.next + count > _PER_PRODUCER:
            numbers.renew()
        first = numbers.next
        numbers.next += count
        producer = numbers.producer
    base = len(_PAIRS)
    return [
        producer + _PAIRS[number // base] + _PAIRS[number % base] for number in range(first, first + count)
    ]


def producer() -> str:
    """Give the part of the id that is this process's own: the name of its inbox."""
    return _own_numbers().producer


def producer_of(job_id: str) -> str:
    """Give the name of the inbox that the id itself points to."""
    return job_id[:PRODUCER_LENGTH]


def checked_id(job_id: str) -> str:
    """Give back an id that a person chose; raises BadCall unless it is 1 to 64 of letters, digits, `._:-`."""
    if not _VALID_ID.fullmatch(job_id):
        message = f"{job_id!r:.80} cannot be a job id"
        raise BadCall(message, hint="use 1 to 64 letters, digits or ._:- and begin with a letter or digit")
    return job_id


def is_queue_name(name: str) -> bool:
    """Tell whether a queue can be called so."""
    return _VALID_QUEUE.fullmatch(name) is not None


def checked_queue(name: str) -> str:
    """Give back a queue's name; raises BadCall unless it is 1 to 100 of letters, digits, `_.-`."""
    if not isinstance(name, str) or not _VALID_QUEUE.fullmatch(name):
        message = f"{name!r:.80} cannot be the name of a queue"
        raise BadCall(message, hint="use 1 to 100 letters, digits, _, . or - and do not begin with . or -")
    return name


_numbers: dict[int, _Numbers] = {}
os.register_at_fork(after_in_child=_numbers.clear)


def _own_numbers() -> _Numbers:
    process = os.getpid()  # C code forks without hooks, as uWSGI does
    # setdefault, since two threads may come here first at once, and both must get the same one
    return _numbers.get(process) or _numbers.setdefault(process, _Numbers())
