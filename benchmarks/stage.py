"""A server, a producer and workers for one measurement. All of them end with it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import msgspec
import psutil
import redis

from benchmarks.roster import ROOT
from benchmarks.slots import SLOTS, Slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.roster import Contestant

#: Seconds until a process replies, and between looks at the slots.
PATIENCE, LOOK = 60.0, 0.03
_SHARED = Path("/dev/shm")


class Setting(msgspec.Struct, frozen=True):
    """The server of a measurement, and where its processes run."""

    name: str
    server: str
    """The path of the server's program."""
    options: tuple[str, ...] = ()
    one_core: bool = False
    """Everything on one core; otherwise the system places the processes."""


class Usage(msgspec.Struct, frozen=True):
    """What the server has done so far."""

    at: float
    commands: int
    """Those that scripts run included."""
    reads: int
    """From sockets: about one for each round trip."""
    bytes: int
    """On the wire, both ways."""
    cpu: float
    """Seconds of its main thread."""
    memory: int

    def since(self, before: Usage, jobs: int, prefix: str) -> dict[str, float]:
        """Return commands, reads and bytes per job since an earlier moment. The poll itself is not counted."""
        return {
            f"{prefix}_commands": (self.commands - before.commands - 1) / jobs,
            f"{prefix}_reads": (self.reads - before.reads - 1) / jobs,
            f"{prefix}_bytes": (self.bytes - before.bytes) / jobs,
        }


class Stage:
    """A server of its own, with the slots of up to `jobs` jobs."""

    def __init__(self, setting: Setting, jobs: int) -> None:
        self.setting = setting
        self._jobs = jobs
        self._processes: list[subprocess.Popen[Any]] = []
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> Self:
        folder = tempfile.mkdtemp(prefix="conveyor-bench-", dir=_SHARED if _SHARED.is_dir() else None)
        self._folder = Path(folder)
        self._exits.callback(shutil.rmtree, folder, ignore_errors=True)
        self._exits.callback(self._end_all)
        try:
            self._start()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _start(self) -> None:
        allowed = os.sched_getaffinity(0)
        if self.setting.one_core:
            os.sched_setaffinity(0, {min(allowed)})
            self._exits.callback(os.sched_setaffinity, 0, allowed)
        path = self._folder / "slots"
        self.slots = Slots(str(path), self._jobs)
        self._exits.callback(self.slots.close)
        self.url, self.calls = self.serve(*self.setting.options)
        self.version = _version(self.calls)

    def serve(self, *options: str) -> tuple[str, redis.Redis]:
        """Start a server on a free port of the loopback interface, and return its URL and a client."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folder = Path(tempfile.mkdtemp(prefix="conveyor-bench-"))  # on disk, as its append-only file would be
        self._exits.callback(shutil.rmtree, folder, ignore_errors=True)
        fixed = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "")
        quiet = ("--logfile", str(folder / "log"))
        self._begin([self.setting.server, *fixed, *quiet, *options], os.environ.copy())
        calls = redis.Redis(port=port)
        until(lambda: _answers(calls), "the server to start")
        return f"redis://127.0.0.1:{port}/0", calls

    def producer(self, contestant: Contestant, **asked: object) -> Producer:
        """Start a producer of a contestant, with further settings if `asked` for, and wait until it is ready."""
        process = self._begin(contestant.producer(), self._variables(contestant, asked), piped=True)
        made = Producer(contestant.name, process, self._log)
        made.read()
        return made

    def follow(self) -> None:
        """Start a replica of the server, and wait until it follows."""
        port = str(urlsplit(self.url).port)
        self.serve("--replicaof", "127.0.0.1", port, "--repl-diskless-sync-delay", "0")
        until(lambda: "online" in str(self.calls.info("replication").get("slave0")), "the replica to follow")

    def workers(
        self,
        contestant: Contestant,
        processes: int = 1,
        concurrency: int = 0,
        queues: tuple[str, ...] = ("bench",),
        **asked: object,
    ) -> list[psutil.Process]:
        """Start worker processes of a contestant, and return immediately."""
        if concurrency:
            asked["concurrency"] = concurrency
        variables = self._variables(contestant, asked)
        started = [
            self._begin(one, variables)
            for one in contestant.workers(self.url, processes, concurrency, queues)
        ]
        return [psutil.Process(one.pid) for one in started]

    def wait(self, first: int, jobs: int, seconds: float = PATIENCE) -> None:
        """Wait until all jobs from `first` on have started. Raises TimeoutError."""
        until(
            lambda: self.slots.count(first, jobs) == jobs,
            f"{jobs} jobs to run",
            seconds,
            lambda: f"{self.slots.count(first, jobs)} did\n{self._log()}",
        )

    def usage(self) -> Usage:
        """Return what the server has done so far."""
        facts: Any = self.calls.info("all")
        return Usage(
            time.monotonic(),
            facts["total_commands_processed"],
            facts["total_reads_processed"],
            facts["total_net_input_bytes"] + facts["total_net_output_bytes"],
            facts["used_cpu_user_main_thread"] + facts["used_cpu_sys_main_thread"],
            facts["used_memory"],
        )

    def variables(self) -> dict[str, str]:
        """Return the environment of a process that takes part."""
        return os.environ | {
            "BENCH_URL": self.url,
            SLOTS: str(self._folder / "slots"),
            "CONVEYOR_URL": self.url,
            "REDIS_URL": self.url,
            "CONVEYOR_HOME": str(self._folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
        }

    def _variables(self, contestant: Contestant, asked: dict[str, object]) -> dict[str, str]:
        return self.variables() | {
            "BENCH_SETTINGS": json.dumps(contestant.settings | asked),
            "NODE_PATH": str(contestant.home / "node_modules"),
            **contestant.variables,
        }

    def _begin(
        self, command: list[str], variables: dict[str, str], *, piped: bool = False
    ) -> subprocess.Popen[Any]:
        pipe = subprocess.PIPE if piped else subprocess.DEVNULL
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=pipe,
                stdout=subprocess.PIPE if piped else log,
                stderr=log,
                env=variables,
                cwd=self._folder,
                text=True,
                bufsize=1 if piped else -1,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-1500:]

    def _end_all(self) -> None:
        for process in reversed(self._processes):
            end([process.pid])
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


class Producer:
    """A producer process, asked in JSON over its pipes."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: Callable[[], str]) -> None:
        self._name, self._process, self._log = name, process, log

    def ask(self, do: str, **request: object) -> dict[str, Any]:
        """Make a request and return the reply. Raises RuntimeError if it fails."""
        self.send(do, **request)
        return self.read()

    def send(self, do: str, **request: object) -> None:
        """Make a request without waiting for the reply."""
        _pipe(self._process.stdin).write(json.dumps({"do": do, **request}) + "\n")
        _pipe(self._process.stdin).flush()

    def read(self) -> dict[str, Any]:
        """Return the reply to a request. Raises RuntimeError if it failed."""
        line = _pipe(self._process.stdout).readline()
        reply: dict[str, Any] = json.loads(line or '{"error": "it exited"}')
        if "error" in reply:
            raise RuntimeError(f"the producer of {self._name} failed: {reply['error']}\n{self._log()}")
        return reply

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid


def exit_on_termination() -> None:
    """Exit on SIGTERM as on Ctrl-C, so that the processes of a measurement end with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def end(pids: list[int]) -> None:
    """Kill processes and all that they started."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in (top := psutil.Process(pid)).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            top.kill()


def memory(processes: list[psutil.Process]) -> tuple[float, float]:
    """Return PSS and RSS, in MB, of processes and all that they started."""
    used = [one.memory_full_info() for one in _family(processes)]
    return sum(one.pss for one in used) / 1e6, sum(one.rss for one in used) / 1e6


def cpu(processes: list[psutil.Process]) -> float:
    """Return the CPU seconds so far of processes and all that they started."""
    return sum(sum(one.cpu_times()[:2]) for one in _family(processes))


def _family(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for top in processes for one in (top, *top.children(recursive=True))]


def until(
    fact: Callable[[], object],
    what: str,
    seconds: float = PATIENCE,
    details: Callable[[], str] = lambda: "",
) -> None:
    """Wait until a condition is true. Raises TimeoutError with the details after `seconds`."""
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}: {details()}")
        time.sleep(LOOK)


def _answers(calls: redis.Redis) -> bool:
    try:
        return bool(calls.ping())
    except redis.ConnectionError:
        return False


def _version(calls: redis.Redis) -> str:
    facts: Any = calls.info("server")
    name = "Valkey" if "valkey_version" in facts else "Redis"
    return f"{name} {facts.get('valkey_version') or facts['redis_version']}"


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
