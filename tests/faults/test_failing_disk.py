"""A disk that is slow, or fails, under a server's file: strace stands between the server and its syncs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from moving import Node

from conveyor import DurabilityUnknown, Queue
from conveyor.store import connect, waiting
from conveyor.torture.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def double(number: int) -> int:
    return 2 * number


class Disk:
    """A server on a disk with a fault, behind an address that stays after a restart on a good disk."""

    def __init__(self, binary: str, folder: Path, eventually: Callable[..., Any]) -> None:
        self.binary, self.folder, self.eventually = binary, folder, eventually
        self.node: Node | None = None
        self.proxy = Proxy("")

    def start(self, synced: str, fault: str = "") -> Node:
        """Start the server on its folder; `fault` is strace's effect on the syncs of its file."""
        self.folder.mkdir(exist_ok=True)
        program = self.folder / "program"
        file = self.folder / "appendonlydir" / "appendonly.aof.1.incr.aof"
        words = f"strace -D -f -qq -o /dev/null -P {file} -e inject=fdatasync,fsync:{fault}" if fault else ""
        program.write_text(f'#!/bin/sh\nexec {words} {self.binary} "$@"\n')
        program.chmod(0o700)
        self.node = Node(str(program), self.folder, "appendonly yes", f"appendfsync {synced}")
        self.eventually(self.node.answers)
        self.proxy.target = f"redis://127.0.0.1:{self.node.port}"
        return self.node

    def kill(self, node: Node) -> None:
        """Kill the server, and then its tracer: a process whose sync is blocked ends no sooner."""
        status = Path(f"/proc/{node.process.pid}/status").read_text()
        tracer = int(re.search(r"^TracerPid:\t(\d+)$", status, re.MULTILINE)[1])  # type: ignore[index]
        node.process.kill()
        if tracer:
            os.kill(tracer, signal.SIGKILL)
        node.end()

    def end(self) -> None:
        self.proxy.close()
        if self.node and self.node.process.poll() is None:
            self.kill(self.node)


@pytest.fixture
def disk(server: Any, tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[Disk]:
    if shutil.which("strace") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("strace is not installed")
    if subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], check=False).returncode:
        pytest.skip("this machine does not allow tracing")
    disk = Disk(server.binary, tmp_path / "disk", eventually)
    yield disk
    disk.end()


def ready(node: Node) -> list[str]:
    return [one.decode() for one in node.raw.zrange("conveyor:{films}:ready", 0, -1)]


@pytest.mark.parametrize("server", ["redis-server"], indirect=True)
def test_jobs_lost_by_a_slow_disk_are_put_again(
    disk: Disk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a sync is under way, the server accepts jobs that it does not write; none of them counts as synced."""
    node = disk.start("everysec", "delay_enter=60s")
    queue = Queue("films", store=connect(disk.proxy.url))
    jobs = [queue.submit(double, 1)]
    disk.eventually(lambda: node.raw.info("persistence")["aof_pending_bio_fsync"])
    jobs += queue.submit_many(double, [(2,), (3,)])
    with monkeypatch.context() as soon:
        soon.setattr(waiting, "CONFIRM_WITHIN", 0.05)
        with pytest.raises(DurabilityUnknown, match="has not synced its append-only file"):
            Queue("films", durability="fsync", store=queue.client).put("item")
    jobs.append(queue.submit(double, 4))
    accepted = ready(node)
    assert len(accepted) == 5
    disk.kill(node)
    node = disk.start("everysec")
    kept = ready(node)
    assert len(kept) < 5, "a part of what was accepted during the sync is lost"
    assert kept == accepted[: len(kept)]
    jobs.append(queue.submit(double, 5))  # whose answer shows the loss
    disk.eventually(lambda: set(ready(node)) >= {job.id for job in jobs})
    assert "has lost the queue films" in caplog.text
    queue.client.close()


def test_job_that_the_disk_refused_to_sync_is_not_accepted(disk: Disk) -> None:
    node = disk.start("always", "error=EIO:when=8")
    queue = Queue("films", durability="fsync", store=connect(disk.proxy.url))
    accepted: list[int] = []

    def produce() -> None:
        for number in range(20):
            queue.put(number)
            accepted.append(number)

    producer = threading.Thread(target=produce)
    producer.start()
    node.process.wait(30)
    count = len(accepted)
    assert 0 < count < 20
    node = disk.start("always")
    assert len(ready(node)) >= count
    producer.join(30)
    assert accepted == [queue.get_nowait() for _ in range(20)]
    assert queue.empty()
    queue.client.close()
