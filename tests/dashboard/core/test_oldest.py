"""What the charts of several queues together say, and what they do not claim to know."""

from __future__ import annotations

import pytest

from conveyor.dashboard.figures import MOST_SUMMED, figures
from conveyor.inspector.snapshot import Head
from conveyor.store.answers import Bucket

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
def test_since_when_the_oldest_waits_is_blank_while_jobs_wait_on_a_queue_that_nobody_takes_from(
    queues: list[str], put_at: float | None, known: list[float | None]
) -> None:
    worked = [Bucket(number, {"*": "s=1", "depth": "0", "oldest": "0"}) for number in range(941, 1001)]
    asked = figures(queues, NOW, heads={"silent": Head(put_at, NOW)})
    found = asked.read([worked, []][: len(queues)])
    assert [point.oldest for point in found.points] == known
    assert found.done == 60


def test_of_many_queues_some_are_added_up_and_one_without_is_asked_as_before() -> None:
    names = [f"queue {number}" for number in range(MOST_SUMMED + 1)]
    assert figures(names, NOW).read([[] for _ in range(MOST_SUMMED)]).queues == MOST_SUMMED
    assert list(figures([], NOW).read([]).points) == []
