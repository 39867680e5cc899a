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
import traceback
from typing import TYPE_CHECKING, Any

from conveyor import clock

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from conveyor.consumer.shared_status import SharedStatus

#: The signal that makes a worker write its stacks.
SIGNAL = signal.SIGUSR2
#: Bytes of stacks that are kept: the end, which has the main thread.
MAX_SIZE = 64 * 1024
#: Seconds until a worker must have started writing, and seconds without a change after which it has finished.
PATIENCE, QUIET = 0.8, 0.15
_NAME = "conveyor-stacks"


def take_signal(status: SharedStatus, write_more: Callable[..., None] | None = None) -> None:
    """Make this worker process write its stacks at the signal; call it again if user code may have changed that.

    `write_more` is a signal handler in Python that may add to them, unless something holds the GIL.
    """
    handler = write_more or signal.SIG_IGN  # so that it never kills
    if not hasattr(os, "memfd_create"):
        return
    with contextlib.suppress(OSError):  # too many files are open; then it writes no stacks
        descriptor = status.stack_file
        faulthandler.unregister(
            SIGNAL
        )  # it would restore the handler of before, or assume that nothing has changed
        if not _is_ours(f"/proc/self/fd/{descriptor}"):
            signal.signal(SIGNAL, handler)
            descriptor = os.memfd_create(_NAME)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
            status.stack_file = descriptor
        elif signal.getsignal(SIGNAL) != handler:
            signal.signal(SIGNAL, handler)
        faulthandler.register(SIGNAL, file=descriptor, all_threads=True, chain=write_more is not None)


def of_task(task: asyncio.Task[Any]) -> str:
    """Return the stack of an asyncio task, from the outermost coroutine to what it waits for."""
    lines: list[str] = []
    inner: Any = task.get_coro()
    while inner is not None:
        frame = next(
            filter(None, (getattr(inner, f"{kind}_frame", None) for kind in ("cr", "gi", "ag"))), None
        )
        if frame is not None:  # only a coroutine or generator has one
            lines += traceback.format_stack(frame, limit=1)
        inner = next(
            filter(None, (getattr(inner, name, None) for name in ("cr_await", "gi_yieldfrom", "ag_await"))),
            None,
        )
    return "".join(lines)


def write_section(status: SharedStatus, text: str, name: str) -> None:
    """Add the stack of the job of one worker to those of its process, if it has any."""
    with contextlib.suppress(OSError):
        if text:
            os.write(status.stack_file, f"\n== {name}\n{text}".encode(errors="replace"))


def section_of(text: str, name: str) -> str:
    """Return the stack of one worker among those of a process, or all of them if it has none of its own."""
    for section in text.split("\n== ")[1:]:
        title, _, rest = section.partition("\n")
        if title == name:
            return rest
    return text


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
