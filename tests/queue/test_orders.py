"""The order of `LifoQueue` and of `PriorityQueue`, alone and beside other queues of the same name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import BadCall, Full, LifoQueue, PriorityQueue, Queue, TooLarge, task
from conveyor.queue import MAX_KEY

if TYPE_CHECKING:
    from conftest import Bench

Make = Any


@pytest.fixture
def make(bench: Bench) -> Make:
    """Return a function that opens a queue with the name `orders`."""
    return lambda kind, maxsize=0: kind("orders", maxsize, store=bench.client)


@task(priority=3)
def urgent(number: int) -> None: ...


def usual(number: int) -> None: ...


def taken(queue: Queue[Any]) -> list[Any]:
    """Take all that is queued; of calls the arguments."""
    found = [queue.get(block=False) for _ in range(queue.qsize())]
    return [one.positional() if hasattr(one, "positional") else one for one in found]


def test_last_item_put_is_got_first(make: Make) -> None:
    stack = make(LifoQueue)
    stack.put(1)
    stack.put_many([2, 3])
    stack.put_nowait(4)
    assert taken(stack) == [4, 3, 2, 1]


def test_lifo_queue_puts_in_front_of_other_puts(make: Make) -> None:
    queue, stack = make(Queue), make(LifoQueue)
    for item in range(2):
        queue.put(item)
        stack.put(-item - 1)
    assert taken(queue) == [-2, -1, 0, 1]


def test_last_job_submitted_of_a_priority_runs_first(make: Make) -> None:
    stack = make(LifoQueue)
    for number in range(2):
        stack.submit(usual, number)
        stack.submit(urgent, number)
    stack.submit_many(urgent, [(2,), (3,)])
    assert taken(stack) == [[3], [2], [1], [0], [1], [0]]


def test_blocked_put_to_a_lifo_queue_waits_for_room(make: Make, bench: Bench) -> None:
    stack = make(LifoQueue, 1)
    stack.put(1)
    with ThreadPoolExecutor() as pool:
        blocked = pool.submit(stack.put_many, [2, 3])
        bench.eventually(lambda: stack.count().blocked == 1)
        assert [stack.get(timeout=20) for _ in range(3)] == [1, 2, 3]
    assert blocked.exception() is None


def test_entry_with_the_lowest_key_is_got_first(make: Make) -> None:
    entries = make(PriorityQueue)
    entries.put((3, "c"))
    entries.put_many([5, -2, (3, "a"), [0], (MAX_KEY,), -MAX_KEY, (True, None)])
    entries.put_nowait((3,))
    assert taken(entries) == [-MAX_KEY, -2, [0], (True, None), (3, "c"), (3, "a"), (3,), 5, (MAX_KEY,)]


def test_jobs_in_a_priority_queue_come_after_its_entries(make: Make) -> None:
    entries = make(PriorityQueue)
    for number in range(2):
        entries.submit(usual, number)
        entries.submit(urgent, number)
        make(Queue).put(f"item {number}")
        entries.put(MAX_KEY)
    assert taken(entries) == [MAX_KEY, MAX_KEY, [0], [1], [0], "item 0", [1], "item 1"]


@pytest.mark.parametrize(
    "entry",
    ["text", 1.0, None, (), [], ("text", 1), (1.5, 1), {1: 2}, MAX_KEY + 1, (-MAX_KEY - 1, 1), (None,)],
)
def test_entry_without_a_whole_number_as_key_is_refused(make: Make, entry: object) -> None:
    entries = make(PriorityQueue)
    with pytest.raises(BadCall, match="whole number between -1000000 and 1000000"):
        entries.put(entry)
    assert entries.empty()


def test_error_of_put_many_tells_which_entries_were_put(make: Make) -> None:
    entries = make(PriorityQueue, 3)
    with pytest.raises(TooLarge) as refusal:
        entries.put_many([2, 2, (1, bytes(2 << 20)), 3])
    assert refusal.value.accepted == len(refusal.value.ids) == entries.qsize() == 2
    with pytest.raises(Full) as refusal:
        entries.put_many([1, 1, 3], timeout=0.1)
    assert refusal.value.accepted == len(refusal.value.ids) == 1
    assert taken(entries) == [1, 2, 2]


def test_entries_are_taken_a_part_at_a_time(make: Make) -> None:
    """The iterable never ends; only a part of it is read before the first error."""
    entries = make(PriorityQueue, 2)
    with pytest.raises(Full) as refusal:
        entries.put_many(iter(lambda: 1, 2), block=False)
    assert refusal.value.accepted == 2


def test_full_priority_queue_makes_a_put_wait(make: Make, bench: Bench) -> None:
    entries = make(PriorityQueue, 2)
    with ThreadPoolExecutor() as pool:
        blocked = pool.submit(entries.put_many, [3, 2, 1, 0])
        bench.eventually(lambda: entries.count().blocked == 1)
        assert entries.get(timeout=20) == 2
        bench.eventually(lambda: entries.qsize() == 2)  # the blocked put has brought the next one
        assert entries.get(timeout=20) == 1
        assert blocked.exception() is None
    assert taken(entries) == [0, 3]


@pytest.mark.parametrize("kind", [LifoQueue, PriorityQueue])
def test_clear_and_shutdown_remove_all_items(make: Make, kind: type[Queue[int]]) -> None:
    queue = make(kind)
    queue.put_many(range(1000))
    assert queue.clear() == 1000
    queue.put_many([1, 2])
    queue.shutdown(immediate=True)
    assert queue.unfinished_tasks == 0
    assert queue.count().imbalance == 0


@pytest.mark.parametrize(("kind", "order"), [(LifoQueue, [4, 3, 2, 1]), (PriorityQueue, [1, 2, 3, 4])])
def test_item_of_a_dead_taker_returns_to_its_position(
    make: Make, bench: Bench, kind: type[Queue[int]], order: list[int]
) -> None:
    queue = make(kind)
    queue.put_many([1, 2, 3])
    (job,) = bench.claim(queue=queue).jobs
    queue.put(4)
    bench.server.raw.zadd(f"conveyor:{{{queue.name}}}:leased", {job.id: 1})  # long ago
    assert [queue.get(timeout=20) for _ in range(4)] == order
