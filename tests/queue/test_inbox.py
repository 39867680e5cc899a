"""Where results arrive: pushed, over a single connection, and found again if a push is lost."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from conveyor import Job, JobCancelled, JobFailed, JobGone, JobLost, Queue, WaitTimeout, inbox
from conveyor.store import Client, commands
from conveyor.tasks import Task
from conveyor.wire import codec, ids
from conveyor.wire.call import PutOptions, RunOptions
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conftest import Bench

SUBMIT = """
import sys, textwrap
from conveyor import Queue
job = Queue(sys.argv[2], store=sys.argv[1]).submit(textwrap.dedent, "abc")
print(job.id, flush=True)
sys.stdin.readline()
"""


def double(number: int) -> int:
    return 2 * number


def with_id(name: str) -> Task[..., int]:
    return Task(double, "double", PutOptions(id=name), RunOptions())


@pytest.fixture
def asking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "POLL_AGAIN", 0.05)


def waiting(bench: Bench) -> int:
    return sum(len(box.waiting) for box in inbox.inbox_of(bench.client).boxes.values())


def test_queue_without_waiters_is_released(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue with waiters is polled; others cost nothing, and are polled again on demand."""
    other = Queue("other", store=bench.client)
    ended = other.submit(double, 1)
    cancelled = threading.Thread(target=lambda: ended.exception(30))
    cancelled.start()
    waits = bench.queue.submit(double, 2)
    waiter = threading.Thread(target=lambda: waits.exception(30))
    waiter.start()
    boxes = inbox.inbox_of(bench.client).boxes
    bench.eventually(lambda: waiting(bench) == 2)
    ended.cancel()
    cancelled.join()
    monkeypatch.setattr(inbox, "HOLD_AGAIN", 0.05)
    monkeypatch.setattr(inbox, "POLL_AGAIN", 0.05)
    bench.eventually(lambda: "other" not in boxes)
    assert boxes[bench.queue.name].held is not None
    again = other.submit(double, 3)
    again.cancel()
    assert isinstance(again.exception(30), JobCancelled)
    bench.settle()
    waiter.join()


def settle_undelivered(bench: Bench, jobs: Sequence[Job[Any]], value: object, reader: str = "") -> None:
    """End jobs so that the pushes get lost: the list is gone in the same moment, with its reader's connection."""
    batch = bench.claim(len(jobs))
    assert [one.id for one in batch.jobs] == [job.id for job in jobs]
    outcome = encode_settled("done", codec.encode(value))
    settlements = [commands.Settlement(job.id, outcome, 60.0) for job in jobs]
    finish = commands.finish(bench.queue.name, batch.token, settlements)
    raw = bench.server.raw
    raw.script_load(finish.script.text)
    with raw.pipeline(transaction=True) as both:
        both.execute_command("EVALSHA", finish.script.sha, *finish.words)
        both.delete(f"conveyor:{{{bench.queue.name}}}:inbox:{ids.producer_of(jobs[0].id)}")
        if reader:
            both.execute_command("CLIENT", "KILL", "ID", reader)
        assert both.execute()[1] == 1


def reader_of(bench: Bench, name: str) -> str:
    """Return the server's id of the connection on which the client of this name reads its inbox, while it blocks."""
    found = [
        one["id"] for one in bench.server.raw.client_list() if "b" in one["flags"] and one["name"] == name
    ]
    return found[0] if found else ""


def test_result_arrives_by_push_while_a_caller_waits(bench: Bench, never_asking: None) -> None:
    job = bench.queue.submit(double, 4)
    timer = threading.Thread(target=lambda: (bench.eventually(bench.inbox_is_open), bench.settle(value=8)))
    timer.start()
    before = time.monotonic()
    assert job.result(timeout=20) == 8
    assert time.monotonic() - before < 5
    timer.join()


def test_results_of_others_arrive_after_the_last_wait(bench: Bench, never_asking: None) -> None:
    called: list[Job[int]] = []
    mine, other = bench.queue.submit_many(double, [(1,), (2,)])
    other.add_done_callback(called.append)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(mine.result, 20)
        bench.eventually(lambda: waiting(bench) == 2)
        bench.settle(value=8)
        assert found.result(20) == 8
    bench.settle(value=9)
    bench.eventually(lambda: called == [other])
    assert other.result(0) == 9


@contextmanager
def signalled(bench: Bench, handle: Callable[..., None]) -> Iterator[None]:
    """Send this thread a signal as soon as it waits for a result."""
    before, main = signal.signal(signal.SIGUSR1, handle), threading.get_ident()

    def send() -> None:
        bench.eventually(lambda: "Inbox.wait" in stack_of(main))
        os.kill(os.getpid(), signal.SIGUSR1)

    timer = threading.Thread(target=send)
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def stack_of(thread: int) -> set[str]:
    return {frame.f_code.co_qualname for frame, _ in traceback.walk_stack(sys._current_frames()[thread])}


def test_exception_of_a_signal_handler_ends_a_wait(bench: Bench, never_asking: None) -> None:
    """Also one that looks like an error of a connection, as programs raise it after an alarm."""
    first, second = bench.queue.submit_many(double, [(1,), (2,)])

    def handle(*_: object) -> None:
        bench.settle(value=8)
        raise TimeoutError

    with signalled(bench, handle), pytest.raises(TimeoutError):
        second.result(20)
    bench.settle(value=9)
    assert (first.result(20), second.result(20)) == (8, 9)


def test_signal_handler_gets_a_result_during_a_wait(bench: Bench, never_asking: None) -> None:
    first, second = bench.queue.submit_many(double, [(1,), (2,)])

    def handle(*_: object) -> None:
        bench.settle(value=8)
        assert first.result(20) == 8
        bench.settle(value=9)

    with signalled(bench, handle):
        assert second.result(20) == 9


def test_earlier_result_is_found_by_a_later_call(bench: Bench, never_asking: None) -> None:
    job = bench.queue.submit(double, 4)
    bench.settle(value=8)
    assert job.result(timeout=20) == 8
    assert job.result(timeout=0) == 8


def test_ten_thousand_jobs_are_awaited_over_a_single_connection(bench: Bench, never_asking: None) -> None:
    before = {client["id"] for client in bench.server.raw.client_list()}
    jobs = bench.queue.submit_many(double, [(number,) for number in range(10_000)])
    called_back: list[str] = []
    for job in jobs:
        job.add_done_callback(lambda job: called_back.append(job.id))
    clients = [client for client in bench.server.raw.client_list() if client["id"] not in before]
    assert [client["cmd"] for client in clients].count("blmpop") == 1
    assert len(clients) <= 3  # the others are for commands: of this thread, and of the one that reads
    bench.settle(10_000, value=1)
    bench.eventually(lambda: len(called_back) == 10_000)
    assert sorted(called_back) == sorted(job.id for job in jobs)
    assert {job.result(timeout=0) for job in jobs} == {1}


def test_lost_push_is_found_by_polling(bench: Bench, asking_often: None) -> None:
    job = bench.queue.submit(double, 4)
    job.add_done_callback(lambda job: None)
    settle_undelivered(bench, [job], 8)
    assert job.result(timeout=10) == 8


def test_lost_push_is_found_among_many_awaited_jobs(bench: Bench, asking_often: None) -> None:
    lucky = bench.queue.submit(double, 0)
    others = bench.queue.submit_many(double, [(number,) for number in range(1_200)])
    for job in [*others, lucky]:
        job.add_done_callback(lambda job: None)
    settle_undelivered(bench, [lucky], 0)
    assert lucky.result(timeout=10) == 0
    assert waiting(bench) == 1_200


def test_results_lost_with_a_connection_are_queried_soon(bench: Bench, never_asking: None) -> None:
    bench.client = Client(bench.server.url, name="mine")
    bench.queue = bench.make()
    jobs = bench.queue.submit_many(double, [(number,) for number in range(20_000)])
    ended: list[Job[int]] = []
    for job in jobs:
        job.add_done_callback(ended.append)
    for start in range(0, len(jobs), 500):
        reader = bench.eventually(lambda: reader_of(bench, "mine")) if start + 500 == len(jobs) else ""
        settle_undelivered(bench, jobs[start : start + 500], "found", reader)
    bench.eventually(lambda: len(ended) == len(jobs), 10.0)
    assert {job.result(timeout=0) for job in jobs} == {"found"}


@pytest.mark.parametrize("way", ["lapsed", "full"])
def test_results_missing_from_the_inbox_are_queried_soon(bench: Bench, way: str) -> None:
    jobs = bench.queue.submit_many(double, [(number,) for number in range(5_000)])
    ended: list[Job[int]] = []
    for job in jobs:
        job.add_done_callback(ended.append)
    for start in range(0, len(jobs), 500):
        settle_undelivered(bench, jobs[start : start + 500], "found")
    key = f"conveyor:{{{bench.queue.name}}}:inbox"
    if way == "lapsed":
        bench.server.raw.delete(f"{key}es")
    else:
        bench.server.raw.rpush(f"{key}:{ids.producer()}", "", "more")
    bench.eventually(lambda: len(ended) == len(jobs), 6.0)


def test_results_of_several_queues_arrive_in_the_same_inbox(bench: Bench, never_asking: None) -> None:
    other = bench.make()
    first, second = bench.queue.submit(double, 1), other.submit(double, 2)
    for job in (first, second):
        job.add_done_callback(lambda job: None)
    bench.settle(value="second", queue=other)
    assert second.result(timeout=20) == "second"
    bench.settle(value="first")
    assert first.result(timeout=20) == "first"


def test_equal_ids_on_two_queues_are_two_jobs(bench: Bench) -> None:
    other = bench.make()
    first, second = bench.queue.submit(with_id("mine"), 1), other.submit(with_id("mine"), 2)
    for job in (first, second):
        job.add_done_callback(lambda job: None)
    bench.settle(value="second", queue=other)
    assert second.result(timeout=10) == "second"
    assert not first.done()
    bench.settle(value="first")
    assert first.result(timeout=10) == "first"


def test_result_of_a_job_with_a_custom_id_is_pushed(bench: Bench, never_asking: None) -> None:
    bench.queue.submit(double, 1).add_done_callback(lambda job: None)
    bench.eventually(bench.inbox_is_open)
    bench.claim()
    job = bench.queue.submit(with_id("mine"), 1)
    job.add_done_callback(lambda job: None)
    bench.settle(value=2)
    assert job.result(timeout=20) == 2


def test_two_handles_of_a_job_are_both_notified(bench: Bench, never_asking: None) -> None:
    job = bench.queue.submit(double, 4)
    twin = Job[int](job.id, bench.queue.name, client=bench.client)
    called_back: list[Job[int]] = []
    for one in (job, twin, job):
        one.add_done_callback(called_back.append)
    bench.settle(value=8)
    bench.eventually(lambda: len(called_back) == 3)
    assert job.result(timeout=0) == twin.result(timeout=0) == 8


def test_job_of_another_process_can_be_awaited(bench: Bench, never_asking: None, start_python: Any) -> None:
    other = start_python(SUBMIT, bench.server.url, bench.queue.name)
    job = Job[int](other.stdout.readline().strip(), bench.queue.name, client=bench.client)
    called_back: list[Job[int]] = []
    job.add_done_callback(called_back.append)
    bench.settle(value=3)
    bench.eventually(lambda: called_back == [job])
    assert job.result(timeout=0) == 3


def test_unknown_or_forgotten_job_raises_job_gone(bench: Bench) -> None:
    with pytest.raises(JobGone, match="never-put"):
        Job[int]("never-put", bench.queue.name, client=bench.client).result(timeout=20)
    job = bench.queue.submit(double, 1)
    bench.settle()
    bench.server.raw.delete(f"conveyor:{{{bench.queue.name}}}:outcome:{job.id}")
    with pytest.raises(JobGone):
        Job[int](job.id, bench.queue.name, client=bench.worker).result(timeout=20)


@pytest.mark.parametrize("timeout", [0, 0.1])
def test_result_timeout_does_not_affect_the_job(bench: Bench, timeout: float) -> None:
    job = bench.queue.submit(double, 1)
    with pytest.raises(WaitTimeout, match=job.id):
        job.result(timeout=timeout)
    bench.settle(value=2)
    assert job.result(timeout=20) == 2


@pytest.mark.parametrize(
    ("state", "error"), [("failed", JobFailed), ("lost", JobLost), ("cancelled", JobCancelled)]
)
def test_failed_outcome_is_raised_and_returned_as_exception(
    bench: Bench, state: str, error: type[Exception]
) -> None:
    job = bench.queue.submit(double, 1)
    bench.settle(value=["ValueError", "no", "Traceback"], state=state)
    with pytest.raises(error):
        job.result(timeout=20)
    assert type(job.exception(timeout=0)) is error


def test_unreadable_outcome_is_a_failure_and_stops_no_other(bench: Bench) -> None:
    bad, good = bench.queue.submit(double, 1), bench.queue.submit(double, 2)
    for job in (bad, good):
        job.add_done_callback(lambda job: None)
    batch = bench.claim()
    garbage = commands.Settlement(bad.id, b"\xc1garbage", 60.0)
    bench.worker.run(commands.finish(bench.queue.name, batch.token, [garbage]))
    with pytest.raises(JobFailed, match="is unreadable"):
        bad.result(timeout=20)
    bench.settle(value=4)
    assert good.result(timeout=20) == 4


def test_unused_inbox_is_closed_and_reopened(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, asking_often: None
) -> None:
    monkeypatch.setattr(inbox, "HOLD_AGAIN", 0.05)
    for round_number in range(3):
        job = bench.queue.submit(double, 1)
        job.add_done_callback(lambda job: None)
        bench.settle(value=round_number)
        assert job.result(timeout=10) == round_number
        bench.eventually(lambda: not bench.inbox_is_open())
        bench.eventually(lambda: inbox.inbox_of(bench.client).thread is None)


def test_emptied_server_is_noticed_and_used_again(bench: Bench) -> None:
    lost = bench.queue.submit(double, 1)
    lost.add_done_callback(lambda job: None)
    bench.server.stop()
    bench.server.start()
    bench.eventually(lambda: bench.queue.count().ready == 1)
    bench.settle(value=2)
    assert lost.result(timeout=15) == 2
    job = bench.queue.submit(double, 4)
    bench.settle(value=8)
    assert job.result(timeout=15) == 8


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_ARRIVED", 100_000)


def test_unrequested_results_take_bounded_memory(
    bench: Bench, little_room: None, monkeypatch: pytest.MonkeyPatch, asking_often: None
) -> None:
    first = bench.queue.submit(double, 1)
    first.add_done_callback(lambda job: None)
    bench.eventually(bench.inbox_is_open)
    bench.queue.submit_many(double, [(number,) for number in range(100)])
    box = inbox.inbox_of(bench.client)
    opening = box.opening
    bench.claim()
    bench.settle(100, value="x" * 1_500)
    bench.eventually(lambda: box.opening > opening)
    bench.eventually(
        lambda: bench.server.raw.exists(f"conveyor:{{{bench.queue.name}}}:inbox:{box.name}") == 0
    )
    assert 0 < box.arrived.size <= 100_000
    assert box.arrived.size == sum(len(kept) + inbox.ENTRY_BYTES for kept in box.arrived.kept.values())
    monkeypatch.setattr(inbox, "HOLD_AGAIN", 0.05)
    first.cancel()
    box.boxes[bench.queue.name].waiting.clear()
    bench.eventually(lambda: box.thread is None)
    assert (box.arrived.size, box.arrived.kept) == (0, {})


def test_dropped_outcome_is_queried_again(bench: Bench, little_room: None, never_asking: None) -> None:
    first = bench.queue.submit(double, 1)
    first.add_done_callback(lambda job: None)
    bench.eventually(bench.inbox_is_open)
    jobs = bench.queue.submit_many(double, [(number,) for number in range(100)])
    assert jobs[0].covered > 0  # their outcomes are pushed, so that no poll would happen
    bench.settle(101, value="x" * 1_500)
    bench.eventually(lambda: inbox.inbox_of(bench.client).opening > jobs[0].covered)
    assert {job.result(timeout=20) for job in [*reversed(jobs), first]} == {"x" * 1_500}


STOPPED_PRODUCER = """
import sys, textwrap, threading
from conveyor import Queue
queue = Queue(sys.argv[2], store=sys.argv[1])
jobs = queue.submit_many(textwrap.dedent, [("abc",)] * int(sys.argv[3]))
ended, all_ended = [], threading.Event()
def release(job):
    assert len(job.result(0)) == 500_000
    job.settled = None  # only what the inbox itself holds counts
    ended.append(job)
    if len(ended) == len(jobs):
        all_ended.set()
for job in jobs:
    job.add_done_callback(release)
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
print(peak(), flush=True)
sys.stdin.readline()
all_ended.wait()
print(peak(), flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the producer's memory from /proc")
def test_stopped_producer_costs_the_server_no_second_copy(
    server: Any, bench_at: Any, start_python: Any
) -> None:
    bench: Bench = bench_at(server)
    many, size = 200, 500_000
    producer = start_python(STOPPED_PRODUCER, server.url, bench.queue.name, many)
    before = int(producer.stdout.readline())
    bench.eventually(bench.inbox_is_open)
    os.kill(producer.pid, signal.SIGSTOP)
    bench.settle(many, value="x" * size)
    assert server.raw.info("memory")["used_memory"] < 1.25 * many * size
    os.kill(producer.pid, signal.SIGCONT)
    producer.stdin.write("go on\n")
    producer.stdin.flush()
    assert int(producer.stdout.readline()) - before < 40, "MB that the results made the producer take"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_waiting_caller_starts_a_dead_reader_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "POLL_AGAIN", 0.1)
    read_once, dead = inbox.Inbox._read_once, threading.Event()

    def die_once(reader: inbox.Inbox) -> None:
        if not dead.is_set():
            dead.set()
            raise SystemExit
        read_once(reader)

    monkeypatch.setattr(inbox.Inbox, "_read_once", die_once)
    job = bench.queue.submit(double, 1)
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(job.result, 10)
        assert dead.wait(10)
        bench.settle(value=2)
        assert result.result() == 2


def fail_to_settle(monkeypatch: pytest.MonkeyPatch, unlucky: Job[Any]) -> None:
    """Raise MemoryError once while a handle is settled."""
    settle, failed = Job.settle, threading.Event()

    def settle_or_fail(job: Job[Any], outcome: bytes) -> None:
        if job is unlucky and not failed.is_set():
            failed.set()
            raise MemoryError
        settle(job, outcome)

    monkeypatch.setattr(Job, "settle", settle_or_fail)


@pytest.mark.parametrize("place", [0, 1])
def test_result_arrives_after_an_error_in_settling(
    place: int, bench: Bench, asking_often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bench.queue.submit(double, 1)
    handles = [job, Job(job.id, bench.queue.name, client=bench.client)]
    ended: list[Job[Any]] = []
    for handle in handles:
        handle.add_done_callback(ended.append)
    fail_to_settle(monkeypatch, handles[place])
    bench.settle(value=2)
    bench.eventually(lambda: len(ended) == 2, 10.0)
    assert [handle.result(0) for handle in handles] == [2, 2]
    assert waiting(bench) == 0


def test_error_in_settling_spares_callbacks_of_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first, unlucky = bench.queue.submit_many(double, [(1,), (2,)])
    ended: list[Job[Any]] = []
    for job in (first, unlucky):
        job.add_done_callback(ended.append)
    fail_to_settle(monkeypatch, unlucky)
    outcome = encode_settled("done", codec.encode(2))
    with pytest.raises(MemoryError):
        inbox.inbox_of(bench.client).take(bench.queue.name, {first.id: outcome, unlucky.id: outcome})
    bench.eventually(lambda: ended == [first], 10.0)


def test_waiting_caller_is_registered_again(bench: Bench, asking_often: None) -> None:
    job = bench.queue.submit(double, 1)
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(job.result, 10)
        bench.eventually(lambda: waiting(bench) == 1)
        inbox.inbox_of(bench.client).boxes[bench.queue.name].waiting.clear()
        bench.settle(value=2)
        assert result.result() == 2


@pytest.fixture
def raising_logging(monkeypatch: pytest.MonkeyPatch) -> list[logging.LogRecord]:
    """Make the program's logging raise; return the logged records."""
    logged: list[logging.LogRecord] = []

    def raise_error(record: logging.LogRecord) -> bool:
        logged.append(record)
        raise ValueError

    monkeypatch.setattr(logging.getLogger("conveyor"), "filters", [raise_error])
    return logged


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_results_arrive_although_logging_raises(
    bench: Bench, raising_logging: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_once = inbox.Inbox._read_once

    def fail_once(reader: inbox.Inbox) -> None:
        if not raising_logging:
            raise MemoryError
        read_once(reader)

    monkeypatch.setattr(inbox.Inbox, "_read_once", fail_once)
    job = bench.queue.submit(double, 1)
    ended: list[Job[Any]] = []
    job.add_done_callback(ended.append)
    bench.eventually(lambda: raising_logging)
    bench.settle(value=2)
    bench.eventually(lambda: ended == [job], 10.0)


def test_lost_jobs_return_although_logging_raises(
    bench: Bench, raising_logging: list[logging.LogRecord]
) -> None:
    lost = bench.queue.submit(double, 1)
    bench.server.raw.flushall()
    with pytest.raises(ValueError, match=r"^$"):
        bench.queue.put("item")
    assert raising_logging
    bench.eventually(lambda: lost.status() == "waiting", 8.0)


def test_put_succeeds_although_a_loss_can_start_no_thread(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = bench.queue.submit(double, 1)
    bench.server.raw.flushall()
    with monkeypatch.context() as failing:
        failing.setattr(inbox.Inbox, "_start", Mock(side_effect=RuntimeError("can't start new thread")))
        bench.queue.put("item")
    bench.queue.submit(double, 2)
    bench.eventually(lambda: lost.status() == "waiting", 8.0)


def test_closing_inbox_survives_any_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = inbox.Inbox(bench.client)
    reader.boxes[bench.queue.name] = inbox.Box()
    reader.boxes[bench.queue.name].held = 0.0
    monkeypatch.setattr(inbox.Inbox, "_ask", Mock(side_effect=MemoryError))
    monkeypatch.setattr(commands, "listen", Mock(side_effect=MemoryError))
    reader._close([bench.queue.name])


def test_forked_child_queries_results_pushed_to_its_parent(bench: Bench, forked: Any) -> None:
    first = bench.queue.submit(double, 1)
    first.add_done_callback(lambda _: None)
    job = bench.queue.submit(double, 2)
    assert job.covered > 0  # its result is pushed, so that no poll would happen
    bench.settle(2, value=4)

    def ask() -> str:
        other = Queue(bench.queue.name, store=bench.client).submit(double, 3)
        other.add_done_callback(lambda _: None)  # which opens the child's inbox
        return str(job.done())

    assert forked(ask) == "True"
