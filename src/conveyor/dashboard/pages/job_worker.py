"""The worker of a running job, as its page tells of it: what it takes, whether it is heard of, when it is killed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from conveyor import control
from conveyor.dashboard.attention import REPORT_KEEP, SILENT_AFTER
from conveyor.inspector import workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.inspector.snapshot import Snapshot
    from conveyor.inspector.stories import JobStory
    from conveyor.store.presence import Heard


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

    def essence(self) -> object:
        """Give what counts as news: of what the process takes, a change that somebody would call one."""
        taken = self.taken and (round(self.taken.cpu, -1), f"{self.taken.memory:.1e}", self.taken.pid)
        return self._replace(taken=None), taken


def runner_of(job: JobStory, snapshot: Snapshot, heard: Sequence[Heard]) -> Runner:
    """Give what is known of who runs a job; nothing of one that nobody runs, or that a program took by `Queue.get`."""
    if job.state != "running" or not job.worker or not job.task:
        return Runner()
    consumer = control.consumer_of(job.worker)
    report = next((one for one in snapshot.consumers if one.name == consumer), None)
    last = next((one.at for one in heard if one.name == consumer), None)
    if report is None:
        claimed = job.since if job.since is not None else 0.0
        silent = (
            snapshot.at - claimed > SILENT_AFTER
        )  # else it may be so new that nobody asked for its report yet
        return Runner(silent, last if silent else None)
    if last is not None and SILENT_AFTER < snapshot.at - max(last, report.at) < REPORT_KEEP:
        return Runner(silent=True, heard=max(last, report.at))
    worker = workers.running_job([report], job.id)
    if worker is None:
        return Runner()
    kill_at = round((report.at or snapshot.at) + worker.kill_in) if worker.cancelling else None
    share = worker.cpu if math.isfinite(worker.cpu) else 0.0
    taken = Taken(round(100 * share), worker.memory, worker.pid, report.host) if worker.memory else None
    return Runner(kill_at=kill_at, taken=taken)
