"""Where the code of a worker is: its Python stacks, written by a signal handler in C that needs no interpreter's lock.

The worker has a file in memory for them, which nobody but it and its supervisor sees; the slate says which of its open
files that is. The supervisor opens the same file by way of /proc, so it needs no open file per worker. User code may
take the signal or close the file: so the supervisor looks at both before it sends anything, and after each batch the
worker takes them back.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import pathlib
import signal
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.consumer.shared_status import Slate
    from conveyor.consumer.supervisor import Supervisor
    from conveyor.consumer.worker_handle import Worker
    from conveyor.wire.control_messages import Control

    Answer = Callable[[Control, str, str, str], None]

#: What makes a worker write its stacks.
SIGNAL = signal.SIGUSR2
#: Bytes of stacks that are told at most; the end, with the main thread's, is what is kept.
MOST = 64 * 1024
#: Seconds that a worker is given to begin writing, and seconds without a change after which it has ended.
PATIENCE, QUIET = 0.8, 0.06
#: Workers of a consumer that write at once, at most: each is an open file of the supervisor's meanwhile.
AT_ONCE = 32
_NAME = "conveyor-stacks"


def take_signal(slate: Slate) -> None:
    """Have this process, a worker, write its stacks at the signal; once more, where user code has changed that."""
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):  # too many files are open; then there are no stacks
            _take_signal(slate)


def _take_signal(slate: Slate) -> None:
    descriptor = slate.stack_file()
    if not _is_ours(f"/proc/self/fd/{descriptor}"):
        signal.signal(SIGNAL, signal.SIG_IGN)  # so that it never kills
        descriptor = os.memfd_create(_NAME)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
        slate.set_stack_file(descriptor)
    elif signal.getsignal(SIGNAL) != signal.SIG_IGN:
        signal.signal(SIGNAL, signal.SIG_IGN)
    faulthandler.unregister(SIGNAL)  # else it would believe that nothing has changed
    faulthandler.register(SIGNAL, file=descriptor, all_threads=True)


def _is_ours(path: str) -> bool:
    try:
        return os.readlink(path).startswith(f"/memfd:{_NAME}")  # noqa: PTH115 - after each batch, so it is to be fast
    except OSError:
        return False


@dataclass(slots=True)
class _Dump:
    """Stacks that are being written."""

    worker: Worker
    orders: list[Control]
    file: int
    until: float
    size: int = 0
    changed: float = 0.0


class Stacks:
    """The supervisor's part: has workers write, and answers with what they wrote."""

    def __init__(self, supervisor: Supervisor, answer: Answer) -> None:
        self.supervisor = supervisor
        self.answer = answer
        self._dumps: dict[int, _Dump] = {}
        self._waiting: deque[tuple[Control, Worker]] = deque()

    @property
    def hurried(self) -> bool:
        """Whether something is being written, or about to be."""
        return bool(self._dumps or self._waiting)

    def obey(self, order: Control) -> None:
        """Have the named workers, all where none is, write their stacks; the answer is there within about a second."""
        workers = {one.name: one for one in self.supervisor.workers.values()}
        for name in order.workers or sorted(workers):
            worker = workers.get(name)
            if worker is None:
                self.answer(order, name, "unknown", "no such worker")
            elif order.job and worker.job()[1] != order.job:
                self.answer(order, name, "unknown", "it does not run that job now")
            else:
                self._waiting.append((order, worker))

    def look(self) -> None:
        """Have those write who are next, and answer with what has been written."""
        while self._waiting and len(self._dumps) < AT_ONCE:
            self._begin(*self._waiting.popleft())
        now = clock.monotonic()
        for pid, dump in list(self._dumps.items()):
            size = os.fstat(dump.file).st_size
            if size != dump.size:
                dump.size, dump.changed = size, now
            written = size and now - dump.changed >= QUIET
            if written or now > dump.until or pid not in self.supervisor.workers:
                del self._dumps[pid]
                self._end(dump)

    def _begin(self, order: Control, worker: Worker) -> None:
        if worker.pid in self._dumps:
            self._dumps[worker.pid].orders.append(order)
            return
        if worker.pid not in self.supervisor.workers:
            self.answer(order, worker.name, "done", "no stacks: the worker is gone")
            return
        path = f"/proc/{worker.pid}/fd/{worker.slate.stack_file()}"
        if not _is_ours(path):
            self.answer(
                order, worker.name, "done", "no stacks: the worker is still starting, or cannot write any"
            )
            return
        if not _catches(worker.pid):
            self.answer(order, worker.name, "done", f"no stacks: the task has turned {SIGNAL.name} off")
            return
        try:
            file = os.open(path, os.O_RDWR)
        except OSError:  # it has just ended
            self.answer(order, worker.name, "done", "no stacks: the worker is gone")
            return
        os.ftruncate(file, 0)
        self._dumps[worker.pid] = _Dump(worker, [order], file, clock.monotonic() + PATIENCE)
        worker.write_stack()

    def _end(self, dump: _Dump) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = os.pread(dump.file, MOST, max(0, os.fstat(dump.file).st_size - MOST))
            os.ftruncate(dump.file, 0)
        os.close(dump.file)
        text = data.decode(errors="replace")
        for order in dump.orders:
            self.answer(
                order, dump.worker.name, "done", text or "no stacks: the worker wrote nothing in time"
            )


def _catches(pid: int) -> bool:
    """Tell whether a process has a handler for the signal: without one it might die of it."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (SIGNAL - 1) & 1)
