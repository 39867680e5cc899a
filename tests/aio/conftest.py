"""What ends jobs in the place of workers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.store import commands
from conveyor.wire import codec
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable

_nonces = itertools.count()


@pytest.fixture
def settle_all(server: Any) -> Callable[[str, int, object], None]:
    """Return a function that takes so many jobs of a queue, as soon as they are there, and ends them with a result."""
    worker = server.another_client()

    def settle(queue: str, many: int, value: object) -> None:
        outcome = encode_settled("done", codec.encode(value), 0.5)
        while many > 0:
            batch = worker.run(commands.claim(queue, "worker", f"a{next(_nonces)}", min(many, 500), 60.0))
            if not batch.jobs:
                worker.run(commands.await_bell([queue], 1.0))
                continue
            settlements = [commands.Settlement(job.id, outcome, 60.0) for job in batch.jobs]
            worker.run(commands.finish(queue, batch.token, settlements))
            many -= len(batch.jobs)

    return settle
