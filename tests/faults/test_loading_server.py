"""A server that loads a large file after a restart, and replies to all commands with LOADING meanwhile."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
import redis
from consumer_kit import go, lines
from redis.backoff import NoBackoff
from redis.retry import Retry

from conveyor import Queue
from conveyor.store import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEYS, KEY_BYTES = 300, 1024  # besides those of the queue
DELAY = 100_000  # microseconds that reading a key takes, until the test has seen enough


class Slow:
    """A server that takes its time to read its file."""

    def __init__(self, binary: str, folder: Path, eventually: Callable[..., Any]) -> None:
        self.socket = folder / "slow"
        self._folder, self._binary, self._eventually = folder, binary, eventually
        self.raw = redis.Redis(unix_socket_path=str(self.socket), retry=Retry(NoBackoff(), 0))
        self._start()
        eventually(lambda: self.fact("persistence", "loading") == 0)
        for number in range(KEYS):
            self.raw.set(f"key{number}", bytes(KEY_BYTES))

    def _start(self) -> None:
        words = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._folder), "--save", ""]
        words += ["--key-load-delay", str(DELAY), "--rdbcompression", "no"]
        words += ["--loading-process-events-interval-bytes", str(KEY_BYTES)]
        self.process = subprocess.Popen([self._binary, *words], stdout=subprocess.DEVNULL)

    def fact(self, section: str, name: str) -> Any:
        """Return a fact the server reports of itself, or None."""
        with suppress(redis.ConnectionError):
            return self.raw.info(section).get(name)
        return None

    def restart(self) -> None:
        """Write everything to a file, end, and start to load it."""
        self.raw.save()
        self.end()
        self._start()
        self._eventually(lambda: self.fact("persistence", "loading") == 1)

    def finish_loading(self) -> None:
        """Load the rest quickly, after the server has refused a command."""
        self._eventually(lambda: self.fact("errorstats", "errorstat_LOADING"))
        self.raw.config_set("key-load-delay", 0)

    def end(self) -> None:
        self.raw.connection_pool.disconnect()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def slow(one_server: Any, tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[Slow]:
    slow = Slow(one_server.binary, tmp_path, eventually)
    yield slow
    slow.end()


@pytest.fixture
def queue(slow: Slow) -> Iterator[Queue]:
    """Return the queue that `consume` takes from."""
    queue = Queue("work", store=connect(f"unix://{slow.socket}"))
    yield queue
    queue.client.close()


def test_loading_server_is_waited_for(
    slow: Slow,
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., Any],
) -> None:
    refusals: list[Exception] = []
    translated = queue.client.translated
    monkeypatch.setattr(queue.client, "translated", lambda error: refusals.append(error) or translated(error))
    held = queue.submit(jobs.hold, str(path), "held")
    slow.restart()
    with ThreadPoolExecutor() as pool:
        starting = pool.submit(consume, workers=2)
        slow.finish_loading()
        running = starting.result(60)
        eventually(lambda: lines(path))
        workers = running.workers()

        slow.restart()
        refusals.clear()
        putting = pool.submit(queue.submit, jobs.add, 1, 2)
        eventually(lambda: any("loading" in str(one) for one in refusals))
        go(path)
        slow.finish_loading()
        assert putting.result(60).result(60) == 3
    assert held.result(60) == "held"
    assert running.workers() == workers
    count = queue.count()
    assert (count.finished, count.live, count.lapsed, count.imbalance) == (2, 0, 0, 0)
    assert len(lines(path)) == 1
