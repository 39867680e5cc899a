"""Steps in jobs that run in the test's process: the clock to move ends their sleeps, and signals arrive."""

from __future__ import annotations

import pytest

from conveyor import BadCall, Queue, WaitTimeout, current_job, task
from conveyor.testing import advance, inline, run_jobs

DAY = 86_400.0
done: list[str] = []


@task(name="remind", queue="work")
def remind(address: str) -> str:
    """Send a letter, and another one if there is no reply within a day."""
    job = current_job()
    job.step("first", done.append, f"first to {address}")
    try:
        return str(job.wait_for("reply", timeout=DAY))
    except WaitTimeout:
        job.step("second", done.append, f"second to {address}")
    job.sleep(DAY)
    return "no reply"


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


def test_moved_clock_ends_waits_and_sleeps(queue: Queue) -> None:
    job = remind.submit("ada")
    assert (run_jobs(), job.status(), done) == (1, "delayed", ["first to ada"])
    assert (advance(DAY - 60), run_jobs()) == (0, 0)
    assert (advance(60), run_jobs()) == (1, 1)
    assert done == ["first to ada", "second to ada"]
    assert (advance(DAY - 60), advance(60), run_jobs()) == (0, 1, 1)
    assert job.result() == "no reply"
    assert done == ["first to ada", "second to ada"]


def test_signal_ends_a_wait(queue: Queue) -> None:
    job = remind.submit("ada")
    run_jobs()
    assert job.signal("reply", "yes")
    assert run_jobs() == 1
    assert (job.result(), done) == ("yes", ["first to ada"])


def test_inline_job_stays_suspended_until_its_signal(queue: Queue) -> None:
    with inline():
        job = remind.submit("ada")
        assert job.status() == "delayed"
        job.signal("reply", "yes")
        run_jobs()
        assert job.result() == "yes"


def test_late_signal_is_refused(queue: Queue) -> None:
    job = remind.submit("ada")
    run_jobs()
    advance(DAY)
    run_jobs()
    assert job.signal("reply", "yes") is False


def test_plain_call_cannot_wait_for_a_signal() -> None:
    with pytest.raises(BadCall, match="this code is not part of a job"):
        remind("ada")
