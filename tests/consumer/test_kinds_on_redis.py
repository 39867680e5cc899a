"""The scenarios of the kinds of workers once more, on Redis: each kind runs the sort of tasks that it is for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_kinds import *  # noqa: F403

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def one_server(servers: Any) -> Iterator[Any]:
    """Provide a Redis server."""
    with servers.lend("redis-server") as server:
        yield server


@pytest.fixture
def style(kind: str) -> str:
    """Return how the tasks are written: asynchronous ones for coroutines, plain ones for the others."""
    return "_async" if kind == "coroutine" else ""


# These concern the event loop, not the server.
del test_a_thousand_coroutines_run_at_once  # noqa: F821
del test_event_loop_goes_on_whatever_a_job_does_to_it  # noqa: F821
del test_job_that_blocks_the_loop_in_another_task_is_named  # noqa: F821
del test_settings_that_do_not_fit_are_refused  # noqa: F821
