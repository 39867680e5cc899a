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
from typing import TYPE_CHECKING, Any, Self

import msgspec

from conveyor import task_loading
from conveyor.consumer.settings import LEAVE, ConsumerSettings, Kind
from conveyor.errors import BadCall, ConveyorError
from conveyor.store import Client, connect
from conveyor.wire.signature import main_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

#: Characters in one argument of the supervisor's command, of up to 4 bytes each; Linux takes 128 KiB.
LONGEST_ARGUMENT = 30_000


class Consumer:
    """Takes jobs from queues and runs them in `workers` worker processes (one per core unless given).

    `Consumer("sums").run()` works until it is told to stop (Ctrl-C, SIGTERM, `conveyor kill`). As a context manager it
    works beside the caller's own code and leaves at the end of the block, after the current jobs; functions of the
    caller's own script may be submitted then. `tasks` names further modules whose tasks may run; `tasks.py` and
    `task_def` in the working folder are found by themselves. With several queues, the first that has a job gives it.
    `grace` bounds, in seconds, how long a leaving consumer waits for its current jobs; then they are cancelled and go
    back.

    Raises BadCall for settings that cannot work, before anything is started.
    """

    def __init__(  # noqa: PLR0913 - one for each option of `conveyor consume`, most of them by name
        self,
        queues: str | Iterable[str] = "default",
        workers: int | None = None,
        kind: Kind = "process",
        *,
        tasks: Iterable[str] = (),
        store: Client | str | None = None,
        until_empty: bool = False,
        grace: float | None = None,
    ) -> None:
        script, script_name = _own_script()
        self.settings = ConsumerSettings(
            queues=(queues,) if isinstance(queues, str) else tuple(queues),
            workers=_checked_workers(workers),
            kind=kind,
            modules=tuple(tasks) or tuple(task_loading.found_modules()),
            script=script,
            script_name=script_name,
            script_arguments=tuple(sys.argv) if script else (),
            path=tuple(one or str(pathlib.Path.cwd()) for one in sys.path),
            url=_address(store),
            until_empty=until_empty,
            leave_grace=grace,
            lifeline=True,
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: socket.socket | None = None
        self._theirs: socket.socket | None = None  # the supervisor's end, until that has it
        self._asked = 0  # how often the supervisor was asked to leave, each time a step further
        self._passed: dict[int, Any] = {}  # the signals passed on, and what handled them before
        self._came: list[int] = []  # those that were passed on meanwhile
        _consumers.add(self)

    def __repr__(self) -> str:
        return f"Consumer({list(self.settings.queues)}, workers={self.settings.crew_size})"

    @property
    def pid(self) -> int | None:
        """Process id of the supervisor while the consumer runs, else None."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the supervisor and its workers beside this program; returns when they are ready for jobs.

        Raises ConveyorError if they do not come up.
        """
        task_loading.stop_script()
        if self._process is not None:
            return
        connect(
            self.settings.url or None
        )  # the embedded server is started here, so that its line is told here
        self._asked = 0
        self._lifeline, self._theirs = socket.socketpair()
        with self._theirs as theirs, self._lifeline.makefile("rb") as told:
            # An early Ctrl-C waits until the supervisor can take it; else it would end in a traceback.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self._process = subprocess.Popen(
                    command_line(msgspec.structs.replace(self.settings, url="")),
                    stdin=theirs.fileno(),
                    env=_environment(self.settings.url),
                )
            except OSError as error:
                self._hang_up()
                raise _unstartable(error) from error
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
            self._theirs = None
            word = told.readline()
        if word != b"ready\n":
            status = self._ended()
            if word == b"left\n":  # it was asked to leave, or there was nothing to do
                return
            # Unknown if the caller ignores SIGCHLD.
            how = f" (exit code {status})" if status else ""
            message = f"the consumer on {', '.join(self.settings.queues)} did not start{how}"
            raise ConveyorError(message, hint="its own messages on standard error say why")

    def stop(self) -> int:
        """Stop the consumer after its current jobs, wait for it, and return its exit code.

        A signal during the wait, such as Ctrl-C, is the next step, as in `run`. When the consumer has left, the signal
        does what it does otherwise.
        """
        if self._process is None or self._lifeline is None:
            return 0
        with self._signals_passed_on() as came:
            if not self._asked:
                self._ask()
            status = self._ended()
        if came:
            signal.raise_signal(came[0])
        return status

    def run(self) -> int:
        """Work until told to stop, or until the queues are empty with `until_empty`; gives the exit code.

        Ctrl-C or SIGTERM once: leave after the current jobs; twice: cancel them and return them to the queue; three
        times: kill. The calling program goes on after that. In a thread other than the main one, signals do what they
        do otherwise.
        """
        with self._signals_passed_on():
            self.start()
            return self._ended() if self._process is not None else 0

    @contextlib.contextmanager
    def _signals_passed_on(self) -> Iterator[list[int]]:
        """Pass on to the supervisor each signal to leave, of those that would end this program, and list them."""
        if threading.current_thread() is not threading.main_thread() or self._passed:
            yield []
            return
        came = self._came = []
        try:
            self._passed = {
                number: signal.getsignal(number)
                for number in LEAVE
                if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}
            }
            for number in self._passed:
                signal.signal(number, self._pass_on)
            yield came
        finally:
            self._take_signals_back()

    def _take_signals_back(self) -> None:
        for number, before in self._passed.items():
            signal.signal(number, before)
        self._passed = {}

    def _leave_to_parent(self) -> None:
        """Forget the supervisor, in a forked child: it is its parent's."""
        self._process = None
        for end in (self._lifeline, self._theirs):
            if end is not None and end.fileno() >= 0:
                os.close(end.detach())  # `close` would leave it open while `start` reads from it
        self._lifeline = self._theirs = None
        self._take_signals_back()

    def _pass_on(self, number: int, _: object) -> None:
        if self._lifeline is None:  # nothing has been started yet, or it has left
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self._came.append(number)
        self._ask()

    def _ask(self) -> None:
        """Ask the supervisor to take the next step of leaving."""
        self._asked += 1
        if self._lifeline is not None:
            with contextlib.suppress(OSError):  # it is just leaving
                self._lifeline.send(b"!")  # no signal: one to the whole process group would count twice

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _ended(self) -> int:
        assert self._process is not None
        status = self._process.wait()
        self._process = None
        self._hang_up()
        return status

    def _hang_up(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            lifeline.close()


_consumers: weakref.WeakSet[Consumer] = weakref.WeakSet()


def _leave_all_to_parent() -> None:
    for consumer in list(_consumers):
        consumer._leave_to_parent()  # noqa: SLF001


os.register_at_fork(after_in_child=_leave_all_to_parent)


def command_line(settings: ConsumerSettings) -> list[str]:
    """Return the command that supervises a consumer with these settings, split into arguments of limited length."""
    text = msgspec.json.encode(settings).decode()
    parts = [text[at : at + LONGEST_ARGUMENT] for at in range(0, len(text), LONGEST_ARGUMENT)]
    return [sys.executable, "-m", "conveyor.consumer", *parts]


def _unstartable(error: OSError) -> ConveyorError:
    hint = "check this machine's limits on processes, memory and open files"
    if error.errno == errno.E2BIG:
        hint = "use fewer queues and shorter arguments of the script"
    message = f"cannot start the consumer: {(error.strerror or str(error)).lower()}"
    return ConveyorError(message, hint=hint)


def _environment(url: str) -> dict[str, str] | None:
    """Give the supervisor's environment: an address may hold a password, and anybody sees a command line."""
    return {**os.environ, "CONVEYOR_URL": url} if url else None


def _address(store: Client | str | None) -> str:
    if isinstance(store, Client):
        return "" if store.revive is not None else store.url  # the embedded server is found by everybody
    return store or ""


def _checked_workers(workers: int | None) -> int:
    if workers is None:
        return 0
    if workers < 1:
        message = f"workers={workers}: a consumer needs at least one"
        raise BadCall(message, hint="leave it out for one worker per core")
    return workers


def _own_script() -> tuple[str, str]:
    """Give file and name of the script this process was started with, if it is one that can be read again."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    name = main_name()
    if file is None or not pathlib.Path(file).is_file() or name.partition(".")[0] == "conveyor":
        return "", ""
    return str(pathlib.Path(file).resolve()), name
