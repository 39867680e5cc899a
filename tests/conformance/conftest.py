"""The standard library's queue and Conveyor's on each server behind a common interface to make and observe them."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import KINDS

from conveyor import Queue

if TYPE_CHECKING:
    from collections.abc import Iterator

_names = (f"belt{number}" for number in itertools.count())
WaitFor = Callable[..., Any]


class Belts:
    """Makes the queues under test."""

    server: Any = None

    def __init__(self, eventually: WaitFor) -> None:
        self.eventually = eventually

    def make(self, maxsize: int = 0) -> Any:
        return queue.Queue(maxsize)

    def who_puts(self, belt: Any) -> int:
        """Count blocked producers."""
        return len(belt.not_full._waiters)

    def who_gets(self, belt: Any) -> int:
        """Count blocked consumers."""
        return len(belt.not_empty._waiters)

    def who_joins(self, belt: Any) -> int:
        """Count joiners."""
        return len(belt.all_tasks_done._waiters)


class SharedBelts(Belts):
    """Queues on a server, whose waiters are observed there."""

    def __init__(self, eventually: WaitFor, server: Any) -> None:
        super().__init__(eventually)
        self.server = server

    def make(self, maxsize: int = 0) -> Queue:
        return Queue(next(_names), maxsize, store=self.server.client)

    def who_puts(self, belt: Queue) -> int:
        return belt.count().blocked

    def who_gets(self, belt: Queue) -> int:
        clients = self.server.raw.client_list()
        return sum(client["cmd"] == "blpop" and "b" in client["flags"] for client in clients)

    def who_joins(self, belt: Queue) -> int:
        return self.server.raw.scard(f"conveyor:{{{belt.name}}}:joiners")


@pytest.fixture(params=["standard library", *KINDS])
def belts(request: pytest.FixtureRequest, servers: Any, eventually: WaitFor) -> Iterator[Belts]:
    """Run the test with the standard library's queue, whose behavior is the measure, and with ours on each server."""
    if request.param == "standard library":
        yield Belts(eventually)
    else:
        with servers.lend(request.param) as server:
            yield SharedBelts(eventually, server)


@pytest.fixture
def shared(server: Any, eventually: WaitFor) -> SharedBelts:
    """Make queues that the standard library has no equal of."""
    return SharedBelts(eventually, server)


class Background:
    """A call in a separate thread, and its result."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.answer: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function, args, kwargs), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            self.answer = function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to see it
            self.error = error

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Any:
        """Wait for the end and return the call's result, or raise its exception."""
        self._thread.join(20)
        assert self.is_over
        if self.error is not None:
            raise self.error
        return self.answer


@pytest.fixture
def background() -> type[Background]:
    """Return a class that runs a call in a thread: `background(belt.put, 1)`."""
    return Background
