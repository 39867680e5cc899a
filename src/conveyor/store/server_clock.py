"""The server's clock, as a process computes it between two questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor import clock
from conveyor.errors import StoreError
from conveyor.store import commands

if TYPE_CHECKING:
    from conveyor.store.client import Client

#: Seconds after which the server is asked again, since its clock may have been set.
ASK_EVERY = 60.0
#: Max seconds to wait for its reply.
ASK_WITHIN = 1.0


class ServerClock:
    """The clock of a client's server. It follows that of this host only until the server has replied once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ahead: float | None = None
        """Seconds by which the server's clock is ahead of this host's, which counts from its start."""
        self._ask_at = clock.Deadline(0.0)

    def now(self) -> float:
        """Return seconds since 1970. Asks the server at most once a minute, and waits a second at most."""
        if self._ask_at.passed():
            self._ask_at = clock.Deadline(ASK_EVERY)
            sent = clock.boottime()
            try:
                time: float = self._client.run(commands.server_time(), patience=0.0, within=ASK_WITHIN)
                self._ahead = time - (sent + clock.boottime()) / 2
            except StoreError:
                pass
        return clock.wall() if self._ahead is None else clock.boottime() + self._ahead
