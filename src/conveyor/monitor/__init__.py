"""Reading and acting for every surface: queries are values that one round trip can combine, actions are recorded.

Nothing that runs jobs uses this package. `Inspector` asks single questions and waits for the reply.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conveyor.monitor import job_list, job_record, snapshot, workers
from conveyor.monitor.snapshot import Snapshot
from conveyor.store import Client, connect
from conveyor.store.query import together
from conveyor.wire.redaction import no_labels

if TYPE_CHECKING:
    from conveyor.monitor.job_list import JobRow
    from conveyor.monitor.job_record import JobRecord
    from conveyor.store.commands import Count
    from conveyor.wire.control_messages import ConsumerReport, WorkerReport
    from conveyor.wire.redaction import LabelsOf

__all__ = ["Inspector"]


class Inspector:
    """Asks one server, one question at a time; changes nothing."""

    def __init__(self, store: Client | None = None) -> None:
        self.client = store or connect()

    def queues(self) -> dict[str, Count]:
        """Return the counts of every queue that was ever put to, by name."""
        return snapshot.queue_counts(snapshot.queue_names().ask(self.client)).ask(self.client)

    def presence(self) -> Snapshot:
        """Return a snapshot of the consumers only, with running times as of now.

        A consumer without a report for 20 seconds is left out.
        """
        last = {one.name: one.at for one in workers.last_reports().ask(self.client)}
        reports, now = together([workers.reports(list(last)), snapshot.server_time()]).ask(self.client)
        found = [workers.aged(workers.with_silence(one, now, last[one.name]), now) for one in reports]
        return Snapshot(now, consumers=found, reported=last)

    def consumers(self) -> list[ConsumerReport]:
        """Return the reports of all consumers, as `presence` does."""
        return list(self.presence().consumers)

    def workers(self, queue: str | None = None) -> list[WorkerReport]:
        """Return the workers of all consumers, or those that take from one queue."""
        found = self.presence()
        return found.workers() if queue is None else found.workers_of(queue)

    def jobs(
        self,
        queue: str,
        state: str = "waiting",
        first: int = 0,
        count: int = 50,
        labels_of: LabelsOf = no_labels,
    ) -> list[JobRow]:
        """Return some jobs of a queue in one state, as `job_list.span` does."""
        return job_list.span(queue, state, first, count, labels_of).ask(self.client)

    def job(self, job_id: str, queue: str | None = None, labels_of: LabelsOf = no_labels) -> JobRecord | None:
        """Return the record of a live, dead or finished job, searching all queues unless one is named, or None.

        The state of a dead job is the one it ended in: failed or lost. `labels_of` as in `job_record.record`.
        """
        queue = queue or self._locate(job_id)
        record = job_record.record(queue, job_id, labels_of).ask(self.client) if queue else None
        if record is None or record.state == "gone":
            return None
        return record if record.settled is None else replace(record, state=record.settled.state)

    def _locate(self, job_id: str) -> str:
        names, step = snapshot.queue_names().ask(self.client), job_record.MAX_SEARCHED_QUEUES
        parts = (names[first : first + step] for first in range(0, len(names), step))
        return next(filter(None, (job_record.locate(job_id, part).ask(self.client) for part in parts)), "")
