"""A job's handle: what its producer, or anybody who knows its id, can ask of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from conveyor.clock import Deadline
from conveyor.errors import JobCancelled, JobGone, StoreUnavailable, WaitTimeout
from conveyor.inbox import inbox_of
from conveyor.store import commands, connect, control_channel, records
from conveyor.wire import control_messages
from conveyor.wire.call import KEEP
from conveyor.wire.outcome import Cancellation, Settled, decode_settled, describe_text, encode, encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from conveyor.errors import JobFailed
    from conveyor.restoring import Kept
    from conveyor.store import Client
    from conveyor.store.command import Command
    from conveyor.wire.signature import Signature

R = TypeVar("R")

#: What `status` answers.
STATES = ("waiting", "delayed", "running", "done", "failed", "lost", "cancelled", "gone")
_CANCELLED = encode_settled("cancelled")
_UNREADABLE = encode_settled("failed", describe_text("BadOutcome", "what is kept of this job cannot be read"))
_log = logging.getLogger("conveyor")
_BY_INDEX = {"ready": "waiting", "delayed": "delayed", "leased": "running", "gone": "gone"}


class Together(NamedTuple):
    """What jobs that were put together have in common."""

    client: Client
    queue: str
    signature: Signature | None
    jobs: list[Job[Any]]
    """In the order of the put; empty where there is only one, which would hold itself alive."""
    kept: Kept | None = None
    """Their bytes, in case that the server loses them."""


class Job(Generic[R]):
    """One job, by its id. The result comes by push as soon as the worker has settled it; nothing polls.

    The methods are those of `concurrent.futures.Future`, and a job can be awaited in asyncio.
    """

    __slots__ = ("_callbacks", "_place", "_together", "covered", "id", "settled")

    def __init__(
        self,
        id: str,  # noqa: A002 - the word for it
        queue: str = "default",
        *,
        client: Client | None = None,
        signature: Signature | None = None,
    ) -> None:
        self.id = id
        self.settled: Settled | None = None
        self.covered = 0  # the opening of the inbox that was there before the job could have ended
        self._callbacks: list[Callable[[Job[R]], object]] | None = None
        self._together = Together(client or connect(), queue, signature, [])
        self._place = 0

    @property
    def queue_name(self) -> str:
        """The queue it was put on."""
        return self._together.queue

    def __repr__(self) -> str:
        return (
            f"<Job {self.id} on {self.queue_name}{'' if self.settled is None else ' ' + self.settled.state}>"
        )

    def result(self, timeout: float | None = None) -> R:
        """Wait for the job's end and give what the task returned.

        Raises JobFailed if the task raised, JobLost if its workers died, JobCancelled, JobGone if nothing is known of
        it, and WaitTimeout after `timeout` seconds, with the job going on. While the server is unavailable it waits on.
        """
        settled = self._wait(timeout)
        value = settled.result()
        signature = self._together.signature
        return cast("R", value if signature is None else signature.result(value))

    def exception(self, timeout: float | None = None) -> JobFailed | JobCancelled | None:
        """Wait for the job's end and give its error as an object, or None where the task returned."""
        return self._wait(timeout).error()

    def done(self) -> bool:
        """Tell whether the job is over, whatever came of it; asks the server unless it is known."""
        if self.settled is None:
            inbox_of(self._together.client).expect(self)
        return self.settled is not None

    def running(self) -> bool:
        """Tell whether a worker has the job now."""
        return self.status() == "running"

    def cancelled(self) -> bool:
        """Tell whether the job ended by being cancelled."""
        return self.done() and self.settled is not None and self.settled.state == "cancelled"

    def cancel(self, reason: str = "") -> bool:
        """Cancel the job: at once while it waits; if it runs, its worker is told to stop it.

        Gives False if it was over already.
        """
        (state,) = cancel_jobs(self._together.client, self.queue_name, [self.id], reason)
        return state in {"cancelled", "running"}

    def add_done_callback(self, function: Callable[[Job[R]], object]) -> None:
        """Call `function(job)` when the job is over: at once and here if that is known, else on a thread for callbacks.

        That one thread runs all callbacks of this process in the order in which jobs end, so a slow one delays those
        behind it, but no result: a callback may wait for other jobs. What it raises is logged.
        """
        if self.settled is None:
            self._call_later(function)
            if not self.done() or not self._take_back(function):
                return
        try:
            function(self)
        except Exception:  # noqa: BLE001 - the user's own code
            _log.exception("a callback of %r raised", self)

    def status(self) -> str:
        """Give where the job is now: waiting, delayed, running, done, failed, lost, cancelled or gone."""
        if self.settled is not None:
            return self.settled.state
        state: commands.State = self._together.client.run(commands.state(self.queue_name, self.id))
        if state.state in {"over", "dead"}:
            return decode_settled(cast("bytes", state.detail)).state
        return _BY_INDEX[state.state]

    def progress(self) -> control_messages.Progress | None:
        """Give how far the job is, as it last said; None if it has said nothing."""
        data = self._together.client.run(records.progress(self.queue_name, [self.id]))[0]
        return None if data is None else control_messages.decode_progress(data)

    def __await__(self) -> Generator[Any, None, R]:
        """Wait in asyncio for what `result` gives."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        waker = _Waker(loop, ready)
        self._call_later(waker)
        try:
            with contextlib.suppress(StoreUnavailable):  # the inbox asks again until the server answers
                yield from loop.run_in_executor(None, self.done).__await__()
            if self.settled is None:
                yield from ready.__await__()
        finally:
            self._take_back(waker)
        return self.result()

    @property
    def kept(self) -> tuple[Kept | None, int]:
        """The bytes kept in case that the server loses the job, and its number among them."""
        return self._together.kept, self._place

    def neighbours(self, most: int) -> Sequence[Job[Any]]:
        """Give this job and those put together with it right after it: asked about together. Called by the inbox."""
        return self._together.jobs[self._place : self._place + most] or [self]

    def settle(self, outcome: bytes) -> None:
        """Take the outcome in; empty bytes mean that the job is not known. Called by the inbox."""
        if (kept := self._together.kept) is not None:
            kept.drop(self._place)
        try:
            self.settled = decode_settled(outcome or _GONE)
        except ValueError:
            self.settled = decode_settled(_UNREADABLE)

    def wake(self) -> bool:
        """Wake the coroutines that await the job; return True if callbacks are left to run. Called by the inbox."""
        for one in list(self._callbacks or ()):
            if isinstance(one, _Waker) and self._take_back(one):
                one(self)
        return bool(self._callbacks)

    def call_back(self) -> None:
        """Run the callbacks, each once, and log what they raise. Called by the inbox, on its thread for callbacks."""
        while self._callbacks:
            try:
                function = self._callbacks.pop(0)
            except IndexError:  # another thread took the last one
                return
            try:
                function(self)
            except BaseException:  # noqa: BLE001 - the user's own code; not even SystemExit may end this thread
                with contextlib.suppress(Exception):  # the program's own logging raised
                    _log.exception("a callback of %r raised", self)

    def _call_later(self, function: Callable[[Job[R]], object]) -> None:
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(function)

    def _take_back(self, function: Callable[[Job[R]], object]) -> bool:
        """Remove a callback; return False if another thread has begun it."""
        try:
            cast("list[Callable[[Job[R]], object]]", self._callbacks).remove(function)
        except ValueError:
            return False
        return True

    def _wait(self, timeout: float | None) -> Settled:
        if self.settled is None:
            deadline = Deadline(timeout)
            inbox = inbox_of(self._together.client)
            with contextlib.suppress(StoreUnavailable):  # the inbox asks again until the server answers
                inbox.expect(self, deadline)
            if self.settled is None and not inbox.wait(self, deadline):
                message = f"job {self.id} is not over after {timeout} s"
                raise WaitTimeout(message)
        settled = cast("Settled", self.settled)
        if settled.state == "gone":
            message = f"nothing is known of job {self.id} on {self.queue_name}"
            raise JobGone(message, hint="outcomes are forgotten after an hour, unless the job says keep=…")
        return settled


class _Waker:
    """A callback that wakes a coroutine. It never blocks, so the thread that receives results may run it."""

    __slots__ = ("loop", "ready")

    def __init__(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None]) -> None:
        self.loop, self.ready = loop, ready

    def __call__(self, _: Job[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed, so no coroutine waits
            self.loop.call_soon_threadsafe(self._set_ready)

    def _set_ready(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)


_GONE = encode_settled("gone")


def cancel_jobs(
    client: Client, queue: str, ids: Sequence[str], reason: str = "", *, order: str = "", who: str = ""
) -> list[str]:
    """Cancel jobs in one round trip, and tell the workers of those that run in another.

    Gives for each cancelled, running (its worker is told), over, dead or gone. With the id of an `order`, the
    supervisor answers to it.
    """
    note = encode(Cancellation(who, reason)) if who or reason else b""
    answers: list[commands.CancelReply] = client.run_all(
        [commands.cancel(queue, job, _CANCELLED, KEEP, note) for job in ids]
    )
    orders: list[Command] = []
    for job, answer in zip(ids, answers, strict=True):
        if answer.owner:
            told = control_messages.ControlCommand(
                id=order or job,
                verb="cancel",
                workers=[answer.owner],
                job=job,
                reason=reason,
                queue=queue,
                token=answer.token,
            )
            # Without the right to command workers, the holder learns it from its next renewal, within 5 s.
            consumer = control_messages.consumer_of(answer.owner)
            orders.append(control_channel.send(consumer, control_messages.encode(told), optional=not order))
    if orders:
        client.run_all(orders)
    return [answer.state for answer in answers]


def jobs_of(
    names: Sequence[str], client: Client, signature: Signature | None, covered: int, kept: Kept
) -> list[Job[Any]]:
    """Give handles of jobs that were put together, with the inbox's opening from before they were put.

    Filled in without __init__: a hundred thousand handles are half of the producer's work otherwise.
    """
    jobs: list[Job[Any]] = []
    together = Together(client, kept.queue, signature, jobs if len(names) > 1 else [], kept)
    new, add = Job.__new__, jobs.append
    for place, name in enumerate(names):
        job: Job[Any] = new(Job)
        job.id = name
        job.settled = job._callbacks = None  # noqa: SLF001 - this is the constructor
        job.covered = covered
        job._together = together  # noqa: SLF001
        job._place = place  # noqa: SLF001
        add(job)
    return jobs
