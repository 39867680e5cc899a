"""What a request says, read the strict way: a header that is there twice says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Seconds within which a body has to be there.
BODY_TIMEOUT = 30.0


class BodyTooLarge(Exception):
    """A body has more bytes than allowed."""


class BodyMissing(Exception):
    """The body did not come to its end."""


def headers(scope: Scope, name: str) -> list[str]:
    """Give all values of a header, as they stand; `name` in lower case."""
    wanted = name.encode("latin-1")
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted]


def header(scope: Scope, name: str) -> str | None:
    """Give the value of a header that is there once; None if it is missing, or there more than once."""
    found = headers(scope, name)
    return found[0].strip() if len(found) == 1 else None


def media_type(scope: Scope) -> str | None:
    """Give the body's media type in lower case and without parameters."""
    found = header(scope, "content-type")
    return found.partition(";")[0].strip().lower() if found else None


def cookie(scope: Scope, name: str) -> str | None:
    """Give the value of a cookie that is there once; two of a name mean that another site set one."""
    pairs = [pair.partition("=") for line in headers(scope, "cookie") for pair in line.split(";")]
    found = [value.strip() for key, _, value in pairs if key.strip() == name]
    return found[0] if len(found) == 1 else None


def root(scope: Scope) -> str:
    """Give the path under which the page lives, without a slash at its end; empty if it is the whole site."""
    return str(scope.get("root_path", "")).rstrip("/")


def base(scope: Scope) -> str:
    """Give the root as links begin with it. A root that a visitor made up never leads to another site."""
    found = quote(root(scope), safe="/~:@+=")
    return f"/{found.lstrip('/')}" if found else ""


def path(scope: Scope) -> str:
    """Give the path below the root."""
    whole, base = str(scope["path"]), root(scope)
    if base and (whole == base or whole.startswith(f"{base}/")):
        return whole[len(base) :] or "/"
    return whole


def has_streams(scope: Scope) -> bool:
    """Tell whether an answer may last: below WSGI each would hold a thread of the host."""
    return "wsgi_environ" not in scope  # which a2wsgi leaves


def is_api(scope: Scope) -> bool:
    """Tell whether a program asks rather than a person's browser for a page."""
    return path(scope) == "/api" or path(scope).startswith("/api/")


def is_metrics(scope: Scope) -> bool:
    """Return True if the metrics are asked for: by a scraper, which reads plain text and follows no login."""
    return path(scope) == "/metrics"


def has_body(scope: Scope) -> bool:
    """Tell whether a request announces a body."""
    return bool(headers(scope, "transfer-encoding")) or any(
        length.strip() != "0" for length in headers(scope, "content-length")
    )


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Read the whole body; BodyTooLarge as soon as it is known to be over `limit` bytes, BodyMissing if it stops."""
    announced = header(scope, "content-length")
    if announced and announced.isdecimal() and int(announced[:20]) > limit:
        raise BodyTooLarge
    pieces, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise BodyMissing
                piece = message.get("body", b"")
                size += len(piece)
                if size > limit:
                    raise BodyTooLarge
                pieces.append(piece)
                if not message.get("more_body", False):
                    return b"".join(pieces)
    except TimeoutError:
        raise BodyMissing from None


def replayed(body: bytes, receive: Receive) -> Receive:
    """Give a `receive` that hands over a body that was read before, then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
