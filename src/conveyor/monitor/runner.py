"""A thread that works on operations, one after the other, for a process that has other things to do."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from conveyor import clock
from conveyor.errors import ConveyorError
from conveyor.monitor import bulk
from conveyor.store import commands
from conveyor.wire.audit_entry import STALLED_AFTER, Operation

if TYPE_CHECKING:
    from conveyor.store import Client

#: Operations that wait for their turn at most.
MOST_IN_LINE = 100
_log = logging.getLogger("conveyor")


class OperationRunner:
    """Works on operations in a daemon thread; those that wait for their turn do not count as stalled."""

    def __init__(self, client: Client, *, chunk: int = bulk.SLICE, pause: float = bulk.PAUSE) -> None:
        self.client = client
        self._chunk, self._pause = chunk, pause
        self._line: deque[Operation] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._touched = clock.monotonic()
        self._thread = threading.Thread(target=self._work, name="conveyor operations", daemon=True)
        self._thread.start()

    def add(self, begun: Operation) -> bool:
        """Take an operation that was begun or taken up; False if 100 wait already, or the runner is closed."""
        with self._changed:
            if self._closed or len(self._line) >= MOST_IN_LINE:
                return False
            self._line.append(begun)
            self._changed.notify()
        return True

    def close(self, timeout: float = 5.0) -> None:
        """Stop what it works on after the slice it is at; what waits for its turn will show as stalled."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)

    def _work(self) -> None:
        while (begun := self._next()) is not None:
            try:
                self._run(begun)
            except ConveyorError as error:
                _log.warning("operation %s: %s", begun.id, error)
            except Exception:  # noqa: BLE001 - the thread must see to the next one
                _log.exception("operation %s", begun.id)

    def _run(self, begun: Operation) -> None:
        with contextlib.closing(bulk.run(self.client, begun, self._chunk, self._pause)) as steps:
            for _ in steps:
                if self._closed:
                    return
                self._touch()

    def _next(self) -> Operation | None:
        with self._changed:
            self._changed.wait_for(lambda: self._line or self._closed)
            return None if self._closed else self._line.popleft()

    def _touch(self) -> None:
        """Say now and then that somebody will see to those that wait."""
        if clock.monotonic() - self._touched < STALLED_AFTER / 3:
            return
        self._touched = clock.monotonic()
        now = self.client.run(commands.server_time())
        with self._changed:
            waiting = list(self._line)
        for one in waiting:
            bulk.keep(self.client, msgspec.structs.replace(one, changed=now))
