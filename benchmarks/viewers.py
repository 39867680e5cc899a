"""People who look at the page: each with a stream open, fetching what has changed; who looks at a job follows its log.

In a process of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.parse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def watching(address: str, pages: Sequence[str], viewers: int) -> Iterator[None]:
    """Run N viewers that request the pages, one after the other, while the block runs."""
    command = [sys.executable, "-m", "benchmarks.viewers", address, str(viewers), *pages]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def _look(host: str, port: int, page: str) -> None:
    version = line_id = ""
    while True:
        reader, writer = await asyncio.open_connection(host, port)
        quoted = urllib.parse.quote(page, safe="")
        writer.write(f"GET /api/v1/events?watch={quoted} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while line := await reader.readline():
            if not line.startswith(b'data: {"address"'):
                continue
            news = json.loads(line[6:])
            if news["version"] != version:
                version = news["version"]
                await _fetch(host, port, page)
                line_id = await _follow(host, port, page, line_id) if "/jobs/" in page else ""
        writer.close()


async def _follow(host: str, port: int, page: str, after: str) -> str:
    """Fetch the lines of a job's log after one, and give the id of the last."""
    _, _, queue, _, job = page.split("/")
    answer = await _fetch(host, port, f"/api/v1/jobs/{job}/log?queue={queue}&after={after}")
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["next"])


async def _fetch(host: str, port: int, page: str) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    head = f"GET {page} HTTP/1.1\r\nHost: localhost\r\nConveyor-Part: main\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    answer = await reader.read()
    writer.close()
    return answer


async def _all(address: str, viewers: int, pages: Sequence[str]) -> None:
    place = urllib.parse.urlsplit(address)
    assert place.port
    looks = [_look("127.0.0.1", place.port, pages[number % len(pages)]) for number in range(viewers)]
    await asyncio.gather(*looks)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_all(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
