"""A consumer in the process of its caller: supervisor and workers are threads of it.

It is the supervisor of other consumers, with another kind of process: that of a `Crew` which takes no signals, in a
thread. No thread can be killed, and who stops the program stops the renewal of its leases.
"""

from __future__ import annotations

import contextlib
import os
import threading
import traceback
import weakref
from typing import TYPE_CHECKING, Any

from conveyor import clock, events, logs
from conveyor.consumer.crew import Crew
from conveyor.consumer.execution import OwnExecutor
from conveyor.consumer.settings import consumer_name
from conveyor.consumer.supervisor import CANCEL, KILL, WITHOUT_RESOURCES, Supervisor
from conveyor.consumer.worker_handle import ChildProcess, WorkerHandle
from conveyor.errors import ResourceUnavailable
from conveyor.store import Client
from conveyor.tasks import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.consumer.settings import ConsumerSettings

#: Seconds that the end of the program waits for consumers, whose jobs return to the queue.
LEAVING = 5.0
_UNKILLABLE = "a thread of a program cannot be killed: the job goes on until the process with this id ends:"


class OwnConsumer:
    """A running consumer of this process; `wait` and `pid` are as of a `Popen`.

    `lifeline` is a file descriptor that leads to the caller, as standard input does in a supervisor's own process.
    """

    def __init__(self, settings: ConsumerSettings, client: Client, lifeline: int) -> None:
        logs.to_logger()
        self.pid = os.getpid()
        self._status = 1
        self._supervisor = _OwnSupervisor(settings, client, lifeline)
        self._ended = (
            threading.Event()
        )  # `Thread.join` takes a thread for ended once Ctrl-C has interrupted it
        _running.add(self)
        threading.Thread(target=self._run, name="conveyor-supervisor", daemon=True).start()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has stopped, and return the exit code."""
        self._ended.wait(timeout)
        return self._status

    def leave(self) -> None:
        """Return its jobs to their queues, and stop."""
        self._supervisor.request(CANCEL)

    def _run(self) -> None:
        supervisor = self._supervisor
        lifeline = supervisor.lifeline
        try:
            self._status = supervisor.run(lambda: _report(lifeline, b"ready\n"))
            done = (str(supervisor.jobs_done[name]) for name in supervisor.scaling.names)
            _report(lifeline, f"left {' '.join(done)}\n".encode())
        finally:
            os.close(lifeline)
            _running.discard(self)
            self._ended.set()


class _OwnSupervisor(Supervisor):
    """A supervisor in a thread, of workers in other threads."""

    def __init__(self, settings: ConsumerSettings, client: Client, lifeline: int) -> None:
        super().__init__(consumer_name(), settings, client, lambda _: 0)
        self.lifeline = lifeline
        self._reading, self._writing = os.pipe()
        _close_with(self, self._reading, self._writing)
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)

    def run(self, ready: Callable[[], None]) -> int:
        """Start the workers and keep them running. Return the exit code."""
        try:
            return self._supervise(self._reading, ready)
        finally:
            self.client.close()

    def request(self, level: int) -> None:
        """Request a stop level. Thread-safe."""
        self._called = max(self._called, level)
        self.wake()

    def wake(self) -> None:
        """Wake the loop. Thread-safe."""
        with contextlib.suppress(OSError):
            os.write(self._writing, b"!")

    def raise_stop_level(self) -> None:
        super().raise_stop_level()
        if self.stop_level >= KILL:
            self.workers.clear()  # what still runs is left to its lease; the crew settles what ends before

    def _make_process(self, names: list[str]) -> ChildProcess:
        workers: list[WorkerHandle] = [
            _OwnWorker(name, self.settings.grace, self.replies.add) for name in names
        ]
        return _OwnProcess(workers, self)

    def _ended_processes(self) -> Iterator[tuple[ChildProcess, int]]:
        for process in {one.process for one in self.workers.values()}:
            if isinstance(process, _OwnProcess) and process.has_ended:
                yield process, process.status


class _OwnProcess(ChildProcess):
    """The caller's process, as that of a crew, which works in a thread."""

    def __init__(self, workers: list[WorkerHandle], supervisor: _OwnSupervisor) -> None:
        super().__init__(workers, is_crew=True)
        self.has_ended = False
        self.status = 0
        self._supervisor = supervisor
        client = Client(
            supervisor.client.url, patience=supervisor.client.patience, name=supervisor.client.name
        )
        statuses = {worker.name: worker.status for worker in workers}
        self._crew = _OwnCrew(statuses, supervisor.settings, client, registry)

    def start(self, _: Callable[[ChildProcess], int]) -> None:
        """Start the thread. Raises OSError if the system refuses one."""
        self.pid = os.getpid()
        try:
            threading.Thread(target=self._work, name="conveyor-crew", daemon=True).start()
        except RuntimeError as error:
            raise OSError(str(error)) from error

    def _work(self) -> None:
        try:
            self._crew.work()
        except ResourceUnavailable as error:
            self.workers[0].status.error = error.message
            self.status = WITHOUT_RESOURCES << 8
        except BaseException:  # noqa: BLE001 - a bug of ours; its workers are replaced
            traceback.print_exc()
            self.status = 1 << 8
            for worker in self.workers:
                worker.killed = True  # no job was the cause
        finally:
            self._crew.close()
            self.has_ended = True
            self._supervisor.wake()

    def kill(self, why: str = "") -> None:
        """Ask all workers to return their jobs."""
        for worker in self.workers:
            worker.kill(why)

    def end_group(self, _: int) -> None:
        """Do nothing: this process goes on."""

    def stack_of(self, name: str) -> str:
        """Return the stack of a worker's job."""
        return self._crew.stack_of(name)

    def signal(self, _: int) -> None:
        """Make the crew follow the requests of the supervisor, for which others get a signal."""
        self._crew.follow()


class _OwnCrew(Crew):
    """A crew in a process that belongs to others: it leaves the signals alone."""

    executor_type = OwnExecutor
    shares_process = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        _close_with(self, self._reading, self._writing)

    def follow(self) -> None:
        """Follow the requests of the supervisor. Thread-safe."""
        self._on_request()
        self._wake()

    def stack_of(self, name: str) -> str:
        """Return the stack of a worker's job, or that there is none."""
        found = next((worker.stack() for worker in self.workers.copy() if worker.name == name), "")
        return found or "no stack: the worker runs no Python code of a job"

    def _take_process(self) -> None:
        pass

    def _interrupt_opening(self) -> None:
        """Do nothing: that would raise in the thread that asks, not in the one that opens resources."""


class _OwnWorker(WorkerHandle):
    """A worker in a thread of this process, which nothing can kill."""

    def __init__(self, name: str, grace: float, reply: Callable[..., Any]) -> None:
        super().__init__(name, grace)
        self._reply = reply

    def kill(self, _: str = "") -> None:
        """Request that it returns its job and stops; once it had the time for that, report that it did not."""
        if clock.monotonic() <= self.kill_at:
            self.return_job()
            self.stop()
            return
        self.kill_at = float("inf")
        events.emit(events.ThreadUnkillable(self.name, self.job()[1]))
        for control in [one for one in self.controls if one.verb == "kill"]:
            self.controls.remove(control)
            self._reply(control, self.name, "expired", f"{_UNKILLABLE} {self.pid}")

    def close(self) -> None:
        """Do nothing: the threads use the same memory, which is freed with it."""


_running: set[OwnConsumer] = set()


def _close_with(owner: object, *files: int) -> None:
    """Close file descriptors with their owner: not sooner, or a thread might write to another file of this number."""
    for file in files:
        weakref.finalize(owner, os.close, file).atexit = False


def _report(lifeline: int, message: bytes) -> None:
    with contextlib.suppress(OSError):  # the caller no longer listens
        os.write(lifeline, message)


def _leave_all() -> None:
    """Stop all consumers of this process before the interpreter exits."""
    for one in list(_running):
        one.leave()
    until = clock.Deadline(LEAVING)
    for one in list(_running):
        one.wait(until.left(LEAVING))


# The hook of executors of the standard library: it runs before threads are joined, while all of Python still works.
threading._register_atexit(_leave_all)  # type: ignore[attr-defined] # noqa: SLF001
os.register_at_fork(after_in_child=_running.clear)
