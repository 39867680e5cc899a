"""The bare server: what one client process gets out of it, through redis-py and over a socket."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hiredis
import redis

from benchmarks.stage import Stage
from benchmarks.trials import SHORT_GAPS, Effort, quantile

if TYPE_CHECKING:
    from benchmarks.stage import Setting

CALLS, BATCH = 3000, 100
_BODY = b"x" * 100
_SCRIPT = "redis.call('SET', KEYS[1], ARGV[1]); redis.call('RPUSH', KEYS[2], KEYS[1]); return 1"


class Connection:
    """A bare socket to the server, with the same parser as redis-py."""

    def __init__(self, url: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", urlsplit(url).port or 6379))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def run(self, *commands: tuple[bytes, ...]) -> list[Any]:
        """Send commands in one write and return their replies."""
        self._socket.sendall(b"".join(map(hiredis.pack_command, commands)))
        return [self._reply() for _ in commands]

    def _reply(self) -> Any:
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(65536))
        return reply


def measure(setting: Setting, effort: Effort) -> dict[str, float]:
    """Return the figures of the bare server by the key of their row."""
    with Stage(setting, 1) as stage:
        library = redis.Redis(port=urlsplit(stage.url).port or 6379)
        bare = Connection(stage.url)
        digest = library.script_load(_SCRIPT)
        name = str(digest).encode()
        call = (b"EVALSHA", name, b"2", b"job", b"list", _BODY)
        return {
            "evalsha": _rate(lambda: library.evalsha(digest, 2, "job", "list", _BODY), 1, effort),
            "evalsha_socket": _rate(lambda: bare.run(call), 1, effort),
            "evalsha_pipelined": _rate(lambda: bare.run(*[call] * BATCH), BATCH, effort),
            "push_many": _rate(lambda: bare.run((b"RPUSH", b"list", *[_BODY] * BATCH)), BATCH, effort),
            **_between_processes(stage.url, effort),
        }


def _rate(call: Any, jobs: int, effort: Effort) -> float:
    calls = max(10, int(CALLS * min(1.0, effort.jobs)))
    start = time.monotonic()
    for _ in range(calls):
        call()
    return jobs * calls / (time.monotonic() - start)


def _between_processes(url: str, effort: Effort) -> dict[str, float]:
    """Pass elements to a waiting process and back, with the gaps that the contestants have."""
    child = os.fork()
    if child == 0:
        taker = Connection(url)
        while True:
            (element,) = taker.run((b"BLMOVE", b"there", b"taken", b"LEFT", b"RIGHT", b"0"))
            taken = b"%.9f" % time.monotonic()
            taker.run((b"LREM", b"taken", b"1", element), (b"RPUSH", b"back", taken))
    pick_ups, backs = [], []
    try:
        pusher, reader = Connection(url), Connection(url)
        end = time.monotonic() + effort.seconds
        while not backs or time.monotonic() < end:
            time.sleep(sum(SHORT_GAPS) / 2)
            start = time.monotonic()
            pusher.run((b"RPUSH", b"there", _BODY))
            ((_, taken),) = reader.run((b"BLPOP", b"back", b"0"))
            backs.append(1000 * (time.monotonic() - start))
            pick_ups.append(1000 * (float(taken) - start))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return {
        "round_trip": quantile(backs, 0.5),
        "round_trip_p99": quantile(backs, 0.99),
        "pick_up": quantile(pick_ups, 0.5),
        "pick_up_p99": quantile(pick_ups, 0.99),
    }
