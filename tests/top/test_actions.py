"""Actions in the terminal view: workers, jobs and queues follow, and the audit trail has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
from consumer_kit import go

from conveyor.monitor import audit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

    Seated = Callable[..., None]


def acts_of(queue: Queue) -> list[tuple[str, str, str, str]]:
    """Return the audit trail from the oldest entry: author, action, reason and outcome."""
    found = audit.entries().ask(queue.client)
    return [(one.act.who, one.act.action, one.act.reason, one.act.outcome) for one in found][::-1]


def test_jobs_are_shown_waiting_running_and_ended(
    seated: Seated, queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    job = queue.submit(jobs.hold, str(path), "first")
    delayed = queue.submit(jobs.limited.options(delay=300), str(path))

    async def story(seat: Any) -> None:
        assert "▮▮" in await seat.sees(queue.name, " 1 ")  # delayed jobs take room as well, but are not due
        await seat.press("enter")
        await seat.sees(job.id, "consumer_jobs.hold")
        await seat.press("s")
        consume()
        await seat.sees("running 1", queue.name)
        line = await seat.sees(job.id, "/1", "0:0")
        await seat.misses(line.split()[3])  # the clock continues
        await seat.press("s", "s")
        await seat.sees(delayed.id, "4:")
        await seat.press("s", "s")
        go(path)
        assert "done" in await seat.sees(job.id, "hold", "/1")
        await seat.press("enter")
        await seat.sees("State", "done")
        await seat.press("escape", "1")
        await seat.sees(queue.name, "⏸")  # the worker waits

    seated(story)


def test_worker_is_killed_and_its_job_returns_to_the_queue(
    seated: Seated, queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    job = queue.submit(jobs.hold, str(path), "held")
    running = consume()

    async def story(seat: Any) -> None:
        await seat.press("3")
        await seat.sees(f"{running.name}/1", "busy", "hold")
        await seat.press("K")
        await seat.sees(job.id, "returns")
        await seat.press(*"odd", "enter")
        await seat.sees(f"Kill worker {running.name}/1 now: done")
        await seat.sees("No workers")
        await seat.press("2")
        await seat.sees("waiting 1", "running 0")

    seated(story)
    assert acts_of(queue) == [("ann", "kill_workers", "odd", "told")]


def test_consumer_is_scaled(seated: Seated, queue: Queue, consume: Callable[..., Any]) -> None:
    running = consume(workers=1)

    async def story(seat: Any) -> None:
        await seat.press("3")
        await seat.sees(f"{running.name}/1", "idle")
        await seat.press("+")
        await seat.sees("Add a worker")
        await seat.press(*"rush", "enter")
        await seat.sees(f"Add a worker to {running.name}: done", "1 to 2 workers")
        await seat.sees(f"{running.name}/2", "idle")
        await seat.press("-")
        await seat.press("enter")
        await seat.sees(f"Stop one of the workers of {running.name}: done", "2 to 1 workers")

    seated(story)
    assert [one[1:] for one in acts_of(queue)] == [
        ("scale_workers", "rush", "told"),
        ("scale_workers", "", "told"),
    ]


def test_worker_is_paused_resumed_and_stopped_after_its_job(
    seated: Seated, queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    queue.submit(jobs.hold, str(path), "held")
    running = consume(workers=2)

    async def story(seat: Any) -> None:
        await seat.press("3")
        busy = await seat.sees(f"{running.name}/", "busy")
        await seat.sees(f"{running.name}/", "idle")
        if busy.split()[0].endswith("1"):
            await seat.press("j")
        await seat.press("P")
        await seat.press("enter")
        await seat.sees("Pause worker", "done")
        await seat.sees(f"{running.name}/", "paused")
        await seat.press("P")
        await seat.press("enter")
        await seat.sees("Resume worker", "done")
        await seat.sees(f"{running.name}/", "idle")
        await seat.press("k" if busy.split()[0].endswith("1") else "j", "S")
        await seat.sees("after its current job?")
        await seat.press("enter")
        await seat.sees("Stop worker", "acknowledged")
        go(path)
        await seat.sees("Stop worker", "done")
        await seat.misses(busy.split()[0], "busy")

    seated(story)


def test_job_is_cancelled_but_a_dismissed_question_has_no_effect(
    seated: Seated, queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    job = queue.submit(jobs.log_and_hold, str(path))
    consume()

    async def story(seat: Any) -> None:
        await seat.press("2", "s")
        await seat.sees(job.id, "and_hold", "/1")
        await seat.press("enter")
        await seat.sees("State", "running")
        await seat.press("l")
        await seat.misses("State")
        await seat.press("C")
        await seat.sees(f"Cancel job {job.id}?")
        await seat.press("escape", "C")
        await seat.press(*"late", "enter")
        await seat.sees("Cancel job", "done")
        await seat.press("l")
        await seat.sees("State", "cancelled")

    seated(story)
    assert acts_of(queue) == [("ann", "cancel_job", "late", "running")]


def test_failures_are_shown_in_a_single_line_and_retried(
    seated: Seated, queue: Queue, consume: Callable[..., Any]
) -> None:
    ids = [queue.submit(jobs.boom, "see \x1b[31m https://ann:pass@example.org/").id for _ in range(3)]
    running = consume()

    async def story(seat: Any) -> None:
        await seat.press("4")
        line = await seat.sees(" 3 ", queue.name, "boom")
        assert "\x1b" not in line
        assert "pass@" not in line
        running.signal()
        await seat.press("enter")
        await seat.sees("Traceback")
        await seat.press("escape", "R")
        await seat.sees("Retry 3 dead jobs of", "boom")
        await seat.press("enter")
        await seat.sees("done, 3 waiting again")
        await seat.sees("No dead jobs")
        await seat.press("2")
        for job_id in ids:
            await seat.sees(job_id)
        await seat.press("slash", *ids[1], "enter")
        await seat.misses(ids[0], "boom")
        await seat.sees(ids[1], "boom")
        await seat.press("escape")
        await seat.sees(ids[0])

    seated(story)


def test_queue_is_paused_and_resumed(seated: Seated, queue: Queue) -> None:
    queue.put("item")

    async def story(seat: Any) -> None:
        await seat.sees(queue.name)
        await seat.press("P", *"why", "enter")
        await seat.sees(f"Pause {queue.name}: done")
        assert queue.count().paused
        await seat.press("P", "enter")
        await seat.sees(f"Resume {queue.name}: done")
        assert not queue.count().paused

    seated(story)
    assert [act[:3] for act in acts_of(queue)] == [("ann", "pause_queue", "why"), ("ann", "resume_queue", "")]


def test_actions_are_unavailable_if_read_only(seated: Seated, queue: Queue) -> None:
    queue.put("item")

    async def story(seat: Any) -> None:
        await seat.sees(queue.name)
        assert "P pause" not in seat.screen[-1]
        await seat.press("P")
        await seat.sees("this is read-only")
        await seat.press("enter", "R")
        await seat.press("enter")

    seated(story, read_only=True)
    assert acts_of(queue) == []
