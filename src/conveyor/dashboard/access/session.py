"""Sessions: a signed cookie that says who logged in, when, and by what record."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds.
LIFETIME = 12 * 3600.0
_MOST_ENDED = 10_000
_CLOCKS_DIFFER = 60.0  # seconds, between machines that share a secret
_LONGEST = 2048  # characters; a cookie over this was not made here


class Session(NamedTuple):
    """Who logged in. `stamp` is the user record's: a changed password or role ends the session."""

    who: str
    stamp: str
    issued: float
    nonce: str


class Sessions:
    """Makes and reads the texts that stand for sessions.

    The secret must have 32 bytes or more; who knows it can be anybody. `now` gives seconds since the epoch.
    """

    def __init__(self, secret: bytes, now: Callable[[], float] = time.time) -> None:
        self._key = hmac.digest(secret, b"conveyor dashboard session 1", hashlib.sha256)
        self._now = now
        self._ended: dict[str, float] = {}

    def begin(self, who: str, stamp: str) -> str:
        """Give the text of a new session, unlike any before it."""
        content = json.dumps(Session(who, stamp, self._now(), secrets.token_urlsafe(16)))
        body = base64.urlsafe_b64encode(content.encode()).decode()
        return f"{body}.{self._signature(body)}"

    def read(self, text: str | None) -> Session | None:
        """Give the session that a text stands for; None if it was tampered with, is over, or was ended."""
        body, _, signature = (text or "")[:_LONGEST].partition(".")
        if not hmac.compare_digest(self._signature(body).encode(), signature.encode()):
            return None
        try:
            session = Session(*json.loads(base64.urlsafe_b64decode(body)))
        except (binascii.Error, ValueError, TypeError):
            return None
        age = self._now() - session.issued
        if not -_CLOCKS_DIFFER <= age < LIFETIME or session.nonce in self._ended:
            return None
        return session

    def end(self, text: str | None) -> None:
        """Make a session worthless before its time, in this process; no matter if it already is."""
        if session := self.read(text):
            self._ended[session.nonce] = session.issued
            while len(self._ended) > _MOST_ENDED:
                del self._ended[next(iter(self._ended))]

    def _signature(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()


def cookie_name(server: tuple[str, int | None] | None, root: str = "") -> str:
    """Give the cookie's name.

    Browsers share cookies between the ports of a host, so the port is in it; and they send those of a path below it,
    too, so the page's root is in it.
    """
    port = server[1] if server else None
    mark = hashlib.blake2b(root.encode(errors="surrogatepass"), digest_size=4).hexdigest() if root else ""
    return "_".join(["conveyor_session", *([str(port)] if port else []), *([mark] if mark else [])])


def cookie_header(name: str, text: str, path: str, *, secure: bool) -> str:
    """Give the value of Set-Cookie for a session, or with an empty text, for its end."""
    age = int(LIFETIME) if text else 0
    fields = [f"{name}={text}", f"Path={path}", f"Max-Age={age}", "HttpOnly", "SameSite=Strict"]
    return "; ".join([*fields, "Secure"] if secure else fields)
