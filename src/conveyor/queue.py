"""The bounded, blocking, shared buffer, with the semantics of the standard library's `queue.Queue`."""

from __future__ import annotations

import contextlib
from collections import deque
from datetime import datetime, timedelta
from functools import lru_cache, partial
from itertools import chain, groupby, islice, starmap
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    NamedTuple,
    ParamSpec,
    TypeAlias,
    TypeVar,
    TypeVarTuple,
    overload,
)

from msgspec import structs

from conveyor import clock, middleware, task_loading
from conveyor.clock import Deadline
from conveyor.errors import BadCall, ConveyorError, NotEmpty
from conveyor.held_items import ANY, holder_of, this_thread
from conveyor.inbox import inbox_of
from conveyor.job import Job, Submission, make_jobs
from conveyor.middleware import Submits, SubmittedCalls
from conveyor.restoring import Kept
from conveyor.store import Client, commands, connect, fitness, forgetting, outbox, records, server_of
from conveyor.store.client import time_for
from conveyor.store.command import Exchange
from conveyor.store.commands import HookJob, PutParams, Terms
from conveyor.store.waiting import MAX_JOBS, join_queue, put_jobs
from conveyor.wire import call, ids
from conveyor.wire.call import KEEP, Headers, PutOptions, RunOptions
from conveyor.wire.checks import check_whole
from conveyor.wire.durability import MEMORY, read_durability
from conveyor.wire.outcome import encode_settled
from conveyor.wire.signature import name_of, signature_of
from conveyor.wire.signed import PickledFunction, call_function
from conveyor.wire.terms import NOT_YET, JobEnd, Limit, has_inputs, places_of, policy_of, without_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
    from pathlib import Path

    import typing_extensions

    from conveyor.inbox import Inbox
    from conveyor.store.command import Operation
    from conveyor.store.commands import ForgetReply, SharedLimit
    from conveyor.wire.durability import Durability
    from conveyor.wire.terms import Arguments, Hook, Place

    PutCalls: TypeAlias = Callable[[Client, "Calls"], Operation[list[Job[Any]]]]
    Item = typing_extensions.TypeVar("Item", default=Any)  # `Queue` without a type holds any items
else:
    Item = TypeVar("Item")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
A = TypeVar("A")
B = TypeVar("B")

#: Seconds after which a queue's name is noted again, in case that the server was emptied.
NOTE_AGAIN = 60.0
#: Items that are taken from an iterable at a time, and seconds after which those taken are put.
FEW, SOON = 20, 0.02
#: Of how many claims one goes past the priorities, at most.
MAX_AGEING = 10_000
#: Jobs that one slice of `clear` cancels.
PURGE_SLICE = 500
#: Highest key of an entry of a `PriorityQueue`, and minus the lowest.
MAX_KEY = 1_000_000
_CANCELLED = encode_settled("cancelled")
PLAIN = PutOptions()
_NEVER = Deadline(None)
_NO_MIDDLEWARE = contextlib.nullcontext()
_noted: dict[tuple[Client, str], float] = {}
#: Ids and bytes of jobs.
Jobs = list[tuple[str, bytes]]


class Put(NamedTuple):
    """Encoded jobs to put in the same way."""

    jobs: Jobs
    further: Iterator[Jobs] | None
    """What follows, encoded when it is taken."""
    params: PutParams
    accepted: Callable[[int], object] | None = None
    """Called with the number of jobs that were accepted since its last call."""


#: Puts calls on a queue with the given function and runs them here, while a test wants that (`conveyor.testing`).
submit_inline: Callable[[Client, str, Calls, PutCalls], Operation[list[Job[Any]]]] | None = None


class BaseQueue:
    """A queue by its name, and the operations on it: for callers that block and for those in asyncio."""

    def __init__(
        self,
        name: str = "default",
        maxsize: int = 0,
        *,
        durability: str = "memory",
        serializer: Literal["msgpack", "pickle"] = "msgpack",
        store: Client | str | None = None,
    ) -> None:
        call.check_serializer(serializer)
        self.name = ids.checked_queue(name)
        self.maxsize = _checked_maxsize(maxsize)
        self.durability = read_durability(durability)
        self.serializer = serializer
        self._given: Client | str | Path | None = store
        self._bounded = self.maxsize == 0

    def __repr__(self) -> str:
        maxsize = f", maxsize={self.maxsize}" if self.maxsize else ""
        return f"{type(self).__name__}({self.name!r}{maxsize})"

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes of a copy in another process, with the way to the server instead of a client."""
        return {**vars(self), "_given": server_of(self._given)}

    def _connect(self, deadline: Deadline | None = None) -> Client:
        task_loading.stop_script()
        if isinstance(self._given, Client):
            return self._given
        client = connect(self._given, deadline)
        if self._given is not None:  # else it is that of the environment, which a test changes
            self._given = client
        return client

    def _puts(self, items: Iterable[object]) -> Iterable[Put]:
        """Encode items, the first of them now. Raises BadCall."""
        parts = map(_named, map(self._items_encoder(), _parts(items)))
        return (Put(next(parts, []), parts, self._params(PLAIN)),)

    def _items_encoder(self) -> Callable[[Iterable[object]], list[bytes]]:
        if self.serializer == call.PICKLE:
            self._connect()  # an embedded server may have the key
        return partial(call.encode_items, serializer=self.serializer)

    # --- operations

    def _put_each(self, inbox: Inbox, puts: Iterable[Put], deadline: Deadline | None) -> Operation[None]:
        done: list[str] = []
        try:
            for put in puts:
                yield from self._put(inbox, put, deadline)
                done += [job for job, _ in put.jobs]
        except ConveyorError as error:
            error.accepted, error.ids = len(done) + error.accepted, [*done, *error.ids]
            raise

    def _put(self, inbox: Inbox, put: Put, deadline: Deadline | None) -> Operation[Mapping[str, str]]:
        jobs, further, params, accepted = put
        client = inbox.client
        if not self._is_ready(client, params.durability):
            yield from self._make_ready(client, params.durability, deadline)
        return (yield from put_jobs(client, self.name, jobs, params, deadline, inbox, further, accepted))

    def _submit(self, client: Client, calls: Calls) -> Operation[list[Job[Any]]]:
        if submit_inline is not None:
            return submit_inline(client, self.name, calls, self._put_calls)
        return self._put_calls(client, calls)

    def _put_calls(self, client: Client, calls: Calls) -> Operation[list[Job[Any]]]:
        """Put calls and return their handles."""
        inbox, params = inbox_of(client), self._params(calls.put, calls.terms)
        losses = inbox.knows(self.name).losses
        # The caller's own id points to no inbox, so the result must be looked up.
        is_own = not calls.jobs or ids.producer_of(calls.jobs[0][0]) != inbox.name
        covered = 0 if is_own else inbox.open_for(self.name)
        kept = Kept(self.name, calls.jobs, params, losses, calls.run.keep)
        handles = make_jobs(calls.jobs, Submission(client, self.name, [], kept), covered)
        all_kept, further = [kept], calls.further
        if further is not None:

            def with_handles(jobs: Jobs) -> Jobs:
                kept = Kept(self.name, jobs, params, losses, calls.run.keep)
                all_kept.append(kept)
                handles.extend(make_jobs(jobs, Submission(client, self.name, [], kept), covered))
                return jobs

            further = map(with_handles, further)
        accepted = None if calls.around is None else calls.around.accepted
        same = yield from self._put(inbox, Put(calls.jobs, further, params, accepted), calls.deadline)
        if calls.terms is not None and calls.terms.many:
            yield from outbox.note_soon(self.name, calls.terms.many)
        if calls.terms is not None and calls.terms.others:
            yield from outbox.deliver_soon(self.name)
        for place, handle in enumerate(handles if same else ()):
            if handle.id in same:
                handle.forget()
                handles[place] = Job(same[handle.id], self.name, client=client)
        for kept in all_kept:
            inbox.keep(kept)
        return handles

    def _get(self, client: Client, taker: object, deadline: Deadline | None) -> Operation[Any]:
        """Take an item; `taker` is the thread or coroutine that does."""
        if not client.vetted:
            yield from fitness.vet(client, deadline)
        yield from self._set_bound(client, deadline)
        return (yield from holder_of(client).take(self, taker, self.name, deadline, _read_item))

    def _count(self, client: Client) -> Operation[commands.Count]:
        yield from self._set_bound(client)
        (counted,) = yield Exchange((commands.count(self.name),))
        count: commands.Count = counted
        return count

    def _shut(self, *, immediate: bool) -> Operation[None]:
        yield Exchange((commands.shut(self.name), commands.note_queue(self.name)))
        if immediate:
            yield from self._cancel_all()

    def _limit(self, running: int, starts: int, per: float | timedelta) -> Operation[None]:
        wanted = Limit(running=running, starts=starts, per=per)  # it checks them
        command = commands.limit(self.name, wanted.running, wanted.starts, wanted.seconds)
        yield Exchange((command, commands.note_queue(self.name)))

    def _age(self, every: int) -> Operation[None]:
        check_whole("every", every, MAX_AGEING)
        yield Exchange((commands.age(self.name, every), commands.note_queue(self.name)))

    def _limits(self) -> Operation[commands.Limits]:
        (found,) = yield Exchange((commands.limits(self.name),))
        limits: commands.Limits = found
        return limits

    def _pause(self) -> Operation[None]:
        yield Exchange((commands.pause(self.name), commands.note_queue(self.name)))

    def _resume(self) -> Operation[None]:
        yield Exchange((commands.resume(self.name),))

    def _cancel_all(self) -> Operation[int]:
        last, due, count = yield Exchange(
            (records.sequence(self.name), records.highest(self.name, "delayed"), commands.count(self.name))
        )
        delayed = yield from self._cancel("delayed", due, count.delayed)
        # These come first, or they would become ready behind the last one.
        deferred = yield from self._cancel("deferred", last, count.deferred)
        ready = yield from self._cancel("ready", last)
        yield from outbox.deliver_soon(self.name)  # jobs of other queues may come after them
        return delayed + deferred + ready

    def _cancel(self, index: str, upto: float, most: float = float("inf")) -> Operation[int]:
        total = 0
        while total < most:
            size = int(min(PURGE_SLICE, most - total))
            (moved,) = yield Exchange((commands.purge(self.name, index, size, _CANCELLED, KEEP, upto),))
            if moved == 0:
                break
            total += moved
        return total

    def _params(self, options: PutOptions, terms: Terms | None = None) -> PutParams:
        delay, due = options.delay, None
        if isinstance(delay, datetime):
            due = delay.timestamp()
            delay = options.seconds_left()
        return PutParams(
            self.maxsize,
            options.priority,
            delay,
            own_ids=options.id is not None,
            terms=terms,
            durability=read_durability(options.durability) if options.durability else self.durability,
            due=due,
        )

    # --- before the first operation, and again from time to time

    def _is_ready(self, client: Client, durability: Durability) -> bool:
        """Return True if nothing has to be checked or noted before a put."""
        if not (self._bounded and client.vetted and durability == MEMORY):
            return False
        return clock.monotonic() - _noted.get((client, self.name), -NOTE_AGAIN) < NOTE_AGAIN

    def _make_ready(
        self, client: Client, durability: Durability, deadline: Deadline | None = None
    ) -> Operation[None]:
        yield from fitness.vet(client, deadline, durability)
        yield from self._set_bound(client, deadline)
        yield from self._note(client, deadline)

    def _note(self, client: Client, deadline: Deadline | None = None) -> Operation[None]:
        """Add the queue's name to the list of queues, once a minute."""
        now = clock.monotonic()
        if now - _noted.get((client, self.name), -NOTE_AGAIN) >= NOTE_AGAIN:
            yield Exchange((commands.note_queue(self.name),), time_for(deadline))
            _noted[client, self.name] = now

    def _set_bound(self, client: Client, deadline: Deadline | None = None) -> Operation[None]:
        if not self._bounded:
            yield from self._note(client, deadline)
            yield Exchange((commands.bound(self.name, self.maxsize),), time_for(deadline))
            self._bounded = True


class LastFirst(BaseQueue):
    """The order in which the job put last is taken first."""

    def _params(self, options: PutOptions, terms: Terms | None = None) -> PutParams:
        return super()._params(options, terms)._replace(front=True)


class LowestFirst(BaseQueue):
    """The order in which the entry with the lowest key is taken first."""

    def _puts(self, items: Iterable[object]) -> Iterable[Put]:
        encode = self._items_encoder()
        for part in _parts(items):
            for key, entries in groupby(part, _key_of):
                params = self._params(PLAIN)._replace(priority=commands.key_priority(key))
                yield Put(_named(encode(entries)), None, params)


class Queue(BaseQueue, Generic[Item]):
    """A queue on the server, shared by all processes that use its name.

    `maxsize` limits the waiting, deferred and delayed jobs, for all producers; 0 leaves the limit as it is (none at
    first). `durability` is the level that jobs must reach before a put of this object returns: memory, written, fsync,
    or replicated:N for N replicas. With the `serializer` "pickle", functions and values that are not data travel as
    pickles, signed with the key in CONVEYOR_KEY or of the embedded server. `store` is a client or the URL of a server;
    by default CONVEYOR_URL, or else the embedded server.
    Nothing is sent until the first call. Objects are cheap. Thread-safe. A pickled object refers to
    the same queue on the same server, with the password of the server's URL.
    """

    @property
    def client(self) -> Client:
        """The client that runs this queue's commands."""
        return self._connect()

    def put(self, item: Item, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002 - as in the standard library
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

    def put_nowait(self, item: Item) -> None:
        """Put an item, or raise Full."""
        self.put(item, block=False)

    def put_many(self, items: Iterable[Item], block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002
        """Put items in order, several hundred per round trip. On an error, `accepted` is how many of them were put.

        The items are taken and encoded a part at a time, while the server works on the part before.
        """
        deadline = _deadline(block=block, timeout=timeout)
        puts = self._puts(items)
        client = self._connect(deadline)
        client.perform(self._put_each(inbox_of(client), puts, deadline))

    def get(self, block: bool = True, timeout: float | None = None) -> Item:  # noqa: FBT001, FBT002
        """Remove and return an item. While the queue is empty, wait for one, at most `timeout` seconds.

        The item is under a lease, renewed until `task_done`: if this process crashes, it returns to the queue. A job
        that was put with `submit` is returned as a `Call`.

        Raises:
            Empty: there was no item in time, or `block` is false.
            ShutDown: the queue is shut down and empty.
            ImportError, MemoryError, OSError: this process cannot decode the item, which returns to the queue.
        """
        deadline = _deadline(block=block, timeout=timeout)
        client = self._connect(deadline)
        item: Item = client.perform(self._get(client, this_thread.token, deadline))
        return item

    def get_nowait(self) -> Item:
        """Remove and return an item, or raise Empty."""
        return self.get(block=False)

    def task_done(self, item: object = ANY) -> None:
        """Mark an item of this object as processed: the oldest taken by this thread, or else the oldest.

        If threads hand items on, name the one: `item` is what `get` returned, the same object. Raises ValueError if
        called more often than `get` of this object returned an item, and LeaseLost if the item went to another consumer
        because this process did not renew its lease.
        """
        client = self.client
        client.perform(holder_of(client).settle(self, this_thread.token, item))

    def join(self, timeout: float | None = None) -> None:
        """Block until no job is unfinished. Raises WaitTimeout after `timeout` seconds."""
        deadline = _deadline(block=True, timeout=timeout) or Deadline(0)
        self._connect(deadline).perform(join_queue(self.name, deadline))

    def qsize(self) -> int:
        """Return the number of queued jobs, deferred and delayed ones included: what `maxsize` limits."""
        return self.count().qsize

    def empty(self) -> bool:
        """Return True if no job is queued."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Return True if the queue is full."""
        return self.count().is_full

    @property
    def unfinished_tasks(self) -> int:
        """The number of unfinished jobs, for which `join` waits. Queries the server."""
        return self.count().live

    @property
    def is_shutdown(self) -> bool:
        """True if the queue is shut down. Queries the server."""
        return bool(self.count().shutdown)

    def count(self) -> commands.Count:
        """Return the number of jobs in each state, and the ledger."""
        client = self.client
        return client.perform(self._count(client))

    def shutdown(self, immediate: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the standard library
        """Refuse further jobs: put raises ShutDown, and so does get once the queue is empty.

        With `immediate`, queued jobs are cancelled. `resume` reopens the queue.
        """
        self.client.perform(self._shut(immediate=immediate))

    def pause(self) -> None:
        """Stop handing out jobs until `resume`. Running jobs continue, and puts are accepted."""
        self.client.perform(self._pause())

    def resume(self) -> None:
        """Undo `pause` and `shutdown`."""
        self.client.perform(self._resume())

    def clear(self) -> int:
        """Cancel the queued jobs, deferred and delayed ones included, and return how many. Running jobs continue.

        Jobs put after the call stay. It cancels no more delayed jobs than there were, and none that is due later than
        the last of them. A job that becomes due meanwhile, or whose limit lets it become ready, may stay.
        """
        return self.client.perform(self._cancel_all())

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

    def limit(self, *, running: int = 0, starts: int = 0, per: float | timedelta = 60.0) -> None:
        """Set how many jobs run at a time, and start within any `per` seconds, on all consumers together.

        0 stands for no limit, so `limit()` removes it. Jobs over the limit wait, and no worker meets them. It adds to
        the limits of tasks (`Limit`). Raises BadCall for a number that is out of range.
        """
        self.client.perform(self._limit(running, starts, per))

    def age(self, every: int = 16) -> None:
        """Make one of `every` claims serve the priorities by their shares of what waits, so that none starves.

        The other claims take the highest priority; 0 restores that for all. Raises BadCall for a number out of range.
        """
        self.client.perform(self._age(every))

    def limits(self) -> commands.Limits:
        """Return the limit of the queue, and up to 50 keys of `Limit`s that jobs wait for, those with the most first.

        Of more than 250 keys, those of 250 random deferred jobs are read.
        """
        return self.client.perform(self._limits())

    def resize(self, maxsize: int) -> None:
        """Set the max size for all producers; 0 removes the limit. Blocked producers get the new room."""
        self.maxsize = _checked_maxsize(maxsize)
        self._bounded = False
        client = self.client
        client.perform(self._set_bound(client))

    @overload
    def submit(
        self, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[R]: ...
    @overload
    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    def submit(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Job[Any]:
        """Put a call of a task or an importable function and return its handle. While the queue is full, wait for room.

        Raises BadCall before anything is put if the arguments do not fit the function's type hints, and Full if there
        was no room within the seconds of the task's option `wait`: `task(function).options(wait=0)` does not wait.
        """
        return self._submit_calls(encoded_calls(self, function, [(args, kwargs)]))[0]

    @overload
    def submit_many(
        self, function: Callable[[*Ts], Coroutine[Any, Any, R]], calls: Iterable[tuple[*Ts]], /
    ) -> list[Job[R]]: ...
    @overload
    def submit_many(self, function: Callable[[*Ts], R], calls: Iterable[tuple[*Ts]], /) -> list[Job[R]]: ...
    def submit_many(
        self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], /
    ) -> list[Job[Any]]:
        """Put a call for each tuple of positional arguments, several hundred per round trip, and return the handles.

        The calls are taken and checked a part at a time, while the server works on the part before. Waits for room as
        `submit` does. On an error, be it Full, or BadCall for the thousandth call, `accepted` is how many were put, and
        `ids` are their ids.
        """
        none: dict[str, Any] = {}
        return self._submit_calls(encoded_calls(self, function, ((args, none) for args in calls)))

    @overload
    def submit_parts(
        self, function: Callable[..., Coroutine[Any, Any, R]], parts: Iterable[Mapping[str, Any]], /
    ) -> list[Job[R]]: ...
    @overload
    def submit_parts(
        self, function: Callable[..., R], parts: Iterable[Mapping[str, Any]], /
    ) -> list[Job[R]]: ...
    def submit_parts(
        self, function: Callable[..., Any], parts: Iterable[Mapping[str, Any]], /
    ) -> list[Job[Any]]:
        """Put a call for each set of keyword arguments and return the handles in order.

        Raises BadCall before anything is put. Waits for room as `submit` does. On another error, such as Full,
        `accepted` is how many were put, and `ids` are their ids.
        """
        return self._submit_calls(encoded_calls(self, function, [((), dict(part)) for part in parts]))

    @overload
    def map(
        self,
        function: Callable[[A], Coroutine[Any, Any, R]],
        first: Iterable[A],
        /,
        *,
        timeout: float | None = None,
        buffersize: int | None = None,
    ) -> Iterator[R]: ...
    @overload
    def map(
        self,
        function: Callable[[A], R],
        first: Iterable[A],
        /,
        *,
        timeout: float | None = None,
        buffersize: int | None = None,
    ) -> Iterator[R]: ...
    @overload
    def map(
        self,
        function: Callable[Concatenate[A, B, ...], Coroutine[Any, Any, R]],
        first: Iterable[A],
        second: Iterable[B],
        /,
        *rest: Iterable[Any],
        timeout: float | None = None,
        buffersize: int | None = None,
    ) -> Iterator[R]: ...
    @overload
    def map(
        self,
        function: Callable[Concatenate[A, B, ...], R],
        first: Iterable[A],
        second: Iterable[B],
        /,
        *rest: Iterable[Any],
        timeout: float | None = None,
        buffersize: int | None = None,
    ) -> Iterator[R]: ...
    def map(
        self,
        function: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Put a call for each item (or each row of several iterables) now, and return the results in that order.

        With a `buffersize`, not more than so many jobs are ahead of the results that were taken: items are taken from
        the iterables as results are, so that these may have no end. Waits for room, and raises, as `submit_many` does.
        The iterator raises WaitTimeout if a result is not there `timeout` seconds after this call.
        """
        rows = rows_of(iterables, buffersize)
        return self._results(
            function, rows, deque(self.submit_many(function, next(rows, []))), Deadline(timeout)
        )

    def _results(
        self,
        function: Callable[..., Any],
        rows: Iterator[Iterable[tuple[Any, ...]]],
        jobs: deque[Job[Any]],
        deadline: Deadline,
    ) -> Iterator[Any]:
        """Yield the results of jobs, and put further rows when half of the jobs have finished."""
        half = len(jobs) // 2
        while jobs:
            result = jobs.popleft().result(None if deadline.at is None else deadline.left(float("inf")))
            if len(jobs) <= half and (some := next(rows, None)):
                jobs.extend(self.submit_many(function, some))
            yield result

    def _submit_calls(self, calls: Calls) -> list[Job[Any]]:
        if calls.around is None:
            client = self._connect(calls.deadline)
            return client.perform(self._submit(client, calls))
        with calls.around:
            client = self._connect(calls.deadline)
            return client.perform(self._submit(client, calls))


class LifoQueue(LastFirst, Queue[Item]):
    """A queue from which the item put last, or the job submitted last, is taken first.

    The order belongs to the put, not to the queue: of objects with the same name, a `Queue` puts behind all waiting
    jobs of equal priority, a `LifoQueue` in front of them, and either takes from the front. A returned item gets its
    old position. A delayed or retried job goes to the end when it is due.
    """


class PriorityQueue(LowestFirst, Queue[Item]):
    """A queue from which the entry with the lowest key is taken first; of equal keys, the one accepted first.

    The key is a whole number from -1,000,000 to 1,000,000. An entry is such a number, or a tuple or list that begins
    with one, of which the rest is not compared: `(2, "data")`. A put of anything else raises BadCall. A returned entry
    gets its old position. Submitted jobs have no keys: they come after all entries, by their own priority. `put_many`
    takes a round trip for each change of the key.
    """


class Calls(NamedTuple):
    """Calls of one function, encoded, to put together."""

    jobs: Jobs
    further: Iterator[Jobs] | None
    """What follows, encoded when it is taken."""
    put: PutOptions
    run: RunOptions
    deadline: Deadline | None
    """Until when to wait for room; None: not at all."""
    around: Submits | None = None
    """The middleware around the submit, which has been entered for the jobs; None if there is none."""
    terms: Terms | None = None
    """When they may run; None if nothing but the order decides."""


def encoded_calls(
    queue: BaseQueue,
    function: Callable[..., object],
    calls: list[Arguments] | Iterator[Arguments],
    *,
    surrounded: bool = True,
) -> Calls:
    """Encode calls: all of a list, but only the first part of an iterator. Raises BadCall.

    Without `surrounded`, no middleware runs: they are not put.
    """
    put: PutOptions = getattr(function, "put", PLAIN)
    run: RunOptions = getattr(function, "run", call.DEFAULTS)
    # Or its key would name a job that is forgotten.
    if put.unique is not None and put.unique.holds > run.keep:
        run = structs.replace(run, keep=put.unique.holds)
    if (run.serializer or queue.serializer) == call.PICKLE:
        queue._connect()  # noqa: SLF001 - an embedded server may have the key
        run = structs.replace(run, serializer=call.PICKLE)
        function, calls = _with_function(function, calls)
    around: Submits | None = None
    encode: Callable[..., Jobs] = _encoded
    if isinstance(calls, list):
        parts, first = None, calls
    else:
        parts = _parts(calls)
        first = next(parts, [])
    if surrounded and (middleware.submits.functions or middleware.whole_submits.functions):
        is_batch = not (isinstance(calls, list) and len(calls) == 1)
        submitted = SubmittedCalls(_name(function), queue.name, dict(run.headers), is_batch=is_batch)
        around = Submits(submitted)
        around.begin()
        if middleware.submits.functions:
            encode = partial(_encoded_around, around)
    terms: Terms | None = None
    special = put.limit or put.unique or put.after or put.on_success or put.on_failure
    further: Iterator[Jobs] | None = None
    with _NO_MIDDLEWARE if around is None else around.left_on_error():
        has_terms = special or any(starmap(has_inputs, first))
        if has_terms or parts is not None:
            terms = Terms({}, *_shared_terms(put), others=set(), many=[])
            note = partial(_note_terms, terms, queue.name, put, function)
            on_terms = partial(_encoded_on_terms, encode, note)
            is_safe = around is None and run.serializer != call.PICKLE
            encode = on_terms if has_terms else partial(_encoded_until_inputs, encode, on_terms, is_safe)
        if around is not None:
            run = structs.replace(run, headers=call.header_pairs(around.calls.headers))
        jobs = encode(function, first, run, put) if first else []
        if parts is not None:
            further = (encode(function, part, run, put) for part in parts)
    if around is not None and not around.calls.is_batch:
        around.calls.job_id = jobs[0][0]
    deadline = _NEVER if put.wait is None else _deadline(block=put.wait > 0, timeout=put.wait)
    return Calls(jobs, further, put, run, deadline, around, terms)


def _key_of(entry: object) -> int:
    """Return the key of an entry of a `PriorityQueue`. Raises BadCall if it has none."""
    key = entry[0] if isinstance(entry, tuple | list) and entry else entry
    if not isinstance(key, int) or abs(key) > MAX_KEY:
        raise BadCall(
            f"the key must be a whole number between {-MAX_KEY} and {MAX_KEY}, got {key!r:.80}",
            hint="put a whole number, or a tuple that begins with one: (2, data)",
        )
    return key


def rows_of(
    iterables: Iterable[Iterable[Any]], buffersize: int | None
) -> Iterator[Iterable[tuple[Any, ...]]]:
    """Yield the rows of several iterables: all at once, or `buffersize` of them, and then half as many each time.

    Raises BadCall if the buffer size is not a whole number above 0.
    """
    rows = zip(*iterables, strict=False)
    if buffersize is None:
        return iter([rows])
    check_whole("buffersize", buffersize, call.MAX_SIZE)
    if buffersize == 0:
        raise BadCall("buffersize must be at least 1, or None", hint="use 1 to put one job after the other")
    rest = max(1, buffersize - buffersize // 2)
    return chain([list(islice(rows, buffersize))], iter(lambda: list(islice(rows, rest)), []))


def _parts(values: Iterable[T]) -> Iterator[list[T]]:
    """Yield the values in parts, of which one put carries each: what a slow source has brought goes on its way."""
    rest = iter(values)
    while True:
        part = list(islice(rest, FEW))
        until = clock.monotonic() + SOON
        while part and len(part) < MAX_JOBS and clock.monotonic() < until:
            more = list(islice(rest, FEW))
            if not more:
                break
            part += more
        if not part:
            return
        yield part


def _with_function(
    function: Callable[..., object] | PickledFunction, calls: list[Arguments] | Iterator[Arguments]
) -> tuple[Callable[..., object], list[Arguments] | Iterator[Arguments]]:
    """Return a function and calls for which a function that workers cannot find by its name travels as an argument."""
    if not isinstance(function, PickledFunction):
        try:
            _name(function)
        except BadCall:
            function = PickledFunction(function)
        else:
            return function, calls
    with_it = (((function, *args), kwargs) for args, kwargs in calls)
    return call_function, list(with_it) if isinstance(calls, list) else with_it


def _encoded(
    function: Callable[..., object],
    calls: list[Arguments],
    options: RunOptions,
    put: PutOptions,
    inputs: list[tuple[Place, ...]] | None = None,
    headers: list[Headers] | None = None,
) -> Jobs:
    """Return jobs for calls. Raises BadCall, or what the task's own check raises."""
    if put.expires is not None:
        options = structs.replace(options, expires=put.seconds_to_expiry())
    if inputs is not None:
        calls = [without_inputs(args, kwargs) for args, kwargs in calls]
    data = call.encode_calls(function, _name(function), calls, options, headers, inputs)
    check = getattr(function, "check", None)
    if check is not None and inputs is None:  # it cannot check what is not known yet
        for args, kwargs in calls:
            check(*args, **kwargs)
    return _named(data, put.id)


def _encoded_around(
    around: Submits,
    function: Callable[..., object],
    calls: list[Arguments],
    options: RunOptions,
    put: PutOptions,
    inputs: list[tuple[Place, ...]] | None = None,
) -> Jobs:
    """Return jobs for calls with the headers that middleware gives each. Raises what `_encoded` and that raise."""
    with around.entered(calls) as submitted:
        headers = [call.header_pairs(one.headers) for one in submitted]
        return _encoded(function, calls, options, put, inputs, headers)


def _shared_terms(put: PutOptions) -> tuple[SharedLimit, tuple[float, bool]]:
    """Return the limit and the kind of unique key, as `Terms` has them."""
    limit, unique = put.limit or Limit(), put.unique
    running = 1 if limit.in_order else limit.running
    shared = (running, limit.starts, limit.seconds, limit.in_order)
    return shared, (0.0, False) if unique is None else (unique.holds, unique.replace)


def _encoded_on_terms(
    encode: Callable[..., Jobs],
    note: Callable[[Arguments, tuple[Place, ...], tuple[str, bytes]], None],
    function: Callable[..., object],
    calls: list[Arguments],
    options: RunOptions,
    put: PutOptions,
) -> Jobs:
    """Return jobs for calls, and note the terms of each. Raises what `_encoded` and `_note_terms` raise."""
    bound = signature_of(function).bound
    inputs = [places_of(*bound(*one)) if has_inputs(*one) else () for one in calls]
    jobs = encode(function, calls, options, put, inputs if any(inputs) else None)
    for each in zip(calls, inputs, jobs, strict=True):
        note(*each)
    return jobs


def _encoded_until_inputs(  # noqa: PLR0913, PLR0917 - the first three are the same for all calls
    encode: Callable[..., Jobs],
    on_terms: Callable[..., Jobs],
    is_safe: bool,  # noqa: FBT001
    function: Callable[..., object],
    calls: list[Arguments],
    options: RunOptions,
    put: PutOptions,
) -> Jobs:
    """Return jobs for a part of many calls, which may be the first with results of other jobs among its arguments.

    To search each call takes time. If `is_safe`, encoding them shows it, and can be done again.
    """
    if not is_safe and any(starmap(has_inputs, calls)):
        return on_terms(function, calls, options, put)
    try:
        return encode(function, calls, options, put)
    except BadCall:
        if not any(starmap(has_inputs, calls)):
            raise
    return on_terms(function, calls, options, put)


def _compared(
    function: Callable[..., object], arguments: Arguments, inputs: tuple[Place, ...], data: bytes
) -> bytes:
    """Return bytes that are equal for calls with the same arguments, as far as possible."""
    if not inputs:
        with contextlib.suppress(BadCall):  # as for values that travel as pickles
            args, kwargs = arguments
            ordered = tuple(map(_ordered, args)), {name: _ordered(one) for name, one in kwargs.items()}
            return signature_of(function).complete(*ordered)
    made = call.decode_call(data)
    return bytes(made.args) + bytes(made.kwargs) + repr(inputs).encode()


def _ordered(value: Any) -> Any:
    """Return a set or a mapping with its items in order, since equal ones may have others; all else as it is."""
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=repr)}
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return [*map(_ordered, value)] if type(value) in {list, tuple} else value


def _note_terms(  # noqa: PLR0913, PLR0917 - the first four are the same for all calls
    terms: Terms,
    queue: str,
    put: PutOptions,
    function: Callable[..., object],
    arguments: Arguments,
    inputs: tuple[Place, ...],
    job: tuple[str, bytes],
) -> None:
    """Note the terms of a job: its keys, and the jobs that it comes after. Raises BadCall if a key has no value."""
    name, (job_id, data) = _name(function), job
    limit = put.limit.key(name, function, arguments) if put.limit else ""
    unique = ""
    if put.unique is not None:
        unique = put.unique.key(name, function, arguments, _compared(function, arguments, inputs, data))
    before = dict.fromkeys((*put.after, *(one for _, _, some in inputs for one in some)))
    if terms.others is not None:
        terms.others.update({one.partition(" ")[0] for one in before} - {queue})
    if terms.many is not None and len(before) > commands.MAX_NOTED:
        terms.many.append(len(before))
    if before and put.unique is not None and put.unique.replace:
        raise BadCall(
            "a job that comes after others cannot replace another one, which may run before them",
            hint="leave out replace=True, or `after` and the results of other jobs",
        )
    policy = policy_of(put.when, takes_inputs=bool(inputs))
    hooks = [
        _encoded_hook(hook, policy_letter, queue, job_id)
        for hook, policy_letter in ((put.on_success, "d"), (put.on_failure, "f"))
        if hook is not None
    ]
    terms.own[job_id] = commands.pack_terms(limit, unique, tuple(before), policy, hooks)


def _encoded_hook(hook: Hook, policy: str, queue: str, job_id: str) -> HookJob:
    """Return a hook, whose first argument is how a job has ended. Raises BadCall."""
    function = hook.function
    put: PutOptions = getattr(function, "put", PLAIN)
    options: RunOptions = getattr(function, "run", call.DEFAULTS)
    takes_end = next(iter(signature_of(function).hints.values()), Any) is not JobEnd
    place: Place = (0, "one" if takes_end else "end", (f"{queue} {job_id}",))
    ((own_id, data),) = _encoded(function, [((NOT_YET,), hook.arguments)], options, put, [(place,)])
    limit_key = put.limit.key(_name(function), function, ((), {})) if put.limit else ""
    limit, _ = _shared_terms(put)
    to, delay = hook.queue or queue, put.seconds_left()
    return HookJob(policy, to, own_id, data, put.priority, delay, limit_key, limit)


def _name(function: Callable[..., object]) -> str:
    """Return the name of a function for workers, found once. Raises BadCall."""
    try:
        return _known_name(function)
    except TypeError:  # it has no hash, or it is the BadCall
        return name_of(function)


@lru_cache(maxsize=4096)
def _known_name(function: Callable[..., object]) -> str:
    return call.FUNCTION if function is call_function else name_of(function)


def _named(data: list[bytes], own_id: str | None = None) -> Jobs:
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
    check_whole("maxsize", maxsize, call.MAX_SIZE)
    return maxsize


def _not_empty(queue: str, found: ForgetReply) -> NotEmpty:
    counts = {
        "waiting": found.ready,
        "deferred": found.deferred,
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


def each_result(jobs: Iterable[Job[R]], deadline: Deadline) -> Iterator[R]:
    """Yield the results of jobs in order. Raises what `Job.result` raises, and WaitTimeout after the deadline."""
    for job in jobs:
        yield job.result(None if deadline.at is None else deadline.left(float("inf")))
