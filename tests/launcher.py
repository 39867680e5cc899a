"""Starts `conveyor …` without the start: a Python that has everything loaded forks a process for each command.

Run as a program, this is that Python. It reads requests from its standard input, a socket, until the other end closes.
A forked process has its own arguments, environment, folder, streams and exit code, as one of `python -m conveyor` has.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LARGEST_REQUEST = 1 << 17


class Launched:
    """A command that runs, with what a `subprocess.Popen` offers of it."""

    def __init__(self, words: Sequence[str], answers: socket.socket) -> None:
        self.args = words
        self.returncode: int | None = None
        self._answers = answers
        self.pid = int(answers.recv(32))

    def poll(self) -> int | None:
        """Return the exit code, or None if it runs."""
        try:
            return self.wait(0.0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code. Raises TimeoutExpired."""
        if self.returncode is None:
            self._answers.settimeout(timeout)
            try:
                answer = self._answers.recv(32)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
            assert answer, "the launcher died"
            self.returncode = int(answer)
            self._answers.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


class Launcher:
    """The loaded Python, and the way to start commands with it. Thread-safe."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, "-W", "error", __file__]
        self._process = subprocess.Popen(words, stdin=theirs, stdout=subprocess.DEVNULL)
        theirs.close()

    def start(
        self, words: Sequence[object], folder: Path, env: Mapping[str, str], out: int, err: int
    ) -> Launched:
        """Start `conveyor` with some words in a folder; its output goes to two file descriptors."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = json.dumps([[str(word) for word in words], str(folder), dict(env)])
        socket.send_fds(self._requests, [request.encode()], [out, err, theirs.fileno()])
        theirs.close()
        return Launched(["conveyor", *map(str, words)], mine)

    def run(
        self, words: Sequence[object], folder: Path, env: Mapping[str, str], timeout: float = 90.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `conveyor` with some words to its end. Raises TimeoutExpired."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = self.start(words, folder, env, out.fileno(), err.fileno())
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(process.args, code, out.read(), err.read())

    def stop(self) -> None:
        """End the loaded Python; commands that run go on."""
        self._requests.close()
        self._process.wait()


def load() -> None:
    """Import what commands and their tasks need, all but the tasks themselves: importing those registers them."""
    for module in pkgutil.walk_packages(importlib.import_module("conveyor.cli").__path__, "conveyor.cli."):
        importlib.import_module(module.name)
    for name in (
        "conveyor.dashboard.app",
        "httpx",
        "imageio_ffmpeg",
        "numpy",
        "protego",
        "selectolax.lexbor",
    ):
        importlib.import_module(name)
    for words in (["--help"], ["--version"]):
        importlib.import_module("conveyor.cli.main").run(words)  # imports what the parser loads late
    gc.collect()
    gc.freeze()


def serve() -> list[Any]:
    """Fork for each request; return it in the process that is to run the command."""
    requests = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who waits for a command is not waited for
    while True:
        message, descriptors, *_ = socket.recv_fds(requests, LARGEST_REQUEST, 3)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            break
        for one in descriptors:
            os.close(one)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    requests.close()
    out, err, answers = descriptors
    if pid := os.fork():
        with socket.socket(fileno=answers) as asker:
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            asker.send(str(pid).encode())
            for one in (out, err):
                os.close(one)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            asker.send(str(status).encode())
        os._exit(0)
    os.close(answers)
    for number, one in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
        os.dup2(one, number)
        os.close(one)
    return json.loads(message)


if __name__ == "__main__":
    load()
    words, folder, environment = serve()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv[1:] = words
    sys.path[0:1] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    try:
        runpy.run_module("conveyor", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        # As the interpreter ends, but without taking down what is loaded, which costs more than most commands.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(end.code or 0))
