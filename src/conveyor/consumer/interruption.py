"""Exceptions that are raised in the task of another thread, and where they have to wait.

`logging` takes the lock of a handler in one statement and releases it in the next: an exception between the two would
leave it locked, and every thread that logs would wait forever. And while it makes a record, it ignores some exceptions.
So what comes meanwhile is raised afterwards.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: Steps of Python within which an exception arrives that was raised in this thread by another.
_ARRIVAL = 100
_shielded: dict[int, BaseException | type[BaseException] | None] = {}
"""The threads that run shielded code, and what is to be raised in each after that."""
_lock = threading.RLock()  # a signal handler may interrupt its holder


def raise_in(thread: int, error: type[BaseException]) -> None:
    """Raise an exception in a thread when it executes Python code next, or behind what it runs with `shield`.

    It cannot be taken back: Python would then look for it in all threads, after every few instructions, for good.
    """
    with _lock:
        if thread in _shielded:
            _shielded[thread] = error
        else:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def raise_here(error: BaseException) -> None:
    """Raise an exception in the calling thread, or behind what it runs with `shield`; for a signal handler."""
    if threading.get_ident() not in _shielded:
        raise error
    _shielded[threading.get_ident()] = error


def await_raised() -> None:
    """Execute some steps of Python, so that what `raise_in` has just raised in the calling thread arrives here."""
    for _ in range(_ARRIVAL):
        pass


def shield(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a function. What is raised here in this thread meanwhile comes once the function has returned."""
    thread = threading.get_ident()
    if thread in _shielded:
        return function(*args, **kwargs)
    try:
        with _lock:
            _shielded[thread] = None
        return function(*args, **kwargs)
    finally:
        with _lock:
            error = _shielded.pop(thread, None)
        if error is not None:
            raise error


def _forget() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.RLock()
    _shielded.clear()


os.register_at_fork(after_in_child=_forget)
