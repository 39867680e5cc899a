"""The worker of a running job, as its page tells of it: what it takes, whether it is heard of, when it is killed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from conveyor.monitor import silence, workers
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from conveyor.monitor.job_record import JobStory
    from conveyor.monitor.snapshot import Snapshot


class Taken(NamedTuple):
    """What the process takes while it runs the job."""

    cpu: int
    """Per cent of a core."""
    memory: int
    """Bytes."""
    pid: int
    host: str


class Runner(NamedTuple):
    """Who runs a job now."""

    silent: bool = False
    """Its consumer is not heard of any more: the job may not run at all."""
    heard: float | None = None
    """When a silent one last was; None where that is not known. As all moments, seconds since 1970."""
    kill_at: float | None = None
    """When it is killed unless the job, which is to be cancelled, has ended."""
    taken: Taken | None = None

    def version_key(self) -> object:
        """Give what counts as news: of what the process takes, a change that somebody would call one."""
        taken = self.taken and (round(self.taken.cpu, -1), f"{self.taken.memory:.1e}", self.taken.pid)
        return self._replace(taken=None), taken


def runner_of(job: JobStory, snapshot: Snapshot) -> Runner:
    """Give what is known of who runs a job; nothing of one that nobody runs, or that a program took by `Queue.get`."""
    if job.state != "running" or not job.worker or not job.task:
        return Runner()
    consumer = control_messages.consumer_of(job.worker)
    if silence.of_job(snapshot, job.worker, job.since) is not None:
        return Runner(silent=True, heard=silence.since(snapshot, consumer))
    report = next((one for one in snapshot.consumers if one.name == consumer), None)
    if report is None:
        return Runner()
    worker = workers.running_job([report], job.id)
    if worker is None:
        return Runner()
    kill_at = round((report.at or snapshot.at) + worker.kill_in) if worker.cancelling else None
    share = worker.cpu if math.isfinite(worker.cpu) else 0.0
    taken = Taken(round(100 * share), worker.memory, worker.pid, report.host) if worker.memory else None
    return Runner(kill_at=kill_at, taken=taken)
