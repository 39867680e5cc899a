"""The textbook's bounded buffer: several producers and consumers, and never more items than its limit."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import BadCall, Full, NotEmpty, Queue
from conveyor.store import commands, records
from conveyor.tasks import task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Bench


@task
def nothing(number: int) -> None: ...


def put_delayed(queue: Queue, count: int, delay: float) -> None:
    queue.submit_many(nothing.options(delay=delay), zip(range(count)))


MAXSIZE, PRODUCERS, CONSUMERS, EACH = 10, 4, 2, 500
PRODUCE = """
import sys
from conveyor import Queue
url, name, maxsize, first, count = sys.argv[1:]
belt = Queue(name, int(maxsize), store=url)
for item in range(int(first), int(first) + int(count)):
    belt.put(item)
"""
CONSUME = """
import sys
from conveyor import Queue
belt = Queue(sys.argv[2], store=sys.argv[1])
while (item := belt.get()) is not None:
    print(item)
    belt.task_done()
belt.task_done()
"""


class Observer:
    """Polls the queue from outside, and keeps the largest size."""

    def __init__(self, bench: Bench) -> None:
        self.most_waiting = self.most_blocked = self.looks = 0
        self.imbalances: set[int] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(bench,))
        self._thread.start()

    def _look(self, bench: Bench) -> None:
        while not self._over.is_set():
            count = bench.queue.count()
            self.most_waiting = max(self.most_waiting, count.qsize)
            self.most_blocked = max(self.most_blocked, count.blocked)
            self.imbalances.add(count.imbalance)
            self.looks += 1

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def test_no_job_is_lost_or_duplicated_and_maxsize_holds(bench: Bench, start_python: Any) -> None:
    name = bench.queue.name
    producers = [
        start_python(PRODUCE, bench.server.url, name, MAXSIZE, number * EACH, EACH)
        for number in range(PRODUCERS)
    ]
    bench.eventually(lambda: bench.queue.count().blocked == PRODUCERS)
    assert bench.queue.qsize() == MAXSIZE
    observer = Observer(bench)
    consumers = [start_python(CONSUME, bench.server.url, name) for _ in range(CONSUMERS)]
    for process in producers:
        process.communicate(timeout=40)
        assert process.returncode == 0
    bench.queue.put_many([None] * CONSUMERS)
    taken = [int(item) for process in consumers for item in process.communicate(timeout=40)[0].split()]
    observer.stop()
    assert Counter(taken) == Counter(range(PRODUCERS * EACH))
    assert observer.most_waiting == MAXSIZE
    assert 0 < observer.most_blocked <= PRODUCERS
    assert observer.imbalances == {0}
    assert observer.looks > 100
    count = bench.queue.count()
    assert (count.live, count.blocked, count.finished) == (0, 0, PRODUCERS * EACH + CONSUMERS)


def received(server: Any) -> int:
    """Return the bytes that the server has received since it started."""
    return int(server.raw.info("stats")["total_net_input_bytes"])


def test_blocked_put_many_sends_its_jobs_once(one_server: Any) -> None:
    Queue("belt", 1, store=one_server.client).put("first")
    items = [bytes(250_000)] * 8
    before = received(one_server)
    with pytest.raises(Full) as refusal:
        Queue("belt", store=one_server.client).put_many(items, timeout=2.5)
    assert refusal.value.accepted == 0
    assert received(one_server) - before < 1.5 * 8 * 250_000


def test_put_many_takes_few_items_ahead_of_the_room(one_server: Any) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    queue = Queue("belt", 2_000, store=one_server.client)
    with pytest.raises(Full) as refusal:
        queue.put_many(items(), timeout=0.5)
    assert (refusal.value.accepted, queue.qsize()) == (2_000, 2_000)
    assert taken <= 3_500


def test_invalid_call_is_named_after_those_before_it_were_put(one_server: Any) -> None:
    queue = Queue("belt", store=one_server.client)
    calls = [(number if number != 1_700 else "many",) for number in range(5_000)]
    with pytest.raises(BadCall) as refusal:
        queue.submit_many(nothing, calls)
    waiting = [job for job, _ in one_server.client.run(records.page("belt", "ready", 0, 5_000))]
    assert (refusal.value.accepted, refusal.value.ids) == (1_500, waiting)


def test_error_of_an_iterable_says_how_many_jobs_were_put(one_server: Any) -> None:
    def calls() -> Iterator[tuple[int]]:
        yield from zip(range(1_200))
        raise OSError("the file ends here")

    queue = Queue("belt", store=one_server.client)
    with pytest.raises(OSError, match="the file ends here") as failure:
        queue.submit_many(nothing, calls())
    assert failure.value.__notes__ == ["1,000 jobs before it were put"]
    assert queue.qsize() == 1_000


@pytest.mark.parametrize(("maxsize", "producers"), [(1, 1), (1, 2), (20, 3)])
def test_put_many_sends_few_bytes_without_success(one_server: Any, maxsize: int, producers: int) -> None:
    """Sent bytes stay near the size of the jobs, however little room there is at a time.

    For free places several producers may send at once; a put that sent all its jobs each time would send them 60 times.
    """
    each, size = 120, 10_000
    queue = Queue("belt", maxsize, store=one_server.client)
    queue.put("teaches the server the script")
    queue.get()
    queue.task_done()
    before = received(one_server)
    with ThreadPoolExecutor(producers) as pool:
        told = [
            pool.submit(Queue("belt", store=one_server.another_client()).put_many, [bytes(size)] * each)
            for _ in range(producers)
        ]
        for _ in range(producers * each):
            queue.get(timeout=30)
            queue.task_done()
        for one in told:
            one.result()
    assert (
        received(one_server) - before < (1.5 + producers) * producers * each * size + 300 * producers * each
    )
    assert queue.count().blocked == 0


def test_clear_spares_jobs_put_meanwhile(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two producers put meanwhile, with longer delays among the jobs."""
    queue, other = Queue("belt", store=server.client), Queue("belt", store=server.another_client())
    queue.put_many(range(700))
    put_delayed(queue, 600, 1000.0)
    run = server.client.run

    def put_and_run(command: Any, **limits: Any) -> Any:
        if other.count().accepted < 20_000:
            other.put_many(range(400))
            put_delayed(other, 300, 2000.0)
        return run(command, **limits)

    monkeypatch.setattr(server.client, "run", put_and_run)
    assert queue.clear() == 1300
    monkeypatch.undo()
    count = queue.count()
    assert (count.cancelled, count.qsize, count.imbalance) == (1300, count.accepted - 1300, 0)
    assert queue.get() == 0
    assert count.accepted < 20_000


def test_clear_of_delayed_jobs_ends_if_shorter_delays_arrive(
    one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, other = Queue("belt", store=one_server.client), Queue("belt", store=one_server.another_client())
    put_delayed(queue, 800, 1000.0)
    run = one_server.client.run

    def put_and_run(command: Any, **limits: Any) -> Any:
        if other.count().accepted < 20_000:
            put_delayed(other, 500, 500.0)
        return run(command, **limits)

    monkeypatch.setattr(one_server.client, "run", put_and_run)
    assert queue.clear() == 800


def test_deletion_purges_a_job_whose_lease_has_ended(one_server: Any, eventually: Any) -> None:
    queue = Queue("belt", store=one_server.client)
    queue.put("item")
    queue.client.run(commands.claim("belt", "ann", "nonce", 1, 0.5))

    def is_deleted() -> bool:
        with contextlib.suppress(NotEmpty):
            queue.delete(purge=True)
        return not queue.client.run(commands.is_there("belt"))

    with pytest.raises(NotEmpty, match="1 running"):
        queue.delete(purge=True)
    eventually(is_deleted)
    assert one_server.raw.keys("conveyor:*") == [b"conveyor:{belt}:deleted"]


def test_deleted_queue_is_new_when_used_again(server: Any) -> None:
    queue = Queue("belt", 2, store=server.client)
    queue.put_many(range(2))
    queue.pause()
    with pytest.raises(NotEmpty, match="2 waiting"):
        queue.delete()
    queue.delete(purge=True)
    assert server.raw.keys("*") == [b"conveyor:{belt}:deleted"]
    queue.put("again")
    assert server.raw.smembers("conveyor:queues") == {b"belt"}
    assert (queue.count().maxsize, queue.count().accepted) == (2, 1)
    assert queue.get() == "again"
    with pytest.raises(NotEmpty, match="1 running"):
        queue.delete(purge=True)
    queue.task_done()
    queue.delete()
    assert server.raw.keys("conveyor:*") == [b"conveyor:{belt}:deleted"]


@pytest.mark.parametrize("verb", ["pause", "shutdown"])
def test_queue_with_only_a_setting_is_listed(bench: Bench, verb: str) -> None:
    """An unlisted queue could not be found, nor ever removed."""
    getattr(bench.queue, verb)()
    assert bench.client.run(commands.queue_names()) == [bench.queue.name]
