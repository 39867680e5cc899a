"""What the steps of a job keep on the server, as one run of it reads it and adds to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor import clock
from conveyor.consumer.sending import of_run
from conveyor.store import commands, records

if TYPE_CHECKING:
    from conveyor.store.command import Operation
    from conveyor.store.commands import Look, WaitKind

CURSOR = "cursor"


class Steps:
    """The kept values of one run of one job, under the token of its lease. Nothing is sent here: see `Operation`."""

    def __init__(self, queue: str, job_id: str, token: str) -> None:
        self._queue, self._job_id, self._token = queue, job_id, token
        self._known: set[str] | None = None
        """The fields that earlier runs have kept, and this one."""
        self.sleeps = 0
        """Sleeps of this run that have no name of their own."""
        self.cursor: bytes | None = None
        self.is_unsaved = False
        self._is_read = False
        self._saves = 0
        """Number of the last save, of earlier runs too."""
        self._saved_at = clock.monotonic()

    def find(self, field: str, within: float | None = None) -> Operation[bytes | None]:
        """Return the value that was kept, or None. Raises RunLostError."""
        if self._known is None:
            self._known = set((yield from of_run(records.step_fields(self._queue, self._job_id), within)))
        if field not in self._known:
            return None
        value: bytes | None = yield from of_run(records.kept_step(self._queue, self._job_id, field), within)
        return value

    def keep(self, field: str, value: bytes) -> Operation[bytes | None]:
        """Keep a value. Return the one that was kept before, if another thread was faster. Raises RunLostError."""
        command = commands.step(self._queue, self._token, self._job_id, field, value)
        kept: bytes | None = yield from of_run(command)
        if self._known is not None:
            self._known.add(field)
        return kept

    def look(self, kind: WaitKind, name: str, seconds: float | None) -> Operation[Look]:
        """Look for a signal, or for the end of a sleep. Raises RunLostError."""
        command = commands.wait(self._queue, self._token, self._job_id, kind, name, seconds)
        found: Look = yield from of_run(command)
        return found

    def read_cursor(self, within: float | None = None) -> Operation[None]:
        """Read the cursor that earlier runs have saved, unless this one has set it. Raises RunLostError."""
        if not self._is_read:
            found = yield from self.find(CURSOR, within)
            if found is not None:
                number, _, value = found.partition(b" ")
                self._saves = int(number)
                if self.cursor is None:
                    self.cursor = value
            self._is_read = True

    def set_cursor(self, value: bytes) -> None:
        """Set the cursor, to be saved later."""
        self.cursor, self.is_unsaved = value, True

    def is_due(self, every: float) -> bool:
        """Return True if the last save was so many seconds ago."""
        return clock.monotonic() - self._saved_at >= every

    def save_cursor(self, within: float | None = None) -> Operation[None]:
        """Save the cursor if it was set since the last save.

        Raises RunLostError; with `within` it tries once, for so many seconds, and raises StoreError.
        """
        if self.cursor is None or not self.is_unsaved:
            return
        yield from self.read_cursor(within)
        self._saves += 1
        self.is_unsaved = False
        value, save = self.cursor, self._saves
        try:
            yield from of_run(
                commands.step(self._queue, self._token, self._job_id, CURSOR, value, save), within
            )
        except BaseException:
            self.is_unsaved = True
            raise
        self._saved_at = clock.monotonic()
