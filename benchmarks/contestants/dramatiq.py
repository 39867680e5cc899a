"""Dramatiq. Its own defaults keep no results; a measurement of round trips turns them on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.contestants.jobs import PLAIN, SETTINGS, URL

if TYPE_CHECKING:
    from collections.abc import Callable

_results = SETTINGS.get("results", False)
_broker = RedisBroker(url=URL, **({"middleware": []} if SETTINGS.get("bare") else {}))
if _results:
    _broker.add_middleware(Results(backend=RedisBackend(url=URL), store_results=True))
dramatiq.set_broker(_broker)


def _silent(function: Callable[[int], int]) -> Callable[[int], None]:
    """Return the job without its result: dramatiq logs a warning for each result that it does not store."""

    def run(number: int) -> None:
        function(number)

    return run


_actors = {
    name: dramatiq.actor(function if _results else _silent(function), actor_name=name)
    for name, function in PLAIN.items()
}


def put(name: str, number: int) -> Any:
    """Send a message."""
    return _actors[name].send(number)


if _results:

    def result(message: Any) -> Any:
        """Wait for the result."""
        return message.get_result(block=True)
