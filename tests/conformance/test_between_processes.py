"""What one process sees of another: the same queue, the same bound, the same line."""

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
    """Wait for a process to end well, and give what it wrote."""
    written, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    return written.split()


def test_what_one_process_puts_another_gets_in_order(shared: SharedBelts, start_python: Start) -> None:
    belt = shared.make(3)
    putting = start_python(PUT, shared.server.url, belt.name, 3, 0, 20)
    taking = start_python(TAKE, shared.server.url, belt.name, 20)
    assert words(taking) == [str(item) for item in range(20)]
    assert words(putting) == ["put"]
    assert belt.count().imbalance == 0


def test_a_process_that_finds_no_room_waits_until_another_makes_some(
    shared: SharedBelts, start_python: Start
) -> None:
    belt = shared.make(2)
    putting = start_python(PUT, shared.server.url, belt.name, 2, 0, 3)
    shared.eventually(lambda: belt.count().blocked == 1)
    assert belt.qsize() == 2
    assert belt.get() == 0
    assert words(putting) == ["put"]
    assert [belt.get(), belt.get()] == [1, 2]


def test_join_waits_for_what_another_process_has_taken(shared: SharedBelts, start_python: Start) -> None:
    belt = shared.make()
    belt.put(1)
    belt.get()
    joining = start_python(JOIN, shared.server.url, belt.name)
    shared.eventually(lambda: shared.who_joins(belt) == 1)
    assert joining.poll() is None
    belt.task_done()
    assert words(joining) == ["joined"]


def test_shutting_in_one_process_wakes_another(shared: SharedBelts, start_python: Start) -> None:
    belt = shared.make(1)
    putting = start_python(PUT, shared.server.url, belt.name, 1, 0, 5)
    shared.eventually(lambda: belt.count().blocked == 1)
    belt.shutdown()
    putting.communicate(timeout=20)
    assert putting.returncode == 1
    assert belt.get() == 0
    with pytest.raises(ShutDown):
        belt.get()


def test_a_producer_killed_in_line_holds_the_next_one_up_for_seconds_only(
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


def test_those_who_wait_for_room_are_served_in_the_order_in_which_they_came(
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


def test_who_only_tries_does_not_overtake_who_waits(
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


def test_putting_many_puts_the_first_that_fit_and_says_how_many(shared: SharedBelts) -> None:
    belt = shared.make(700)
    with pytest.raises(Full) as full:
        belt.put_many(range(1200), block=False)
    assert full.value.accepted == 700
    with pytest.raises(Full) as full:
        belt.put_many(range(5), timeout=0.05)
    assert full.value.accepted == 0
    assert [belt.get() for _ in range(700)] == [*range(700)]


def test_putting_many_waits_for_room_as_often_as_it_takes(
    shared: SharedBelts, background: type[Background]
) -> None:
    belt = shared.make(10)
    putting = background(belt.put_many, range(95))
    assert [belt.get() for _ in range(95)] == [*range(95)]
    putting.result()


def test_a_bound_set_by_one_holds_for_another_that_names_none(shared: SharedBelts) -> None:
    belt = shared.make(1)
    belt.put(1)
    other = Queue(belt.name, store=shared.server.another_client())
    assert other.full()
    with pytest.raises(Full):
        other.put(2, block=False)


def test_looking_at_a_queue_with_a_bound_sets_it(shared: SharedBelts) -> None:
    belt = shared.make(1)
    assert belt.count().maxsize == 1


def test_joining_with_a_timeout_gives_up_and_leaves_no_trace(shared: SharedBelts) -> None:
    belt = shared.make()
    belt.put(1)
    with pytest.raises(WaitTimeout, match="1 jobs"):
        belt.join(timeout=0.05)
    with pytest.raises(ValueError, match="non-negative"):
        belt.join(timeout=-1)
    assert shared.who_joins(belt) == 0


def test_a_paused_queue_gives_out_nothing_and_takes_more(
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


def test_clearing_takes_out_all_that_waits_however_much(shared: SharedBelts) -> None:
    belt = shared.make()
    belt.put_many(range(1_234))
    belt.get()
    assert belt.clear() == 1_233
    count = belt.count()
    assert (count.waiting, count.leased, count.cancelled, count.imbalance) == (0, 1, 1_233, 0)


def test_task_done_is_refused_by_another_object_of_the_queue(shared: SharedBelts) -> None:
    belt = shared.make()
    belt.put(1)
    belt.get()
    with pytest.raises(ValueError, match="too many"):
        Queue(belt.name, store=shared.server.client).task_done()
    belt.task_done()
    assert belt.count().finished == 1


def test_a_thread_finishes_what_it_took_itself_even_if_another_took_before_it(shared: SharedBelts) -> None:
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
def test_a_forked_child_cannot_finish_what_its_parent_took(shared: SharedBelts, forked: Any) -> None:
    belt = shared.make()
    belt.put(1)
    belt.get()

    def finish() -> str:
        with pytest.raises(ValueError, match="too many"):
            belt.task_done()
        return "refused"

    assert forked(finish) == "refused"
    belt.task_done()


def test_a_bound_that_was_changed_or_lifted_stays_so_whoever_puts_next(shared: SharedBelts) -> None:
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


def test_schedulers_that_agree_on_an_id_put_one_job(one_server: Any, start_python: Start) -> None:
    """Each would put every job; whoever comes later finds it there."""
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
