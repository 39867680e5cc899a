"""A socket between a client and the server that counts round trips: requests that begin after an answer."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Turns:
    """Return the number of round trips so far."""

    def __init__(self) -> None:
        self.count = 0


@contextlib.contextmanager
def counting(socket: str) -> Iterator[tuple[str, Turns]]:
    """Stand before a server's unix socket while the block runs; gives the address to use, and the count."""
    turns, ready = Turns(), threading.Event()
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory(prefix="conveyor-turns-") as folder:
        path = str(Path(folder) / "socket")

        async def serve() -> None:
            await asyncio.start_unix_server(lambda *ends: _pass(socket, turns, *ends), path)
            ready.set()

        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(serve(), loop)
        ready.wait(5)
        try:
            yield f"unix://{path}", turns
        finally:
            asyncio.run_coroutine_threadsafe(_end_all(), loop).result(5)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(5)


async def _end_all() -> None:
    others = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
    for one in others:
        one.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _pass(
    socket: str, turns: Turns, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
) -> None:
    from_server, to_server = await asyncio.open_unix_connection(socket)
    answered = True

    async def there() -> None:
        nonlocal answered
        while data := await from_client.read(1 << 20):
            turns.count += answered
            answered = False
            to_server.write(data)
        to_server.close()

    async def back() -> None:
        nonlocal answered
        while data := await from_server.read(1 << 20):
            answered = True
            to_client.write(data)
        to_client.close()

    with contextlib.suppress(ConnectionError):
        await asyncio.gather(there(), back())
