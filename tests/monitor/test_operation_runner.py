"""The runner runs operations in sequence, and a process that exits stops its operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.monitor import bulk
from conveyor.monitor.bulk import OperationRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Films
    from conveyor.monitor.actions import Actions
    from conveyor.wire.audit_entry import Operation

    Start = Callable[..., OperationRunner]


@pytest.fixture
def start(one_server: Any) -> Iterator[Start]:
    """Return a function that starts a runner; close the runners afterwards."""
    started: list[OperationRunner] = []

    def runner(chunk: int = 500, pause: float = 0.0) -> OperationRunner:
        started.append(OperationRunner(one_server.another_client(), chunk=chunk, pause=pause))
        return started[-1]

    yield runner
    for one in started:
        one.close()


def shown(server: Any, *begun: Operation) -> list[Operation]:
    return bulk.operations([one.id for one in begun]).ask(server.client)


def test_operations_run_in_sequence(
    films: Films, actions: Actions, start: Start, one_server: Any, eventually: Any
) -> None:
    films.dead(30)
    first, second = actions.begin("retry", "films"), actions.begin("purge", "films")
    third = actions.begin("discard", "films")
    runner = start(chunk=10)
    assert all(runner.add(one) for one in (first, second, third))
    eventually(lambda: all(one.state == "done" for one in shown(one_server, first, second, third)))
    assert [one.done for one in shown(one_server, first, second, third)] == [30, 0, 0]


def test_failed_operation_does_not_block_next(
    films: Films, actions: Actions, start: Start, one_server: Any, eventually: Any
) -> None:
    films.dead(3)
    retry, discard = actions.begin("retry", "films"), actions.begin("discard", "films")
    one_server.raw.config_set("maxmemory", "1mb")
    runner = start()
    runner.add(retry)
    runner.add(discard)
    eventually(lambda: [one.state for one in shown(one_server, retry, discard)] == ["failed", "done"])
    assert films.count().discarded == 3


def test_close_stops_after_the_chunk_and_another_runner_resumes(
    films: Films, actions: Actions, start: Start, one_server: Any, eventually: Any
) -> None:
    films.dead(40)
    begun = actions.begin("retry", "films")
    runner = start(chunk=1, pause=0.02)
    runner.add(begun)
    eventually(lambda: shown(one_server, begun)[0].done > 0)
    runner.close()
    (stopped,) = shown(one_server, begun)
    assert stopped.state == "stopped"
    assert 0 < stopped.done < 40
    assert not runner.add(begun)
    start().add(actions.resume_operation(begun.id))
    eventually(lambda: shown(one_server, begun)[0].state == "done")
    assert (films.count().ready, films.count().imbalance) == (40, 0)


def test_queued_operations_do_not_show_as_stalled(
    films: Films,
    actions: Actions,
    start: Start,
    one_server: Any,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("conveyor.monitor.bulk.STALLED_AFTER", 0.0)
    films.dead(500)
    first, second = actions.begin("retry", "films"), actions.begin("discard", "films")
    runner = start(chunk=1, pause=0.02)
    runner.add(first)
    runner.add(second)
    eventually(lambda: shown(one_server, second)[0].changed > second.changed)
    assert shown(one_server, first)[0].state == "running"
