"""Processes that tasks fork: what makes a worker is undone in them, since a terminate() must end them."""

from __future__ import annotations

import os
import signal
import threading

#: What a worker handles in ways of its own.
_OWN = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_thread = threading.local()


def watch() -> None:
    """From now on have forked processes treat signals as any program does."""
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    # A signal that comes at once waits until the child is ready for it: the worker's handlers would swallow it.
    _thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OWN)


def _in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _thread.mask)


def _in_child() -> None:
    for number in _OWN:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, _thread.mask)
