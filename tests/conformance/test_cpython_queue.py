"""CPython's own tests of `queue`, run against our three classes on each server."""

from __future__ import annotations

import itertools
import queue
import unittest
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import conveyor
import cpython

if TYPE_CHECKING:
    from conftest import Server
    from conveyor.store import Client

suite = cpython.tests("test_queue")

#: The test classes that run, each for one of our classes.
APPLICABLE = ("QueueTest", "LifoQueueTest", "PriorityQueueTest")
#: The others, and why they do not apply.
NOT_APPLICABLE = {
    "FailingQueueTest": "it overrides _put and _get, which access the deque that the queue keeps its items in",
    "BaseSimpleQueueTest": "it is about SimpleQueue, which has neither maxsize nor join; Conveyor has no such class",
}
#: What is different for a class in all its tests, and why.
ADAPTED = {
    "PriorityQueueTest": "a string is put as (0, string, STRING), since it has no key that the server can order by",
}
STRING = "a string"
CASES = [
    (name, test)
    for name in APPLICABLE
    for test in unittest.TestLoader().getTestCaseNames(getattr(suite, name))
]
_names = (f"cpython{number}" for number in itertools.count())


class OfStrings(conveyor.PriorityQueue[Any]):
    """A priority queue that also takes strings."""

    def put(self, item: Any, *args: Any, **kwargs: Any) -> None:
        super().put((0, item, STRING) if isinstance(item, str) else item, *args, **kwargs)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        item = super().get(*args, **kwargs)
        return item[1] if isinstance(item, tuple) and item[2:] == (STRING,) else item


def made_like(name: str, base: type[conveyor.Queue[Any]], client: Client) -> type[conveyor.Queue[Any]]:
    """Return a class with the constructor of the standard library's: each object is a queue of its own."""

    def init(self: Any, maxsize: int = 0) -> None:
        base.__init__(self, next(_names), maxsize, store=client)

    return type(name, (base,), {"__init__": init})


def module_of(client: Client) -> SimpleNamespace:
    """Return what the tests use as the module `queue`."""
    return SimpleNamespace(
        Queue=made_like("Queue", conveyor.Queue, client),
        LifoQueue=made_like("LifoQueue", conveyor.LifoQueue, client),
        PriorityQueue=made_like("PriorityQueue", OfStrings, client),
        Empty=queue.Empty,
        Full=queue.Full,
        ShutDown=getattr(queue, "ShutDown", conveyor.ShutDown),
    )


@pytest.mark.parametrize(("name", "test"), CASES)
def test_cpython_test_case_passes(name: str, test: str, server: Server) -> None:
    case = type(name, (getattr(suite, name), unittest.TestCase), {"queue": module_of(server.client)})
    case(test).debug()


def test_tables_name_all_test_classes_of_cpython() -> None:
    found = {
        one.__bases__[0].__name__
        for one in vars(suite).values()
        if isinstance(one, type) and issubclass(one, unittest.TestCase)
    }
    assert found == {*APPLICABLE, *NOT_APPLICABLE}
    assert ADAPTED.keys() <= {*APPLICABLE}


@pytest.mark.parametrize(("value", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_missing_tests_fail_only_in_ci(
    value: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", value)
    with pytest.raises(outcome, match="CPython's own tests are not installed here"):
        cpython.tests("test_of_nothing")
