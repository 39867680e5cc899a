"""Web applications put jobs from the servers that people use, and a full queue does not stop them."""

from __future__ import annotations

import itertools
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from conveyor import Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
#: By name: the words of the server before its port.
SERVERS = {
    "FastAPI in uvicorn": ["uvicorn", "apps:fastapi", "--log-level", "warning", "--port"],
    "Django in uvicorn": ["uvicorn", "--factory", "apps:make_django", "--log-level", "warning", "--port"],
    "Flask in gunicorn, preloaded": ["gunicorn", "apps:flask", "--preload", "--workers", "2", "--bind"],
}
#: Seconds in which a ping is answered, whatever the queue does.
PROMPT = 0.05
_names = (f"site{number}" for number in itertools.count())


@pytest.fixture(params=SERVERS)
def site(
    request: pytest.FixtureRequest, one_server: Any, eventually: Callable[..., Any]
) -> Iterator[tuple[str, Queue]]:
    """Start a site; return its address, and the queue that it puts jobs on, which has room for three."""
    queue = Queue(next(_names), 3, store=one_server.client)
    assert queue.qsize() == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = SERVERS[request.param]
    place = f"127.0.0.1:{port}" if "gunicorn" in words else str(port)
    environment = {
        "CONVEYOR_URL": one_server.url,
        "SITE_QUEUE": queue.name,
        "SITE_PUTS_FIRST": "1" if "--preload" in words else "",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", *words, place], cwd=HERE, env={**os.environ, **environment}
    )
    address = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: answers(f"{address}/ping"))
        yield address, queue
    finally:
        server.terminate()
        server.wait(30)


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_full_queue_is_answered_with_503(site: tuple[str, Queue]) -> None:
    address, queue = site
    free = 3 - queue.qsize()
    assert [httpx.get(f"{address}/put").status_code for _ in range(4)] == [202] * free + [503] * (4 - free)
    queue.clear()
    assert httpx.get(f"{address}/put").status_code == 202


def test_ping_is_prompt_while_many_puts_are_refused(
    site: tuple[str, Queue], quickest: Callable[..., float]
) -> None:
    address, queue = site
    queue.put_many(range(3 - queue.qsize()))
    ended = threading.Event()
    statuses: list[int] = []

    def put() -> None:
        with httpx.Client() as client:
            while not ended.is_set():
                statuses.append(client.get(f"{address}/put").status_code)

    def usual_ping() -> float:
        """Return the median of 50: a busy machine delays some, and a put that blocks the site all of them."""
        found: list[float] = []
        with httpx.Client() as client:
            client.get(f"{address}/ping")
            for _ in range(50):
                start = time.perf_counter()
                assert client.get(f"{address}/ping").status_code == 200
                found.append(time.perf_counter() - start)
        return statistics.median(found)

    putting = [threading.Thread(target=put) for _ in range(4)]
    for thread in putting:
        thread.start()
    try:
        assert quickest(usual_ping, PROMPT) < PROMPT
    finally:
        ended.set()
        for thread in putting:
            thread.join()
    assert set(statuses) == {503}
    assert queue.qsize() == 3
