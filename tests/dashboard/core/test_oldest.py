"""The combined charts of several queues, and what they leave unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.dashboard.chart_data import MAX_SUMMED, chart_data, chart_data_of_all
from conveyor.monitor.snapshot import Head
from conveyor.store import keys
from conveyor.store.commands import Bucket

if TYPE_CHECKING:
    from conveyor.store.query import Query

NOW = 60.0 * 1000 + 30.0


@pytest.mark.parametrize(
    ("put_at", "known"),
    [
        (NOW - 450.0, [0.0] * 52 + [None] * 8),  # since minute 993
        (NOW - 20.0, [0.0] * 59 + [None]),
        (NOW - 5.0, [0.0] * 60),  # a consumer will note it in a moment
        (None, [0.0] * 59 + [None]),
    ],
)
@pytest.mark.parametrize("queues", [["worked", "silent"], ["worked"]])
def test_oldest_wait_is_blank_for_a_queue_without_workers(
    queues: list[str], put_at: float | None, known: list[float | None]
) -> None:
    worked = [Bucket(number, {"*": "s=1", "depth": "0", "oldest": "0"}) for number in range(941, 1001)]
    asked = chart_data(queues, NOW, heads={"silent": Head(put_at, NOW)})
    found = asked.read([worked, []][: len(queues)])
    assert [point.oldest for point in found.points] == known
    assert found.succeeded == 60


def queues_of(query: Query[Any]) -> list[str]:
    """Return the queue that each command of a query reads."""
    return [command.words[1].partition("{")[2].partition("}")[0] for command in query.commands]


def test_charts_are_summed_over_a_limited_number_of_queues() -> None:
    names = [f"queue {number}" for number in range(MAX_SUMMED + 1)]
    depths = range(1, MAX_SUMMED + 1)
    histories = [[Bucket(1000, {"*": "b=1 s=1", "depth": str(depth), "oldest": "0"})] for depth in depths]
    some, of_all = chart_data(names, NOW), chart_data_of_all(names, NOW)
    assert queues_of(some) == names[:MAX_SUMMED]
    assert queues_of(of_all) == [*names[:MAX_SUMMED], keys.ALL_QUEUES]
    for found in (some.read(histories), of_all.read([*histories, []])):
        assert len(found.points) == 60
        assert found.points[-1].depth == sum(depths)
        assert found.succeeded == MAX_SUMMED
    assert list(chart_data([], NOW).read([]).points) == []


def test_chart_of_all_queues_is_never_below_the_known_queues() -> None:
    names = [f"queue {number}" for number in range(MAX_SUMMED + 1)]
    known = [[Bucket(1000, {"*": "b=1 s=1", "depth": "2", "oldest": "5000"})] for _ in range(MAX_SUMMED)]
    for of_all, done in (([Bucket(1000, {"*": "b=99 s=99"})], 99), ([], MAX_SUMMED)):
        found = chart_data_of_all(names, NOW).read([*known, of_all])
        assert found.succeeded == done, "workers of an older version tell nothing of all queues"
        assert (found.points[-1].depth, found.points[-1].oldest) == (2 * MAX_SUMMED, 5.0)
