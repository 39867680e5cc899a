"""A full server refuses new jobs, but no command that drains it."""

from __future__ import annotations

import textwrap
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Queue, StoreFull

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Bench


@contextmanager
def full(server: Any) -> Iterator[None]:
    """Make the server refuse commands that need memory."""
    server.raw.config_set("maxmemory", "1mb")
    try:
        yield
    finally:
        server.raw.config_set("maxmemory", "0")


def test_results_of_two_queues_need_no_free_memory(bench_of_each: Bench) -> None:
    bench, other = bench_of_each, bench_of_each.make()
    first, second = bench.queue.submit(textwrap.dedent, "a"), other.submit(textwrap.dedent, "ab")
    with full(bench.server):
        with pytest.raises(StoreFull):
            bench.queue.put("no more")
        results: list[Any] = []
        waiting = threading.Thread(target=lambda: results.append(first.result(30)))
        waiting.start()
        bench.eventually(bench.inbox_is_open)
        second.add_done_callback(lambda job: results.append(job.result()))
        bench.settle(value=2, queue=other)
        bench.eventually(lambda: results == [2])
        bench.settle(value=1)
        waiting.join(20)
        assert results == [2, 1]


def test_get_with_maxsize_drains_a_full_server(bench_of_each: Bench) -> None:
    bench = bench_of_each
    bench.queue.put("item")
    with full(bench.server):
        late = Queue(bench.queue.name, maxsize=5, store=bench.server.another_client())
        assert late.get(timeout=5) == "item"
        late.task_done()
