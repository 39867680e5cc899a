"""The documented behavior of `queue.Queue`, checked for that class and for ours by the same tests."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import ShutDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Background, Belts

CLOSED = (ShutDown, getattr(queue, "ShutDown", ShutDown))


def needs_shutdown(belt: Any) -> Any:
    if not hasattr(belt, "shutdown"):
        pytest.skip("the standard library has shutdown from Python 3.13 on")
    return belt


def test_first_item_put_is_got_first(belts: Belts) -> None:
    belt = belts.make()
    for item in range(20):
        belt.put(item)
    assert [belt.get() for _ in range(20)] == [*range(20)]


@pytest.mark.parametrize("item", [None, 0, "", False, [], {"a": (1, {2})}, b"\xff", 2**80])
def test_item_of_any_type_is_returned_unchanged(belts: Belts, item: Any) -> None:
    belt = belts.make()
    belt.put(item)
    got = belt.get()
    assert got == item
    assert type(got) is type(item)


def test_qsize_empty_and_full_report_the_state(belts: Belts) -> None:
    belt = belts.make(2)
    assert (belt.qsize(), belt.empty(), belt.full()) == (0, True, False)
    belt.put(1)
    assert (belt.qsize(), belt.empty(), belt.full()) == (1, False, False)
    belt.put(2)
    assert (belt.qsize(), belt.empty(), belt.full()) == (2, False, True)
    belt.get()
    assert (belt.qsize(), belt.empty(), belt.full()) == (1, False, False)


@pytest.mark.parametrize("maxsize", [0, -1])
def test_maxsize_below_one_means_no_limit(belts: Belts, maxsize: int) -> None:
    belt = belts.make(maxsize)
    for item in range(100):
        belt.put(item, block=False)
    assert not belt.full()


def test_nonblocking_get_raises_empty_if_the_queue_is_empty(belts: Belts) -> None:
    belt = belts.make()
    for get in (belt.get_nowait, lambda: belt.get(block=False), lambda: belt.get(block=False, timeout=5)):
        with pytest.raises(queue.Empty):
            get()


def test_nonblocking_put_raises_full_if_the_queue_is_full(belts: Belts) -> None:
    belt = belts.make(1)
    belt.put(0)
    for put in (
        lambda: belt.put_nowait(1),
        lambda: belt.put(1, block=False),
        lambda: belt.put(1, block=False, timeout=5),
    ):
        with pytest.raises(queue.Full):
            put()
    assert belt.qsize() == 1


@pytest.mark.parametrize("timeout", [0, 0.05, 0.3])
def test_get_waits_for_the_timeout_and_raises_empty(
    belts: Belts, timeout: float, quickest: Callable[..., float]
) -> None:
    belt = belts.make()

    def seconds() -> float:
        before = time.monotonic()
        with pytest.raises(queue.Empty):
            belt.get(timeout=timeout)
        return time.monotonic() - before

    assert timeout <= quickest(seconds, timeout + 1.0) < timeout + 1.0


@pytest.mark.parametrize("timeout", [0, 0.05, 0.3])
def test_put_waits_for_the_timeout_and_raises_full(
    belts: Belts, timeout: float, quickest: Callable[..., float]
) -> None:
    belt = belts.make(1)
    belt.put(0)

    def seconds() -> float:
        before = time.monotonic()
        with pytest.raises(queue.Full):
            belt.put(1, timeout=timeout)
        return time.monotonic() - before

    assert timeout <= quickest(seconds, timeout + 1.0) < timeout + 1.0
    assert belts.who_puts(belt) == 0


def test_negative_timeout_is_a_value_error(belts: Belts) -> None:
    belt = belts.make(1)
    with pytest.raises(ValueError, match="non-negative"):
        belt.get(timeout=-1)
    with pytest.raises(ValueError, match="non-negative"):
        belt.put(1, timeout=-0.001)
    assert belt.empty()


def test_negative_timeout_is_ignored_without_blocking(belts: Belts) -> None:
    belt = belts.make(1)
    with pytest.raises(queue.Empty):
        belt.get(block=False, timeout=-1)
    belt.put(1, block=False, timeout=-1)
    with pytest.raises(queue.Full):
        belt.put(2, block=False, timeout=-1)


def test_blocked_get_returns_once_an_item_is_put(
    belts: Belts, background: type[Background], quickest: Callable[..., float]
) -> None:
    belt = belts.make()

    def seconds() -> float:
        waiting = background(belt.get)
        belts.eventually(lambda: belts.who_gets(belt) == 1)
        before = time.monotonic()
        belt.put("item")
        assert waiting.result() == "item"
        return time.monotonic() - before

    assert quickest(seconds, 1.0) < 1.0


def test_blocked_put_returns_once_there_is_room(belts: Belts, background: type[Background]) -> None:
    belt = belts.make(1)
    belt.put("first")
    waiting = background(belt.put, "second")
    belts.eventually(lambda: belts.who_puts(belt) == 1)
    assert belt.qsize() == 1
    assert belt.get() == "first"
    waiting.result()
    assert belt.get() == "second"


def test_every_item_goes_to_exactly_one_consumer(belts: Belts, background: type[Background]) -> None:
    belt = belts.make(5)

    def take_all() -> list[int]:
        taken: list[int] = []
        while (item := belt.get()) is not None:
            taken.append(item)
            belt.task_done()
        belt.task_done()
        return taken

    def put_some(first: int) -> None:
        for item in range(first, first + 100):
            belt.put(item)

    takers = [background(take_all) for _ in range(3)]
    for putter in [background(put_some, first) for first in (0, 100, 200)]:
        putter.result()
    for _ in takers:
        belt.put(None)
    belt.join()
    parts = [taker.result() for taker in takers]
    assert sorted(item for part in parts for item in part) == [*range(300)]


def test_items_of_one_producer_arrive_in_order(belts: Belts, background: type[Background]) -> None:
    belt = belts.make(3)
    putter = background(lambda: [belt.put(item) for item in range(100)])
    assert [belt.get() for _ in range(100)] == [*range(100)]
    putter.result()


def test_task_done_is_refused_beyond_the_number_of_items(belts: Belts) -> None:
    belt = belts.make()
    with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
        belt.task_done()
    belt.put(1)
    belt.get()
    belt.task_done()
    with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
        belt.task_done()


def test_join_of_an_unused_queue_returns_immediately(belts: Belts) -> None:
    belts.make().join()


def test_join_waits_until_every_item_is_done(belts: Belts, background: type[Background]) -> None:
    belt = belts.make()
    belt.put(1)
    belt.put(2)
    joining = background(belt.join)
    belts.eventually(lambda: belts.who_joins(belt) == 1)
    belt.get()
    belt.task_done()
    belt.get()
    assert not joining.is_over
    assert belts.who_joins(belt) == 1
    belt.task_done()
    joining.result()
    belt.join()


def test_task_done_is_accepted_from_any_thread(belts: Belts, background: type[Background]) -> None:
    belt = belts.make()
    belt.put(1)
    belt.get()
    background(belt.task_done).result()
    belt.join()


def test_unfinished_tasks_counts_items_until_they_are_done(belts: Belts) -> None:
    belt = belts.make()
    assert belt.unfinished_tasks == 0
    belt.put(1)
    belt.put(2)
    assert belt.unfinished_tasks == 2
    belt.get()
    assert belt.unfinished_tasks == 2
    belt.task_done()
    assert belt.unfinished_tasks == 1


@pytest.mark.parametrize("immediate", [False, True])
def test_is_shutdown_reports_a_shutdown(belts: Belts, *, immediate: bool) -> None:
    belt = needs_shutdown(belts.make())
    assert belt.is_shutdown is False
    belt.shutdown(immediate)
    assert belt.is_shutdown is True


def test_queue_after_shutdown_refuses_puts_and_returns_the_rest(belts: Belts) -> None:
    belt = needs_shutdown(belts.make(1))
    belt.put("rest")
    belt.shutdown()
    for put in (
        lambda: belt.put("more"),
        lambda: belt.put_nowait("more"),
        lambda: belt.put("more", timeout=0.1),
    ):
        with pytest.raises(CLOSED):
            put()
    assert belt.get() == "rest"
    for get in (belt.get, belt.get_nowait, lambda: belt.get(timeout=0.1)):
        with pytest.raises(CLOSED):
            get()
    belt.task_done()
    belt.join()


def test_immediate_shutdown_drops_waiting_items_and_ends_joins(
    belts: Belts, background: type[Background]
) -> None:
    belt = needs_shutdown(belts.make())
    for item in range(3):
        belt.put(item)
    belt.get()
    joining = background(belt.join)
    belts.eventually(lambda: belts.who_joins(belt) == 1)
    belt.shutdown(immediate=True)
    assert belt.qsize() == 0
    with pytest.raises(CLOSED):
        belt.get()
    belt.task_done()
    joining.result()


def test_shutdown_wakes_all_blocked_callers(belts: Belts, background: type[Background]) -> None:
    full, empty = needs_shutdown(belts.make(1)), belts.make()
    full.put(0)
    waiting = [background(full.put, 1), background(full.put, 2), background(empty.get), background(empty.get)]
    belts.eventually(
        lambda: (belts.who_puts(full), belts.who_gets(empty)) == (2, 2) or belts.who_gets(empty) >= 4
    )
    full.shutdown()
    empty.shutdown()
    for one in waiting:
        with pytest.raises(CLOSED):
            one.result()


def test_second_shutdown_has_no_effect(belts: Belts) -> None:
    belt = needs_shutdown(belts.make())
    belt.shutdown()
    belt.shutdown(immediate=True)
    with pytest.raises(CLOSED):
        belt.put(1)


def test_queue_is_safe_to_use_from_many_threads(belts: Belts) -> None:
    belt = belts.make()
    threads = [threading.Thread(target=lambda: [belt.put(1) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert belt.qsize() == 200
