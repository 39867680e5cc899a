"""The client for asyncio: runs the same operations as the blocking one, and never blocks its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter, defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from conveyor.clock import Deadline
from conveyor.errors import StoreError, StoreUnavailable
from conveyor.store.address import is_sentinel
from conveyor.store.client import (
    ANSWER_TIMEOUT,
    CONNECT_TIMEOUT,
    LOADS,
    Attempts,
    leads_elsewhere,
    packed,
    unloaded,
    word_of,
)
from conveyor.store.command import Command, Exchange
from conveyor.store.connection import (
    INCOMPLETE,
    BrokenError,
    Refusal,
    greeting,
    reader,
    tls_context,
    untrusted,
)
from conveyor.wire.ids import PerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence

    from conveyor.store.address import ServerAddress
    from conveyor.store.client import Client
    from conveyor.store.command import Operation

T = TypeVar("T")

#: Max seconds for the last replies when an event loop ends.
LAST_REPLIES = 1.0
#: Threads for what may block, such as asking sentinels, and is rarely needed.
MAX_THREADS = 4
#: Connections for commands that block that are kept, once they are idle.
MAX_IDLE = 8
#: Calls that begin in one turn of the event loop.
MAX_BEGUN = 32


class _Awaited(NamedTuple):
    """Replies that were not all received; a cancelled future takes them all the same, since others follow."""

    future: asyncio.Future[list[Any]]
    replies: list[Any]
    most: int


class AsyncConnection(asyncio.Protocol):
    """A connection to a server, on which the commands of many coroutines travel. All errors are OSErrors."""

    def __init__(self) -> None:
        self.loaded: set[str] = set()
        """Hashes of scripts that were loaded by this client."""
        self.error: OSError | None = None
        """Why it can no longer be used."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = reader()
        self._awaited: deque[_Awaited] = deque()
        self._unsent: list[bytes] = []

    @classmethod
    async def open(cls, address: ServerAddress) -> AsyncConnection:
        """Connect, with TLS if the address says so. Raises OSError."""
        loop = asyncio.get_running_loop()
        made: AsyncConnection
        if address.path:
            _, made = await loop.create_unix_connection(cls, address.path)
            return made
        context = None if address.tls is None else tls_context(address.tls)
        host = address.host if context else None
        try:
            _, made = await loop.create_connection(
                cls, address.host, address.port, ssl=context, server_hostname=host
            )
        except OSError as error:
            raise untrusted(error) from error
        return made

    def exchange(self, data: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Send commands, and return the future of their `count` replies. Raises OSError.

        What coroutines send in the same turn of the loop is sent together.
        """
        if self.error is not None:
            raise self.error
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._awaited.append(_Awaited(future, [], count))
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(data)
        return future

    def _flush(self) -> None:
        if self._transport is not None and self.error is None:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def close(self) -> None:
        """Close the connection; again is harmless."""
        self._fail(BrokenError("connection closed"))
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: OSError) -> None:
        self.error = self.error or error
        while self._awaited:
            future = self._awaited.popleft().future
            if not future.done():
                future.set_exception(self.error)

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what awaits replies."""
        self._fail(exc if isinstance(exc, OSError) else BrokenError("connection closed by server"))

    def data_received(self, data: bytes) -> None:
        """Hand out the replies."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not INCOMPLETE:
                awaited = self._awaited[0]
                awaited.replies.append(reply)
                if len(awaited.replies) == awaited.most:
                    self._awaited.popleft()
                    if not awaited.future.done():
                        awaited.future.set_result(awaited.replies)
        except (BrokenError, IndexError):
            self.close()


class AsyncClient:
    """Runs commands on one server for one event loop, with the limits, retries and errors of the blocking client.

    Commands that do not block share a connection. An exchange with one that blocks borrows a connection of its own,
    which is closed if its caller is cancelled.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._loop = asyncio.get_running_loop()
        self._connecting = asyncio.Lock()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: Counter[str] = Counter()
        """How many callers wait for each lock, or hold it."""
        self._shared: AsyncConnection | None = None
        self._idle: list[AsyncConnection] = []
        self._loaded: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._begun = 0
        self._turns: deque[asyncio.Future[None]] = deque()
        self._threads = ThreadPoolExecutor(MAX_THREADS, "conveyor-asyncio")
        self._end: AsyncGenerator[None, None] | None = None

    async def perform(self, operation: Operation[T]) -> T:
        """Run the exchanges of an operation, and return what it returns."""
        try:
            asked = next(operation)
        except StopIteration as end:
            value: T = end.value
            return value
        return await self._go_on(operation, asked)

    def start(self, operation: Operation[T], asked: Exchange) -> asyncio.Task[T]:
        """Perform the rest of an operation in a task. What it asked for is sent now, if there is a connection."""
        sent: asyncio.Future[list[Any]] | None = None
        if self._shared is not None and self._shared.error is None:
            sent = self._send(self._shared, asked.commands, again=False)
        return self._kept(self._go_on(operation, asked, sent))

    async def in_order(
        self, what: str, is_ready: Callable[[], bool], make_ready: Callable[[], Operation[None]]
    ) -> None:
        """Make something ready for a caller, unless it is. Callers return in the order in which they called.

        Raises StoreUnavailable, each caller within the client's limit.
        """
        if is_ready() and not self._waiting[what]:
            return
        self._waiting[what] += 1
        try:
            async with asyncio.timeout(Attempts(self.client, (), None, None).end.left(float("inf"))):
                await self._locks[what].acquire()
            try:
                if not is_ready():
                    await self.perform(make_ready())
            finally:
                self._locks[what].release()
        except TimeoutError as error:
            raise self.client.translated(TimeoutError("timed out")) from error
        finally:
            self._waiting[what] -= 1
            if not self._waiting[what]:
                del self._waiting[what], self._locks[what]

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function that may block, on a thread."""
        return await self._loop.run_in_executor(self._threads, function)

    async def turn(self) -> None:
        """Wait if many calls have begun in this turn of the event loop: other tasks must not wait for all of them."""
        if self._begun < MAX_BEGUN and not self._turns:
            if self._begun == 0:
                self._loop.call_soon(self._next_turn)
            self._begun += 1
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        self._turns.append(turn)
        await turn

    def _next_turn(self) -> None:
        self._begun = 0
        while self._turns and self._begun < MAX_BEGUN:
            turn = self._turns.popleft()
            if not turn.done():  # or its caller was cancelled
                turn.set_result(None)
                self._begun += 1
        if self._begun:
            self._loop.call_soon(self._next_turn)

    async def _go_on(
        self, operation: Operation[T], asked: Any, sent: asyncio.Future[list[Any]] | None = None
    ) -> T:
        """Perform an operation from its first exchange on, whose commands may have been sent."""
        reply: Any = None
        was_cancelled = False
        while True:
            error: BaseException | None = None
            try:
                if isinstance(asked, Exchange):
                    exchange = self._run_exchange(asked, sent)
                    # After a cancellation the operation cleans up: a further one must not prevent that.
                    reply = await (asyncio.shield(self._kept(exchange)) if was_cancelled else exchange)
                else:
                    reply = await self.run(asked)
            except GeneratorExit:  # this coroutine is closed, and cannot wait for anything more
                raise
            except BaseException as raised:  # noqa: BLE001 - the operation decides, also if it is cancelled
                error, was_cancelled = raised, isinstance(raised, asyncio.CancelledError)
            sent = None
            try:
                asked = operation.send(reply) if error is None else operation.throw(error)
            except StopIteration as end:
                value: T = end.value
                return value

    def _kept(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Return a task for a coroutine, which ends even if no one awaits it any more."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run_exchange(self, asked: Exchange, sent: asyncio.Future[list[Any]] | None) -> list[Any]:
        commands, within, patience, meanwhile = asked
        attempts = Attempts(self.client, commands, patience, within)
        while True:
            try:
                replies = await self._once(
                    commands, sent, again=attempts.failed > 0, end=attempts.end, meanwhile=meanwhile
                )
                return [command.read(reply) for command, reply in zip(commands, replies, strict=True)]
            except StoreUnavailable:
                sent = None
                pause = attempts.pause()
                if pause is None:
                    raise
                if self.client.revive is not None:
                    await self.run(partial(self.client.revive_server, attempts.left))
                await asyncio.sleep(pause)

    async def _once(
        self,
        commands: Sequence[Command],
        sent: asyncio.Future[list[Any]] | None,
        *,
        again: bool,
        end: Deadline,
        meanwhile: Iterator[object],
    ) -> list[Any]:
        block = max([one.block for one in commands])
        limit = end.left(ANSWER_TIMEOUT + block)
        connection: AsyncConnection | None = None
        is_complete = False
        try:
            async with asyncio.timeout(limit):
                connection = await (self._borrow() if block else self._share())
                replies = sent or self._send(connection, commands, again=again)
                next(meanwhile, None)
                received = await self._complete(connection, commands, await replies, again=again)
            is_complete = True
        except StoreError:  # of a new connection
            raise
        except OSError as error:  # a TimeoutError, too
            is_ours = isinstance(error, TimeoutError)
            if not is_ours or limit >= ANSWER_TIMEOUT:
                self._close_idle()  # they broke with it, and each would cost a retry
                if not block and self._shared is not None:
                    self._shared.close()
            raise self.client.translated(TimeoutError("timed out") if is_ours else error) from error
        finally:
            if connection is not None and block and not is_complete:
                connection.close()
        refusals = [reply for reply in received if isinstance(reply, Refusal)]
        if refusals and leads_elsewhere(refusals):
            self.close()
            connection.close()
        elif block and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        elif block:
            connection.close()
        return self.client.judged(commands, received) if refusals else received

    def _send(
        self, connection: AsyncConnection, commands: Sequence[Command], *, again: bool
    ) -> asyncio.Future[list[Any]]:
        # A script that turned out to be unknown would be sent again behind the commands of other coroutines.
        ahead = unloaded(connection.loaded, commands)
        data = [packed(one, again=again) for one in (*ahead, *commands)]
        return connection.exchange(b"".join(data), len(data))

    async def _complete(
        self, connection: AsyncConnection, commands: Sequence[Command], received: list[Any], *, again: bool
    ) -> list[Any]:
        """Return the replies to the commands; load unknown scripts and send them again."""
        replies, was_loaded = received[len(received) - len(commands) :], False
        for place, command in enumerate(commands):
            if command.script is not None and word_of(replies[place]) == "NOSCRIPT":
                connection.loaded.clear()
                load = packed(Command(("SCRIPT", "LOAD", command.script.text)), again=False)
                for _ in range(LOADS):  # others may flush it at the same time
                    loaded, reply = await connection.exchange(load + packed(command, again=again), 2)
                    if isinstance(loaded, Refusal) or word_of(reply) != "NOSCRIPT":
                        break
                replies[place], was_loaded = loaded if isinstance(loaded, Refusal) else reply, True
            elif command.confirms and was_loaded:  # it ran before the script, so it waited for nothing
                (replies[place],) = await connection.exchange(packed(command, again=again), 1)
        return replies

    # --- connections

    async def _share(self) -> AsyncConnection:
        if self._shared is None or self._shared.error is not None:
            async with self._connecting:
                if self._shared is None or self._shared.error is not None:
                    self._shared = await self._connect()
        return self._shared

    async def _borrow(self) -> AsyncConnection:
        while self._idle:
            connection = self._idle.pop()
            if connection.error is None:
                return connection
        return await self._connect()

    async def _connect(self) -> AsyncConnection:
        """Make a connection. Raises StoreUnavailable, or StoreRefused for wrong credentials."""
        if self._end is None:
            self._end = self._close_at_the_end()
            await anext(self._end)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                find = partial(self.client.find, Deadline(CONNECT_TIMEOUT))
                address = await self.run(find) if is_sentinel(self.client.url) else find()
                connection = await AsyncConnection.open(address)
                try:
                    if sent := greeting(address, self.client.name):
                        replies = await connection.exchange(b"".join(sent), len(sent))
                        if refusals := [reply for reply in replies if isinstance(reply, Refusal)]:
                            raise refusals[0]
                except BaseException:
                    connection.close()
                    raise
        except (Refusal, OSError) as error:
            raise self.client.translated(error) from error
        self._loaded.clear()  # it may be another server, or one without them
        connection.loaded = self._loaded
        return connection

    async def _close_at_the_end(self) -> AsyncGenerator[None, None]:
        """Close the connections when the event loop ends, which closes its asynchronous generators.

        What was sent last, and no one awaits, is answered first: a server may not read what a closed connection left.
        """
        try:
            yield
        finally:
            if self._shared is not None:
                with contextlib.suppress(OSError):
                    async with asyncio.timeout(LAST_REPLIES):
                        await self._shared.exchange(packed(Command(("PING",)), again=False), 1)
            self.close()
            self._threads.shutdown(wait=False)

    def close(self) -> None:
        """Close the connections: what is under way on the shared one is sent again on another."""
        if self._shared is not None:
            self._shared.close()
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop. Raises RuntimeError outside asyncio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "no event loop of asyncio runs here; in trio, run the blocking methods in a thread"
        ) from None


def async_client_of(client: Client) -> AsyncClient:
    """Return the client of the running event loop for the server of a blocking client."""
    loop = running_loop()
    found = _clients.get((loop, client))
    if found is None:
        found = AsyncClient(client)
        with _lock:  # other threads have loops, too
            for one in [one for one in _clients if one[0].is_closed()]:
                del _clients[one]
            _clients[loop, client] = found
    return found


_clients: dict[tuple[asyncio.AbstractEventLoop, Client], AsyncClient] = {}
_lock = threading.Lock()
_connecting = PerProcess(partial(ThreadPoolExecutor, 1, "conveyor-connecting"))


async def connect_soon(connect: Callable[[], Client]) -> Client:
    """Return a client that has to be waited for, such as that of the embedded server, which may have to start."""
    return await running_loop().run_in_executor(_connecting(), connect)
