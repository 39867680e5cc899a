"""Tasks that behave like any program."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from conveyor import current_job
from conveyor.errors import ConveyorError
from conveyor.wire import redaction

if TYPE_CHECKING:
    from conveyor.consumer.worker_process import WorkerProcess


def same(value: int) -> int:
    return value


def in_threads(count: int) -> int:
    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(same, range(count)))


def in_processes(count: int) -> int:
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        return sum(pool.map(same, range(count)))


def in_a_pool(count: int) -> int:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return sum(pool.map(same, range(count)))


def in_a_program() -> str:
    return subprocess.run(["echo", "hello"], capture_output=True, text=True, check=True).stdout.strip()


def fork_and_return(path: str) -> list[int]:
    child = os.fork()
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if child:
        os.waitpid(child, 0)
    return [os.getpid()]


def terminate_a_fork() -> int | None:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join(5)
    return child.exitcode


def process_id() -> int:
    return os.getpid()


def folder() -> str:
    return str(Path.cwd())


def go_to(path: str) -> None:
    os.chdir(path)


def print_lines(count: int) -> int:
    for number in range(count):
        print(number)  # noqa: T201 - that is what it is for
    return count


def spoil_output(how: str) -> None:
    if how == "close":
        sys.stdout.close()
    elif how == "none":
        sys.stdout = None
    else:
        sys.stdout = threading.Event()


def files_of_a_child() -> list[str]:
    """List the open files of a program that was started without special options."""
    look = "for n in $(seq 0 99); do if [ -e /proc/$$/fd/$n ]; then echo $n; fi; done"
    listing = subprocess.run(["sh", "-c", look], capture_output=True, text=True, check=True, close_fds=False)
    return listing.stdout.split()


def read_input() -> str:
    return sys.stdin.read()


async def who() -> tuple[str, int]:
    """Return the id and token of this job after a step of the event loop."""
    await asyncio.sleep(0)
    return current_job().id, current_job().token


def turn_signals_off() -> None:
    """Take over the signals that a worker handles."""
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def hold_with_default(path: str, number: int) -> None:
    """Put a signal back to its default, as libraries do, and hold."""
    signal.signal(number, signal.SIG_DFL)
    _hold(path, "held")


def block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def close_files() -> None:
    """Close all files that a program thinks are its own."""
    os.closerange(3, 200)


def replace_files() -> None:
    """Close all files, and have others under their numbers."""
    os.closerange(3, 200)
    for _ in range(20):
        os.open(os.devnull, os.O_RDWR)


def close_output() -> None:
    os.close(1)


def leave_things_behind() -> None:
    """Change what the worker can restore automatically."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.umask(0)
    gc.disable()
    sys.setrecursionlimit(500)
    os.close(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 64), hard))
    sys.stdout.close()
    sys.stderr = None  # type: ignore[assignment]


def process_facts() -> dict[str, object]:
    """Return the state of its process as a task finds it."""
    umask = os.umask(0)
    os.umask(umask)
    return {
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "timer": signal.getitimer(signal.ITIMER_REAL)[0],
        "child": str(signal.getsignal(signal.SIGCHLD)),
        "cancel": str(signal.getsignal(signal.SIGUSR1)),
        "umask": umask,
        "folder": str(Path.cwd()),
        "collects": gc.isenabled(),
        "recursion": sys.getrecursionlimit(),
        "input": str(Path("/proc/self/fd/0").readlink()),
        "limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "output": sys.stdout.closed or sys.stderr is None,
        "pid": os.getpid(),
    }


def _worker() -> WorkerProcess:
    """Return the worker that runs this job."""
    return signal.getsignal(signal.SIGTERM).__self__  # type: ignore[union-attr]


def claim_many() -> None:
    """Make the worker claim 100 jobs at a time from now on."""
    worker = _worker()
    worker.sizer = SimpleNamespace(size=100, learn=lambda *_: None, reset=lambda: None)


def change_process(how: str) -> int:
    """Leave the process changed for later jobs; return its id."""
    if how == "output":
        sys.stdout.close()
    elif how == "folder":
        os.chdir("/")
        os.umask(0o777)
    elif how == "alarm":
        signal.setitimer(signal.ITIMER_REAL, 10)
    elif how == "mask":
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1,))
    elif how == "handler":
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    elif how == "files":
        os.close(1)
    if how in {"folder", "mask", "handler"}:
        time.sleep(0.002)  # of a tiny job these are found at the end of the batch
    return os.getpid()


def die_after_return(path: str) -> None:
    """Leave a thread that ends the process soon after the task has returned."""
    with Path(path).open("a") as runs:
        runs.write("run\n")
    _worker().process_state.restore = lambda: os._exit(3)


class Evil:
    """Raises the given exception when it is inspected."""

    def __init__(self, error: type[BaseException] = SystemExit) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


class EvilError(ConveyorError):
    """An error whose text and hint cannot be had."""

    def __str__(self) -> str:
        raise SystemExit

    def __getattribute__(self, name: str) -> object:
        if name == "hint":
            raise KeyboardInterrupt
        return super().__getattribute__(name)


@dataclass
class EvilResult:
    """Looks like data until it is read."""

    value: int

    def __getattribute__(self, name: str) -> object:
        if name == "value":
            raise SystemExit
        return super().__getattribute__(name)


def take(evil: object, hold: float = 0.0) -> float:
    """Do nothing with an argument whose preview raises."""
    time.sleep(hold)
    return hold


def raise_evil() -> None:
    raise EvilError


def return_evil() -> EvilResult:
    return EvilResult.__new__(EvilResult)  # its value is looked for, since it has none of its own


redaction.register(lambda name, value: Evil() if name == "evil" else value)


def break_next_decode() -> None:
    """Make the worker's own code raise at the next job, once."""
    executor = _worker().executor
    usual = executor.decode

    def broken(data: bytes) -> object:
        executor.decode = usual
        message = "a fault of ours"
        raise LookupError(message)

    executor.decode = broken


def spin(path: str) -> None:
    """Compute in Python forever."""
    _note(path, "spins")
    number = 0
    while True:
        number += 1


def hold_lock_in_c(path: str) -> None:
    """Wait in C, again and again, with the interpreter's lock."""
    _note(path, "holds")
    while True:
        ctypes.PyDLL(None).sleep(100)


def leak_files() -> None:
    """Take all file descriptors, and in a thread each that becomes free later."""

    def leak() -> None:
        with contextlib.suppress(OSError):
            while True:
                os.dup(0)

    def leak_on() -> None:
        while True:
            leak()
            time.sleep(0.001)

    leak()
    threading.Thread(target=leak_on, daemon=True).start()


def take_stack_signal(path: str, how: str) -> None:
    """Turn off the signal that makes a worker write its stacks, and hold."""
    signal.signal(signal.SIGUSR2, signal.SIG_DFL if how == "default" else signal.SIG_IGN)
    _hold(path, "taken")


def stack_file_number() -> int:
    """Return the descriptor of the file that the worker's stacks are written to."""
    return _worker().status.stack_file


def replace_file(descriptor: int, path: str) -> str:
    """Put a separate file under the descriptor of another; return its content at the end."""
    with Path(path + ".own").open("w+") as own:
        own.write("open\n")
        own.flush()
        os.dup2(own.fileno(), descriptor)
        _hold(path, "replaced")
        own.seek(0)
        found = own.read()
    os.close(descriptor)
    return found


def many_threads(path: str, count: int) -> None:
    """Start many threads that wait in a deep stack."""

    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        else:
            started.release()
            time.sleep(86_400)

    started = threading.Semaphore(0)
    for _ in range(count):
        threading.Thread(target=deep, args=(99,), daemon=True).start()
    for _ in range(count):
        started.acquire()
    _note(path, "threads")
    time.sleep(86_400)


def status_of_signalled_child(number: int) -> int:
    """Fork a process, send it a signal, and return its exit status."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(20,))
    child.start()
    os.kill(child.pid, number)
    child.join(10)
    return child.exitcode


def allocate(path: str, size: int) -> None:
    """Fill `size` bytes, then compute and hold."""
    kept = bytearray(size)
    kept[::4096] = b"x" * len(kept[::4096])
    _note(path, "full")
    spin(path)


def _note(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(text + "\n")


def _hold(path: str, text: str) -> None:
    _note(path, text)
    while not Path(path + ".go").exists():
        time.sleep(0.005)


def log_bytes() -> None:
    current_job().log(b"a line")  # type: ignore[arg-type]


def log_unruly_text() -> None:
    """Log a text that has no characters to slice or encode."""

    class Unruly(str):
        __slots__ = ()
        __getitem__ = encode = replace = None  # type: ignore[assignment]

    current_job().log(Unruly("a line"))


def log_in_forks(count: int) -> list[int]:
    """Log in forked processes while a thread of this one logs; return their exit codes."""
    job, stop = current_job(), threading.Event()

    def log() -> None:
        while not stop.wait(
            0.005
        ):  # a flood would push the children's lines out of the thousand that are kept
            job.log("thread")

    thread = threading.Thread(target=log)
    thread.start()
    codes = []
    for _ in range(count):
        child = os.fork()
        if not child:
            signal.alarm(5)
            job.log("child")
            os._exit(0)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    stop.set()
    thread.join()
    return codes
