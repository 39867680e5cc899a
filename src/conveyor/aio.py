"""The queue for asyncio: it behaves as `asyncio.Queue` does, between tasks, processes and machines.

No call blocks the event loop. What `asyncio.Queue` returns immediately, such as `qsize`, takes a query to the
server here, and has to be awaited.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeVar,
    TypeVarTuple,
    cast,
    overload,
)

from conveyor import task_loading
from conveyor.clock import Deadline
from conveyor.errors import ConveyorError, Empty, Full, ShutDown
from conveyor.held_items import ANY, holder_of
from conveyor.inbox import inbox_of
from conveyor.queue import BaseQueue, LastFirst, LowestFirst, encoded_calls, rows_of
from conveyor.store import Client, connected
from conveyor.store.async_client import async_client_of, connect_soon
from conveyor.store.waiting import join_queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
    from datetime import timedelta

    from conveyor.job import Job
    from conveyor.store.async_client import AsyncClient
    from conveyor.store.command import Exchange, Operation
    from conveyor.store.commands import Count, Limits
    from conveyor.wire.durability import Durability
    from conveyor.wire.terms import Arguments

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_NEVER = Deadline(None)


class QueueEmpty(Empty, asyncio.QueueEmpty):
    """The queue is empty."""


class QueueFull(Full, asyncio.QueueFull):
    """The queue is full."""


_StdlibShutDown: type[Exception] = getattr(asyncio, "QueueShutDown", Exception)  # from Python 3.13 on


class QueueShutDown(ShutDown, _StdlibShutDown):  # type: ignore[valid-type, misc]
    """The queue is shut down: it accepts no jobs, and has none left for this caller."""


#: What code for `asyncio.Queue` catches.
_IN_ASYNCIO: dict[type[ConveyorError], type[ConveyorError]] = {
    Empty: QueueEmpty,
    Full: QueueFull,
    ShutDown: QueueShutDown,
}


class Queue(BaseQueue, Generic[T]):
    """A queue on the server, shared by all programs that use its name. Its objects serve any number of event loops.

    `maxsize` limits the waiting, deferred and delayed jobs, for all producers; 0 leaves the limit as it is (none at
    first). `durability` is the level that jobs must reach before a put of this object returns: memory, written, fsync,
    or replicated:N for N replicas. `store` is a client or the URL of a server; by default CONVEYOR_URL, or else the
    embedded server. Nothing is sent until the first call. Objects are cheap.
    """

    async def put(self, item: T) -> None:
        """Put an item. While the queue is full, wait for room; blocked producers are served first come, first served.

        Raises ShutDown if the queue is shut down, and BadCall if the item cannot be serialized. A put that is cancelled
        while it waits puts nothing.
        """
        await self.put_many([item])

    async def put_nowait(self, item: T) -> None:
        """Put an item, or raise Full."""
        await self._put_items([item], None)

    async def put_many(self, items: Iterable[T]) -> None:
        """Put items in order, several hundred per round trip. On an error, `accepted` is how many of them were put."""
        await self._put_items(items, _NEVER)

    async def _put_items(self, items: Iterable[T], deadline: Deadline | None) -> None:
        client = await self._async_client()
        puts = self._puts(items)
        await self._ready(client, self.durability)
        await self._perform(client, self._put_each(inbox_of(client.client), puts, deadline))

    async def get(self) -> T:
        """Remove and return an item. While the queue is empty, wait for one.

        The item is under a lease, renewed until `task_done`: if this process crashes, it returns to the queue. So does
        the item of a call that was cancelled. Raises ShutDown if the queue is shut down and empty.
        """
        return await self._get_item(_NEVER)

    async def get_nowait(self) -> T:
        """Remove and return an item, or raise Empty."""
        return await self._get_item(None)

    async def _get_item(self, deadline: Deadline | None) -> T:
        client = await self._async_client()
        operation = self._get(client.client, _current_task(), deadline)
        return cast("T", await self._perform(client, operation))

    def task_done(self, item: object = ANY) -> asyncio.Task[None]:
        """Mark an item of this object as processed: the oldest taken by this task, or else the oldest.

        Where another task awaited `get`, as in `asyncio.wait_for(queue.get(), 5)` before Python 3.12, name the item:
        what `get` returned, the same object. Returns immediately, and the item is settled in any case; await what it
        returns to be sure. That raises LeaseLost if the item went to another consumer. Raises ValueError if called more
        often than `get` of this object returned an item.
        """
        client = self._known_client()
        if client is None:
            raise ValueError("task_done() called too many times")
        operation = holder_of(client).settle_surely(self, _current_task(), item)
        asked = cast("Exchange", next(operation))
        return async_client_of(client).start(operation, asked)

    async def join(self) -> None:
        """Wait until no job is waiting, deferred, delayed or in progress."""
        await self._perform(await self._async_client(), join_queue(self.name, _NEVER))

    async def qsize(self) -> int:
        """Return the number of queued jobs, deferred and delayed ones included: what `maxsize` limits."""
        return (await self.count()).qsize

    async def empty(self) -> bool:
        """Return True if no job is queued."""
        return await self.qsize() == 0

    async def full(self) -> bool:
        """Return True if the queue is full."""
        return (await self.count()).is_full

    async def count(self) -> Count:
        """Return the number of jobs in each state, and the ledger."""
        client = await self._async_client()
        return await self._perform(client, self._count(client.client))

    async def shutdown(self, immediate: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the standard library
        """Refuse further jobs: put raises ShutDown, and so does get once the queue is empty.

        With `immediate`, queued jobs are cancelled. `resume` reopens the queue.
        """
        await self._perform(await self._async_client(), self._shut(immediate=immediate))

    async def pause(self) -> None:
        """Stop handing out jobs until `resume`. Running jobs continue, and puts are accepted."""
        await self._perform(await self._async_client(), self._pause())

    async def resume(self) -> None:
        """Undo `pause` and `shutdown`."""
        await self._perform(await self._async_client(), self._resume())

    async def age(self, every: int = 16) -> None:
        """Make one of `every` claims serve the priorities by their shares of what waits; 0 for none.

        Raises BadCall for a number that is out of range.
        """
        await self._perform(await self._async_client(), self._age(every))

    async def limit(self, *, running: int = 0, starts: int = 0, per: float | timedelta = 60.0) -> None:
        """Set how many jobs run at a time, and start within any `per` seconds, on all consumers together.

        0 stands for no limit, so `limit()` removes it. It adds to the limits of tasks (`Limit`). Raises BadCall for a
        number that is out of range.
        """
        await self._perform(await self._async_client(), self._limit(running, starts, per))

    async def limits(self) -> Limits:
        """Return the limit of the queue, and up to 50 keys of `Limit`s that jobs wait for, those with the most first.

        Of more than 250 keys, those of 250 random deferred jobs are read.
        """
        return await self._perform(await self._async_client(), self._limits())

    async def clear(self) -> int:
        """Cancel the queued jobs, deferred and delayed ones included, and return how many. Running jobs continue."""
        return await self._perform(await self._async_client(), self._cancel_all())

    @overload
    async def submit(
        self, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[R]: ...
    @overload
    async def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    async def submit(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Job[Any]:
        """Put a call of a task or an importable function and return its handle. While the queue is full, wait for room.

        The handle can be awaited. Raises BadCall before anything is put if the arguments do not fit the type hints, and
        Full if there was no room within the seconds of the task's option `wait`.
        """
        return (await self._submit_calls(function, [(args, kwargs)]))[0]

    @overload
    async def submit_many(
        self, function: Callable[[*Ts], Coroutine[Any, Any, R]], calls: Iterable[tuple[*Ts]], /
    ) -> list[Job[R]]: ...
    @overload
    async def submit_many(
        self, function: Callable[[*Ts], R], calls: Iterable[tuple[*Ts]], /
    ) -> list[Job[R]]: ...
    async def submit_many(
        self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], /
    ) -> list[Job[Any]]:
        """Put a call for each tuple of positional arguments, several hundred per round trip, and return the handles.

        Waits for room as `submit` does. On an error, `accepted` is how many were put, and `ids` are their ids.
        """
        none: dict[str, Any] = {}
        return await self._submit_calls(function, ((args, none) for args in calls))

    @overload
    def map(
        self,
        function: Callable[[A], Coroutine[Any, Any, R]],
        first: Iterable[A],
        /,
        *,
        buffersize: int | None = None,
    ) -> AsyncIterator[R]: ...
    @overload
    def map(
        self,
        function: Callable[[A], R],
        first: Iterable[A],
        /,
        *,
        buffersize: int | None = None,
    ) -> AsyncIterator[R]: ...
    @overload
    def map(
        self,
        function: Callable[Concatenate[A, B, ...], Coroutine[Any, Any, R]],
        first: Iterable[A],
        second: Iterable[B],
        /,
        *rest: Iterable[Any],
        buffersize: int | None = None,
    ) -> AsyncIterator[R]: ...
    @overload
    def map(
        self,
        function: Callable[Concatenate[A, B, ...], R],
        first: Iterable[A],
        second: Iterable[B],
        /,
        *rest: Iterable[Any],
        buffersize: int | None = None,
    ) -> AsyncIterator[R]: ...
    async def map(
        self, function: Callable[..., Any], /, *iterables: Iterable[Any], buffersize: int | None = None
    ) -> AsyncIterator[Any]:
        """Put a call for each item (or each row of several iterables), and yield the results in that order.

        Nothing is put before the first result is asked for. With a `buffersize`, not more than so many jobs are ahead
        of the results that were taken.
        """
        rows = rows_of(iterables, buffersize)
        jobs = deque(await self.submit_many(function, next(rows, [])))
        half = len(jobs) // 2
        while jobs:
            result = await jobs.popleft()
            if len(jobs) <= half and (some := next(rows, None)):
                jobs.extend(await self.submit_many(function, some))
            yield result

    async def _submit_calls(
        self, function: Callable[..., R], calls: list[Arguments] | Iterator[Arguments]
    ) -> list[Job[R]]:
        client = await self._async_client()
        encoded = encoded_calls(self, function, calls)
        with encoded.around or contextlib.nullcontext():
            await self._ready(client, self._params(encoded.put).durability)
            return await self._perform(client, self._submit(client.client, encoded))

    async def _async_client(self) -> AsyncClient:
        """Connect, and wait for a turn: other tasks must not wait for all calls that begin at the same time."""
        client = self._known_client()
        if client is None:
            client = await connect_soon(self._connect)
        found = async_client_of(client)
        await found.turn()
        return found

    async def _ready(self, client: AsyncClient, durability: Durability) -> None:
        """Check the server and note the queue, if that is due; puts keep their order meanwhile."""
        await client.in_order(
            self.name,
            lambda: self._is_ready(client.client, durability),
            lambda: self._make_ready(client.client, durability),
        )

    async def _perform(self, client: AsyncClient, operation: Operation[R]) -> R:
        try:
            return await client.perform(operation)
        except (Empty, Full, ShutDown) as error:
            if type(error) not in _IN_ASYNCIO:  # of an iterable that uses another queue
                raise
            same = _IN_ASYNCIO[type(error)](error.message, hint=error.hint)
            same.accepted, same.ids = error.accepted, error.ids
            raise same from None

    def _known_client(self) -> Client | None:
        """Return the client, or None if that would have to wait, such as for the start of the embedded server."""
        if isinstance(self._given, Client):
            return self._given
        task_loading.stop_script()
        client = connected(self._given)
        if self._given is not None and client is not None:
            self._given = client
        return client


class LifoQueue(LastFirst, Queue[T]):
    """A queue from which the item put last is taken first, as `conveyor.LifoQueue` is."""


class PriorityQueue(LowestFirst, Queue[T]):
    """A queue from which the entry with the lowest key is taken first, as `conveyor.PriorityQueue` is."""


@functools.lru_cache(maxsize=1024)
def queue_named(name: str) -> Queue[Any]:
    """Return the queue of a name on the usual server, made once."""
    return Queue(name)


def _current_task() -> asyncio.Task[Any] | None:
    """Return the running task, or None if there is none."""
    with contextlib.suppress(RuntimeError):
        return asyncio.current_task()
    return None
