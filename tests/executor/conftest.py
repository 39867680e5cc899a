"""Tests of the executor: those of CPython for its own executors, and ours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.queue.conftest import bench

from conveyor import Executor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["bench"]

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))


def end(executor: Executor) -> None:
    """Shut an executor down; after a failed test, do not wait for calls that no worker will end."""
    executor.shutdown(wait=False, cancel_futures=True)
    for future in executor._calls.unfinished_ones():
        future.wait(5.0)
        future.fail("the test has ended")
    executor.shutdown()


@pytest.fixture
def executor(bench: Any) -> Iterator[Executor]:
    """Return an executor without workers, whose jobs the bench ends."""
    executor = Executor(bench.queue)
    yield executor
    end(executor)


@pytest.fixture
def execute(one_server: Any) -> Iterator[Callable[..., Executor]]:
    """Return a function that makes an executor at the server."""
    made: list[Executor] = []

    def make(*args: Any, **options: Any) -> Executor:
        made.append(Executor(*args, **{"store": one_server.client, **options}))
        return made[-1]

    yield make
    for one in made:
        end(one)
