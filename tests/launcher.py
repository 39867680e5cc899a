"""Starts `python -m conveyor …` without the start: a Python that has everything loaded forks a process for each.

It does so for `python -c CODE …` and `python SCRIPT …` too.

Run as a program, this is that Python. It reads requests from its standard input, a socket, until the other end closes.
A forked process has its own arguments, environment, folder, streams and exit code, as any other has. Its arguments and
environment cannot be seen in /proc; instead, its name is the text of the environment variable PROCESS_NAME.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Bytes of a number on a socket: the length of a request, a process id, an exit code.
NUMBER = 12
#: The variable with the name that processes have, and those that they fork; of a name, Linux keeps 15 characters.
PROCESS_NAME = "CONVEYOR_TEST_PROCESS_NAME"
MAX_NAME_LENGTH = 15


def number(value: int) -> bytes:
    """Return the bytes of a number."""
    return str(value).rjust(NUMBER).encode()


class Launched:
    """A process that runs, with what a `subprocess.Popen` offers of it. Thread-safe."""

    def __init__(self, words: Sequence[str], answers: socket.socket) -> None:
        self.args = words
        self.returncode: int | None = None
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        self._reading = threading.Lock()
        self._answers = answers.detach()
        self.pid = int(os.read(self._answers, NUMBER))

    def poll(self) -> int | None:
        """Return the exit code, or None if it runs."""
        try:
            return self.wait(0.0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code. Raises TimeoutExpired."""
        if self.returncode is None:
            ready = select.poll()
            ready.register(self._answers, select.POLLIN)
            if not ready.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            with self._reading:
                if self.returncode is None:  # another thread may have read it
                    self.returncode = int(os.read(self._answers, NUMBER))
        return self.returncode

    def communicate(self, text: str = "", timeout: float | None = None) -> tuple[str, None]:
        """Write the last of its input, wait for the end, and return the rest of its output. Raises TimeoutExpired."""
        assert self.stdin
        assert self.stdout
        told: list[str] = []
        reading = threading.Thread(
            target=lambda output: told.append(output.read()), args=[self.stdout], daemon=True
        )
        with contextlib.suppress(BrokenPipeError), self.stdin:  # it may have ended
            self.stdin.write(text)
        reading.start()
        reading.join(timeout)
        if reading.is_alive():
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        self.wait(timeout)
        return told[0], None

    def __del__(self) -> None:
        os.close(self._answers)

    def send_signal(self, signal_number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal_number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


def end(process: subprocess.Popen[str] | Launched) -> None:
    """Kill a process with pipes, wait for the end, and close them."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream
        with contextlib.suppress(BrokenPipeError):  # what was written has not been read
            stream.close()


class Launcher:
    """The loaded Python, and the way to start a program of Conveyor with it, a module to run. Thread-safe.

    Instead of the program, it runs code or a script if the words are those after `python`: "-c" and code, or the name
    of a file.
    """

    def __init__(self, program: str = "conveyor") -> None:
        self.program = program
        self._nothing = os.open(os.devnull, os.O_RDONLY)
        self._requesting = threading.Lock()
        self._requests, theirs = socket.socketpair()
        words = [sys.executable, *WARNINGS[program], __file__, program]
        self._process = subprocess.Popen(words, stdin=theirs, stdout=subprocess.DEVNULL)
        theirs.close()

    def start(
        self,
        words: Sequence[object],
        folder: Path,
        env: Mapping[str, str],
        out: int,
        err: int,
        stdin: int | None = None,
    ) -> Launched:
        """Start the program with some words in a folder; its streams are file descriptors, no input if not given."""
        mine, theirs = socket.socketpair()
        request = json.dumps([[str(word) for word in words], str(folder), dict(env)]).encode()
        streams = (self._nothing if stdin is None else stdin, out, err)
        with self._requesting:
            socket.send_fds(self._requests, [number(len(request))], [*streams, theirs.fileno()])
            self._requests.sendall(request)
        theirs.close()
        return Launched([self.program, *map(str, words)], mine)

    def start_with_pipes(self, words: Sequence[object], folder: Path, env: Mapping[str, str]) -> Launched:
        """Start the program with text pipes as its `stdin` and `stdout`."""
        inward, to_it = os.pipe()
        from_it, outward = os.pipe()
        try:
            process = self.start(words, folder, env, outward, 2, inward)
        finally:
            os.close(inward)
            os.close(outward)
        process.stdin, process.stdout = os.fdopen(to_it, "w"), os.fdopen(from_it)
        return process

    def run(
        self, words: Sequence[object], folder: Path, env: Mapping[str, str], timeout: float = 90.0
    ) -> subprocess.CompletedProcess[str]:
        """Run the program with some words to its end. Raises TimeoutExpired."""
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
        os.close(self._nothing)


def load_modules(package: str) -> None:
    """Import the modules of a package, but not its program."""
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)


def load_commands() -> None:
    """Import what commands and their tasks need, all but the tasks themselves: importing those registers them."""
    load_modules("conveyor.cli")
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


#: What to load for each program; what the commands import has to be free of warnings, tasks need not be.
LOADED = {"conveyor": load_commands, "conveyor.consumer": lambda: load_modules("conveyor.consumer")}
WARNINGS = {"conveyor": ["-W", "error"], "conveyor.consumer": []}


def serve() -> list[Any]:
    """Fork for each request; return it in the process that is to run the command."""
    requests = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who waits for a command is not waited for
    while True:
        length, descriptors, *_ = socket.recv_fds(requests, NUMBER, 4)
        if not length:
            os._exit(0)
        message = requests.recv(int(length), socket.MSG_WAITALL)
        with warnings.catch_warnings():  # libraries have threads of their own, which do nothing
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            break
        for one in descriptors:
            os.close(one)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    requests.close()
    *streams, answers = descriptors
    if pid := os.fork():
        with socket.socket(fileno=answers) as asker:
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            asker.send(number(pid))
            for one in streams:
                os.close(one)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with contextlib.suppress(BrokenPipeError):  # nobody waits for it
                asker.send(number(status))
        os._exit(0)
    os.close(answers)
    for place, one in enumerate(streams):
        os.dup2(one, place)
        os.close(one)
    return json.loads(message)


def run(program: str, words: list[str]) -> None:
    """Run the code or the script in the words, or else the program with them."""
    if words[:1] == ["-c"]:
        sys.argv = ["-c", *words[2:]]
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(words[1], main.__dict__)
    elif words and words[0].endswith(".py"):
        sys.argv, sys.path[0] = words, str(Path(words[0]).parent)
        runpy.run_path(words[0], run_name="__main__")
    else:
        sys.argv[1:] = words
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    program = sys.argv[1]
    LOADED[program]()
    gc.collect()
    gc.freeze()
    words, folder, environment = serve()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if name := environment.get(PROCESS_NAME):
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_text(name)
    tempfile.tempdir = None  # it depends on the environment
    sys.path[0:1] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    try:
        run(program, words)
    except SystemExit as end:
        # As the interpreter ends, but without taking down what is loaded, which costs more than most commands.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(end.code or 0))
