"""A supervisor's reading of a dead worker's shared status: which job it blames, and which it releases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import consumer_jobs as jobs
import pytest

from conveyor import clock
from conveyor.consumer.recovery import ORDERLY, recover
from conveyor.consumer.shared_status import HeldBatch
from conveyor.consumer.worker_handle import WorkerHandle
from conveyor.monitor import Inspector, job_record
from conveyor.store import commands
from conveyor.wire import ids
from conveyor.wire.control_messages import ControlCommand

if TYPE_CHECKING:
    from conveyor import Queue


class Scene(NamedTuple):
    """Three jobs of a queue, claimed by a worker."""

    queue: Queue
    worker: WorkerHandle
    jobs: list[Any]
    token: str

    def states(self) -> list[tuple[str, int, int]]:
        found = [Inspector(self.queue.client).job(job.id, self.queue.name) for job in self.jobs]
        return [(one.state, one.crashes, one.retries) for one in found if one]

    def recover(self, how: str = "SIGKILL") -> dict[str, str]:
        return recover(self.queue.client, self.worker, how)


def claimed(queue: Queue, function: Any, *args: Any, noted: bool = True, count: int = 3) -> Scene:
    handles = queue.submit_many(function, [args] * count)
    worker = WorkerHandle("host/1")
    nonce = ids.unique(8)
    worker.status.set_claim(queue.name, nonce)
    batch = queue.client.run(commands.claim(queue.name, worker.name, nonce, 3, 15.0))
    if noted:
        worker.status.hold(HeldBatch(queue.name, batch.token, nonce, [job.id for job in batch.jobs]))
    worker.status.task = "the_task"
    return Scene(queue, worker, handles, batch.token)


WAITING = ("waiting", 0, 0)


def test_worker_that_died_before_noting_a_claim_releases_jobs(
    queue: Queue,
) -> None:
    scene = claimed(queue, jobs.nothing, noted=False)
    assert queue.count().leased == 3
    assert scene.recover() == {}
    assert scene.states() == [WAITING] * 3
    waiting = Inspector(queue.client).jobs(queue.name)
    assert [line.id for line in waiting] == [job.id for job in scene.jobs]


def test_worker_that_died_before_it_started_a_job_blames_none(queue: Queue) -> None:
    scene = claimed(queue, jobs.nothing)
    assert scene.recover() == {}
    assert scene.states() == [WAITING] * 3


def test_job_at_hand_counts_as_crashed_before_it_runs(queue: Queue) -> None:
    scene = claimed(queue, jobs.nothing)
    scene.worker.status.last = 0
    assert scene.recover("SIGSEGV") == {scene.jobs[0].id: "given back"}
    assert scene.states() == [("waiting", 1, 0), WAITING, WAITING]


def test_no_job_counts_as_crashed_if_its_worker_dies_after_it(queue: Queue) -> None:
    scene = claimed(queue, jobs.nothing)
    scene.worker.status.start(1, 0.0, 0.0)
    scene.worker.status.end(1)
    assert scene.recover("SIGKILL") == {}
    assert scene.states() == [WAITING] * 3


@pytest.mark.parametrize(
    ("how", "crashes"), [("SIGSEGV", 1), ("exit code 1", 1), ("SIGKILL", 0), (ORDERLY, 0)]
)
def test_lone_unseen_job_counts_as_crashed_if_reading_may_kill(how: str, crashes: int, queue: Queue) -> None:
    scene = claimed(queue, jobs.nothing, noted=False, count=1)
    scene.recover(how)
    assert scene.states() == [("waiting", crashes, 0)]
    assert queue.count().imbalance == 0


def test_only_the_running_job_counts_as_crashed(queue: Queue) -> None:
    scene = claimed(queue, jobs.nothing)
    scene.worker.status.start(1, 0.0, 0.0)
    assert scene.recover() == {scene.jobs[1].id: "given back"}
    assert scene.states() == [WAITING, ("waiting", 1, 0), WAITING]
    assert scene.recover() == {scene.jobs[1].id: "given back"}, "may be done again"
    assert scene.states() == [WAITING, ("waiting", 1, 0), WAITING]
    assert queue.count().imbalance == 0


def test_job_of_a_worker_killed_on_purpose_is_not_blamed(queue: Queue) -> None:
    scene = claimed(queue, jobs.nothing)
    scene.worker.status.start(1, 0.0, 0.0)
    scene.worker.killed = True
    assert scene.recover() == {scene.jobs[1].id: "given back"}
    assert scene.states() == [WAITING] * 3


def test_killed_run_is_recorded_with_its_author_as_no_attempt(queue: Queue) -> None:
    for order in (
        ControlCommand("1", "kill", who="ann", reason="too slow"),
        ControlCommand("2", "stop"),
        None,
    ):
        scene = claimed(queue, jobs.nothing)
        scene.worker.status.start(0, clock.monotonic() - 2.0, 0.0)
        scene.worker.killed = True
        scene.worker.controls = [order] if order else []
        scene.recover()
        one = job_record.record(queue.name, scene.jobs[0].id).ask(queue.client)
        assert one
        assert (one.retries, one.crashes, one.attempt) == (0, 0, 1)
        (run,) = one.attempts
        assert (run.attempt, run.state, run.worker, run.kind) == (1, "killed", "host/1", "WorkerKilled")
        named = order is not None and order.verb == "kill"
        assert run.message == ("by ann: too slow" if named else "its consumer was stopped immediately")
        assert run.elapsed >= 2.0
        assert one.waited == pytest.approx(max(0.0, run.started - (one.put_at or 0.0)))
        for job in scene.jobs:
            job.cancel()


def test_job_that_ignores_its_cancellation_is_cancelled(queue: Queue) -> None:
    scene = claimed(queue, jobs.nothing)
    scene.worker.status.start(0, 0.0, 0.0)
    scene.worker.killed, scene.worker.cancelling = True, (queue.name, scene.jobs[0].id)
    assert scene.recover() == {scene.jobs[0].id: "cancelled"}
    assert scene.states()[1:] == [WAITING] * 2
    assert scene.jobs[0].cancelled()


def test_job_after_a_cancelled_job_is_not_cancelled(queue: Queue) -> None:
    scene = claimed(queue, jobs.nothing)
    scene.worker.killed, scene.worker.cancelling = True, (queue.name, scene.jobs[0].id)
    scene.worker.status.start(1, 0.0, 0.0)
    assert scene.recover() == {scene.jobs[1].id: "given back"}
    assert scene.states() == [WAITING] * 3


@pytest.mark.parametrize(("place", "state"), [(1, ("failed", 0, 0)), (2, WAITING)])
def test_time_limit_applies_only_to_the_run_that_reached_it(
    place: int, state: tuple[str, int, int], queue: Queue
) -> None:
    scene = claimed(queue, jobs.nothing)
    scene.worker.killed, scene.worker.timed_out = True, (1, 1)
    scene.worker.status.start(place, 0.0, 0.0)
    scene.recover()
    assert scene.states()[place] == state
    assert queue.count().imbalance == 0


def test_run_over_its_time_limit_uses_up_a_retry(queue: Queue) -> None:
    scene = claimed(queue, jobs.limited_twice, "somewhere")
    scene.worker.killed, scene.worker.timed_out = True, (1, 0)
    scene.worker.status.start(0, 0.0, 0.2)
    scene.recover()
    assert scene.states()[0][2] == 1
    assert queue.count().dead == 0


def test_cancelled_run_over_its_time_limit_is_not_retried(queue: Queue) -> None:
    scene = claimed(queue, jobs.limited_twice, "somewhere")
    scene.worker.killed, scene.worker.timed_out = True, (1, 0)
    scene.worker.status.start(0, 0.0, 0.2)
    scene.jobs[0].cancel()
    assert scene.recover() == {scene.jobs[0].id: "cancelled"}


def test_worker_without_jobs_is_recovered_without_a_server(queue: Queue) -> None:
    class NoServer:
        """Fails on any query."""

    worker = WorkerHandle("host/1")
    worker.status.hold(HeldBatch(queue.name, "7", "nonce", ["a"]))
    worker.status.set_claim(queue.name, "nonce")
    worker.status.hold_nothing()
    assert recover(NoServer(), worker, "exit code 0") == {}
