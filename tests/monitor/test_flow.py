"""The graph around a job, over several queues: levels, states, what waits for what, and where it is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Limit, Queue, Task
from conveyor.monitor import flow, waits
from conveyor.store import commands, keys, outbox
from conveyor.store.command import Command
from conveyor.wire import codec
from conveyor.wire.call import PutOptions, RunOptions
from conveyor.wire.outcome import Done, Fail, describe_text

if TYPE_CHECKING:
    from conftest import Hand
    from conveyor.monitor.flow import Flow


def step(*_: Any, **__: Any) -> int:
    return 1


def made(**options: Any) -> Any:
    return Task(step, "step", PutOptions(), RunOptions()).options(**options)


@pytest.fixture
def other(queue: Queue) -> Queue:
    """Return a second queue on the same server."""
    return Queue(f"{queue.name}-other", store=queue.client)


def around(queue: Queue, job_id: str, **limits: int) -> Flow:
    return flow.flow(queue.name, job_id, **limits).ask(queue.client)


def by_id(graph: Flow) -> dict[str, flow.FlowNode]:
    return {one.id: one for one in graph.jobs}


def carry(queue: Queue) -> None:
    """Carry over the messages between queues, as a worker does."""
    queue.client.perform(outbox.deliver(queue.name))


def test_graph_of_a_job_alone_has_it_only(queue: Queue) -> None:
    job = queue.submit(step)
    graph = around(queue, job.id)
    assert [(one.id, one.state, one.task, one.level) for one in graph.jobs] == [
        (job.id, "waiting", f"{__name__}.step", 0)
    ]
    assert (graph.of, graph.left_out) == ((queue.name, job.id), 0)
    assert [one.state for one in around(queue, "nosuch").jobs] == ["gone"]


def test_graph_is_the_same_from_each_of_its_jobs(queue: Queue, other: Queue) -> None:
    first = queue.submit(made(), 1)
    middle = [other.submit(made(after=[first])) for _ in range(3)]
    last = queue.submit(made(after=middle))
    for one in (first, *middle, last):
        graph = around(queue if one in {first, last} else other, one.id)
        assert {node.id: node.level for node in graph.jobs} == {
            first.id: 0,
            **{mid.id: 1 for mid in middle},
            last.id: 2,
        }
        assert [len(level) for level in graph.levels] == [1, 3, 1]
    nodes = by_id(graph)
    assert nodes[last.id].before == tuple(sorted((other.name, mid.id) for mid in middle)) or len(
        nodes[last.id].before
    ) == len(middle)
    assert nodes[first.id].after == nodes[last.id].before
    assert (nodes[last.id].waits_for, set(nodes[last.id].waits_on)) == (3, set(nodes[last.id].before))


def test_graph_shows_states_and_times_of_runs(queue: Queue, hand: Hand) -> None:
    first, failing = queue.submit(made(), 1), queue.submit(made(), 2)
    last = queue.submit(made(after=[first, failing], when="ended"))
    hand.end(Done(codec.encode("x" * 10_000)), elapsed=0.25)
    nodes = by_id(around(queue, last.id))
    assert (nodes[first.id].state, nodes[first.id].elapsed, nodes[first.id].task) == ("done", 0.25, "step")
    assert nodes[first.id].ended
    assert nodes[last.id].waits_text() == f"1 job before it: {failing.id}"
    hand.take()
    nodes = by_id(around(queue, last.id))
    assert (nodes[failing.id].state, nodes[failing.id].since is not None) == ("running", True)


def test_failure_and_what_is_cancelled_for_it_are_shown(queue: Queue, hand: Hand) -> None:
    failing = queue.submit(made())
    last = queue.submit(made(after=[failing]))
    hand.end(Fail(describe_text("OSError", "no way")))
    nodes = by_id(around(queue, last.id))
    assert (nodes[failing.id].state, nodes[failing.id].elapsed) == ("failed", 0.5)
    assert (nodes[last.id].state, nodes[last.id].task, nodes[last.id].waits_text()) == ("cancelled", "", "")


def test_job_that_waits_for_its_turn_names_its_limit(queue: Queue) -> None:
    jobs = queue.submit_many(made(limit=Limit(running=1, name="disk")), [(1,), (2,)])
    node = by_id(around(queue, jobs[1].id))[jobs[1].id]
    assert node.waits_text() == "its turn: limit disk"
    assert node.waits_text(shown=False) == "its turn"


def test_chain_over_two_queues_is_followed_to_its_ends(queue: Queue, other: Queue) -> None:
    chain = [queue.submit(made())]
    for number in range(9):
        chain.append((other if number % 2 == 0 else queue).submit(made(after=[chain[-1]])))
    carry(queue)
    carry(other)
    graph = around(queue, chain[4].id)
    assert [one.id for one in graph.jobs] == [one.id for one in chain]
    cut = around(queue, chain[4].id, trips=2)
    assert [one.id for one in cut.jobs] == [one.id for one in chain[3:6]]
    assert cut.left_out == 2


def test_large_graph_is_cut_and_says_how_many_are_left_out(queue: Queue) -> None:
    jobs = queue.submit_many(made(), [(number,) for number in range(150)])
    last = queue.submit(made(after=jobs))
    graph = around(queue, last.id)
    assert (len(graph.jobs), graph.left_out) == (151, 0)
    graph = around(queue, last.id, most=50)
    assert (len(graph.jobs), graph.left_out) == (50, 101)
    assert (queue.name, last.id) in graph
    assert by_id(graph)[last.id].waits_for == 150


@pytest.mark.parametrize("count", [1000, 3000])
def test_left_out_jobs_are_counted_once(queue: Queue, count: int) -> None:
    jobs = queue.submit_many(made(), [(number,) for number in range(count)])
    last = queue.submit(made(after=jobs))
    for one in (last, jobs[0]):
        graph = around(queue, one.id)
        assert (len(graph.jobs), graph.left_out) == (300, count + 1 - 300)


def test_cycle_that_another_program_wrote_is_shown(queue: Queue) -> None:
    one, two = queue.submit(made()), queue.submit(made())
    for first, second in ((one, two), (two, one)):
        link = keys.key(queue.name, f"links:{first.id}")
        queue.client.run(Command(("SADD", link, f"> {queue.name} {second.id}")))
        queue.client.run(Command(("EXPIRE", link, "60")))
    assert len(around(queue, one.id).jobs) == 2


def test_first_jobs_of_a_graph_stay_close_to_those_after_them(queue: Queue) -> None:
    firsts = queue.submit_many(made(), [(1,), (2,), (3,), (4,)])
    seconds = [queue.submit(made(after=[one])) for one in reversed(firsts)]
    graph = around(queue, queue.submit(made(after=seconds)).id)
    for left, right in zip(graph.levels[0], graph.levels[1], strict=True):
        assert left.after == (right.key,)


def test_wait_of_a_deferred_job_is_said_in_words(queue: Queue) -> None:
    before = queue.submit_many(made(), [(number,) for number in range(5)])
    after = queue.submit(made(after=before))
    wait = waits.wait_of(queue.name, after.id, b"a").ask(queue.client)
    named = ", ".join(sorted(one.id for one in before)[:3])
    assert wait.sentence() == f"waits for 5 jobs before it: {named} and 2 more"

    turns = queue.submit_many(made(limit=Limit(running=2, name="disk")), [(number,) for number in range(4)])
    state = queue.client.run(commands.state(queue.name, turns[3].id))
    wait = waits.wait_of(queue.name, turns[3].id, state.detail).ask(queue.client)
    assert wait.sentence() == "waits for its turn: limit disk, 2 of 2 places taken, 1 job ahead"
    assert wait.text(shown=False) == "its turn: its limit, 2 of 2 places taken, 1 job ahead"


def test_wait_for_time_says_until_when_and_why(queue: Queue, hand: Hand) -> None:
    jobs = queue.submit_many(made(limit=Limit(starts=1, per=60, name="api")), [(1,), (2,)])
    hand.take()
    state = queue.client.run(commands.state(queue.name, jobs[1].id))
    wait = waits.wait_of(queue.name, jobs[1].id, state.detail).ask(queue.client)
    now: float = queue.client.run(commands.server_time())
    assert wait.until
    assert 0 < wait.until - now <= 60
    assert wait.text() == "limit api, 1 start per minute"
    assert wait.sentence() == f"waits until {waits.clock_time(wait.until)}: limit api, 1 start per minute"


def test_unreadable_terms_hide_no_job(queue: Queue) -> None:
    assert waits.wait_of(queue.name, "id", b"b\xc1").ask(queue.client).text() == "other jobs"
    assert waits.key_of(b"") is None
