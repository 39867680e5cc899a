"""Polling a server for any number of viewers: a snapshot and further queries in one round trip per interval.

The interval grows while the server is slow, since monitoring must not cost what it measures. No viewers cost nothing.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from conveyor import clock
from conveyor.errors import StoreError, StoreUnavailable
from conveyor.monitor import snapshot as snapshots
from conveyor.monitor.snapshot import NOTHING, Snapshot
from conveyor.store.query import Query, together

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.store import Client

#: Seconds between two polls, the usual interval first.
STEPS = (1.0, 2.0, 5.0, 15.0)
#: Fraction of the interval that a poll may take before the interval grows, and below which it shrinks.
TOO_SLOW, FAST_ENOUGH = 0.25, 0.05
#: Seconds to wait for a connection and for the replies.
PATIENCE, WITHIN = 0.5, 3.0

T = TypeVar("T")
_log = logging.getLogger("conveyor.monitor")


class PollInterval:
    """The time between two polls, adapted to the speed of the server.

    `max_retry_step` limits it while the server is unavailable.
    """

    def __init__(self, max_retry_step: int = len(STEPS) - 2) -> None:
        self.step = 0
        self._max_retry_step = max_retry_step

    @property
    def seconds(self) -> float:
        """Seconds from one poll to the next."""
        return STEPS[self.step]

    def succeeded(self, seconds: float) -> None:
        """Adapt to a poll that took this time."""
        if seconds > TOO_SLOW * self.seconds:
            self.step = min(self.step + 1, len(STEPS) - 1)
        elif self.step and seconds < FAST_ENOUGH * self.seconds:
            self.step -= 1

    def failed(self) -> None:
        """Poll a server that is unavailable less often, but not so rarely that its return is noticed late."""
        self.step = min(self.step + 1, self._max_retry_step)

    def reset(self) -> None:
        """Return to the usual interval: an outage says nothing about the server's speed."""
        self.step = 0


class Poller:
    """Polls one server from a thread while it is watched, and keeps the last snapshot. Thread-safe.

    The thread calls `on_poll` once per interval, while `is_watched` returns True; `on_poll` calls `poll` with the
    queries that are due. After a change of what is watched, call `wake`.
    """

    def __init__(
        self,
        ask: Callable[[Query[Any]], Any],
        on_poll: Callable[[], object],
        is_watched: Callable[[], bool],
        interval: PollInterval | None = None,
    ) -> None:
        self.snapshot = NOTHING
        self.interval = interval or PollInterval()
        self.error: StoreError | None = None
        """Why the last poll failed; None if it succeeded."""
        self.took = 0.0
        """Seconds that the last poll took."""
        self._ask, self._on_poll, self._is_watched = ask, on_poll, is_watched
        self._polled_at = float("-inf")
        self._is_due = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()

    @property
    def age(self) -> float:
        """Seconds since the snapshot was taken; infinite if the last poll failed."""
        return float("inf") if self.error is not None else clock.monotonic() - self._polled_at

    def poll(
        self,
        queries: Callable[[Snapshot], Sequence[Query[Any]]],
        *,
        adapt: bool = True,
        on_refused: Callable[[int], object] = lambda _: None,
    ) -> list[Any]:
        """Take a snapshot and return the values of further queries, asked in the same round trip.

        `queries` makes them from the snapshot before. The value of a query that fails is its error, and `on_refused` is
        called with the position of one that the server refuses. Without `adapt`, as for a slow query, the interval
        stays. Raises StoreError, and keeps it as `error`, if the server does not reply.
        """
        began = clock.monotonic()
        try:
            if self.snapshot is NOTHING:
                self.poll_snapshot()  # otherwise the first queries would know no queue
            before = self.snapshot
            found, *values = ask_isolated(self._ask, snapshots.query(before), queries(before), on_refused)
            self._take(found)
            if not snapshots.is_complete(found, before):
                self.poll_snapshot()
        except StoreError as error:
            self.error = error
            self.interval.failed()
            raise
        self.took = clock.monotonic() - began
        if adapt:
            self.interval.succeeded(self.took)
        return values

    def poll_snapshot(self) -> Snapshot:
        """Take a snapshot now, and a second one if the first found new queues or consumers."""
        for _ in range(2):
            before = self.snapshot
            self._take(self._ask(snapshots.query(before)))
            if snapshots.is_complete(self.snapshot, before):
                break
        return self.snapshot

    def wake(self, *, now: bool = False) -> None:
        """Start or stop the thread if what is watched requires it; `now` also polls without waiting."""
        with self._lock:
            self._is_due = self._is_due or now
            if self._thread is None and self._is_watched():
                self._thread = threading.Thread(target=self._run, name="conveyor-poller", daemon=True)
                self._thread.start()
        self._wake.set()

    def _take(self, found: Snapshot) -> None:
        self.snapshot = found
        self._polled_at = clock.monotonic()
        if self.error is not None:
            self.error = None
            self.interval.reset()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._is_watched():
                    self._thread = None
                    return
                self._is_due = False
            began = clock.monotonic()
            try:
                self._on_poll()
            except Exception:  # noqa: BLE001 - one failed poll must not be the last
                _log.exception("poll failed")
            while self._is_watched() and not self._is_due:
                left = self.interval.seconds - (clock.monotonic() - began)
                if left <= 0:
                    break
                self._wake.wait(left)
                self._wake.clear()


def asker(client: Client) -> Callable[[Query[Any]], Any]:
    """Return a function that asks a server, and raises StoreUnavailable soon if it does not reply."""
    return lambda query: query.ask(client, patience=PATIENCE, within=WITHIN)


def ask_isolated(
    ask: Callable[[Query[Any]], Any],
    first: Query[Any],
    queries: Sequence[Query[Any]],
    on_refused: Callable[[int], object] = lambda _: None,
) -> list[Any]:
    """Return the values of all queries, asked in one round trip; the value of one after the first may be its error.

    If the server refuses a query, each is asked separately, and `on_refused` is called with the position of a refused
    one. Raises the error of the first one, and StoreUnavailable.
    """
    guarded = [_guarded(query) for query in queries]
    values: list[Any] | Exception = result_or_error(ask, together([first, *guarded]))
    if isinstance(values, list):
        return values
    values = [ask(first)]
    for position, query in enumerate(guarded):
        try:
            values.append(ask(query))
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a query
            values.append(error)
            on_refused(position)
    return values


def result_or_error(make: Callable[..., T], *args: Any) -> T | Exception:
    """Return the result of a function or its exception, which must not affect others. Raises StoreUnavailable."""
    try:
        return make(*args)
    except StoreUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - any bug in the function
        return error


def _guarded(query: Query[Any]) -> Query[Any]:
    """Return the query whose value is an error if reading its replies raises one."""

    def read(replies: Sequence[Any]) -> Any:
        value = result_or_error(query.read, replies)
        return _guarded(value) if isinstance(value, Query) else value

    return Query(query.commands, read)
