"""Answers, with the headers that every one of them has."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from conveyor.dashboard.access.asgi import path

if TYPE_CHECKING:
    from conveyor.dashboard.access.asgi import Message, Scope, Send

STATIC = "/static/"
PROBES = frozenset({"/healthz", "/readyz"})
_CONTENT = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
_FEATURES = ("camera", "display-capture", "geolocation", "microphone", "payment", "usb", "serial", "midi")

SECURITY_HEADERS = {
    "content-security-policy": _CONTENT,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": ", ".join(f"{feature}=()" for feature in _FEATURES),
}


def is_static(scope: Scope) -> bool:
    """Tell whether a request is for a file that is the same for everybody and holds no secret."""
    return path(scope).startswith(STATIC) and scope["method"] in {"GET", "HEAD"}


def is_probe(scope: Scope) -> bool:
    """Tell whether a request asks how the page is: answered for anybody under any name, in words without a secret."""
    return path(scope) in PROBES and scope["method"] in {"GET", "HEAD"}


class Reply:
    """Sends an answer piece by piece as it comes, with our headers in place of any others of those names.

    A server error is held back until `flush`: where an exception brought it about, there is a better answer.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._ours = dict(SECURITY_HEADERS)
        if not is_static(scope):
            self._ours["cache-control"] = "no-store"
        self._held: list[Message] = []
        self.started = False

    async def __call__(self, message: Message) -> None:
        """Send one message of the answer."""
        is_fault = not self.started and message.get("status") == HTTPStatus.INTERNAL_SERVER_ERROR
        if self._held or is_fault:
            self._held.append(message)
        else:
            await self._pass(message)

    async def flush(self) -> None:
        """Send what was held back, since it was the answer after all."""
        held, self._held = self._held, []
        for message in held:
            await self._pass(message)

    def drop(self) -> None:
        """Forget what was held back, since there is a better answer."""
        self._held = []

    async def _pass(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            message = {**message, "headers": self._with_ours(message.get("headers", ()))}
        await self._send(message)

    def _with_ours(self, headers: object) -> list[tuple[bytes, bytes]]:
        kept = [
            (bytes(name), bytes(value))
            for name, value in headers  # type: ignore[attr-defined]
            if name.lower().decode("latin-1") not in self._ours
            and not name.lower().startswith(b"access-control-")
        ]
        return kept + [(name.encode(), value.encode()) for name, value in self._ours.items()]
