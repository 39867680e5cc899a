"""Something that takes a while, and is done once for all who want it at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Flight(Generic[T]):
    """For any thread. Who comes while it is under way waits for that one, and gets what it gives or raises."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._under_way: Future[T] | None = None
        self._lock = threading.Lock()

    def join(self, seconds: float) -> T:
        """Do it, or wait for it `seconds` at most; raises TimeoutError after that."""
        with self._lock:
            flight = self._under_way
            if flight is None:
                mine = self._under_way = Future()
        if flight is not None:
            return flight.result(seconds)
        try:
            mine.set_result(self._make())
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                self._under_way = None
        return mine.result()
