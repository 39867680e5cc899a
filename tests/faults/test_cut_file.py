"""A server that died while it wrote its file: each script is in it whole or not at all, wherever the file ends."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from moving import Node

from conveyor.store import commands
from conveyor.store.client import Client
from conveyor.store.commands import PutParams, Settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis

    from conveyor.store.command import Command

CUTS = 10
FILE = "appendonlydir/appendonly.aof.1.incr.aof"
SETTINGS = ("appendonly yes", "appendfsync always")


def state(raw: redis.Redis) -> dict[bytes, Any]:
    """Return all that a server has."""
    read: dict[bytes, Any] = {
        b"string": raw.get,
        b"hash": raw.hgetall,
        b"set": raw.smembers,
        b"list": lambda key: raw.lrange(key, 0, -1),
        b"zset": lambda key: raw.zrange(key, 0, -1, withscores=True),
        b"stream": raw.xrange,
    }
    return {key: read[raw.type(key)](key) for key in raw.scan_iter()}


class Written:
    """A file to which some scripts were written, and the state after each with the length of the file then."""

    def __init__(self, node: Node) -> None:
        self.folder = node.folder
        self.states = [(0, state(node.raw))]
        client = Client(f"redis://127.0.0.1:{node.port}")
        jobs = [(f"job{number}", b"bytes") for number in range(5)]
        self._run(node, client, commands.put("films", jobs, PutParams(priority=1)))
        batch = self._run(node, client, commands.claim("films", "ann", "n.1", 4, 60.0))
        settlements = [Settlement(one, b"done", 600.0, b"note") for one in ("job0", "job1")]
        self._run(node, client, commands.finish("films", batch.token, settlements))
        self._run(node, client, commands.retry("films", batch.token, "job2", 500.0, b"note", b"attempt"))
        self._run(node, client, commands.fail("films", batch.token, Settlement("job3", b"no", 600.0)))
        client.close()

    def _run(self, node: Node, client: Client, command: Command) -> Any:
        answer = client.run(command)
        self.states.append((self.folder.joinpath(FILE).stat().st_size, state(node.raw)))
        return answer

    def expected(self, length: int) -> dict[bytes, Any]:
        """Return the state of the scripts that are whole within the given length."""
        return [found for size, found in self.states if size <= length][-1]


@pytest.fixture
def start(one_server: Any, eventually: Callable[..., Any]) -> Iterator[Callable[[Path], Node]]:
    """Return a function that starts a server on the files of a folder."""
    started: list[Node] = []

    def start(folder: Path) -> Node:
        started.append(Node(one_server.binary, folder, *SETTINGS))
        eventually(started[-1].answers)
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_script_is_whole_or_absent_wherever_its_file_is_cut(
    start: Callable[[Path], Node], tmp_path: Path
) -> None:
    node = start(tmp_path / "whole")
    written = Written(node)
    node.end()
    whole = written.states[-1][0]
    middles = [
        (before + after) // 2
        for (before, _), (after, _) in zip(written.states, written.states[1:], strict=False)
    ]
    chance = random.Random(8)
    cuts = [*middles, *(chance.randrange(1, whole) for _ in range(CUTS - len(middles)))]
    for length in cuts:
        folder = tmp_path / f"cut{length}"
        shutil.copytree(written.folder, folder)
        with folder.joinpath(FILE).open("r+b") as file:
            file.truncate(length)
        assert state(start(folder).raw) == written.expected(length), f"cut after {length} of {whole} bytes"
