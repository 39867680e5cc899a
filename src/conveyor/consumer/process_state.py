"""The state of a worker's process that tasks may change: restored after runs, and undone in processes they fork."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import sys
import threading
from typing import TextIO

#: Reasons to replace a worker.
FILES = "a task has closed or replaced files that it did not open"
LIMITS = "a task has lowered a limit of its process for good"
#: Seconds of a job up to which a check after it would be a noticeable cost.
TINY = 0.001
#: Signals with handlers of the worker's own.
_OWN = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
#: Signals whose handlers are restored; `stack` does so for its own.
_SIGNALS: tuple[int, ...] = (
    *(signal.SIGTERM, signal.SIGUSR1),
    *(signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM, signal.SIGPIPE),
)
_TIMERS: tuple[int, ...] = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)


_thread = threading.local()


class ProcessState:
    """The state of this process as its tasks should find it, recorded when the worker starts."""

    def __init__(self) -> None:
        self.changed = False
        """True if the last call to `restore` found a change."""
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._handlers = [(number, signal.getsignal(number)) for number in _SIGNALS]
        self._timers = [one for one in _TIMERS if signal.getitimer(one) == (0.0, 0.0)]
        self._limits = [(one, resource.getrlimit(one)) for one in _LIMITS]
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._streams = sys.stdout, sys.stderr
        self._recursion = sys.getrecursionlimit()
        self._collects = gc.isenabled()
        self._folder: int | None = None
        with contextlib.suppress(OSError):  # it was removed
            self._folder = os.open(".", os.O_RDONLY)
        known = [0, *(number for number, one in ((1, sys.stdout), (2, sys.stderr)) if one is not None)]
        self._files = [(one, _identity(one)) for one in (*known, self._folder) if one is not None]

    def restore(self) -> str:
        """Restore what tasks have changed. Return why the worker must be replaced, or an empty string."""
        self.changed = os.umask(self._umask) != self._umask
        self._restore_signals()
        self._restore_streams()
        self._restore_interpreter()
        try:
            for number, identity in self._files:
                if _identity(number) != identity:
                    self.changed = True
                    if not _restore_file(number):
                        return FILES
            if self._folder is not None and _identity(".") != _identity(self._folder):
                self.changed = True
                os.fchdir(self._folder)
        except OSError:
            return FILES
        for which, limit in self._limits:
            if resource.getrlimit(which) != limit:
                self.changed = True
                if not _restore_limit(which, limit):
                    return LIMITS
        return ""

    def looks_intact(self) -> bool:
        """Return False if a task has changed what it takes to send its outcome: files, by one of them, or the stack."""
        number, identity = self._files[-1]
        return _identity(number) == identity and sys.getrecursionlimit() == self._recursion

    def _restore_signals(self) -> None:
        if signal.pthread_sigmask(signal.SIG_BLOCK, ()) != self._mask:
            self.changed = True
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for timer in self._timers:
            if signal.getitimer(timer) != (0.0, 0.0):
                self.changed = True
                signal.setitimer(timer, 0)
        for number, handler in self._handlers:
            if signal.getsignal(number) is not handler:  # compared with ==, it might run user code
                self.changed = True
                signal.signal(number, handler)
        if signal.set_wakeup_fd(-1) != -1:
            self.changed = True

    def _restore_streams(self) -> None:
        if sys.stdout is not self._streams[0] or sys.stderr is not self._streams[1]:
            self.changed = True
            sys.stdout, sys.stderr = self._streams
        for name, stream in zip(("stdout", "stderr"), self._streams, strict=True):
            if stream is not None and stream.closed:
                self.changed = True
                setattr(sys, name, _reopened(name))
                self._streams = sys.stdout, sys.stderr

    def _restore_interpreter(self) -> None:
        if sys.getrecursionlimit() != self._recursion:
            self.changed = True
            sys.setrecursionlimit(self._recursion)
        if gc.isenabled() != self._collects:
            self.changed = True
            (gc.enable if self._collects else gc.disable)()


def _identity(file: int | str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - a file descriptor or the folder; must be fast
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _restore_file(number: int) -> bool:
    """Open /dev/null as standard input again. Return False for other files, which cannot be reopened."""
    if number != 0:
        return False
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(nothing, True)  # noqa: FBT003 - as standard input is
    if nothing != 0:
        os.dup2(nothing, 0)
        os.close(nothing)
    return True


def _restore_limit(which: int, limit: tuple[int, int]) -> bool:
    try:
        resource.setrlimit(which, limit)
    except (OSError, ValueError):
        return False
    return True


def _reopened(name: str) -> TextIO:
    """Return a new object for standard output or error, if a task has closed its object and not its file."""
    return open(1 if name == "stdout" else 2, "w", buffering=1, closefd=False, errors="backslashreplace")


def undo_in_forks() -> None:
    """Make processes forked from now on handle signals as any program does: a terminate() must end them."""
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    # A signal that arrives immediately stays pending until the child is ready: the worker's handlers would swallow it.
    _thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OWN)


def _in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _thread.mask)


def _in_child() -> None:
    for number in _OWN:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, _thread.mask)
