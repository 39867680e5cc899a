"""The two failures that a supervisor's loop outlives: unforeseen errors in a step, and an unavailable server."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
import traceback as tracebacks
from typing import TYPE_CHECKING, Self

from conveyor import clock, events
from conveyor.consumer.settings import HEARTBEAT
from conveyor.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from types import TracebackType

#: Seconds that a loop rests after a round with errors, so that it does not spin.
REST = 0.5
#: Restarts the embedded server.
_REVIVE = """
from conveyor.errors import ConveyorError
from conveyor.store import embedded
try:
    embedded.revive()
except ConveyorError:
    pass
"""


class Isolation:
    """A context manager for each step of a loop; swallows unforeseen exceptions and reports each once.

    A StoreError passes: the caller knows what to do without the server. Reusable and reentrant.
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
        location = f"{pathlib.Path(frame.filename).name}:{frame.lineno} {frame.name}"
        if location not in self._reported:
            self._reported.add(location)
            events.emit(events.StepFailed(f"{type(error).__name__}: {error}", location))
        return True

    def rest(self) -> None:
        """Sleep if a step has failed since the last call."""
        if self._failed:
            self._failed = False
            clock.sleep(REST)


class ServerHealth:
    """The availability of the server to a consumer: reports the start and the end of each outage once.

    With `revives`, an embedded server that crashed is restarted, by a separate process: it may read its data for
    minutes.
    """

    def __init__(self, *, revives: bool) -> None:
        self.reason = ""
        """Why the server does not serve this consumer, or an empty string."""
        self.silent_since = float("inf")
        """When it stopped replying."""
        self.revives = revives
        self.reviving: subprocess.Popen[bytes] | None = None
        self._revived_at = float("-inf")

    @property
    def is_silent(self) -> bool:
        """True if the server does not reply. Then only heartbeats query it, since each call takes a while."""
        return self.silent_since < float("inf")

    def replied(self) -> None:
        """Note that the server replies."""
        self.silent_since = float("inf")

    def failed(self, error: StoreError) -> None:
        """Note that a call failed: the server refused it, or is unavailable."""
        if not self.reason:
            self.reason = str(error)
            events.emit(events.ServerAway(self.reason))
        if not isinstance(error, StoreUnavailable):
            self.replied()
            return
        now = clock.monotonic()
        self.silent_since = min(self.silent_since, now)
        if self.revives and self.reviving is None and now - self._revived_at > HEARTBEAT:
            self._revived_at = now
            with contextlib.suppress(OSError):  # no room for a process now
                self.reviving = subprocess.Popen([sys.executable, "-c", _REVIVE], stdin=subprocess.DEVNULL)

    def update(self, refused: str) -> bool:
        """Report what the server refuses the workers now, if anything. Return True if an outage ends with that."""
        is_back = bool(self.reason and not refused)
        if refused and not self.reason:
            events.emit(events.ServerAway(refused))
        elif is_back:
            events.emit(events.ServerBack())
        self.reason = refused
        return is_back

    def reap(self, pid: int = 0, status: int = 0) -> None:
        """Note the end of the reviving process, whose exit status the caller may have collected."""
        if self.reviving is not None and pid == self.reviving.pid:
            self.reviving.returncode = status
        if self.reviving is not None and self.reviving.poll() is not None:
            self.reviving = None
