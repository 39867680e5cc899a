"""The Python stacks of a worker, written by a signal handler in C that does not need the GIL.

The worker has a file in memory for them, which only it and its supervisor can read; the shared status holds its file
descriptor. The supervisor opens the same file through /proc, so it needs no open file per worker. User code may take
the signal or close the file. So the supervisor checks both before it sends the signal, and the worker restores them
after each batch.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import pathlib
import signal
from typing import TYPE_CHECKING

from conveyor import clock

if TYPE_CHECKING:
    from conveyor.consumer.shared_status import SharedStatus

#: The signal that makes a worker write its stacks.
SIGNAL = signal.SIGUSR2
#: Bytes of stacks that are kept: the end, which has the main thread.
MAX_SIZE = 64 * 1024
#: Seconds until a worker must have started writing, and seconds without a change after which it has finished.
PATIENCE, QUIET = 0.8, 0.15
_NAME = "conveyor-stacks"


def take_signal(status: SharedStatus) -> None:
    """Make this worker process write its stacks at the signal; call it again if user code may have changed that."""
    if not hasattr(os, "memfd_create"):
        return
    with contextlib.suppress(OSError):  # too many files are open; then it writes no stacks
        descriptor = status.stack_file
        if not _is_ours(f"/proc/self/fd/{descriptor}"):
            signal.signal(SIGNAL, signal.SIG_IGN)  # so that it never kills
            descriptor = os.memfd_create(_NAME)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
            status.stack_file = descriptor
        elif signal.getsignal(SIGNAL) != signal.SIG_IGN:
            signal.signal(SIGNAL, signal.SIG_IGN)
        faulthandler.unregister(SIGNAL)  # otherwise it would assume that nothing has changed
        faulthandler.register(SIGNAL, file=descriptor, all_threads=True)


class NoStacks(Exception):
    """The stacks of a process cannot be read; the message is the reason."""


class StackDump:
    """Stacks that a worker process is writing. Raises NoStacks if it cannot write any."""

    def __init__(self, pid: int, descriptor: int) -> None:
        path = f"/proc/{pid}/fd/{descriptor}"
        if not _is_ours(path):
            raise NoStacks("the worker is still starting, or cannot write any")
        if not _catches_signal(pid):
            raise NoStacks(f"the task has disabled {SIGNAL.name}")
        try:
            self._file = os.open(path, os.O_RDWR)
            os.ftruncate(self._file, 0)
            os.kill(pid, SIGNAL)
        except OSError:  # it has just exited
            raise NoStacks("the worker is gone") from None
        self._until = clock.Deadline(PATIENCE)
        self._size, self._changed = 0, 0.0

    def is_over(self) -> bool:
        """Return True if the stacks are complete, or late."""
        size, now = os.fstat(self._file).st_size, clock.monotonic()
        if size != self._size:
            self._size, self._changed = size, now
        return bool(size and now - self._changed >= QUIET) or self._until.passed()

    def read(self) -> str:
        """Return the stacks, empty if there are none, and close the file."""
        data = b""
        with contextlib.suppress(OSError):
            data = os.pread(self._file, MAX_SIZE, max(0, os.fstat(self._file).st_size - MAX_SIZE))
            os.ftruncate(self._file, 0)
        os.close(self._file)
        return data.decode(errors="replace")


def _is_ours(path: str) -> bool:
    try:
        return os.readlink(path).startswith(f"/memfd:{_NAME}")  # noqa: PTH115 - runs after each batch, must be fast
    except OSError:
        return False


def _catches_signal(pid: int) -> bool:
    """Return True if a process handles the signal; otherwise the signal might kill it."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (SIGNAL - 1) & 1)
