"""The items that a task yields, on their way to the server, and how its generator is run.

A thread of its own sends them, so the task does not wait for a reply: the first item travels at once, and what the task
yields until the reply follows together.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any

from conveyor import clock
from conveyor.consumer.sending import RunLostError, of_run
from conveyor.store import commands
from conveyor.wire import codec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import GeneratorType

    from conveyor.store import Client

#: Bytes of items in one append, unless a single one has more: they must pass a slow connection before the reply is due.
MAX_SENT = 1 << 17
#: Bytes of items that wait to be sent, beyond which the task waits.
MAX_WAITING = 1 << 20
#: What an item takes beyond its own bytes while it waits, roughly.
ITEM_BYTES = 100
#: Seconds between two polls of a full stream by a coroutine.
FULL_PAUSE = 0.005
#: Max seconds for which an asynchronous generator that awaits nothing keeps its event loop, unless one item takes more.
TURN = 0.01
#: Max seconds of one wait, in case a signal is delivered to another thread.
_LONGEST = 1.0


class ItemStream:
    """The items of one run of one job, in order. Only the thread that runs the task adds some."""

    def __init__(self, client: Client, queue_name: str, job_id: str, token: str) -> None:
        self._client, self._queue, self._job_id, self._token = client, queue_name, job_id, token
        self._items: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # None: there are no more
        self._added = self._sent = 0  # bytes
        self._has_room = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="conveyor-stream", daemon=True)
        self._thread.start()

    def add(self, data: bytes) -> None:
        """Add an encoded item. Raises why the server no longer accepts any."""
        if self._error is not None:
            raise self._error
        self._items.put(data)
        self._added += len(data) + ITEM_BYTES

    @property
    def has_failed(self) -> bool:
        """True if the server accepts no more items of this run."""
        return self._error is not None

    @property
    def is_full(self) -> bool:
        """True if so much waits to be sent that the task should wait. In a forked child nothing is sent."""
        return self._added - self._sent > MAX_WAITING and self._thread.is_alive()

    def wait_for_room(self) -> None:
        """Wait until the stream is no longer full, at most a second."""
        self._has_room.clear()
        if self.is_full:
            self._has_room.wait(_LONGEST)

    def close(self) -> None:
        """Wait until the server has all items. Raises why it accepts no more."""
        self._items.put(None)
        while self._thread.is_alive():
            self._thread.join(_LONGEST)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._send_all()
        except Exception as error:  # noqa: BLE001 - the task learns of it with its next item
            self._error = error
        self._has_room.set()

    def _send_all(self) -> None:
        position, length, is_open = 0, -1, True
        while is_open:
            batch: list[bytes] = []
            size = 0
            item = self._items.get()
            while item is not None:
                size += len(item) + ITEM_BYTES
                if position + len(batch) < length:  # an earlier run has sent it
                    position += 1
                else:
                    batch.append(item)
                if size >= MAX_SENT:
                    break
                try:
                    item = self._items.get_nowait()
                except queue.Empty:
                    break
            is_open = item is not None
            # A run that yields nothing has a stream as well, so that its readers learn of its end.
            while batch or length < 0:
                length = self._append(position, batch)
                if length < position:
                    raise RunLostError(f"the server has lost items of job {self._job_id}")
                known = min(length - position, len(batch))
                position += known
                del batch[:known]
            self._sent += size
            self._has_room.set()

    def _append(self, first: int, items: list[bytes]) -> int:
        """Return the length of the stream, however long the server is unavailable."""
        length: int = self._client.perform(
            of_run(commands.append(self._queue, self._token, self._job_id, first, items))
        )
        return length


def encode_item(item: object, number: int, encode: Callable[[object], bytes]) -> bytes:
    """Return the bytes of an item. Raises BadCall if it cannot be serialized, and TooLarge."""
    hint = "yield smaller items, or write to a file and yield its path"
    return codec.encode_within(f"item {number}", item, encode, hint)


def run_generator(
    generator: GeneratorType[Any, Any, Any], items: ItemStream, encode: Callable[[object], bytes]
) -> Any:
    """Run a generator, send its items, and return what it returns.

    What goes wrong with an item, and what is raised in this thread meanwhile, is raised at its `yield`.
    """
    number = 0
    raised: BaseException | None = None
    to_raise: BaseException | None = None
    with contextlib.closing(generator):
        while True:
            try:
                raised, to_raise = to_raise, None
                item = next(generator) if raised is None else generator.throw(raised)
                if raised is not None and items.has_failed:
                    raise raised  # it yields all the same
                items.add(encode_item(item, number, encode))
                number += 1
                while items.is_full:
                    items.wait_for_room()
            except BaseException as error:
                if generator.gi_frame is None and isinstance(error, StopIteration):
                    return error.value
                if generator.gi_frame is None or (raised is not None and items.has_failed):
                    raise
                to_raise = error


async def run_async_generator(
    generator: AsyncGenerator[Any, Any], items: ItemStream, encode: Callable[[object], bytes]
) -> None:
    """Run an asynchronous generator as `run_generator` does. While the stream is full, its event loop goes on.

    The loop also gets its turn if the generator awaits nothing: otherwise a cancellation could not reach it.
    """
    number, turn = 0, clock.monotonic() + TURN
    async with contextlib.aclosing(generator):
        try:
            item = await anext(generator)
            while True:
                try:
                    items.add(encode_item(item, number, encode))
                    while items.is_full:  # noqa: ASYNC110 - an event of the loop could not be set by the thread that sends
                        await asyncio.sleep(FULL_PAUSE)
                    if clock.monotonic() >= turn:
                        await asyncio.sleep(0)
                        turn = clock.monotonic() + TURN
                except BaseException as error:
                    item = await generator.athrow(error)
                    if items.has_failed:
                        raise  # it yields all the same
                else:
                    number += 1
                    item = await anext(generator)
        except StopAsyncIteration:
            return
