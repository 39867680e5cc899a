"""CPython's own tests of `asyncio.Queue`, run against ours."""

from __future__ import annotations

import asyncio
import itertools
import threading
import types
import unittest
from typing import TYPE_CHECKING, Any

import pytest

import cpython
from conveyor import aio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from conveyor.clock import Deadline
    from conveyor.queue import Put

theirs = cpython.tests("test_asyncio.test_queues")
_names = (f"theirs{number}" for number in itertools.count())

#: Cases that do not apply, and why.
LEFT_OUT = {
    "QueueBasicTests.test_repr": "shows the items and waiters of this process; ours are on the server",
    "QueueBasicTests.test_str": "as test_repr",
    "QueueBasicTests.test_generic_alias": "Queue[int] is an alias of typing.Generic, as type checkers want it",
    "QueueGetTests.test_get_with_putters": "reaches into the queue's own list of waiters",
    "QueueGetTests.test_cancelled_getters_not_being_held_in_self_getters": "as test_get_with_putters",
    "QueuePutTests.test_cancelled_puts_not_being_held_in_self_putters": "as test_get_with_putters",
    "QueuePutTests.test_blocking_put_wait": "expects that an item is put within 10 ms, however busy the host is",
    "QueuePutTests.test_float_maxsize": "a max size that is not a whole number is refused",
    "QueueJoinTests.test_format": "a private method",
    "PriorityQueueJoinTests.test_format": "as test_format of QueueJoinTests",
    "LifoQueueJoinTests.test_format": "as test_format of QueueJoinTests",
    "QueueShutdownTests.test_format": "as test_format of QueueJoinTests",
    "PriorityQueueShutdownTests.test_format": "as test_format of QueueJoinTests",
    "LifoQueueShutdownTests.test_format": "as test_format of QueueJoinTests",
}
#: Times in a row that a server must have got no command since the last look, since this process may have to wait for a
#: processor.
QUIET = 8


def their_cases() -> Iterator[unittest.TestCase]:
    suites: list[Any] = [unittest.defaultTestLoader.loadTestsFromModule(theirs)]
    while suites:
        one = suites.pop(0)
        if isinstance(one, unittest.TestCase):
            yield one
        else:
            suites[:0] = list(one)


def name_of(case: unittest.TestCase) -> str:
    return case.id().removeprefix(f"{theirs.__name__}.")


CASES = list(their_cases())


class Elsewhere:
    """An event loop in another thread. It answers there what these tests ask without awaiting it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def answer(self, question: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(question, self.loop).result(30)

    def end(self) -> None:
        self.answer(self.loop.shutdown_asyncgens())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """Provide the other event loop."""
    made = Elsewhere()
    yield made
    made.end()


class Answering(aio.Queue[Any]):
    """Ours, with answers that are not awaited."""

    client: Any
    elsewhere: Elsewhere

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(next(_names), maxsize, store=self.client)


class Keyed(aio.PriorityQueue[Any]):
    """Puts their strings, which have no key here, as `(0, string)`."""

    def _puts(self, items: Iterable[Any]) -> Iterable[Put]:
        return super()._puts((0, one) if isinstance(one, str) else one for one in items)

    async def _get_item(self, deadline: Deadline | None) -> Any:
        item = await super()._get_item(deadline)
        return item[1] if isinstance(item, tuple) else item


def answering(name: str) -> Callable[..., Any]:
    ask = getattr(aio.Queue, name)
    return lambda queue, *args, **kwargs: queue.elsewhere.answer(ask(queue, *args, **kwargs))


for _name in ("put_nowait", "get_nowait", "count", "shutdown"):
    setattr(Answering, _name, answering(_name))
Answering.qsize = lambda queue: queue.count().qsize  # type: ignore[method-assign]
Answering.empty = lambda queue: queue.qsize() == 0  # type: ignore[method-assign]
Answering.full = lambda queue: queue.count().is_full  # type: ignore[method-assign]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_their_case_passes(
    case: unittest.TestCase, server: Any, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name_of(case) in LEFT_OUT:
        pytest.skip(LEFT_OUT[name_of(case)])

    async def sleep(seconds: float) -> None:
        """Wait until the server has nothing to do: theirs is done in one turn of the loop, ours in some round trips."""
        before, quiet = -1, 0
        while quiet < QUIET:
            await asyncio.sleep(max(seconds, 0.01))
            now = server.raw.info("stats")["total_commands_processed"]
            before, quiet = now, quiet + 1 if now == before + 1 else 0

    place = {"client": server.client, "elsewhere": elsewhere}
    ours: dict[str, Any] = {
        name: type(name, bases, place)
        for name, bases in {
            "Queue": (Answering,),
            "LifoQueue": (Answering, aio.LifoQueue),
            "PriorityQueue": (Answering, Keyed),
        }.items()
    }
    known = {name: getattr(asyncio, name) for name in dir(asyncio)}
    ours |= {"sleep": sleep, "QueueShutDown": aio.QueueShutDown}
    monkeypatch.setattr(theirs, "asyncio", types.SimpleNamespace(**known | ours))
    if hasattr(case, "q_class"):  # it was bound when the module was loaded
        monkeypatch.setattr(type(case), "q_class", ours[case.q_class.__name__])
    result = unittest.TestResult()
    type(case)(case._testMethodName).run(result)  # a case runs once
    assert result.testsRun == 1
    assert [text for _, text in (*result.errors, *result.failures)] == []


def test_all_cases_left_out_exist() -> None:
    known = {name_of(case) for case in their_cases()}
    has_shutdown = any("Shutdown" in name for name in known)
    assert {name for name in LEFT_OUT if has_shutdown or "Shutdown" not in name} <= known
