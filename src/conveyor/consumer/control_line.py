"""The connection on which a supervisor hears control commands: it asks, goes on, and comes back for the answer."""

from __future__ import annotations

import contextlib
import select
from typing import TYPE_CHECKING

from conveyor import clock
from conveyor.consumer.settings import HEARTBEAT
from conveyor.errors import StoreError
from conveyor.store import plain
from conveyor.store.client import Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.store import Client

#: Seconds after which a question for control commands got no answer because the connection is dead.
DEAF_AFTER = 3 * HEARTBEAT


class ControlLine:
    """Hears the control commands for one consumer, without ever waiting for one."""

    def __init__(self, client: Client, consumer: str) -> None:
        self.consumer = consumer
        self.listener = Listener(client)
        self._asked = 0.0

    def fileno(self) -> int:
        """Give what to select for: it is readable when there is something to heed; -1 while there is nothing."""
        return self.listener.fileno()

    def heed(self, obey: Callable[[bytes], None], pause: float) -> None:
        """Hand over a command that has come, if one has, and ask for the next, `pause` seconds after the last."""
        asked_for = clock.monotonic() - self._asked
        if self.listener.fileno() >= 0:
            if not select.select([self.listener.fileno()], [], [], 0)[0]:
                if asked_for > DEAF_AFTER:
                    self.listener.close()
                return
            with contextlib.suppress(StoreError):
                data = self.listener.answer()
                if data is not None:
                    obey(data)
        if asked_for < pause:
            return
        self._asked = clock.monotonic()
        with contextlib.suppress(StoreError):
            self.listener.ask(plain.await_control(self.consumer, HEARTBEAT))

    def close(self) -> None:
        """Hear no more."""
        self.listener.close()
