"""The bench's own servers: one with a file on a small disk, and a pair that a sentinel watches."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conveyor.errors import StoreError
from conveyor.store import Client, fitness
from conveyor.store.command import Command
from conveyor.torture.history import Usage, note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Name of the watched primary.
SERVICE = "torture"
_STARTING = 30.0  # seconds until a server replies
_LOADING = 2.0  # seconds within which a program that supports libfaketime prints its version
_TILT = 60.0  # seconds within which a sentinel acts again whose machine stood still
_DISK = "384m"
#: Keys that stay after all jobs have finished and all outcomes have expired.
_OF_DEAD = "reasons|jobs|tries|priorities|groups|terms|steps"
_OF_SCHEDULES = "schedules|instants|fired|declared"
_OF_QUEUES = f"meta|bell|dead|{_OF_DEAD}|history|totals|inboxes|{_OF_SCHEDULES}"
_LASTING = re.compile(
    rf"conveyor:(?:\{{[^}}]+\}}:(?:{_OF_QUEUES})|queues|scheduled|consumers|audit|acts|operations|orders)"
)
#: Synced always: accepted writes survive a crash.
DURABLE = ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-min-size", "16mb"]


def wait_for(fact: Callable[[], object], seconds: float = _STARTING) -> None:
    """Wait until a condition is true. Raises TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true within {seconds} s: {fact}")
        time.sleep(0.02)


class Server:
    """A server process, on a unix socket or a port, in a separate folder."""

    def __init__(self, binary: str, folder: Path, settings: list[str], port: int = 0) -> None:
        self.binary, self.folder, self.port, self.settings = binary, folder, port, settings
        folder.mkdir(parents=True, exist_ok=True)
        self.url = f"redis://127.0.0.1:{port}" if port else f"unix://{folder}/s"
        self.admin = Client(self.url, patience=5.0)
        self.environment: dict[str, str] | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        """Start it with the data in its folder, and wait until it replies."""
        with (self.folder / "log").open("ab") as log:
            words = [*self._command(), *more]
            self.process = subprocess.Popen(
                words, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(lambda: self.replies() or self.has_ended())
        if self.has_ended():
            raise RuntimeError(f"the server in {self.folder} did not start; see its log")

    def _command(self) -> list[str]:
        where = (
            ["--port", str(self.port)] if self.port else ["--port", "0", "--unixsocket", f"{self.folder}/s"]
        )
        return [self.binary, *where, "--dir", str(self.folder), "--save", "", *self.settings]

    def can_turn_its_clock(self) -> bool:
        """Use a clock of its own from the next start on, and return True if that is possible.

        It needs libfaketime, which is not installed everywhere, and under which some programs hang.
        """
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
        if library is None:
            return False
        settings = dict.fromkeys(
            ("FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC", "FAKETIME_DONT_RESET"), "1"
        )
        settings |= {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": f"{self.folder}.clock"}
        environment = {**os.environ, **settings}
        self.turn_clock(0)
        try:
            words = [self.binary, "--version"]
            subprocess.run(words, env=environment, capture_output=True, check=True, timeout=_LOADING)
        except subprocess.SubprocessError:
            return False
        self.environment = environment
        return True

    def turn_clock(self, seconds: int) -> None:
        """Set its clock ahead of the host's."""
        part = Path(
            f"{self.folder}.part"
        )  # a server that reads a part of the file ends; not on its disk, which fills up
        part.write_text(f"{seconds:+d}\n")
        part.replace(f"{self.folder}.clock")

    def replies(self) -> bool:
        """Return True if it has loaded its data and replies."""
        with contextlib.suppress(StoreError):
            return bool(self.admin.run(Command(("PING",)), patience=0.0, within=1.0))
        return False

    def has_ended(self) -> bool:
        """Return True if it is not running."""
        return self.process is None or self.process.poll() is not None

    @property
    def pid(self) -> int:
        """Its process id."""
        return 0 if self.process is None else self.process.pid

    def run(self, *words: object) -> Any:
        """Run a Redis command directly, not through the proxy. Raises StoreError."""
        return self.admin.run(Command(words))

    def facts(self, section: str) -> dict[str, str]:
        """Return a section of INFO. Raises StoreError."""
        found: dict[str, str] = self.admin.run(fitness.info(section))
        return found

    def note_leftovers(self) -> None:
        """Expire all that can expire; note the memory in use, and keys that should be missing or smaller."""
        names = self.run("KEYS", "*")
        for name in names:
            if self.run("PTTL", name) > 0:
                self.run("PEXPIRE", name, 1)
        lasting = [name.decode() for name in names if self.run("PTTL", name) == -1]
        strange = [name for name in lasting if not _LASTING.fullmatch(name)]
        for name in lasting:
            queue, _, what = name.rpartition(":")
            if what in _OF_DEAD.split("|") and self.run("HLEN", name) > self.run("ZCARD", f"{queue}:dead"):
                strange.append(f"{name} of finished jobs")
        memory = int(self.facts("memory")["used_memory"])
        note(Usage(time.monotonic(), f"server {self.folder.parent.name}", memory, strange))

    def end(self, number: int = signal.SIGKILL) -> None:
        """End it by a signal and wait until it has exited."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait()
        self.admin.close()

    def forget(self) -> None:
        """Remove the files of an ended server."""
        for one in self.folder.glob("appendonly*"):
            shutil.rmtree(one, ignore_errors=True)


class Sentinel(Server):
    """A sentinel that promotes the replica soon after the primary is gone."""

    def __init__(self, binary: str, folder: Path, port: int) -> None:
        super().__init__(binary, folder, [], port)
        settings = [f"port {port}", "bind 127.0.0.1", f"dir {folder}"]
        (folder / "sentinel.conf").write_text("\n".join(settings) + "\n")

    def _command(self) -> list[str]:
        return [self.binary, str(self.folder / "sentinel.conf"), "--sentinel"]

    def watch(self, primary: Server) -> None:
        """Watch this server."""
        with contextlib.suppress(StoreError):
            self.run("SENTINEL", "REMOVE", SERVICE)
        self.run("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", primary.port, 1)
        for name, value in (("down-after-milliseconds", 2000), ("failover-timeout", 4000)):
            self.run("SENTINEL", "SET", SERVICE, name, value)

    def primary_port(self) -> int:
        """Return the port of the primary, as the sentinel knows it. Raises StoreError."""
        return int(self.run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def start(self, *more: str) -> None:
        """Start it, and have it act again a second after its machine stood still.

        After the usual thirty seconds, it would find that the replica of a dead primary is too old to be promoted.
        """
        super().start(*more)
        with contextlib.suppress(StoreError):  # before Redis 7
            self.run("SENTINEL", "DEBUG", "tilt-period", 1000)

    def can_fail_over(self) -> bool:
        """Return True if the sentinel could fail over."""
        if self.facts("sentinel")["sentinel_tilt"] != "0":  # it only watches
            return False
        found = self.run("SENTINEL", "REPLICAS", SERVICE)
        return any(
            dict(zip(one[::2], one[1::2], strict=False)).get(b"master-link-status") == b"ok" for one in found
        )


class Pair:
    """A primary and its replica, without files, and a sentinel."""

    def __init__(self, binary: str, folder: Path) -> None:
        settings = ["--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0", "--repl-timeout", "5"]
        self.primary = Server(binary, folder / "1", settings, free_port())
        self.replica = Server(binary, folder / "2", settings, free_port())
        self.sentinel = Sentinel(binary, folder / "3", free_port())

    def start(self) -> None:
        """Start all three, and wait until the sentinel could fail over."""
        self.primary.start()
        self.sentinel.start()
        self.follow()

    def follow(self) -> None:
        """Start the replica, and make the sentinel watch both."""
        if self.replica.has_ended():
            self.replica.start()
        self.replica.run("REPLICAOF", "127.0.0.1", self.primary.port)
        wait_for(self.is_in_step)
        self.sentinel.watch(self.primary)
        wait_for(self.sentinel.can_fail_over, _TILT)

    def is_in_step(self) -> bool:
        """Return True if the replica is connected and has all data."""
        with contextlib.suppress(StoreError):
            return (
                "state=online" in self.primary.facts("replication").get("slave0", "")
                and self.replica.facts("replication").get("master_link_status") == "up"
            )
        return False

    def swap(self) -> None:
        """Note that the replica is the primary now."""
        self.primary, self.replica = self.replica, self.primary

    def fail_over(self) -> None:
        """Make the replica the primary, without losing a write. Raises StoreError or TimeoutError."""
        wait_for(self.is_in_step)
        self.primary.run("FAILOVER", "TO", "127.0.0.1", self.replica.port)
        wait_for(lambda: self.replica.facts("replication")["role"] == "master")
        self.swap()
        self.sentinel.watch(self.primary)

    def kill_primary(self) -> int:
        """Kill the primary and wait until the sentinel has promoted the replica; return the killed one's pid."""
        wait_for(self.is_in_step)
        wait_for(self.sentinel.can_fail_over, _TILT)
        pid = self.primary.pid
        self.primary.end()
        wait_for(lambda: self.sentinel.primary_port() == self.replica.port)
        self.swap()
        return pid

    def was_moved(self) -> bool:
        """Return True if the sentinel has promoted the replica on its own, and swap the two if so."""
        if self.sentinel.primary_port() != self.replica.port:
            return False
        self.swap()
        return True

    def end(self) -> None:
        """End all three."""
        for one in (self.sentinel, self.replica, self.primary):
            one.end()


def free_port() -> int:
    """Return a port that no process listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a small disk in memory on a folder, and yield the folder, or None if this user may not."""
    folder.mkdir(parents=True, exist_ok=True)
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not mount or not umount:
        yield None
        return
    words = [mount, "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)]
    mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run([umount, "-l", str(folder)], capture_output=True, check=False)
