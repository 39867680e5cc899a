"""Searches read so many jobs that only a few may be under way at a time, whoever wants them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from conveyor.errors import ConveyorError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Searches that are under way at a time: each holds up to a thousand jobs in memory.
AT_ONCE = 2
#: Those that wait for their turn besides; each holds one of the threads that answer requests.
MOST_WAITING = 6
#: Seconds that one waits, and after which somebody refused may try again.
LONGEST_WAIT, TRY_AGAIN = 3.0, 2


class Busy(ConveyorError):
    """Others are searching, and this one would have waited too long."""

    def __init__(self) -> None:
        super().__init__("too many are searching at the moment", hint="try again in a few seconds")


class Searches:
    """One per process."""

    def __init__(self) -> None:
        self._inside = threading.BoundedSemaphore(AT_ONCE + MOST_WAITING)
        self._under_way = threading.BoundedSemaphore(AT_ONCE)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Have a turn for the block; raises Busy where too many want one."""
        if not self._inside.acquire(blocking=False):
            raise Busy
        try:
            if not self._under_way.acquire(timeout=LONGEST_WAIT):
                raise Busy
            try:
                yield
            finally:
                self._under_way.release()
        finally:
            self._inside.release()
