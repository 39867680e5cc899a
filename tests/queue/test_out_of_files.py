"""A process that lacks file descriptors for a while: its own threads continue, and errors are Conveyor's."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from collections.abc import Callable

PROCESS = """
import resource, sys, textwrap, threading
from conveyor import Queue, held_items
held_items.LEASE, held_items.RENEWAL = 60.0, 0.05
queue = Queue(sys.argv[2], store=sys.argv[1])
queue.put("item")
job = queue.submit(textwrap.dedent, "abc")
job.add_done_callback(lambda job: print("result", job.result(0), flush=True))
queue.get()
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
print("limited", flush=True)
for line in sys.stdin:
    if line == "errors\\n":
        for other in (queue, Queue("x", store="redis://localhost:1")):
            try:
                other.put("more", timeout=0)
            except Exception as error:
                print(type(error).__name__, flush=True)
    if line == "lift\\n":
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        print("lifted", flush=True)
    if line == "threads\\n":
        print(sorted(thread.name for thread in threading.enumerate()), flush=True)
"""


class Process:
    """A process that handles commands, and its output."""

    def __init__(self, process: Any) -> None:
        self.process = process

    def tell(self, word: str) -> None:
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        return str(self.process.stdout.readline().strip())


def cut_connections(raw: redis.Redis) -> None:
    """Cut all connections but our own."""
    mine = raw.client_id()
    for one in raw.client_list():
        if int(one["id"]) != mine:
            with suppress(redis.ResponseError):  # it may be gone already
                raw.client_kill_filter(_id=one["id"])


def test_threads_survive_a_lack_of_file_descriptors(
    server: Any, bench_at: Any, start_python: Any, eventually: Callable[..., Any]
) -> None:
    bench = bench_at(server)
    leased = f"conveyor:{{{bench.queue.name}}}:leased"
    process = Process(start_python(PROCESS, server.url, bench.queue.name))
    assert process.line() == "limited"
    cut_connections(server.raw)
    process.tell("errors")
    assert [process.line() for _ in range(2)] == ["StoreUnavailable"] * 2
    bench.settle(value=3)
    process.tell("lift")
    assert process.line() == "lifted"
    assert process.line() == "result 3"
    process.tell("threads")
    assert {"conveyor-inbox", "conveyor-leases"} <= set(eval(process.line()))
    ((_, end),) = server.raw.zrange(leased, 0, 0, withscores=True)
    eventually(lambda: server.raw.zrange(leased, 0, 0, withscores=True)[0][1] > end)
    assert bench.queue.count().lapsed == 0
