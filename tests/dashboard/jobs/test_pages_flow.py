"""The graph on the page of a job, deferred jobs in lists, and the limits on the page of a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pages_kit import Line, Role, Visitor

from conveyor import Limit, Queue, Task
from conveyor.store import commands
from conveyor.wire.call import PutOptions, RunOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    Visit = Callable[..., Visitor]


def step(*_: Any) -> int:
    return 1


def made(**options: Any) -> Any:
    return Task(step, "step", PutOptions(), RunOptions()).options(**options)


@pytest.fixture
def queue(line: Line) -> Queue:
    """Return the queue of the line."""
    return Queue(line.name, store=line.client)


def test_graph_links_to_each_job_and_marks_this_one(queue: Queue, visit: Visit) -> None:
    first = queue.submit_many(made(), [(number,) for number in range(3)])
    last = queue.submit(made(after=first))
    seen = visit().see(f"/queues/{queue.name}/jobs/{last.id}")
    links = {node.attributes["href"]: node for node in seen.all(".flow a.job")}
    assert set(links) == {f"/queues/{queue.name}/jobs/{one.id}" for one in (*first, last)}
    marked = [href for href, node in links.items() if node.attributes.get("aria-current")]
    assert marked == [f"/queues/{queue.name}/jobs/{last.id}"]
    assert len(seen.all(".flow path.blocks")) == 3
    assert seen.words("#graph") == ["Graph 4 jobs in 2 levels: 3 waiting, 1 deferred"]
    assert len(seen.all(".flow-list li li")) == 4
    named = ", ".join(sorted(one.id for one in first))
    assert seen.words("#waits") == [f"Waits for 3 jobs before it: {named}"]
    assert [node.attributes["data-yes"] for node in seen.all("[data-act]")] == ["Cancel job"]


def test_job_without_others_has_no_graph(queue: Queue, visit: Visit) -> None:
    job = queue.submit(made())
    seen = visit().see(f"/queues/{queue.name}/jobs/{job.id}")
    assert not seen.all(".flow, #graph")


def test_graph_is_shown_of_a_job_found_by_its_id(queue: Queue, visit: Visit) -> None:
    last = queue.submit(made(after=[queue.submit(made())]))
    assert len(visit().see(f"/jobs/{last.id}").all(".flow a.job")) == 2
    assert visit().see("/jobs/nosuch").status == 404


def test_deferred_jobs_have_a_tab_that_says_what_they_wait_for(queue: Queue, visit: Visit) -> None:
    first = queue.submit(made())
    after = queue.submit(made(after=[first]))
    jobs = queue.submit_many(made(limit=Limit(running=1, by=lambda tenant: tenant)), [("ann",)] * 2)
    seen = visit().see("/jobs", queue=queue.name, state="deferred")
    assert seen.words("td.for") == [f"1 job before it: {first.id}", "its turn: limit step ann"]
    assert [words for words in seen.words(".tabs a") if words.startswith("Deferred")] == ["Deferred 2"]
    assert after.id in seen.text
    hidden = visit(Role.VIEWER).see("/jobs", queue=queue.name, state="deferred")
    assert hidden.words("td.for") == ["\N{EN DASH}"] * 2
    alone = visit(Role.VIEWER).see(f"/queues/{queue.name}/jobs/{jobs[1].id}")
    assert alone.words("#waits") == ["Waits for its turn: its limit, 1 of 1 place taken"]
    assert "ann" not in alone.text
    queue.clear()
    assert "Nothing is deferred" in visit().see("/jobs", queue=queue.name, state="deferred").text


def test_queue_shows_its_limit_and_the_keys_that_jobs_wait_for(queue: Queue, visit: Visit) -> None:
    queue.submit_many(made(limit=Limit(running=1, by=lambda tenant: tenant)), [("ann",)] * 3)
    queue.limit(running=3, starts=100)
    seen = visit().see(f"/queues/{queue.name}")
    assert seen.words("[aria-labelledby=limits-title] dd")[0].startswith("3 at a time, 100 starts per minute")
    assert [node.attributes["value"] for node in seen.all("[data-run-limit] input")] == ["3", "100", "60"]
    assert seen.words("[aria-label='Keys that jobs wait for'] tbody th") == ["step ann"]
    hidden = visit(Role.VIEWER).see(f"/queues/{queue.name}")
    assert "ann" not in hidden.text
    assert not hidden.all("[data-run-limit]")
    assert seen.words("[data-n=deferred]") == ["2"]


def test_throttled_queue_says_until_when_and_offers_to_end_it(queue: Queue, visit: Visit) -> None:
    queue.submit(made())
    batch = queue.client.run(commands.claim(queue.name, "ann", "nonce.1", 1, 60.0))
    queue.client.run(commands.throttle(queue.name, batch.token, batch.jobs[0].id, 600.0))
    seen = visit().see(f"/queues/{queue.name}")
    assert "No job starts until" in seen.text
    assert "throttled" in seen.words("h1")[0]
    (button,) = seen.all(".throttled [data-act]")
    assert button.attributes["data-act"] == f"/api/v1/queues/{queue.name}/end-rest"
    assert not visit(Role.VIEWER).see(f"/queues/{queue.name}").all(".throttled [data-act]")
    assert f"{queue.name} is throttled: a task asked for a rest" in visit().see("/").text
