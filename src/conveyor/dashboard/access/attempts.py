"""Attempts to log in with a password: throttled, few at a time, and remembered for a short while."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import math
import os
import time
from typing import TYPE_CHECKING

from conveyor.dashboard.access.problem import refused
from conveyor.dashboard.access.throttle import Throttle

if TYPE_CHECKING:
    from conveyor.dashboard.access.users import User, Users

LOG = logging.getLogger("conveyor.dashboard")
_AT_ONCE = 2  # each takes a core and 16 MiB
_MOST_WAITING = 64
_MOST_REMEMBERED = 256
_REMEMBERED_FOR = 60.0  # seconds


class Attempts:
    """Checks passwords. Programs send theirs with each request, so a right one is good for a minute at no cost."""

    def __init__(self, users: Users, throttle: Throttle | None = None) -> None:
        self.users = users
        self.throttle = throttle or Throttle()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        self._key = os.urandom(32)
        self._right: dict[bytes, float] = {}

    async def verified(self, name: str, password: str, address: str) -> User | None:
        """Give the user if the password is theirs; Refused (429, 503) if they must wait; BadFile as for users."""
        mark = self._mark(name, password)
        if self._waiting >= _MOST_WAITING:
            raise refused(503, "busy", "Too many are logging in right now.", headers=(("retry-after", "5"),))
        self._waiting += 1
        try:
            async with self._slots:
                if mark is not None and self._right.get(mark, 0.0) > time.monotonic():
                    return self.users.find(name)
                return await self._tried(name, password, address)
        finally:
            self._waiting -= 1

    async def _tried(self, name: str, password: str, address: str) -> User | None:
        if wait := self.throttle.wait(name, address):
            seconds = str(math.ceil(wait))
            detail = f"Too many failed logins. Try again in {seconds} s."
            raise refused(429, "throttled", detail, headers=(("retry-after", seconds),))
        user = await asyncio.to_thread(self.users.verified, name, password)
        if user is None:
            self.throttle.failed(name, address)
            # The name is not told if nobody has it: it may be a password in the wrong field.
            told = name if self.users.find(name) else "unknown"
            LOG.warning("login refused: user %r from %s", told, address)
            return None
        self.throttle.succeeded(name, address)
        self._remember(self._mark(name, password))
        return user

    def _mark(self, name: str, password: str) -> bytes | None:
        user = self.users.find(name)
        if user is None:
            return None
        text = f"{name}\0{user.stamp}\0{password}"
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)

    def _remember(self, mark: bytes | None) -> None:
        if mark is not None:
            self._right[mark] = time.monotonic() + _REMEMBERED_FOR
        while len(self._right) > _MOST_REMEMBERED:
            del self._right[next(iter(self._right))]
