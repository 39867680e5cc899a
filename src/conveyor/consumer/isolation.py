"""Isolation of the steps of a loop that must go on: an unforeseen error in one of them is reported once."""

from __future__ import annotations

import pathlib
import traceback as tracebacks
from typing import TYPE_CHECKING, Self

from conveyor import clock, events
from conveyor.errors import StoreError

if TYPE_CHECKING:
    from types import TracebackType

#: Seconds that a loop rests after a round with errors, so that it does not spin.
REST = 0.5


class Isolation:
    """A context manager for each step of a loop, reusable and reentrant.

    It swallows unforeseen exceptions. A StoreError passes: the caller knows what to do without the server.
    """

    def __init__(self) -> None:
        self._failed = False
        self._reported: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, StoreError):
            return False
        self._failed = True
        frame = tracebacks.extract_tb(traceback)[-1]
        place = f"{pathlib.Path(frame.filename).name}:{frame.lineno} {frame.name}"
        if place not in self._reported:
            self._reported.add(place)
            events.emit(events.StepFailed(f"{type(error).__name__}: {error}", place))
        return True

    def rest(self) -> None:
        """Sleep if a step has failed since the last call."""
        if self._failed:
            self._failed = False
            clock.sleep(REST)
