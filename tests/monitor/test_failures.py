"""Dead jobs with similar failures form a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor import Queue
from conveyor.monitor import failures
from conveyor.store import commands, keys
from conveyor.store.command import Command
from conveyor.store.query import Query, together
from conveyor.wire.outcome import Fail, describe_text

if TYPE_CHECKING:
    from conftest import Hand


def shout(text: str) -> None: ...


def failed(kind: str, message: str = "no", function: str = "cut") -> Fail:
    trace = f'Traceback …\n  File "/app/films.py", line 12, in {function}\n    x\n{kind}: {message}\n'
    return Fail(describe_text(kind, message, trace))


def die(queue: Queue, hand: Hand, *outcomes: Fail) -> list[str]:
    for number in range(len(outcomes)):
        queue.submit(shout, str(number))
    return [hand.end(outcome) for outcome in outcomes]


def test_similar_failures_are_grouped_regardless_of_the_message(queue: Queue, hand: Hand) -> None:
    names = die(queue, hand, failed("ValueError", "one"), failed("KeyError"), failed("ValueError", "two"))
    newest, other = sorted(
        failures.groups({queue.name: 10_000}).ask(queue.client), key=lambda one: -one.count
    )
    assert (newest.queue, newest.count, newest.newest) == (queue.name, 2, names[2])
    assert newest.first_seen <= newest.last_seen
    assert (other.count, other.newest) == (1, names[1])


def test_details_of_a_group_are_of_its_latest_failure(queue: Queue, hand: Hand) -> None:
    die(queue, hand, failed("ValueError", "one"), failed("ValueError", "at https://ann:hunter2@example.org"))
    found = failures.groups({queue.name: 10_000}).ask(queue.client)
    (sample,) = failures.with_details(found).ask(queue.client)
    assert (sample.task, sample.kind, sample.where) == (f"{__name__}.shout", "ValueError", "films.py:12 cut")
    assert sample.message == "at https://ann:•••@example.org"
    assert (sample.fingerprint, sample.count) == (found[0].fingerprint, 2)


def test_revived_job_is_no_longer_counted(queue: Queue, hand: Hand) -> None:
    (name,) = die(queue, hand, failed("ValueError"))
    found = failures.groups({queue.name: 10_000}).ask(queue.client)
    queue.client.run(commands.revive(queue.name, [name]))
    assert failures.groups({queue.name: 10_000}).ask(queue.client) == []
    assert failures.with_details(found).ask(queue.client) == found


def test_similar_failures_in_several_queues_form_a_single_group(queue: Queue, hand: Hand) -> None:
    die(queue, hand, failed("ValueError", "one"), failed("KeyError"))
    other = Queue(f"{queue.name}-b", store=queue.client)
    names = die(other, type(hand)(other), *[failed("ValueError", f"{number}") for number in range(2)])
    asked = {queue.name: 10_000, other.name: 10_000, "none": 10_000}
    newest, alone = failures.groups(asked).ask(queue.client)
    assert (newest.queue, newest.newest, newest.count) == (other.name, names[1], 3)
    assert newest.queues == (other.name, queue.name)
    assert (alone.queue, alone.queues, alone.count) == (queue.name, (queue.name,), 1)
    shown = failures.overview(asked).ask(queue.client)
    assert [one.message for one in shown.groups] == ["1", "no"]
    assert (shown.total, shown.counted, shown.next) == (2, 4, "")
    assert failures.groups({}).ask(queue.client) == []
    assert failures.with_details([]).ask(queue.client) == []


def test_ten_thousand_dead_jobs_are_counted_in_chunks(queue: Queue) -> None:
    dead, groups = (keys.key(queue.name, name) for name in ("dead", "groups"))
    told: list[Command] = []
    for first in range(0, 10_000, 1000):
        part = range(first, first + 1000)
        told += [
            Command(("ZADD", dead, *(word for one in part for word in (1000 * one, f"job{one:05}")))),
            Command(("HSET", groups, *(word for one in part for word in (f"job{one:05}", f"g{one % 7}")))),
        ]
    queue.client.run_all(told)
    found = failures.groups({queue.name: 10_000}).ask(queue.client)
    assert sum(one.count for one in found) == 10_000
    assert [one.fingerprint for one in found] == [f"g{one % 7}" for one in range(9999, 9992, -1)]
    last = found[0]
    assert (last.newest, last.first_seen, last.last_seen) == ("job09999", 3.0, 9999.0)
    assert sum(one.count for one in failures.groups({queue.name: 1500}).ask(queue.client)) == 1500


@pytest.mark.parametrize("reason", [b"\xc1", b""])
def test_unreadable_reason_is_reported(queue: Queue, hand: Hand, reason: bytes) -> None:
    (name,) = die(queue, hand, failed("ValueError"))
    queue.client.run(Command(("HSET", keys.key(queue.name, "reasons"), name, reason)))
    (sample,) = failures.with_details(failures.groups({queue.name: 10_000}).ask(queue.client)).ask(
        queue.client
    )
    assert (sample.kind, sample.message) == ("", "unreadable outcome")


def test_overview_matches_groups_and_their_details(queue: Queue, hand: Hand) -> None:
    die(queue, hand, failed("KeyError"), failed("ValueError", "one"), failed("KeyError", "two"))
    shown = failures.overview({queue.name: 2000}).ask(queue.client)
    counted = failures.groups({queue.name: 2000}).ask(queue.client)
    assert (shown.total, shown.counted) == (2, 3)
    assert shown.groups == failures.with_details(counted).ask(queue.client)


def test_overview_of_many_queues_has_all_reasons(queue: Queue, hand: Hand) -> None:
    dead = {queue.name: 60}
    for number in range(30):
        other = Queue(f"{queue.name}-{number}", store=queue.client)
        die(other, type(hand)(other), failed("OSError", function=f"f{number}"))
        dead[other.name] = 1
    die(queue, hand, *(failed("ValueError", function=f"cut{number}") for number in range(60)))
    first = failures.overview(failures.read_counts(dead))
    shown = first.ask(queue.client)
    assert (shown.total, len(shown.groups)) == (90, 50)
    assert all(one.kind == "ValueError" for one in shown.groups)
    with_others = together([first, Query((), lambda _: "other"), first])
    assert with_others.ask(queue.client) == [shown, "other", shown]
    rest = failures.overview(failures.read_counts(dead), shown.next).ask(queue.client)
    assert [one.kind for one in rest.groups] == 10 * ["ValueError"] + 30 * ["OSError"]


def test_overview_pages_through_all_groups(queue: Queue, hand: Hand) -> None:
    die(queue, hand, *(failed("ValueError", function=f"cut{number}") for number in range(115)))
    found: list[failures.FailureGroup] = []
    sizes, after = [], ""
    while True:
        page = failures.overview({queue.name: 1000}, after).ask(queue.client)
        assert (page.total, page.counted) == (115, 115)
        found += page.groups
        sizes.append(len(page.groups))
        if not page.next:
            break
        after = page.next
        die(queue, hand, failed("OSError", function="cut0"))  # comes first, and shifts nothing
        queue.client.run(
            commands.revive(queue.name, [failures.groups({queue.name: 9}).ask(queue.client)[0].newest])
        )
        queue.clear()
    assert sizes == [50, 50, 15]
    assert {one.where for one in found} == {f"films.py:12 cut{number}" for number in range(115)}
    assert all(one.kind == "ValueError" and one.message == "no" for one in found)
    assert failures.overview({queue.name: 1000}, "nonsense").ask(queue.client).groups == found[:50]


def test_number_of_inspected_dead_jobs_is_bounded() -> None:
    assert failures.read_counts({"a": 3, "b": 1500, "c": 0}) == {"b": 2000, "a": 1000}
    many = failures.read_counts({f"q{number:03}": 9_000 for number in range(300)})
    assert many == {"q000": 9000, "q001": 9000, "q002": 2000}
    assert len(failures.read_counts({f"q{number}": 1 for number in range(2000)})) == failures.MAX_QUEUES
