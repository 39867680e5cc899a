"""A primary and its replica behind an address, like a proxy or a DNS name: the primary can change."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import redis

from conveyor.torture.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class Node:
    """A separate server on a TCP port, without a file on the disk by default; over TLS with a certificate."""

    def __init__(
        self, binary: str, folder: Path, *more: str, secret: str = "", certificate: Path | None = None
    ) -> None:
        self.binary = binary
        self.folder = folder
        folder.mkdir(exist_ok=True)
        settings = [f"dir {folder}", 'save ""', "bind 127.0.0.1 -::1", "repl-diskless-sync-delay 0"]
        if secret:
            settings += [f"requirepass {secret}", f"masterauth {secret}"]
        self._start(binary, [*settings, *more], certificate)
        self.raw = raw_client(self.port, secret, certificate)

    def _start(self, binary: str, settings: list[str], certificate: Path | None, *words: str) -> None:
        file = self.folder / "server.conf"
        for _ in range(5):  # others may be faster to take the port
            self.port = free_port()
            file.write_text("\n".join([*settings, *listening(self.port, certificate)]) + "\n")
            with (self.folder / "log").open("w") as log:
                # Signals as Python has them: a file that may not grow is an error then, and does not end the server.
                command = [binary, file, *words]
                self.process = subprocess.Popen(command, stdout=log, stderr=log, restore_signals=False)
            if self._listens():
                return

    def _listens(self) -> bool:
        while self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return self.process.poll() is None
            time.sleep(0.01)
        return False

    def answers(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(self.raw.ping())
        return False

    def role(self) -> str:
        """Return "master", or "slave" once the link to its primary is up."""
        facts = self.raw.info("replication")
        return facts["role"] if facts.get("master_link_status", "up") == "up" else "no link"

    def end(self) -> None:
        self.raw.connection_pool.disconnect()
        self.process.kill()
        self.process.wait()


class Sentinel(Node):
    """A sentinel that watches a primary under the name films, and fails over immediately."""

    def __init__(
        self, primary: Node, folder: Path, *more: str, secret: str = "", certificate: Path | None = None
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        settings = [f"dir {folder}", "bind 127.0.0.1 -::1"]
        settings += [f"sentinel monitor films 127.0.0.1 {primary.port} 1"]
        settings += ["sentinel down-after-milliseconds films 500", "sentinel failover-timeout films 4000"]
        settings += [f"requirepass {secret}"] if secret else []
        self._start(primary.binary, [*settings, *more], certificate, "--sentinel")
        self.raw = raw_client(self.port, secret, certificate)
        # After a standstill of the machine; after the usual 30 s, the replica of a dead primary would be too old.
        self.raw.execute_command("SENTINEL", "DEBUG", "tilt-period", 1000)

    def knows_the_replica(self, replicas: int = 1, others: int = 0) -> bool:
        """Return True if it could fail over, with the given number of other sentinels."""
        if self.raw.info("sentinel")["sentinel_tilt"]:  # it only watches
            return False
        links = [one["master-link-status"] for one in self.raw.sentinel_slaves("films")]
        known = self.raw.sentinel_master("films")["num-other-sentinels"]
        return links == ["ok"] * replicas and int(known) == others


def listening(port: int, certificate: Path | None) -> list[str]:
    """Return the settings of a server that listens on a port."""
    if certificate is None:
        return [f"port {port}"]
    files = [f"tls-cert-file {certificate}", f"tls-key-file {certificate}", f"tls-ca-cert-file {certificate}"]
    return ["port 0", f"tls-port {port}", "tls-replication yes", "tls-auth-clients no", *files]


def raw_client(port: int, secret: str, certificate: Path | None) -> redis.Redis:
    """Return the Redis library's client of a server."""
    tls = {"ssl": True, "ssl_ca_certs": str(certificate)} if certificate else {}
    return redis.Redis(host="127.0.0.1", port=port, password=secret or None, **tls)


LOCALHOST = "DNS:localhost,IP:127.0.0.1,IP:::1"


def make_certificate(file: Path, names: str = LOCALHOST, times: str = "-days 1") -> Path:
    """Write a self-signed certificate with its key; for this host and a day by default."""
    words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost {times}"
    key = file.with_suffix(".key")
    told = ["openssl", *words.split(), "-addext", f"subjectAltName={names}", "-keyout", key, "-out", file]
    subprocess.run(told, check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + key.read_bytes())
    return file


class Forwarder:
    """Accepts connections and passes them on to a port; existing ones keep their target if it changes."""

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
        """Make the second server a replica of the first."""
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
