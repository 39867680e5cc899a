"""Events as log lines on standard error: the only messages about what happens in a consumer."""

from __future__ import annotations

import contextlib
import select
import sys

from conveyor import events
from conveyor.wire.redaction import escaped, redacted_text

#: Max characters of a line.
MAX_LENGTH = 4000
_USUAL = (
    *(events.ServerLevels, events.ConsumerStarted, events.ConsumerLeaving, events.ConsumerLeft),
    *(events.ConsumerScaled, events.WorkerRecycled),
)


def to_standard_error(*, usual: bool = True) -> None:
    """Write a line for each event of this process; without `usual`, only for those that need attention.

    Never blocks: the caller renews leases. Drops lines while nothing reads them, and reports their number in the next.
    """
    dropped = 0

    def write(event: events.Event) -> None:
        nonlocal dropped
        if isinstance(event, events.WorkerRecycled) and event.usual:
            return
        expected = isinstance(event, _USUAL) or (isinstance(event, events.WorkerStopped) and not event.reason)
        if usual or not expected:
            with contextlib.suppress(OSError, ValueError, AttributeError):  # nothing reads it
                if dropped and _write(f"{dropped:,} lines were dropped, since nothing read them"):
                    dropped = 0
                dropped += not _write(line_for(event))

    events.subscribe(write)


def _write(line: str) -> bool:
    """Write a line to standard error. Return False if that would block, as a pipe that nothing reads does."""
    with contextlib.suppress(OSError, ValueError):  # it has no file descriptor
        if not select.select([], [sys.stderr.fileno()], [], 0)[1]:
            return False
    sys.stderr.write(f"conveyor: {_fitting(line)}\n")
    sys.stderr.flush()
    return True


def _fitting(line: str) -> str:
    """Return a line cut to the bytes that a pipe accepts without blocking."""
    encoding, room = sys.stderr.encoding or "utf-8", select.PIPE_BUF - len("conveyor: \n")
    data = line.encode(encoding, "backslashreplace")
    if len(data) <= room:
        return line
    end = "…".encode(encoding, "backslashreplace")
    return (data[: room - len(end)] + end).decode(encoding, "ignore")


def line_for(event: events.Event) -> str:
    """Return the line for an event, printable whatever names jobs and people chose, without secrets, and cut."""
    line = escaped(redacted_text(str(event)))
    return line if len(line) <= MAX_LENGTH else line[: MAX_LENGTH - 1] + "…"
