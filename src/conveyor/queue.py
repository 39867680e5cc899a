"""The bounded, blocking, shared buffer, with the semantics of the standard library's `queue.Queue`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from conveyor import clock, task_loading
from conveyor.clock import Deadline
from conveyor.errors import BadCall, NotEmpty
from conveyor.held_items import holder_of
from conveyor.inbox import inbox_of
from conveyor.job import Job, Submission, make_jobs
from conveyor.restoring import Kept
from conveyor.store import Client, commands, connect, fitness, forgetting, records
from conveyor.store.client import time_for
from conveyor.store.waiting import MAX_JOBS, join_queue, put_jobs
from conveyor.wire import call, ids
from conveyor.wire.call import KEEP, PutOptions, RunOptions
from conveyor.wire.durability import read_durability
from conveyor.wire.outcome import encode_settled
from conveyor.wire.signature import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from conveyor.inbox import Inbox
    from conveyor.store.commands import ForgetReply

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

#: Seconds after which a queue's name is noted again, in case that the server was emptied.
NOTE_AGAIN = 60.0
#: Jobs that one slice of `clear` cancels.
PURGE_SLICE = 500
_CANCELLED = encode_settled("cancelled")
_PLAIN = PutOptions()
_NEVER = Deadline(None)
_noted: dict[tuple[Client, str], float] = {}
_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Queue:
    """A queue on the server, shared by all processes that use its name.

    `maxsize` limits the waiting and delayed jobs, for all producers; 0 leaves the limit as it is (none at first).
    `durability` is the level that jobs must reach before a put of this object returns: memory, written, fsync, or
    replicated:N for N replicas. `store` is a client or the URL of a server; by default CONVEYOR_URL, or else the
    embedded server. Nothing is sent until the first call. Objects are cheap. Thread-safe.
    """

    def __init__(
        self,
        name: str = "default",
        maxsize: int = 0,
        *,
        durability: str = "memory",
        store: Client | str | None = None,
    ) -> None:
        self.name = ids.checked_queue(name)
        self.maxsize = _checked_maxsize(maxsize)
        self.durability = read_durability(durability)
        self._given = store
        self._bounded = self.maxsize == 0

    def __repr__(self) -> str:
        maxsize = f", maxsize={self.maxsize}" if self.maxsize else ""
        return f"Queue({self.name!r}{maxsize})"

    @property
    def client(self) -> Client:
        """The client that runs this queue's commands."""
        return self._connect()

    def _connect(self, deadline: Deadline | None = None) -> Client:
        task_loading.stop_script()
        if not isinstance(self._given, Client):
            self._given = connect(self._given, deadline)
        return self._given

    def put(self, item: object, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002 - as in the standard library
        """Put an item. While the queue is full, wait for room, at most `timeout` seconds.

        Blocked producers are served first come, first served.

        Raises:
            Full: there was no room in time, or `block` is false.
            ShutDown: the queue is shut down.
            BadCall: the item cannot be serialized.
            ValueError: the timeout is negative.
            StoreUnavailable: the server did not reply within the timeout or 15 seconds.
            DurabilityUnknown: the item is in the queue, but its level of durability was not confirmed in time.
        """
        self.put_many([item], block, timeout)

    def put_nowait(self, item: object) -> None:
        """Put an item, or raise Full."""
        self.put(item, block=False)

    def put_many(self, items: Iterable[object], block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002
        """Put items in order, several hundred per round trip. On an error, `accepted` is how many of them were put.

        The items are taken and encoded a part at a time, while the server works on the part before.
        """
        deadline = _deadline(block=block, timeout=timeout)
        parts = map(_named, map(call.encode_items, _parts(items)))
        first = next(parts, [])
        self._put(inbox_of(self._connect(deadline)), first, deadline, self._params(_PLAIN), parts)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
        """Remove and return an item. While the queue is empty, wait for one, at most `timeout` seconds.

        The item is under a lease, renewed until `task_done`: if this process crashes, it returns to the queue. A job
        that was put with `submit` is returned as a `Call`.

        Raises:
            Empty: there was no item in time, or `block` is false.
            ShutDown: the queue is shut down and empty.
            ImportError, MemoryError, OSError: this process cannot decode the item, which returns to the queue.
        """
        deadline = _deadline(block=block, timeout=timeout)
        fitness.vet(self._connect(deadline), deadline)
        self._set_bound(deadline)
        return holder_of(self.client).take(self, self.name, deadline, _read_item)

    def get_nowait(self) -> Any:
        """Remove and return an item, or raise Empty."""
        return self.get(block=False)

    def task_done(self) -> None:
        """Mark an item of this object as processed: the oldest taken by this thread, or else the oldest.

        Raises ValueError if called more often than `get` of this object returned an item, and LeaseLost if the item
        went to another consumer because this process did not renew its lease.
        """
        holder_of(self.client).settle(self)

    def join(self, timeout: float | None = None) -> None:
        """Block until no job is waiting, delayed or in progress. Raises WaitTimeout after `timeout` seconds."""
        deadline = _deadline(block=True, timeout=timeout) or Deadline(0)
        join_queue(self._connect(deadline), self.name, deadline)

    def qsize(self) -> int:
        """Return the number of queued jobs, delayed ones included: what `maxsize` limits."""
        return self.count().qsize

    def empty(self) -> bool:
        """Return True if no job is queued."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Return True if the queue is full."""
        return self.count().is_full

    def count(self) -> commands.Count:
        """Return the number of jobs in each state, and the ledger."""
        self._set_bound()
        counted: commands.Count = self.client.run(commands.count(self.name))
        return counted

    def shutdown(self, immediate: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the standard library
        """Refuse further jobs: put raises ShutDown, and so does get once the queue is empty.

        With `immediate`, queued jobs are cancelled. `resume` reopens the queue.
        """
        self.client.run_all([commands.shut(self.name), commands.note_queue(self.name)])
        if immediate:
            self.clear()

    def pause(self) -> None:
        """Stop handing out jobs until `resume`. Running jobs continue, and puts are accepted."""
        self.client.run_all([commands.pause(self.name), commands.note_queue(self.name)])

    def resume(self) -> None:
        """Undo `pause` and `shutdown`."""
        self.client.run(commands.resume(self.name))

    def clear(self) -> int:
        """Cancel the queued jobs, delayed ones included, and return how many. Running jobs continue.

        Jobs put after the call stay. It cancels no more delayed jobs than there were, and none that is due later than
        the last of them. A job that becomes due meanwhile may stay.
        """
        last, due, count = self.client.run_all(
            [
                records.sequence(self.name),
                records.highest(self.name, "delayed"),
                commands.count(self.name),
            ]
        )
        return self._clear("delayed", due, count.delayed) + self._clear("ready", last)

    def _clear(self, index: str, upto: float, most: float = float("inf")) -> int:
        total = 0
        while total < most:
            size = int(min(PURGE_SLICE, most - total))
            moved = self.client.run(commands.purge(self.name, index, size, _CANCELLED, KEEP, upto))
            if moved == 0:
                break
            total += moved
        return total

    def delete(self, *, purge: bool = False) -> None:
        """Remove the queue with its settings, histories and the outcomes of its jobs. A later put creates it again.

        With `purge`, queued jobs are cancelled and dead ones discarded first. Raises NotEmpty if there are jobs, and
        always if one is running. The job of a crashed worker counts as running until its lease expires: at most 15
        seconds after the queue is first polled, by a consumer or by this.
        """
        while purge and self.client.run(commands.reap(self.name)):  # there may be no consumer to do it
            pass
        count = self.client.run(commands.count(self.name))
        if purge and not count.leased:
            self.clear()
            while dead := self.client.run(records.page(self.name, "dead", 0, PURGE_SLICE - 1)):
                self.client.run(commands.discard(self.name, [job for job, _ in dead]))
        found = forgetting.delete(self.client, self.name)
        if found.word != "GONE":
            raise _not_empty(self.name, found)
        _noted.pop((self.client, self.name), None)
        self._bounded = self.maxsize == 0

    def resize(self, maxsize: int) -> None:
        """Set the max size for all producers; 0 removes the limit. Blocked producers get the new room."""
        self.maxsize = _checked_maxsize(maxsize)
        self._bounded = False
        self._set_bound()

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Put a call of a task or an importable function and return its handle. Waits for room while the queue is full.

        Raises BadCall before anything is put if the arguments do not fit the function's type hints.
        """
        return self._submit(function, [(args, kwargs)])[0]

    def submit_many(self, function: Callable[..., R], calls: Iterable[tuple[Any, ...]], /) -> list[Job[R]]:
        """Put a call for each tuple of positional arguments, several hundred per round trip, and return the handles.

        The calls are taken and checked a part at a time, while the server works on the part before. On an error, be it
        BadCall for the thousandth call, `accepted` is how many were put, and `ids` are their ids.
        """
        none: dict[str, Any] = {}
        return self._submit(function, ((args, none) for args in calls))

    def submit_parts(
        self, function: Callable[..., R], parts: Iterable[Mapping[str, Any]], /, timeout: float | None = None
    ) -> list[Job[R]]:
        """Put a call for each set of keyword arguments and return the handles in order.

        Raises BadCall before anything is put, and Full without room within `timeout` seconds; its `ids` are those of
        the jobs that were put.
        """
        return self._submit(function, [((), dict(part)) for part in parts], Deadline(timeout))

    def map(
        self, function: Callable[..., R], /, *iterables: Iterable[Any], timeout: float | None = None
    ) -> Iterator[R]:
        """Put a call for each item (or each row of several iterables) now, and return the results in that order.

        The iterator raises WaitTimeout if a result is not there `timeout` seconds after this call.
        """
        jobs = self.submit_many(function, zip(*iterables, strict=False))
        return results_of(jobs, Deadline(timeout))

    def _submit(
        self,
        function: Callable[..., R],
        calls: list[_Arguments] | Iterator[_Arguments],
        deadline: Deadline | None = None,
    ) -> list[Job[R]]:
        """Put calls. Those of a list are all encoded before the first is put, those of an iterator part by part."""
        put: PutOptions = getattr(function, "put", _PLAIN)
        run: RunOptions = getattr(function, "run", call.DEFAULTS)
        parts: Iterator[list[tuple[str, bytes]]] | None = None
        if isinstance(calls, list):
            first = _encoded(function, calls, run, put.id)
        else:
            parts = (_encoded(function, part, run, put.id) for part in _parts(calls))
            first = next(parts, [])
        client = self._connect(deadline)
        inbox = inbox_of(client)
        params = self._params(put)
        losses = inbox.knows(self.name).losses
        # The caller's own id points to no inbox, so the result must be looked up.
        is_own = not first or ids.producer_of(first[0][0]) != inbox.name
        covered = 0 if is_own else inbox.open_for(self.name)
        handles: list[Job[R]] = []
        all_kept: list[Kept] = []

        def with_handles(jobs: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
            kept = Kept(self.name, jobs, params, losses, run.keep)
            all_kept.append(kept)
            handles.extend(make_jobs(jobs, Submission(client, self.name, [], kept), covered))
            return jobs

        rest = None if parts is None else map(with_handles, parts)
        self._put(inbox, with_handles(first), deadline or _NEVER, params, rest)
        for kept in all_kept:
            inbox.keep(kept)
        return handles

    def _params(self, options: PutOptions) -> commands.PutParams:
        return commands.PutParams(
            self.maxsize,
            options.priority,
            options.delay,
            own_ids=options.id is not None,
            durability=read_durability(options.durability) if options.durability else self.durability,
        )

    def _put(
        self,
        inbox: Inbox,
        jobs: list[tuple[str, bytes]],
        deadline: Deadline | None,
        params: commands.PutParams,
        parts: Iterator[list[tuple[str, bytes]]] | None,
    ) -> None:
        client = inbox.client
        fitness.vet(client, deadline, params.durability)
        self._set_bound(deadline)
        self._note(client, deadline)
        put_jobs(client, self.name, jobs, params, deadline, inbox, parts)

    def _note(self, client: Client, deadline: Deadline | None = None) -> None:
        """Add the queue's name to the list of queues, once a minute."""
        now = clock.monotonic()
        if now - _noted.get((client, self.name), -NOTE_AGAIN) >= NOTE_AGAIN:
            client.run(commands.note_queue(self.name), within=time_for(deadline))
            _noted[client, self.name] = now

    def _set_bound(self, deadline: Deadline | None = None) -> None:
        if not self._bounded:
            self._note(self.client, deadline)
            self.client.run(commands.bound(self.name, self.maxsize), within=time_for(deadline))
            self._bounded = True


def _parts(values: Iterable[T]) -> Iterator[list[T]]:
    """Yield the values in parts, of which one put carries each."""
    rest = iter(values)
    return iter(lambda: list(islice(rest, MAX_JOBS)), [])


def _encoded(
    function: Callable[..., object], calls: list[_Arguments], options: RunOptions, own_id: str | None
) -> list[tuple[str, bytes]]:
    """Return jobs for calls. Raises BadCall, or what the task's own check raises."""
    data = call.encode_calls(function, name_of(function), calls, options)
    check = getattr(function, "check", None)
    if check is not None:
        for args, kwargs in calls:
            check(*args, **kwargs)
    return _named(data, own_id)


def _named(data: list[bytes], own_id: str | None = None) -> list[tuple[str, bytes]]:
    """Return the bytes of jobs with an id for each. Raises BadCall if the caller's own id is invalid."""
    if own_id is None:
        return list(zip(ids.new_ids(len(data)), data, strict=True))
    if len(data) != 1:
        raise BadCall("one id cannot be that of several jobs")
    return [(ids.checked_id(own_id), data[0])]


def _read_item(data: bytes) -> Any:
    """Return the item of a job's bytes, or the Call if it was submitted. Raises what decoding raises."""
    taken = call.decode_call(data)
    return taken.item() if taken.task == call.ITEM else taken


def _checked_maxsize(maxsize: int) -> int:
    """Return the max size, 0 for none. Raises BadCall if it is not a whole number."""
    maxsize = max(maxsize, 0)  # as in the standard library, whose maxsize may be negative
    call.check_whole("maxsize", maxsize, call.MAX_SIZE)
    return maxsize


def _not_empty(queue: str, found: ForgetReply) -> NotEmpty:
    counts = {
        "waiting": found.ready,
        "delayed": found.delayed,
        "running": found.leased,
        "dead": found.dead,
    }
    jobs = ", ".join(f"{number:,} {word}" for word, number in counts.items() if number)
    hint = (
        "wait for the running jobs to finish; that of a crashed worker counts as running for up to 15 s"
        if found.leased
        else f"delete it with purge to cancel and discard its jobs (`conveyor delete {queue} --purge`)"
    )
    return NotEmpty(f"the queue {queue} is not empty: {jobs}", hint=hint)


def _deadline(*, block: bool, timeout: float | None) -> Deadline | None:
    if not block:
        return None
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return Deadline(timeout)


def results_of(jobs: Iterable[Job[R]], deadline: Deadline) -> Iterator[R]:
    """Yield the results of jobs in order. Raises what `Job.result` raises, and WaitTimeout after the deadline."""
    for job in jobs:
        yield job.result(None if deadline.at is None else deadline.left(float("inf")))
