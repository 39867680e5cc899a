"""The textbook's bounded buffer: several producers, several consumers, and never more in it than it holds."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Bench

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
    """Looks at the queue from outside, over and over, and keeps the most it has seen."""

    def __init__(self, bench: Bench) -> None:
        self.most_waiting = self.most_blocked = self.looks = 0
        self.imbalances: set[int] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(bench,))
        self._thread.start()

    def _look(self, bench: Bench) -> None:
        while not self._over.is_set():
            count = bench.queue.count()
            self.most_waiting = max(self.most_waiting, count.waiting)
            self.most_blocked = max(self.most_blocked, count.blocked)
            self.imbalances.add(count.imbalance)
            self.looks += 1

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def test_nothing_is_lost_or_doubled_and_the_bound_holds_while_producers_block(
    bench: Bench, start_python: Any
) -> None:
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
