"""The targets of faults: a server, the network in front of it, and the processes that use it. All are real processes.

A stage keeps its processes running: it notes the end of one, whatever the reason, and restarts it.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import msgspec

from conveyor import Queue, Schedules
from conveyor.consumer import command_line
from conveyor.consumer.settings import GRACE, LEASE, ConsumerSettings
from conveyor.errors import BadCall, NotEmpty, StoreError
from conveyor.store import Client, commands
from conveyor.store.address import shown
from conveyor.store.forgetting import UNUSED
from conveyor.torture import history
from conveyor.torture.history import (
    Accepted,
    Closed,
    Depth,
    Fault,
    Outcome,
    ProcessEnded,
    Put,
    Usage,
    note,
)
from conveyor.torture.load import SCHEDULED, SCRATCH, Lane, LoadSettings, Workers
from conveyor.torture.proxy import Proxy
from conveyor.torture.servers import DURABLE, SERVICE, Pair, Server, small_disk, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_POLL = 0.1  # seconds between two polls of the processes
_SAMPLE = 0.25  # seconds between two samples of queue sizes and of memory
_FOREVER = float("inf")
_AT_WORK = 3.0  # seconds after its workers started in which no fault ends a consumer
_SILENT = 6.0  # seconds after which a silent waiter counts as dead
_STARTING = 60.0  # seconds until all processes are up
_SHORT_GRACE = 1.0  # seconds for which a job that does not end may hold up those that share its process
_EXPIRING = LEASE + 5.0  # seconds until the leases of killed processes have expired


class Effect(enum.StrEnum):
    """The possible harm of a fault by the contract in docs/guarantees.md; a judge accepts no other."""

    LOSS = enum.auto()
    """The server loses data: jobs that no producer still holds may be lost, others may run again."""
    ORDER = enum.auto()
    """Prefetched jobs may start after later ones."""
    LEASE = enum.auto()
    """Leases of healthy runs may expire, so that their jobs also run elsewhere."""
    KILL = enum.auto()
    """Workers die: their running jobs count a crash; the third makes a job dead."""
    STALE = enum.auto()
    """A replica takes over: what it had not confirmed may be lost unnoticed, so that no producer puts it again."""
    CLOCK = enum.auto()
    """Delayed jobs may start early, and tokens do not show the time for a while."""
    REFUSAL = enum.auto()
    """A starting consumer may give up, since it is sent to a replica, or does not reach the server."""


class Need(enum.StrEnum):
    """A requirement of a fault, in addition to the lanes of a stage."""

    SERVER = enum.auto()
    """The bench's own server on this machine."""
    DISK = enum.auto()
    """A separate small disk under the server's folder."""
    CLOCK = enum.auto()
    """A clock of the server's own."""
    NETWORK = enum.auto()
    """A proxy between the processes and the server."""
    REPLICA = enum.auto()
    """A replica, and a sentinel that watches both."""


#: The possible harm of the promotion of a replica that may lack the last writes.
PROMOTED = frozenset({Effect.LOSS, Effect.STALE, Effect.ORDER, Effect.LEASE, Effect.REFUSAL})


class Kept:
    """A process that is restarted whenever it ends, until the stage is closed."""

    def __init__(
        self, name: str, command: Callable[[Kept], list[str]], environment: dict[str, str], log: Path
    ) -> None:
        self.name = name
        self.role, self.queue = name.split()[:2]
        self._command, self._environment, self._log = command, environment, log
        self.url = environment["CONVEYOR_URL"]
        self.wanted = False
        self.stays = False  # no fault ends it, so that its growth can be measured
        self.pids: list[int] = []
        self.status = 0  # of the one that ended last
        self.working_since = _FOREVER  # when a consumer was first seen with workers
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The current process id, or 0 if there is none."""
        process = self.process  # another thread may find that it has ended
        return 0 if process is None else process.pid

    def start(self) -> None:
        """Start the process."""
        self.wanted = False
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command(self), env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.working_since = _FOREVER
        self.pids.append(self.pid)

    def has_ended(self) -> bool:
        """Return True if it has ended, and note that once."""
        if self.process is None or self.process.poll() is None:
            return self.process is None
        self.status = self.process.returncode
        note(ProcessEnded(time.monotonic(), self.name, self.pid, self.status, self.wanted))
        self.process = None
        return True

    def signal(self, number: int) -> None:
        """Send a signal if it is still running. Unless this is SIGSTOP or SIGCONT, its end is wanted."""
        if number not in {signal.SIGSTOP, signal.SIGCONT}:
            self.wanted = True
        process = self.process
        if process is not None and process.poll() is None:
            process.send_signal(number)

    def children(self) -> list[int]:
        """Return the ids of its child processes: of a consumer, its workers."""
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
            return sorted(int(one) for one in text.split())
        return []


class Stage:
    """A server with a proxy in front of it, and the processes of some lanes. All of them use `url`."""

    #: What it has in addition to lanes, for faults that need it.
    has: frozenset[Need] = frozenset()
    #: Where tasks fill the server's disk.
    disk: Path | None = None

    def __init__(self, folder: Path, url: str, lanes: list[Lane], seed: str) -> None:
        self.name, self.folder, self.lanes, self.seed = folder.name, folder, lanes, seed
        folder.mkdir(parents=True, exist_ok=True)
        self.target = url
        self.proxy = Proxy(url) if url.startswith(("redis:", "unix:")) else None
        self.url = through(self.proxy, url) if self.proxy else url
        #: A second proxy, used by all consumers of a lane except the first.
        self.branch = Proxy(self.url) if self.proxy and Need.REPLICA not in self.has else None
        if self.proxy:
            self.has |= {Need.NETWORK}
        self.client = Client(self.url)
        self.kept: list[Kept] = []
        self._closed = threading.Event()
        steps = ((self._keep, _POLL), (self._note_depths, _SAMPLE), (self.note_usage, _SAMPLE))
        self._threads = [threading.Thread(target=self._repeat, args=one) for one in steps]
        #: Held while a fault uses the server, or a thread repairs it.
        self._lent = threading.RLock()
        self._draining = False

    @property
    def other_url(self) -> str:
        """The URL of all consumers of a lane except the first."""
        return through(self.branch, self.url) if self.branch else self.url

    # -- processes

    def start(self) -> None:
        """Start all processes, and keep them running."""
        for lane in self.lanes:
            for number, workers in enumerate(lane.consumers, 1):
                url = self.other_url if number > 1 else self.url
                scheduled = lane.queue if lane.next else ""
                self._add(
                    f"consumer {lane.queue} {number}", partial(_consumer, lane, workers), url, scheduled
                )
            for number in range(1, lane.producers + 1):
                load = partial(self._load, lane, lane.role, number)
                self._add(f"producer {lane.queue} {number}", load, self.url)
            for number in range(1, lane.takers + 1):
                load = partial(self._load, lane, "taker", number)
                self._add(f"taker {lane.queue} {number}", load, self.url)
        chance = random.Random(self.seed)
        for _, same in itertools.groupby(self.kept, lambda one: (one.role, one.queue)):
            some = list(same)
            chance.choice(some).stays = len(some) > 1
        for one in self.kept:
            one.start()
        wait_for(lambda: all(map(self._is_up, self.kept)), _STARTING)
        for thread in self._threads:
            thread.start()

    def _is_up(self, one: Kept) -> bool:
        """Return True if a consumer has workers, or a producer has put something."""
        if one.has_ended():
            raise RuntimeError(f"{one.name} did not start; its log is in {self.folder}")
        if one.role == "producer":
            return Path(os.environ[history.FOLDER], f"{one.pid}.events").exists()
        return one.role == "taker" or bool(one.children())

    def _add(self, name: str, command: Callable[[Kept], list[str]], url: str, scheduled: str = "") -> None:
        environment = {
            **os.environ, "CONVEYOR_URL": url, SCRATCH: str(self.disk or ""), SCHEDULED: scheduled
        }  # fmt: skip
        self.kept.append(Kept(name, command, environment, self.folder / f"{name.replace(' ', '-')}.log"))

    def _load(self, lane: Lane, role: str, number: int, one: Kept) -> list[str]:
        """Return the command of the next process of a producer or taker."""
        name, before = f"{lane.queue}.{role}{number}", jobs_without_outcome(one.pids)
        settings = LoadSettings(name, role, lane, self.seed, len(one.pids), before, self._draining)
        file = self.folder / f"{name}.settings"  # too large for an argument
        file.write_bytes(msgspec.json.encode(settings))
        return [sys.executable, "-m", "conveyor.torture.load", str(file)]

    def of_role(self, role: str) -> list[Kept]:
        """Return the running processes of a role: consumer, producer or taker."""
        return [one for one in self.kept if one.role == role and one.pid and not one.wanted]

    def at_work(self) -> list[Kept]:
        """Return the consumers that have run for a while: one that is ended repeatedly would run no jobs."""
        now = time.monotonic()
        return [one for one in self.of_role("consumer") if now - one.working_since > _AT_WORK]

    def _repeat(self, step: Callable[[], None], seconds: float) -> None:
        while not self._closed.wait(seconds):
            step()

    def _join(self) -> None:
        """End the threads."""
        self._closed.set()
        for thread in self._threads:
            if thread.ident:
                thread.join()

    def _keep(self) -> None:
        """Restart ended processes, and repair the server."""
        for one in self.kept:
            if one.has_ended() and not self._closed.is_set():
                one.start()
            elif one.working_since == _FOREVER and one.children():
                one.working_since = time.monotonic()
        self.repair_server()

    def repair_server(self) -> None:
        """Repair the server unless a fault uses it; called periodically."""
        if self._lent.acquire(blocking=False):
            try:
                self._repair()
            finally:
                self._lent.release()

    def _repair(self) -> None:
        """Repair side effects of faults."""

    def _note_depths(self) -> None:
        """Note the number of waiting jobs of each queue."""
        with contextlib.suppress(StoreError):
            for lane in self.lanes:
                count = Queue(lane.queue, store=self.client).count()
                note(Depth(time.monotonic(), lane.queue, count.qsize, count.maxsize))

    def note_usage(self) -> None:
        """Note the memory of all processes, workers included, and thereby which exist."""
        now = time.monotonic()
        for one in self.kept:
            for pid in (one.pid, *one.children()):
                with contextlib.suppress(OSError, IndexError):
                    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                    what = one.name if pid == one.pid else f"worker of {one.name}"
                    note(Usage(now, f"{what} {pid}", pages * os.sysconf("SC_PAGE_SIZE")))

    # -- the end

    def drain(self, bound: float) -> float | None:
        """Stop the producers and wait until everything is settled; return the seconds, or None on timeout."""
        began = time.monotonic()
        self._join()
        self._draining = True
        producers = [one for one in self.kept if one.role == "producer"]
        for one in producers:
            one.signal(signal.SIGTERM)
        while time.monotonic() - began < bound:
            self.repair_server()  # a task that fills the disk may still end the server
            for one in self.kept:
                if one.has_ended() and not (one.role == "producer" and one.wanted and one.status == 0):
                    one.start()
                    one.wanted = one.role == "producer"  # it exits once all outcomes have arrived
            if not any(one.pid for one in producers) and self._is_settled():
                return time.monotonic() - began
            time.sleep(_POLL)
        return None

    def _is_settled(self) -> bool:
        """Pause all schedules, and return True if no job is left."""
        queues = [Queue[object](lane.queue, store=self.client) for lane in self.lanes]
        with contextlib.suppress(StoreError):
            for schedules in map(Schedules, queues):
                for one in schedules.list():
                    schedules.pause(one.name)
            return not any(queue.count().live for queue in queues)
        return False

    def settle(self, bound: float) -> None:
        """Wait until everything is settled, and record the state of each queue."""
        seconds = self.drain(bound)
        for lane in self.lanes:
            count = Queue(lane.queue, store=self.client).count()
            wrong = count.imbalance, count.torn, count.orphans
            note(Closed(time.monotonic(), lane.queue, count.live, *wrong, seconds, count.accepted))

    def note_leftovers(self, server: Server) -> None:
        """Note what is left on a server after dead waiters are removed, which consumers cause once an hour."""
        time.sleep(_SILENT)
        for lane in self.lanes:
            self.client.run(commands.forget(lane.queue, UNUSED, remove=False))
        server.note_leftovers()

    def close(self) -> None:
        """End all processes."""
        self._join()
        for one in self.kept:
            one.signal(signal.SIGTERM)
        deadline = time.monotonic() + 15.0
        for one in self.kept:
            while not one.has_ended():
                if time.monotonic() > deadline:
                    one.signal(signal.SIGCONT)
                    one.signal(signal.SIGKILL)
                    one.wanted = False  # it should have exited long ago
                time.sleep(0.02)
        self.client.close()
        for proxy in (self.branch, self.proxy):
            if proxy:
                proxy.close()


class YourStage(Stage):
    """A shared server: only the bench's own queues are used, and are removed at the end.

    Raises BadCall if one of these queues exists.
    """

    def __init__(self, folder: Path, url: str, lanes: list[Lane], seed: str) -> None:
        client = Client(url)
        for lane in lanes:
            if client.run(commands.is_there(lane.queue)):
                message = f"the queue {lane.queue!r} exists: a run with this seed uses it, or has left it"
                hint = f"use another seed, or delete it: {removal_of(lane.queue, url)}"
                raise BadCall(message, hint=hint)
        client.close()
        super().__init__(folder, url, lanes, seed)

    def close(self) -> None:
        """End all processes, and remove the queues. Print how to remove those that are left."""
        super().close()
        client, deadline = Client(self.target, patience=5.0), time.monotonic() + _EXPIRING
        left = [lane.queue for lane in self.lanes]
        while (left := [one for one in left if not _is_removed(client, one)]) and time.monotonic() < deadline:
            time.sleep(_POLL)
        for one in left:
            print(f"the queue {one} is left on the server; remove it: {removal_of(one, self.target)}")
        client.close()


class OwnStage(Stage):
    """The bench's own server, on a small disk if possible, whose file is synced always."""

    def __init__(self, folder: Path, binary: str, lanes: list[Lane], seed: str) -> None:
        self._ending = contextlib.ExitStack()
        self.disk = self._ending.enter_context(small_disk(folder / "disk"))
        self.server = Server(binary, folder / "disk", DURABLE)
        self.has = frozenset({Need.SERVER, Need.DISK} if self.disk else {Need.SERVER})
        if self.server.can_turn_its_clock():
            self.has |= {Need.CLOCK}
        self.server.start()
        self.server.note_leftovers()
        super().__init__(folder, self.server.url, lanes, seed)

    @contextlib.contextmanager
    def server_down(self) -> Iterator[Server]:
        """Lend the server to a fault that ends it; start it afterwards if it is not running."""
        with self._lent:
            yield self.server
            self._repair()

    def _repair(self) -> None:
        """Restart the server if it has ended, as with a full disk."""
        if self.server.has_ended():
            self.server.admin.close()
            wait_for(self._starts)

    def _starts(self) -> bool:
        """Start the server; return False if it cannot start, since a task fills its disk again."""
        for one in self.server.folder.glob("filled-by-task-*"):
            one.unlink(missing_ok=True)
        with contextlib.suppress(RuntimeError):
            self.server.start()
        return not self.server.has_ended()

    def settle(self, bound: float) -> None:
        """Wait until everything is settled, and record what is left on the server after its expiry."""
        super().settle(bound)
        self.note_leftovers(self.server)

    def close(self) -> None:
        """End all processes, and the server."""
        super().close()
        self.server.end()
        self._ending.close()


#: Name in the history of a failover without the bench.
MOVED = "primary moved by the sentinel itself"


class WatchedStage(Stage):
    """A primary and a replica that a sentinel watches. Some processes query the sentinel, others use a proxy."""

    has = frozenset({Need.REPLICA})

    def __init__(self, folder: Path, binary: str, lanes: list[Lane], seed: str) -> None:
        self.pair = Pair(binary, folder)
        self.pair.start()
        self.pair.primary.note_leftovers()
        super().__init__(folder, self.pair.primary.url, lanes, seed)

    @property
    def other_url(self) -> str:
        """The sentinel's URL."""
        return f"sentinel://127.0.0.1:{self.pair.sentinel.port}/{SERVICE}"

    @contextlib.contextmanager
    def moving(self) -> Iterator[Pair]:
        """Lend the servers to a fault that moves the primary; the proxy follows for new connections."""
        assert self.proxy is not None
        with self._lent:
            try:
                yield self.pair
            finally:
                self.proxy.target = self.pair.primary.url
            self.pair.follow()

    def _repair(self) -> None:
        """Follow the sentinel if it has moved the primary on its own, as it does if the machine stands still."""
        began = time.monotonic()
        with contextlib.suppress(StoreError, TimeoutError):  # retried by the next poll
            if self.pair.replica.has_ended():  # a fault was cut short
                self.pair.follow()
            if self.pair.was_moved():
                with self.moving():
                    pass
                note(Fault(began, time.monotonic(), MOVED, [], sorted(PROMOTED), self.name))

    def settle(self, bound: float) -> None:
        """Wait until everything is settled, and record what is left on the primary after its expiry."""
        super().settle(bound)
        self.note_leftovers(self.pair.primary)

    def close(self) -> None:
        """End all processes and servers."""
        super().close()
        self.pair.end()


def _consumer(lane: Lane, workers: Workers, _: Kept) -> list[str]:
    """Return the command of a consumer."""
    settings = ConsumerSettings(
        queues=(lane.queue,),
        kind=workers.kind,
        workers=workers.number,
        processes=None if workers.kind == "process" else 2,
        modules=("conveyor.torture.load",),
        path=tuple(sys.path),
        grace=GRACE if workers.kind == "process" else _SHORT_GRACE,
    )
    return command_line(settings)


def _is_removed(client: Client, queue: str) -> bool:
    """Remove a queue, and return True if that succeeds, which no active lease allows."""
    with contextlib.suppress(NotEmpty, StoreError):
        Queue(queue, store=client).delete(purge=True)
        return True
    return False


def removal_of(queue: str, url: str) -> str:
    """Return the command that removes a queue, without the server's password."""
    return shlex.join(["conveyor", "delete", "--url", shown(url), queue, "--purge"])


def through(proxy: Proxy, url: str) -> str:
    """Return a server's URL with the proxy in its place, credentials and database kept."""
    server, own = urlsplit(url), urlsplit(proxy.url)
    credentials = server.netloc.rpartition("@")[0]
    path = "" if server.scheme == "unix" else server.path
    netloc = f"{credentials}@{own.netloc}" if credentials else own.netloc
    return urlunsplit(server._replace(scheme=own.scheme, netloc=netloc, path=path))


def jobs_without_outcome(pids: list[int]) -> list[tuple[str, str, str]]:
    """Return key, id and queue of the jobs of these producers whose outcome they have not received."""
    seen = history.read(Path(os.environ[history.FOLDER]), pids)
    known = {one.key for one in seen.of(Outcome)}
    queues = {one.key: one.lane for one in seen.of(Put)}
    return [(one.key, one.id, queues[one.key]) for one in seen.of(Accepted) if one.key not in known]
