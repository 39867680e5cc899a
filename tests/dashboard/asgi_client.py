"""Calls an application of the page within this process, with any identity."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Sequence

ORIGIN = "http://localhost:9181"
PASSWORD = "correct horse"
#: The headers of the page's own scripts.
OWN = {"sec-fetch-site": "same-origin", "content-type": "application/json"}
#: The headers of the page's own login form.
FORM = {"sec-fetch-site": "same-origin", "content-type": "application/x-www-form-urlencoded"}


def ask(app: Any, method: str, address: str, **options: Any) -> httpx.Response:
    """Send a request, as `ask_all`."""
    return ask_all(app, [(method, address, options)])[0]


def ask_all(app: Any, requests: Sequence[tuple[str, str, dict[str, Any]]]) -> list[httpx.Response]:
    """Send requests at the same time and return their responses.

    Options are those of httpx, and `peer`, the address they come from, `root`, a root path, `base`, an origin, and
    `faults`, whether what the application raises is raised here.
    """

    async def one(method: str, address: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(
            app,
            client=(options.pop("peer", "127.0.0.1"), 50000),
            root_path=options.pop("root", ""),
            raise_app_exceptions=options.pop("faults", True),
        )
        base, cookies = options.pop("base", ORIGIN), options.pop("cookies", None)
        async with httpx.AsyncClient(transport=transport, base_url=base, cookies=cookies) as client:
            return await client.request(method, address, **options)

    async def gathered() -> list[httpx.Response]:
        return await asyncio.gather(*(one(*request) for request in requests))

    return asyncio.run(gathered())
