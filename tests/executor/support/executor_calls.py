"""Functions that tests submit to executors; their workers import this module."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from conveyor import task

started_with: list[Any] = []


class FileEvent:
    """An event for other processes: a file that is there once it is set."""

    def __init__(self, path: str) -> None:
        self.path = path

    def set(self) -> None:
        """Set it."""
        Path(self.path).touch()

    def wait(self) -> bool:
        """Wait until it is set."""
        while not Path(self.path).exists():
            time.sleep(0.01)
        return True


class Shop:
    """Holds functions in a class."""

    rate = 2

    @classmethod
    def price(cls, number: int) -> int:
        """Return the price of this kind of shop."""
        return number * cls.rate

    @staticmethod
    def label(number: int) -> str:
        """Return a label."""
        return f"{number} pieces"

    def __call__(self) -> None:
        """Make objects callable."""

    def sell(self) -> None:
        """Be a method."""


class DearShop(Shop):
    """Inherits its functions."""

    rate = 5


class ShopClosed(Exception):
    """An error of the user's own."""


class TimeoutError(Exception):  # noqa: A001 - as in other libraries
    """An error of the user's own with the name of a built-in one."""


@task(name="stock.count", retries=2)
def count_stock(number: int) -> int:
    return number + 1


def double(number: int) -> int:
    return 2 * number


def add(first: int, second: int = 0, *, third: int = 0) -> int:
    return first + second + third


def own_process() -> int:
    return os.getpid()


def begin(*values: Any) -> None:
    started_with.append(values)


def begin_badly(reason: str) -> None:
    raise ValueError(reason)


def what_it_began_with() -> list[Any]:
    return started_with


def fail(name: str) -> None:
    """Raise one of some errors."""
    errors: dict[str, Any] = {
        "ValueError": lambda: int("x"),
        "KeyError": lambda: {}["a key"],
        "KeyError of a tuple": lambda: {}[1, "b"],
        "FileNotFoundError": lambda: Path("/nowhere/at/all").read_text(),
        "UnicodeDecodeError": b"\xff".decode,
        "no message": lambda: exec("assert False"),
        "ShopClosed": lambda: throw(ShopClosed("at night")),
        "executor_calls.TimeoutError": lambda: throw(TimeoutError("too late")),
        "SystemExit": lambda: throw(SystemExit(3)),
    }
    errors[name]()


def throw(error: BaseException) -> None:
    raise error


def touch_and_wait(path: str) -> str:
    """Make a file, and wait until another process removes it."""
    Path(path).touch()
    while Path(path).exists():
        time.sleep(0.01)
    return path


def touch_and_return(path: str) -> str:
    Path(path).touch()
    return path


def crash(path: str) -> None:
    """Kill this worker, and count that in a file."""
    with Path(path).open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
