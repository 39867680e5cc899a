"""Jobs of several queues as a single list: their order, and pages that lose none and show none twice."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conveyor.errors import BadCall
from conveyor.monitor import merged_list
from conveyor.monitor.history import HistoryFilter
from conveyor.monitor.job_list import JobFilter
from conveyor.monitor.merged_list import MergeLimits
from conveyor.store import keys
from conveyor.store.command import Command
from conveyor.wire import codec
from conveyor.wire.outcome import Run, note_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store import Client

_numbers = itertools.count(1)
INDEXES = {"waiting": "ready", "delayed": "delayed", "running": "leased", "dead": "dead"}


def call(put_at: float = 0.0, argument: object = 1, task: str = "shop.prices") -> bytes:
    """Return the bytes of a job."""
    parts = (task, [argument], {}, put_at, [2, 1.0, None, 3600.0])
    return b"\x95" + b"".join(codec.encode(part) for part in parts)


class Hall:
    """Some queues with jobs in them, put there by hand."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._name = f"hall{next(_numbers)}-"

    def queue(self, name: str) -> str:
        """Return the full name of a queue."""
        return self._name + name

    def add(self, queue: str, state: str, job: str, score: float, data: bytes = b"") -> None:
        """Put a job into an index."""
        name = self.queue(queue)
        self.client.run_all(
            [
                Command(("ZADD", keys.key(name, INDEXES[state]), score, job)),
                Command(("HSET", keys.key(name, "jobs"), job, data or call())),
            ]
        )

    def end(self, queue: str, entry: str, job: str, state: str = "done") -> None:
        """Note a run that has ended."""
        note = note_of(job, state, Run("shop.prices", "", 1.0, "host/1", 1), 0.5)
        self.client.run(Command(("XADD", keys.key(self.queue(queue), "history"), entry, "end", note)))

    def pages(self, queues: Sequence[str], state: str, most: int, **how: Any) -> list[list[tuple[str, str]]]:
        """Return queue and id of each job, page by page, to the end."""
        found, cursor = [], ""
        named = [self.queue(one) for one in queues]
        limits = MergeLimits(most, how.pop("budget", 1000))
        for _ in range(1000):
            page: Any
            if state == "ended":
                matching = how.get("matching", HistoryFilter())
                page = merged_list.finishes(named, cursor, matching, limits).ask(self.client)
                rows = [(one.queue, one.note.id) for one in page.rows]
            else:
                page = merged_list.jobs(named, state, cursor, how.get("wanted", JobFilter()), limits).ask(
                    self.client
                )
                rows = [(one.queue, one.id) for one in page.rows]
            found.append([(queue.removeprefix(self._name), job) for queue, job in rows])
            cursor = page.next
            assert len(cursor) <= 1000
            if not cursor:
                return found
        raise AssertionError


@pytest.fixture
def hall(one_server: Any) -> Hall:
    """Return empty queues."""
    return Hall(one_server.client)


class Placed(NamedTuple):
    """A job in an index."""

    score: int
    id: str
    queue: str


places = st.lists(
    st.builds(
        Placed, st.integers(1, 3), st.sampled_from(["a", "a0", "a-", "b", "B", "a.a"]), st.sampled_from("xyz")
    ),
    max_size=18,
    unique_by=lambda one: (one.queue, one.id),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jobs=places, most=st.integers(1, 5), state=st.sampled_from(["delayed", "running", "dead"]))
def test_jobs_come_once_in_time_order_even_if_times_are_equal(
    one_server: Any, jobs: list[Placed], most: int, state: str
) -> None:
    hall = Hall(one_server.client)
    for one in jobs:
        hall.add(one.queue, state, one.id, one.score)
    pages = hall.pages("xyz", state, most)
    expected = sorted(jobs, reverse=state == "dead")
    assert [one for page in pages for one in page] == [(one.queue, one.id) for one in expected]
    assert all(len(page) == most for page in pages[:-1])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=st.sets(st.tuples(st.integers(1, 3), st.integers(0, 1), st.sampled_from("xyz")), max_size=18),
    most=st.integers(1, 5),
)
def test_finished_runs_come_once_newest_first(
    one_server: Any, entries: set[tuple[int, int, str]], most: int
) -> None:
    hall = Hall(one_server.client)
    for moment, number, queue in sorted(entries):
        hall.end(queue, f"{moment}-{number}", f"job-{moment}-{number}")
    expected = [(queue, f"job-{moment}-{number}") for moment, number, queue in sorted(entries, reverse=True)]
    assert [one for page in hall.pages("xyz", "ended", most) for one in page] == expected


def wait(hall: Hall, queue: str, *put_at: float) -> list[tuple[str, str]]:
    """Put waiting jobs into a queue in this order; return queue and id of each."""
    for place, at in enumerate(put_at):
        hall.add(queue, "waiting", f"{queue}{place}", place, call(at))
    return [(queue, f"{queue}{place}") for place in range(len(put_at))]


@pytest.mark.parametrize("most", [1, 2, 3, 50])
def test_waiting_jobs_merge_by_put_time_in_queue_order(hall: Hall, most: int) -> None:
    x = wait(hall, "x", 10, 40, 41)
    y = wait(hall, "y", 90, 20, 30)  # the first has a higher priority
    z = wait(hall, "z", 50)
    found = [one for page in hall.pages("xyz", "waiting", most) for one in page]
    assert found == [x[0], x[1], x[2], z[0], y[0], y[1], y[2]]


def test_job_with_unknown_put_time_follows_its_predecessor(hall: Hall) -> None:
    hall.add("x", "waiting", "x0", 0, call(30))
    hall.add("x", "waiting", "x1", 1, call(30, "long " * 1000))
    y = wait(hall, "y", 10, 20, 40)
    found = hall.pages("xy", "waiting", 50)
    assert found == [[y[0], y[1], ("x", "x0"), ("x", "x1"), y[2]]]


def test_jobs_that_leave_between_two_pages_hide_no_others(hall: Hall) -> None:
    x, y = wait(hall, "x", *range(0, 20, 2)), wait(hall, "y", *range(1, 20, 2))
    named = [hall.queue("x"), hall.queue("y")]
    first = merged_list.jobs(named, "waiting", limits=MergeLimits(6)).ask(hall.client)
    for queue, job in (*x[:4], *y[:2]):
        hall.client.run(Command(("ZREM", keys.key(hall.queue(queue), "ready"), job)))
    second = merged_list.jobs(named, "waiting", first.next, limits=MergeLimits(6)).ask(hall.client)
    assert [one.id for one in first.rows] == ["x0", "y0", "x1", "y1", "x2", "y2"]
    assert [one.id for one in second.rows] == ["y3", "x4", "y4", "x5", "y5", "x6"]


@pytest.mark.parametrize("state", ["waiting", "delayed", "running", "dead"])
def test_search_covers_its_share_of_each_queue_and_continues(hall: Hall, state: str) -> None:
    for queue in "xyz":
        for place in range(60):
            data = call(place, "green" if place % 20 == 7 else "red")
            hall.add(queue, state, f"{queue}{place}", place, data)
    pages = hall.pages("xyz", state, 50, wanted=JobFilter(text="GREEN"), budget=30)
    assert len(pages) > 5
    found = [one for page in pages for one in page]
    assert sorted(found) == sorted((queue, f"{queue}{place}") for queue in "xyz" for place in (7, 27, 47))


def test_search_of_finished_runs_continues_on_later_pages(hall: Hall) -> None:
    for queue in "xy":
        for place in range(1, 40):
            hall.end(queue, f"{place}-0", f"{queue}{place}", "failed" if place % 10 == 0 else "done")
    pages = hall.pages("xy", "ended", 50, matching=HistoryFilter(state="failed"), budget=20)
    assert len(pages) > 2
    assert [one for page in pages for one in page] == [
        (queue, f"{queue}{place}") for place in (30, 20, 10) for queue in "yx"
    ]


def test_many_queues_cost_a_round_trip_of_bounded_queries(hall: Hall) -> None:
    names = [f"q{number:02}" for number in range(30)]
    for name in names:
        hall.add(name, "waiting", f"{name}-job", 1)
    asked = merged_list.jobs([hall.queue(one) for one in names], "waiting")
    assert len(asked.commands) == merged_list.MAX_QUEUES
    assert len(asked.ask(hall.client).rows) == merged_list.MAX_QUEUES
    assert all(len(page) == 1 for page in hall.pages(names, "waiting", 1))


def test_empty_list_of_queues_has_no_jobs(hall: Hall) -> None:
    assert hall.pages([], "dead", 5) == [[]]
    assert hall.pages("x", "ended", 5) == [[]]


@pytest.mark.parametrize("cursor", ["nonsense", "\x00ÿ", "x" * 2000, "MSB4", "MSB4IA", "YTpiIGM6ZA", "MSA"])
def test_invalid_cursor_is_refused(cursor: str) -> None:
    for state in ("waiting", "delayed", "dead"):
        with pytest.raises(BadCall, match="invalid cursor"):
            merged_list.jobs(["work"], state, cursor)
    with pytest.raises(BadCall, match=r"invalid cursor|invalid entry"):
        merged_list.finishes(["work"], cursor)
