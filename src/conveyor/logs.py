"""Events as log lines on standard error: the only messages about what happens in a consumer."""

from __future__ import annotations

import contextlib
import functools
import logging
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
        if usual or not _is_usual(event):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # nothing reads it
                if dropped and _write(f"{dropped:,} lines were dropped, since nothing read them"):
                    dropped = 0
                dropped += not _write(line_for(event))

    events.subscribe(write)


@functools.cache
def to_logger() -> None:
    """Log each event of this process with the logger "conveyor" from now on: as information, unless it needs attention.

    Called again, it does nothing.
    """
    logger = logging.getLogger("conveyor")

    def write(event: events.Event) -> None:
        logger.log(logging.INFO if _is_usual(event) else logging.WARNING, line_for(event))

    events.subscribe(write)


def _is_usual(event: events.Event) -> bool:
    return isinstance(event, _USUAL) or (isinstance(event, events.WorkerStopped) and not event.reason)


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
