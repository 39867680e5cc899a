"""Consumers: running programs that take jobs from queues and own the workers that run them."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import msgspec

from conveyor import schedules, task_def, task_loading
from conveyor.consumer.settings import (
    STOP_SIGNALS,
    ConsumerSettings,
    Kind,
    LogLevel,
    read_queues,
    read_size,
)
from conveyor.errors import BadCall, ConveyorError
from conveyor.store import Client, connect
from conveyor.tasks import registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from conveyor.consumer.in_process import OwnConsumer
    from conveyor.tasks import Registry

#: Characters in one argument of the supervisor's command, of up to 4 bytes each; Linux accepts 128 KiB.
MAX_ARGUMENT = 30_000
#: Bytes of the supervisor's last message: a number for each of 1,000 workers.
MAX_MESSAGE = 1 << 15


class Consumer:
    """Takes jobs from queues and runs them in `workers` worker processes (one per core unless given).

    `Consumer("sums").run()` works until it is stopped (Ctrl-C, SIGTERM, `conveyor kill`). As a context manager it works
    alongside the caller's own code and stops at the end of the block, after the current jobs; functions of the caller's
    own script may be submitted then. `tasks` names further modules whose tasks may run; `tasks.py` and `task_def` in
    the working folder are found automatically. With several queues, the next job comes from the first that has one; or
    with weights, `{"fast": 5, "slow": 1}`, five times as often from one as from the other, as long as both have some.
    A worker of `kind` "process" has a process of its own, one of kind "thread" or "coroutine" shares one, or is spread
    with the others over `processes`; `workers` is how many jobs run at a time.
    `grace` limits, in seconds, how long a stopping consumer waits for its current jobs; then they are cancelled and
    return to the queue.
    With `max_workers` in place of `workers`, the number of workers follows what waits, from `min_workers` (1) up.
    A worker process is replaced between jobs after `max_jobs` runs, or once it uses more than `max_memory` (bytes, or
    "512M").
    What tasks log through `logging` is kept with their jobs from `log_level` on and, with `prints`, what they print.
    With `in_process`, workers of kind "thread" or "coroutine" run in the caller's process, for tests, notebooks and
    debuggers. They find all that `@task` has registered there. No thread can be killed. Signals, logging and prints
    stay the caller's.

    Raises BadCall for invalid settings, before anything is started.
    """

    def __init__(  # noqa: PLR0913 - one for each option of `conveyor consume`, most of them by name
        self,
        queues: str | Iterable[str] | Mapping[str, int] = "default",
        workers: int | None = None,
        kind: Kind = "process",
        *,
        processes: int | None = None,
        tasks: Iterable[str] = (),
        store: Client | str | None = None,
        until_empty: bool = False,
        grace: float | None = None,
        min_workers: int | None = None,
        max_workers: int | None = None,
        max_jobs: int | None = None,
        max_memory: int | str | None = None,
        log_level: LogLevel | Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "info",
        prints: bool = False,
        in_process: bool = False,
    ) -> None:
        if in_process:
            _check_in_process(
                kind,
                processes=processes is not None,
                recycling=max_jobs is not None or max_memory is not None,
                capture=prints or log_level.lower() != "info",
            )
        script, script_name = _own_script()
        names, weights = read_queues(queues)
        self.settings = ConsumerSettings(
            queues=names,
            weights=weights,
            workers=workers,
            kind=kind,
            processes=processes,
            modules=tuple(tasks) or tuple(task_loading.found_modules()),
            script=script,
            script_name=script_name,
            script_arguments=tuple(sys.argv) if script else (),
            path=tuple(one or str(pathlib.Path.cwd()) for one in sys.path),
            url=_url(store),
            until_empty=until_empty,
            leave_grace=grace,
            min_workers=min_workers,
            max_workers=max_workers,
            max_jobs=max_jobs,
            max_memory=read_size(max_memory),
            log_level=cast("LogLevel", log_level.lower() if isinstance(log_level, str) else log_level),
            prints=prints,
            lifeline=True,
        )
        self.jobs_done: list[int] = []
        """Finished runs of each worker, once the consumer has stopped in good order; empty before."""
        self.in_process = in_process
        self._process: subprocess.Popen[bytes] | OwnConsumer | None = None
        self._lifeline: socket.socket | None = None
        self._theirs: socket.socket | None = None  # the supervisor's end, until it has been inherited
        self._stop_requests = 0  # each one raises the supervisor's stop level
        self._passed: dict[int, Any] = {}  # the signals that are passed on, and their previous handlers
        _consumers.add(self)

    def __repr__(self) -> str:
        return f"Consumer({list(self.settings.queues)}, workers={self.settings.worker_count})"

    @property
    def pid(self) -> int | None:
        """Process id of the supervisor, which may be the caller's own, or None if the consumer is not running."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the supervisor and its workers alongside this program, and return when they are ready for jobs.

        Raises ConveyorError if they do not start.
        """
        task_loading.stop_script()
        task_loading.refuse_consumers()
        if self._process is not None:
            return
        if self.in_process:
            known_tasks(self.settings.modules)
            registry.modules.add(self.settings.script_name)  # its functions may run
        # Starts the embedded server here, so that its line appears here.
        client = connect(self.settings.url or None)
        if not self.settings.until_empty and (self.in_process or self.settings.script):
            # Those of a script; its workers declare those of the modules that they load.
            schedules.declare(client, self.settings.queues, registry)
        self._stop_requests, self.jobs_done = 0, []
        self._lifeline, self._theirs = socket.socketpair()
        with self._theirs as theirs, self._lifeline.makefile("rb") as messages:
            try:
                start = self._start_thread if self.in_process else self._start_process
                self._process = start(client, theirs)
            except OSError as error:
                self._disconnect()
                raise _unstartable(error) from error
            theirs.close()
            self._theirs = None
            message = messages.readline()
        if message != b"ready\n":
            status = self.wait()
            if message.startswith(b"left "):  # it was stopped, or there was nothing to do
                self._read_last_message(message)
                return
            # Unknown if the caller ignores SIGCHLD.
            how = f" (exit code {status})" if status else ""
            reason = message.decode(errors="replace").removeprefix("failed ").rstrip()
            why = f": {reason}" if reason else ""
            text = f"the consumer on {', '.join(self.settings.queues)} did not start{how}{why}"
            raise ConveyorError(text, hint="see its messages on standard error")

    def _start_process(self, _: Client, lifeline: socket.socket) -> subprocess.Popen[bytes]:
        """Start the supervisor as a process of its own."""
        # An early Ctrl-C stays pending until the supervisor can handle it; otherwise it would end in a traceback.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            command = command_line(msgspec.structs.replace(self.settings, url=""))
            return subprocess.Popen(command, stdin=lifeline.fileno(), env=_environment(self.settings.url))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _start_thread(self, client: Client, lifeline: socket.socket) -> OwnConsumer:
        """Start the supervisor as a thread of this process."""
        # Not at the top: other consumers need neither it nor asyncio, whose import takes long.
        from conveyor.consumer.in_process import OwnConsumer  # noqa: PLC0415

        settings = msgspec.structs.replace(self.settings, lifeline=False)
        return OwnConsumer(settings, client, os.dup(lifeline.fileno()))

    def stop(self) -> int:
        """Stop the consumer after its current jobs, wait for it, and return its exit code.

        A signal during the wait, such as Ctrl-C, raises the stop level, as in `run`. Once the consumer has stopped, the
        signal takes its usual effect.
        """
        if self._process is None or self._lifeline is None:
            return 0
        with self._signals_passed_on() as received:
            if not self._stop_requests:
                self.request_stop()
            status = self._wait_interruptible(received)
        if received:
            signal.raise_signal(received[0])
        return status

    def request_stop(self) -> None:
        """Request that the consumer stops after its current jobs, without waiting for that.

        A second request interrupts the current jobs, a third one kills them.
        """
        self._stop_requests += 1
        if self._lifeline is not None:
            with contextlib.suppress(OSError):  # it has just exited
                self._lifeline.send(b"!")  # no signal: one to the whole process group would count twice

    def wait(self) -> int:
        """Wait until the consumer has exited, for whatever reason, and return its exit code; 0 if it is not running."""
        if self._process is None:
            return 0
        status = self._process.wait()
        self._process = None
        if self._lifeline is not None:
            with contextlib.suppress(OSError):  # it sent nothing
                self._read_last_message(self._lifeline.recv(MAX_MESSAGE, socket.MSG_DONTWAIT))
        self._disconnect()
        return status

    def run(self) -> int:
        """Work until stopped or, with `until_empty`, until the queues are empty. Return the exit code.

        Ctrl-C or SIGTERM once: stop after the current jobs; twice: interrupt and return them; three
        times: kill. The calling program goes on after that. In a thread other than the main one, signals keep their
        usual effect.
        """
        with self._signals_passed_on() as received:
            self.start()
            return self._wait_interruptible(received)

    def _wait_interruptible(self, received: list[int]) -> int:
        """Wait as `wait` does. In this process Ctrl-C has its own effect, and interrupts that."""
        while True:
            try:
                return self.wait()
            except KeyboardInterrupt:
                if not self.in_process:
                    raise
                received.append(signal.SIGINT)
                self.request_stop()

    @contextlib.contextmanager
    def _signals_passed_on(self) -> Iterator[list[int]]:
        """Pass on stop signals that would end this program to the supervisor, and list them."""
        if threading.current_thread() is not threading.main_thread() or self._passed or self.in_process:
            yield []
            return
        received = []

        def pass_on(number: int, _: object) -> None:
            if self._lifeline is None:  # it has not been started yet, or has exited
                raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
            received.append(number)
            self.request_stop()

        try:
            self._passed = {
                number: signal.getsignal(number)
                for number in STOP_SIGNALS
                if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}
            }
            for number in self._passed:
                signal.signal(number, pass_on)
            yield received
        finally:
            self._restore_signals()

    def _restore_signals(self) -> None:
        for number, before in self._passed.items():
            signal.signal(number, before)
        self._passed = {}

    def _forget(self) -> None:
        """Forget the supervisor, in a forked child: it belongs to the parent."""
        self._process = None
        for end in (self._lifeline, self._theirs):
            if end is not None and end.fileno() >= 0:
                os.close(end.detach())  # `close` would leave it open while `start` reads from it
        self._lifeline = self._theirs = None
        self._restore_signals()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read_last_message(self, message: bytes) -> None:
        if message.startswith(b"left "):
            self.jobs_done = [int(number) for number in message.split()[1:]]

    def _disconnect(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            lifeline.close()


def _check_in_process(kind: str, *, processes: bool, recycling: bool, capture: bool) -> None:
    """Raise BadCall if some settings need a process that belongs to the consumer."""
    if kind == "process" or processes:
        message = (
            "in_process needs workers of kind thread or coroutine, and no processes: they run in this one"
        )
        raise BadCall(message, hint='pass kind="thread" or kind="coroutine"')
    if recycling:
        message = "max_jobs and max_memory replace processes, and in_process has only the caller's"
        raise BadCall(message, hint="leave them out")
    if capture:
        message = (
            "log_level and prints keep what a process logs and prints, and in_process has only the caller's"
        )
        raise BadCall(message, hint="leave them out, and call current_job().log")


_consumers: weakref.WeakSet[Consumer] = weakref.WeakSet()


def _forget_all() -> None:
    for consumer in list(_consumers):
        consumer._forget()  # noqa: SLF001


os.register_at_fork(after_in_child=_forget_all)


def known_tasks(modules: Sequence[str] = ()) -> Registry:
    """Return the built-in tasks and those of the given modules, or else of the modules in the working folder.

    Raises ConveyorError if a module cannot be imported.
    """
    search_here()
    registry.promise(task_def.TASKS)
    names = modules or task_loading.found_modules()
    try:
        for module in names:
            registry.load(module)
    except ConveyorError:
        raise
    except Exception as error:
        message = f"the tasks cannot be imported: {type(error).__name__}: {error}"
        hint = f"python -c 'import {', '.join(names)}' shows where it fails"
        raise ConveyorError(message, hint=hint) from error
    return registry


def search_here() -> None:
    """Search for modules in the working folder first."""
    here = os.getcwd()  # noqa: PTH109 - the search path holds strings
    if here not in sys.path:
        sys.path.insert(0, here)


def command_line(settings: ConsumerSettings) -> list[str]:
    """Return the command that supervises a consumer with these settings, split into arguments of limited length."""
    text = msgspec.json.encode(settings).decode()
    parts = [text[at : at + MAX_ARGUMENT] for at in range(0, len(text), MAX_ARGUMENT)]
    return [sys.executable, "-m", "conveyor.consumer", *parts]


def _unstartable(error: OSError) -> ConveyorError:
    hint = "check this machine's limits on processes, memory and open files"
    if error.errno == errno.E2BIG:
        hint = "use fewer queues and shorter arguments of the script"
    message = f"cannot start the consumer: {(error.strerror or str(error)).lower()}"
    return ConveyorError(message, hint=hint)


def _environment(url: str) -> dict[str, str] | None:
    """Return the supervisor's environment: a URL may hold a password, and any user can read a command line."""
    return {**os.environ, "CONVEYOR_URL": url} if url else None


def _url(store: Client | str | None) -> str:
    if isinstance(store, Client):
        return "" if store.revive is not None else store.url  # every process finds the embedded server
    return store or ""


def _own_script() -> tuple[str, str]:
    """Return file and name of the script this process was started with, or empty strings if it cannot be reloaded.

    In a worker that has read a script, it is that one: a module of it must not be imported, which would run it.
    """
    file, name = task_loading.main_file(), task_loading.main_name()
    if name.partition(".")[0] == "conveyor":
        return task_loading.script_read()
    if file is None or not pathlib.Path(file).is_file():
        return "", ""
    return str(pathlib.Path(file).resolve()), name
