"""The bounded, blocking, shared buffer, with the manners of the standard library's `queue.Queue`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from conveyor import clock, task_loading
from conveyor.clock import Deadline
from conveyor.errors import BadCall, ConveyorError, NotEmpty
from conveyor.held_items import holder_of
from conveyor.inbox import inbox_of
from conveyor.job import Job, jobs_of
from conveyor.restoring import Kept
from conveyor.store import Client, commands, connect, fitness, forgetting, records
from conveyor.store.client import time_for
from conveyor.store.waiting import join_queue, put_jobs
from conveyor.wire import call, ids
from conveyor.wire.call import KEEP, PutOptions, RunOptions
from conveyor.wire.durability import read_durability
from conveyor.wire.outcome import encode_settled
from conveyor.wire.signature import name_of, signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from conveyor.store.commands import ForgetReply

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds after which a queue's name is noted again, in case the server was emptied.
NOTE_AGAIN = 60.0
#: Jobs that one slice of `clear` takes out.
PURGE_SLICE = 500
_CANCELLED = encode_settled("cancelled")
_PLAIN = PutOptions()
_noted: dict[tuple[Client, str], float] = {}


class Queue:
    """A queue of this name on the server; every process that uses the name shares it.

    `maxsize` bounds what waits in it, for all who put; 0 leaves the bound as it is (none at first). `durability` is the
    level that what this object puts must reach before its put returns: memory, written, fsync, or replicated:N for N
    replicas. `store` is a client or the address of a server; without it, CONVEYOR_URL or the embedded server. Nothing
    is sent until the first call. Objects are cheap and may be shared between threads.
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
        return f"Queue({self.name!r}{f', maxsize={self.maxsize}' if self.maxsize else ''})"

    @property
    def client(self) -> Client:
        """The client that this queue's commands run on."""
        return self._connect()

    def _connect(self, deadline: Deadline | None = None) -> Client:
        task_loading.stop_script()
        if not isinstance(self._given, Client):
            self._given = connect(self._given, deadline)
        return self._given

    def put(self, item: object, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002 - as in the standard library
        """Put an item; while the queue is full, wait for room, `timeout` seconds at most.

        Blocked producers get their places first come, first served. Raises Full if the time is over or `block` is
        false, ShutDown, BadCall for what cannot be carried, ValueError on a negative timeout, StoreUnavailable if the
        server does not answer, after the timeout or 15 seconds, and DurabilityUnknown if the item is in the queue and
        its level of durability was not confirmed in that time.
        """
        self._put(call.encode_items([item]), _deadline(block=block, timeout=timeout))

    def put_nowait(self, item: object) -> None:
        """Put an item, or raise Full."""
        self.put(item, block=False)

    def put_many(self, items: Iterable[object], block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002
        """Put items in order, some hundred per round trip; on Full, `accepted` tells how many of them were put."""
        self._put(call.encode_items(items), _deadline(block=block, timeout=timeout))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
        """Take an item, under a lease that is renewed until `task_done`; if this process dies, the item comes back.

        Raises Empty when the time is over or `block` is false, and ShutDown once a shut queue is empty. Raises
        ImportError, MemoryError or OSError if this process lacks what it takes to read the item, which then returns to
        the queue. A job that was put with `submit` is given as a `Call`.
        """
        deadline = _deadline(block=block, timeout=timeout)
        fitness.vet(self._connect(deadline), deadline)
        self._set_bound(deadline)
        return holder_of(self.client).take(self, self.name, deadline, _read_item)

    def get_nowait(self) -> Any:
        """Take an item, or raise Empty."""
        return self.get(block=False)

    def task_done(self) -> None:
        """Mark an item of this object as processed: the oldest taken by this thread, or else the oldest.

        Raises ValueError if called more often than `get` of this object returned an item, and LeaseLost if the item
        went to another consumer because this process did not renew its lease.
        """
        holder_of(self.client).settle(self)

    def join(self, timeout: float | None = None) -> None:
        """Wait until everything that was put is worked off, by whomever; raises WaitTimeout after `timeout` seconds."""
        deadline = _deadline(block=True, timeout=timeout) or Deadline(0)
        join_queue(self._connect(deadline), self.name, deadline)

    def qsize(self) -> int:
        """Give how many jobs wait, due or not; what `maxsize` bounds."""
        return self.count().qsize

    def empty(self) -> bool:
        """Tell whether nothing waits."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Tell whether as many jobs wait as may."""
        return self.count().is_full

    def count(self) -> commands.Count:
        """Give how many jobs are where, and the books."""
        self._set_bound()
        counted: commands.Count = self.client.run(commands.count(self.name))
        return counted

    def shutdown(self, immediate: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the standard library
        """Accept nothing more: put raises ShutDown, get does once nothing is left. With `immediate`, drop what waits.

        `resume` opens the queue again.
        """
        self.client.run_all([commands.shut(self.name), commands.note_queue(self.name)])
        if immediate:
            self.clear()

    def pause(self) -> None:
        """Give out nothing until `resume`; running jobs go on, puts are accepted."""
        self.client.run_all([commands.pause(self.name), commands.note_queue(self.name)])

    def resume(self) -> None:
        """Undo `pause` and `shutdown`."""
        self.client.run(commands.resume(self.name))

    def clear(self) -> int:
        """Cancel the jobs that wait now, due or not, and return how many; running jobs go on.

        Jobs put after the call stay. Of delayed jobs it cancels no more than there were, and none that is due later
        than the last of them; a job that comes due while this runs may stay.
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
        """Remove the queue with its settings, histories and the outcomes of its jobs; a later put creates it again.

        With `purge`, waiting jobs are cancelled and dead ones discarded first. Raises NotEmpty if there are jobs, and
        in any case if one is running. One whose worker is gone counts as running until its lease ends: 15 seconds at
        most from the first look at the queue, by a consumer or by this.
        """
        while purge and self.client.run(commands.reap(self.name)):  # no consumer may be there to do it
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
        """Set how many jobs may wait, for all who put; 0 lifts the bound. Whoever waits for the new room gets it."""
        self.maxsize = _checked_maxsize(maxsize)
        self._bounded = False
        self._set_bound()

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Put a call of a task or an importable function, and give its handle; waits for room while the queue is full.

        Raises BadCall, before anything is put, if the arguments do not fit the function's type hints.
        """
        return self._submit(function, [(args, kwargs)])[0]

    def submit_many(self, function: Callable[..., R], calls: Iterable[tuple[Any, ...]], /) -> list[Job[R]]:
        """Put a call for each tuple of positional arguments, some hundred per round trip; gives the handles."""
        return self._submit(function, [(args, {}) for args in calls])

    def submit_parts(
        self, function: Callable[..., R], parts: Iterable[Mapping[str, Any]], /, timeout: float | None = None
    ) -> list[Job[R]]:
        """Put a call for each set of keyword arguments; gives the handles in order.

        Raises Full where there is no room within `timeout` seconds; `ids` of the error are those that were put.
        """
        return self._submit(function, [((), dict(part)) for part in parts], Deadline(timeout))

    def map(
        self, function: Callable[..., R], /, *iterables: Iterable[Any], timeout: float | None = None
    ) -> Iterator[R]:
        """Put a call for each item (or each row of several iterables) now, and give the results in that order.

        Raises WaitTimeout from the iterator if a result is not there `timeout` seconds after this call.
        """
        jobs = self.submit_many(function, zip(*iterables, strict=False))
        return _results(jobs, Deadline(timeout))

    def _submit(
        self,
        function: Callable[..., R],
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]],
        deadline: Deadline | None = None,
    ) -> list[Job[R]]:
        put: PutOptions = getattr(function, "put", PutOptions())
        run: RunOptions = getattr(function, "run", RunOptions())
        data = call.encode_calls(function, name_of(function), calls, run)
        check = getattr(function, "check", None)
        if check is not None:
            for args, kwargs in calls:
                check(*args, **kwargs)
        inbox = inbox_of(self._connect(deadline))
        covered = inbox.open_for(self.name)
        losses = inbox.knows(self.name).losses
        jobs = self._put(data, deadline or Deadline(None), put)
        kept = Kept(self.name, jobs, self._place(put), losses, run.keep)
        inbox.keep(kept)
        names = [name for name, _ in jobs]
        if names and ids.producer_of(names[0]) != inbox.name:
            covered = 0  # from an id of the caller's own nobody can tell whose inbox to push to: it must be asked for
        return jobs_of(names, self.client, signature_of(function), covered, kept)

    def _place(self, options: PutOptions) -> commands.PutParams:
        return commands.PutParams(
            self.maxsize,
            options.priority,
            options.delay,
            own_ids=options.id is not None,
            durability=read_durability(options.durability) if options.durability else self.durability,
        )

    def _put(
        self, data: list[bytes], deadline: Deadline | None, options: PutOptions = _PLAIN
    ) -> list[tuple[str, bytes]]:
        if options.id is None:
            names = ids.new_ids(len(data))
        elif len(data) == 1:
            names = [ids.checked_id(options.id)]
        else:
            message = "one id cannot name several jobs"
            raise BadCall(message)
        jobs = list(zip(names, data, strict=True))
        place = self._place(options)
        fitness.vet(self._connect(deadline), deadline, place.durability)
        self._set_bound(deadline)
        self._note(deadline)
        try:
            put_jobs(self.client, self.name, jobs, place, deadline, inbox_of(self.client))
        except ConveyorError as error:
            error.ids = names[: error.accepted]
            raise
        return jobs

    def _note(self, deadline: Deadline | None = None) -> None:
        """Have the server remember that there is a queue of this name."""
        now = clock.monotonic()
        if now - _noted.get((self.client, self.name), -NOTE_AGAIN) >= NOTE_AGAIN:
            self.client.run(commands.note_queue(self.name), within=time_for(deadline))
            _noted[self.client, self.name] = now

    def _set_bound(self, deadline: Deadline | None = None) -> None:
        if not self._bounded:
            self._note(deadline)
            self.client.run(commands.bound(self.name, self.maxsize), within=time_for(deadline))
            self._bounded = True


def _read_item(data: bytes) -> Any:
    """Return the item that a job's bytes are, or the Call of one that was submitted. Raises what decoding raises."""
    taken = call.decode_call(data)
    return taken.item() if taken.task == call.ITEM else taken


def _checked_maxsize(maxsize: int) -> int:
    """Return the bound, 0 for none. Raises BadCall if it is not a whole number."""
    maxsize = max(maxsize, 0)  # as in the standard library, whose bound may be negative
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
        "running jobs must end first; one whose worker is gone does so within 15 s: try again then"
        if found.leased
        else f"delete it with purge to cancel and discard its jobs (`conveyor delete {queue} --purge`)"
    )
    message = f"the queue {queue} is not empty: {jobs}"
    return NotEmpty(message, hint=hint)


def _deadline(*, block: bool, timeout: float | None) -> Deadline | None:
    if not block:
        return None
    if timeout is not None and timeout < 0:
        message = "'timeout' must be a non-negative number"
        raise ValueError(message)
    return Deadline(timeout)


def _results(jobs: list[Job[R]], deadline: Deadline) -> Iterator[R]:
    for job in jobs:
        yield job.result(None if deadline.at is None else deadline.left(float("inf")))
