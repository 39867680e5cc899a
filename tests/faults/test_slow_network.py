"""A slow network between the server and all others: it costs time, and no lease, no run and no result.

Neither does one that lets nothing through in one direction for a while. On a thin line, though, what takes longer to
send than a reply is waited for cannot be put.
"""

from __future__ import annotations

import select
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import go, lines

from conveyor import Empty, Queue, StoreUnavailable
from conveyor.consumer.process_state import ProcessState
from conveyor.consumer.settings import ConsumerSettings
from conveyor.consumer.shared_status import SharedStatus
from conveyor.consumer.worker_process import WorkerProcess
from conveyor.store import Client, commands, connect
from conveyor.tasks import Registry
from conveyor.torture.proxy import PASS, REPLIES, REQUESTS, Mode, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DELAY = 0.1  # seconds, each way
JOBS = 200
RATE = 400_000  # bytes that are passed on in a second


class ThinLine(Proxy):
    """A proxy that passes on few bytes a second to the server, and nothing more once the client has left."""

    rate = RATE

    def _pass_requests(self, link: Any) -> None:
        leaving = select.poll()
        leaving.register(link.client, select.POLLRDHUP)
        while data := link.client.recv(self.rate // 100):
            time.sleep(len(data) / self.rate)
            if leaving.poll(0):
                break
            link.server.sendall(data)


@pytest.fixture
def queue(one_server: Any) -> Iterator[Queue]:
    """Return the queue that `consume` takes from; producer and consumer reach it through a slow network."""
    with Proxy(one_server.url) as proxy:
        proxy.mode = Mode(delay=DELAY)
        queue = Queue("far", store=connect(proxy.url))
        yield queue
        queue.client.close()


def test_slow_network_costs_no_lease_and_no_run(
    queue: Queue,
    consume: Callable[..., Any],
    one_server: Any,
    path: Path,
    short_lease: float,
    eventually: Callable[..., Any],
) -> None:
    """Workers take many short jobs at a time, so that they do not wait for the network for each."""
    consume(workers=2)
    held = queue.submit(jobs.hold, str(path), "held")
    eventually(lambda: lines(path))
    until = time.monotonic() + short_lease + 1.0
    marks = path.with_name("short")
    before = one_server.raw.info("commandstats")["cmdstat_evalsha"]["calls"]
    handles = queue.submit_many(jobs.mark, [(str(marks), str(number)) for number in range(JOBS)])
    assert sorted(job.result(60) for job in handles) == list(range(1, JOBS + 1))
    assert one_server.raw.info("commandstats")["cmdstat_evalsha"]["calls"] - before < JOBS
    assert lines(marks) == [str(number) for number in range(JOBS)], "in order, each once"
    eventually(lambda: time.monotonic() > until)
    go(path)
    assert held.result(30) == "held"
    count = queue.count()
    assert (count.finished, count.live, count.lapsed, count.imbalance) == (JOBS + 1, 0, 0, 0)
    assert len(lines(path)) == 1


@pytest.mark.parametrize("direction", [REQUESTS, REPLIES])
def test_cut_direction_of_a_connection_costs_no_run(
    direction: str,
    consume: Callable[..., Any],
    one_server: Any,
    path: Path,
    eventually: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Late copies of delayed requests arrive behind their resends and have no second effect."""
    monkeypatch.setattr("conveyor.store.client.ANSWER_TIMEOUT", 1.0)
    with Proxy(one_server.url) as proxy, ThreadPoolExecutor() as pool:
        queue = Queue("far", store=Client(proxy.url))
        consumer = consume(store=connect(proxy.url))
        numbers = [str(number) for number in range(JOBS)]
        assert queue.submit(jobs.mark, str(path), "first").result(30) == 1
        proxy.mode, before = Mode(held=frozenset({direction})), proxy.connections_made
        putting = pool.submit(queue.submit_many, jobs.mark, [(str(path), number) for number in numbers])
        eventually(lambda: proxy.connections_made >= before + 3)
        proxy.mode = PASS
        assert sorted(job.result(30) for job in putting.result()) == list(range(2, JOBS + 2))
        assert sorted(lines(path)) == sorted(["first", *numbers]), "each once"
        count = queue.count()
        assert (count.finished, count.live, count.imbalance) == (JOBS + 1, 0, 0)
        consumer.end()
        queue.client.close()


def test_job_must_be_sent_within_the_reply_timeout(one_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tenth of the time, on a line ten times as fast as the slowest that carries a job of a mebibyte."""
    monkeypatch.setattr("conveyor.store.client.ANSWER_TIMEOUT", 1.0)
    with ThinLine(one_server.url) as line:
        queue = Queue("far", store=Client(line.url, patience=0.0))
        queue.put(bytes(RATE // 80))
        with pytest.raises(StoreUnavailable):
            queue.put(bytes(2 * RATE))
        queue.client.close()


def test_large_results_of_a_batch_pass_a_thin_line(one_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they take longer than a reply is waited for. Each of them takes less."""
    registry = Registry()
    registry.add(jobs.task(name="consumer_jobs.text_of")(jobs.text_of))
    near = Queue("large", store=one_server.url)
    near.submit_many(jobs.text_of, [(700_000,)] * 10)
    monkeypatch.setattr("conveyor.store.client.ANSWER_TIMEOUT", 0.6)
    with ThinLine(one_server.url) as line:
        line.rate = 8_000_000
        settings = ConsumerSettings((near.name,))
        worker = WorkerProcess("host/1", settings, SharedStatus(), Client(line.url), registry)
        worker.process_state = ProcessState()
        worker.sizer.size = 10
        monkeypatch.setattr(worker.monitor, "watch", lambda *_: None)  # it would release most of them
        worker._run_batch(*worker._claim())
        worker._leaving = True  # so it does not try forever
        worker._settle_all()
        worker.client.close()
    count = near.count()
    assert (count.finished, count.live, count.lapsed, count.imbalance) == (10, 0, 0, 0)


def test_get_with_a_short_timeout_reaches_a_far_server(one_server: Any) -> None:
    """Its time is not enough for a connection and a reply, so the next call uses the connection."""
    one_server.client.run_all(commands.load_scripts())
    with Proxy(one_server.url) as proxy, suppress(Empty):
        proxy.mode = Mode(delay=DELAY)
        for _ in range(30):  # on a busy machine; three do otherwise
            with suppress(StoreUnavailable):
                Queue("far", store=proxy.url).get(timeout=0.2)
        pytest.fail("no call had a reply")


def test_connection_is_kept_after_a_call_timed_out(one_server: Any) -> None:
    delay = 4 * DELAY  # so that on a busy machine, too, the greeting takes two, and the call the rest
    with Proxy(one_server.url) as proxy:
        proxy.mode = Mode(delay=delay)
        client = Client(proxy.url, patience=0.0)
        with pytest.raises(StoreUnavailable):
            client.run(commands.server_time(), within=3 * delay)
        assert client.run(commands.server_time(), within=100 * delay) > 0
        assert proxy.connections_made == 1
        client.close()
