"""Processes share a queue: its items, its limit and its line."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Empty, Full, Queue, ShutDown, WaitTimeout
from conveyor.wire.call import decode_call

if TYPE_CHECKING:
    from conftest import Background, SharedBelts

PUT = """
import sys
from conveyor import Queue
url, name, maxsize, first, last = sys.argv[1:]
belt = Queue(name, int(maxsize), store=url)
for item in range(int(first), int(last)):
    belt.put(item)
print("put", flush=True)
"""
TAKE = """
import sys
from conveyor import Queue
url, name, count = sys.argv[1:]
belt = Queue(name, store=url)
for _ in range(int(count)):
    print(belt.get(), flush=True)
    belt.task_done()
"""
JOIN = """
import sys
from conveyor import Queue
Queue(sys.argv[2], store=sys.argv[1]).join()
print("joined", flush=True)
"""
SCHEDULE = """
import sys
from conveyor import DuplicateJob, Queue, task
belt = Queue(sys.argv[2], store=sys.argv[1])
@task(name="report", queue=sys.argv[2])
def report(): pass
print("ready", flush=True)
sys.stdin.readline()
for time in range(50):
    try:
        belt.submit(report.options(id=f"report-{time}"))
    except DuplicateJob:
        pass
print("scheduled", flush=True)
"""
Start = Any


def words(process: Any) -> list[str]:
    """Wait for a process to exit with 0, and return the words it wrote."""
    written, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    return written.split()


def test_items_of_another_process_arrive_in_order(shared: SharedBelts, start_python: Start) -> None:
    belt = shared.make(3)
    putting = start_python(PUT, shared.server.url, belt.name, 3, 0, 20)
    taking = start_python(TAKE, shared.server.url, belt.name, 20)
    assert words(taking) == [str(item) for item in range(20)]
    assert words(putting) == ["put"]
    assert belt.count().imbalance == 0


def test_put_blocks_until_another_process_makes_room(shared: SharedBelts, start_python: Start) -> None:
    belt = shared.make(2)
    putting = start_python(PUT, shared.server.url, belt.name, 2, 0, 3)
    shared.eventually(lambda: belt.count().blocked == 1)
    assert belt.qsize() == 2
    assert belt.get() == 0
    assert words(putting) == ["put"]
    assert [belt.get(), belt.get()] == [1, 2]


def test_join_waits_for_items_another_process_holds(shared: SharedBelts, start_python: Start) -> None:
    belt = shared.make()
    belt.put(1)
    belt.get()
    joining = start_python(JOIN, shared.server.url, belt.name)
    shared.eventually(lambda: shared.who_joins(belt) == 1)
    assert joining.poll() is None
    belt.task_done()
    assert words(joining) == ["joined"]


def test_shutdown_in_another_process_wakes_blocked_puts(shared: SharedBelts, start_python: Start) -> None:
    belt = shared.make(1)
    putting = start_python(PUT, shared.server.url, belt.name, 1, 0, 5)
    shared.eventually(lambda: belt.count().blocked == 1)
    belt.shutdown()
    putting.communicate(timeout=20)
    assert putting.returncode == 1
    assert belt.get() == 0
    with pytest.raises(ShutDown):
        belt.get()


def test_killed_producer_delays_the_next_in_line_by_seconds_only(
    shared: SharedBelts, start_python: Start, background: type[Background]
) -> None:
    belt = shared.make(1)
    belt.put("first")
    dying = start_python(PUT, shared.server.url, belt.name, 1, 0, 1)
    shared.eventually(lambda: belt.count().blocked == 1)
    os.kill(dying.pid, signal.SIGKILL)
    dying.wait()
    waiting = background(belt.put, "next")
    shared.eventually(lambda: belt.count().blocked == 2)
    seen = f"conveyor:{{{belt.name}}}:seen"
    (dead, *_) = shared.server.raw.zrange(f"conveyor:{{{belt.name}}}:line", 0, 0)
    shared.server.raw.hincrby(seen, dead, -6_000)  # as if six seconds had passed since it died
    belt.get()
    waiting.result()
    assert belt.get(timeout=5) == "next"


def test_blocked_producers_are_served_in_order_of_arrival(
    shared: SharedBelts, background: type[Background]
) -> None:
    belt = shared.make(1)
    belt.put("first")
    waiting = []
    for number in range(6):
        waiting.append(background(belt.put, number))
        shared.eventually(lambda number=number: belt.count().blocked == number + 1)
    assert [belt.get() for _ in range(7)] == ["first", *range(6)]
    for one in waiting:
        one.result()


def test_nonblocking_put_does_not_overtake_a_blocked_put(
    shared: SharedBelts, background: type[Background]
) -> None:
    belt = shared.make(1)
    belt.put(0)
    waiting = background(belt.put_many, [1, 2, 3])
    shared.eventually(lambda: belt.count().blocked == 1)
    for item in range(3):
        with pytest.raises(Full):
            belt.put_nowait("pushing in")
        assert belt.get() == item
    waiting.result()
    assert belt.get() == 3


def test_put_many_puts_the_first_that_fit_and_reports_the_number(shared: SharedBelts) -> None:
    belt = shared.make(700)
    with pytest.raises(Full) as full:
        belt.put_many(range(1200), block=False)
    assert full.value.accepted == 700
    with pytest.raises(Full) as full:
        belt.put_many(range(5), timeout=0.05)
    assert full.value.accepted == 0
    assert [belt.get() for _ in range(700)] == [*range(700)]


def test_put_many_waits_for_room_repeatedly(shared: SharedBelts, background: type[Background]) -> None:
    belt = shared.make(10)
    putting = background(belt.put_many, range(95))
    assert [belt.get() for _ in range(95)] == [*range(95)]
    putting.result()


def test_limit_applies_to_a_queue_object_without_a_limit(shared: SharedBelts) -> None:
    belt = shared.make(1)
    belt.put(1)
    other = Queue(belt.name, store=shared.server.another_client())
    assert other.full()
    with pytest.raises(Full):
        other.put(2, block=False)


def test_count_on_a_queue_with_maxsize_sets_it(shared: SharedBelts) -> None:
    belt = shared.make(1)
    assert belt.count().maxsize == 1


def test_join_timeout_leaves_no_joiner_behind(shared: SharedBelts) -> None:
    belt = shared.make()
    belt.put(1)
    with pytest.raises(WaitTimeout, match="1 jobs"):
        belt.join(timeout=0.05)
    with pytest.raises(ValueError, match="non-negative"):
        belt.join(timeout=-1)
    assert shared.who_joins(belt) == 0


def test_paused_queue_returns_no_items_and_accepts_more(
    shared: SharedBelts, background: type[Background]
) -> None:
    belt = shared.make()
    belt.put(1)
    belt.pause()
    with pytest.raises(Empty, match="paused"):
        belt.get(timeout=0.05)
    waiting = background(belt.get)
    belt.put(2)
    shared.eventually(lambda: shared.who_gets(belt) == 1)
    belt.resume()
    assert waiting.result() == 1


def test_clear_removes_any_number_of_waiting_jobs(shared: SharedBelts) -> None:
    belt = shared.make()
    belt.put_many(range(1_234))
    belt.get()
    assert belt.clear() == 1_233
    count = belt.count()
    assert (count.qsize, count.leased, count.cancelled, count.imbalance) == (0, 1, 1_233, 0)


def test_task_done_is_refused_by_another_queue_object(shared: SharedBelts) -> None:
    belt = shared.make()
    belt.put(1)
    belt.get()
    with pytest.raises(ValueError, match="too many"):
        Queue(belt.name, store=shared.server.client).task_done()
    belt.task_done()
    assert belt.count().finished == 1


def test_task_done_settles_the_item_the_same_thread_took(shared: SharedBelts) -> None:
    belt = shared.make()
    belt.put_many(["first", "second"])
    assert belt.get() == "first"

    def take_and_finish() -> None:
        assert belt.get() == "second"
        belt.task_done()

    other = threading.Thread(target=take_and_finish)
    other.start()
    other.join()
    left = shared.server.raw.hvals(f"conveyor:{{{belt.name}}}:jobs")
    assert [decode_call(data).item() for data in left] == ["first"]
    belt.task_done()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_cannot_finish_items_of_its_parent(shared: SharedBelts, forked: Any) -> None:
    belt = shared.make()
    belt.put(1)
    belt.get()

    def finish() -> str:
        with pytest.raises(ValueError, match="too many"):
            belt.task_done()
        return "refused"

    assert forked(finish) == "refused"
    belt.task_done()


def test_resized_limit_applies_to_later_puts(shared: SharedBelts) -> None:
    belt = shared.make(maxsize=1)
    belt.put(1)
    other = Queue(belt.name, store=shared.server.client)
    other.resize(2)
    belt.put(2, block=False)
    with pytest.raises(Full):
        belt.put(3, block=False)
    other.resize(0)
    belt.put_many([3, 4, 5], block=False)
    assert (belt.qsize(), belt.count().maxsize) == (5, 0)


def test_schedulers_that_share_an_id_put_one_job(one_server: Any, start_python: Start) -> None:
    """Each would put every job; the later ones find it there."""
    belt = Queue("reports", store=one_server.client)
    schedulers = [start_python(SCHEDULE, one_server.url, belt.name) for _ in range(5)]
    for one in schedulers:
        assert one.stdout.readline() == "ready\n"
    for one in schedulers:
        one.stdin.write("go\n")
        one.stdin.flush()
    assert [words(one) for one in schedulers] == [["scheduled"]] * 5
    count = belt.count()
    assert (belt.qsize(), count.accepted, count.imbalance) == (50, 50, 0)
