"""A primary and its replica behind one address, as a proxy or a DNS name gives it: who is primary can change."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Node:
    """A server of its own on a TCP port, without a file on the disk unless told."""

    def __init__(self, binary: str, folder: Path, *words: object, port: int = 0) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.port = port or free_port()
        told = ["--port", self.port, "--bind", "127.0.0.1", "--dir", folder, "--save", "", *words]
        log = (folder / "log").open("w")
        self.process = subprocess.Popen([binary, *map(str, told)], stdout=log, stderr=log)
        log.close()
        self.raw = redis.Redis(port=self.port)

    def answers(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(self.raw.ping())
        return False

    def role(self) -> str:
        """Give master, or slave once the link to its primary is up."""
        facts = self.raw.info("replication")
        return facts["role"] if facts.get("master_link_status", "up") == "up" else "no link"

    def end(self) -> None:
        self.raw.connection_pool.disconnect()
        self.process.kill()
        self.process.wait()


class Forwarder:
    """Takes connections and passes them on to a port; those that are there stay where they are when that changes."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listening.getsockname()[1]}"
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        other: dict[socket.socket, socket.socket] = {}
        while True:
            for one in select.select([self.listening, self._woken, *other], [], [])[0]:
                if one is self._woken:
                    for each in (*other, self.listening, self._woken):
                        each.close()
                    return
                if one is self.listening:
                    client, _ = one.accept()
                    try:
                        server = socket.create_connection(("127.0.0.1", self.target), 5)
                    except OSError:
                        client.close()
                    else:
                        other |= {client: server, server: client}
                elif one in other and not self._pass_on(one, other[one]):
                    for each in (other.pop(one), one):
                        other.pop(each, None)
                        each.close()

    @staticmethod
    def _pass_on(one: socket.socket, other: socket.socket) -> bool:
        with contextlib.suppress(OSError):
            if data := one.recv(1 << 16):
                other.sendall(data)
                return True
        return False

    def end(self) -> None:
        self._wake.send(b"x")
        self._thread.join()
        self._wake.close()


class Pair:
    """The two servers and their address."""

    def __init__(self, nodes: Sequence[Node], eventually: Callable[..., Any]) -> None:
        self.primary, self.replica = nodes
        self.eventually = eventually
        eventually(self.primary.answers)
        self.follow()
        self.forwarder = Forwarder(self.primary.port)
        self.url = self.forwarder.url

    def follow(self) -> None:
        """Have the second follow the first."""
        self.eventually(self.replica.answers)
        self.replica.raw.replicaof("127.0.0.1", self.primary.port)
        self.eventually(lambda: self.replica.role() == "slave")
        self.eventually(lambda: self.primary.raw.info("replication")["slave0"]["state"] == "online")

    def fail_over(self) -> None:
        """Make the replica the primary and the primary its replica, without losing a write; the address follows."""
        old, new = self.primary, self.replica
        old.raw.execute_command("FAILOVER", "TO", "127.0.0.1", new.port)
        self.eventually(lambda: new.role() == "master" and old.role() == "slave")
        self.primary, self.replica = new, old
        self.forwarder.target = new.port

    def end(self) -> None:
        self.forwarder.end()
