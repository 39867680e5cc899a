"""Reading: what surfaces show about queues, consumers and jobs. Nothing that runs jobs uses this.

The modules of this package hold the questions, as values; `Inspector` asks them one by one and waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.job import Job
from conveyor.monitor import failures, history, job_record, queues, silence, tries, workers
from conveyor.monitor.jobs import (
    INDEXES,
    MOST_ON_PAGE,
    OVER,
    JobDetails,
    JobLine,
    arguments_text,
    read_call,
    read_line,
)
from conveyor.monitor.lease import lease_of
from conveyor.monitor.snapshot import Snapshot
from conveyor.store import Client, commands, connect, records
from conveyor.store.query import Query, together
from conveyor.wire import control_messages
from conveyor.wire.outcome import Settled, decode_settled
from conveyor.wire.redaction import no_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.commands import Count, State
    from conveyor.wire.control_messages import ConsumerReport, WorkerReport
    from conveyor.wire.redaction import LabelsOf

__all__ = [
    "INDEXES",
    "MOST_ON_PAGE",
    "Inspector",
    "JobDetails",
    "JobLine",
    "arguments_text",
    "failures",
    "history",
    "queues",
    "stories",
    "workers",
]


class Inspector:
    """Looks at one server; changes nothing."""

    def __init__(self, store: Client | None = None) -> None:
        self.client = store or connect()

    def queues(self) -> dict[str, Count]:
        """Give the counts of every queue that was ever put to, by name."""
        return queues.counts(queues.names().ask(self.client)).ask(self.client)

    def consumers(self) -> list[ConsumerReport]:
        """Give what each consumer reported, with the times of now; those silent for 20 seconds are left out."""
        return list(self.presence().consumers)

    def presence(self) -> Snapshot:
        """Give a snapshot of consumers alone, as `consumers` has them, and when each was heard of."""
        last = {one.name: one.at for one in workers.heard().ask(self.client)}
        time = Query((commands.server_time(),), lambda answers: answers[0])
        found, now = together([workers.reports(list(last)), time]).ask(self.client)
        told = [silence.marked(one, now, last[one.name]) for one in found]
        return Snapshot(now, consumers=[workers.aged(one, now) for one in told], heard=last)

    def workers(self, queue: str | None = None) -> list[WorkerReport]:
        """Give the workers of all consumers, or of those that take from one queue."""
        return [
            worker
            for consumer in self.consumers()
            if queue is None or queue in consumer.queues
            for worker in consumer.workers
        ]

    def jobs(
        self,
        queue: str,
        state: str = "waiting",
        first: int = 0,
        count: int = 50,
        labels_of: LabelsOf = no_labels,
    ) -> list[JobLine]:
        """Give some jobs of a queue in one state (waiting, delayed, running, dead), in that index's order.

        `labels_of` as in `stories.story`.
        """
        last = first + max(1, min(count, MOST_ON_PAGE)) - 1
        rows: list[tuple[str, float]] = self.client.run(records.page(queue, INDEXES[state], first, last))
        if not rows:
            return []
        data, shift = self.client.run_all(
            [records.fields(queue, "jobs", [job for job, _ in rows]), records.due_shift(queue)]
        )
        if state == "delayed":
            rows = [(job, score - shift) for job, score in rows]
        return [
            read_line(job, state, score, bytes_, labels_of)
            for (job, score), bytes_ in zip(rows, data, strict=True)
        ]

    def endings(self, queue: str, ids: Sequence[str]) -> list[Settled | None]:
        """Give what dead jobs of a queue ended with, in the order of `ids`; None where nothing is known."""
        if not ids:
            return []
        found = self.client.run(records.fields(queue, "reasons", ids))
        return [decode_settled(data) if data else None for data in found]

    def job(self, job_id: str, queue: str | None = None) -> JobDetails | None:
        """Give what is known of a job, looking in all queues unless one is named; None if nothing is."""
        names: list[str] = [queue] if queue else self.client.run(commands.queue_names())
        states: list[State] = self.client.run_all([commands.state(name, job_id) for name in names])
        for name, state in zip(names, states, strict=True):
            if state.state != "gone":
                return self._details(name, job_id, state)
        return None

    def handle(self, job_id: str, queue: str | None = None) -> Job[Any] | None:
        """Give the handle of a job, looking in all queues unless one is named; None if nothing is known of it."""
        details = self.job(job_id, queue)
        return None if details is None else Job(job_id, details.queue, client=self.client)

    def _details(self, queue: str, job_id: str, state: State) -> JobDetails:
        settled = (
            decode_settled(state.detail) if isinstance(state.detail, bytes) and state.state in OVER else None
        )
        tried = tries.counted(state.tries)
        words = {"ready": "waiting", "leased": "running"}
        return JobDetails(
            id=job_id,
            queue=queue,
            state=settled.state if settled is not None else words.get(state.state, state.state),
            call=read_call(state.data),
            settled=settled,
            place=int(state.detail) if state.state == "ready" else None,
            due_in=int(state.detail) / 1000 if state.state == "delayed" else None,
            worker=lease_of(state).owner,
            retries=tried.retries,
            crashes=tried.crashes,
            progress=control_messages.decode_progress(state.progress) if state.progress else None,
            lines=self.client.run(records.lines(queue, job_id)),
            cancelled=job_record.cancellation_of(self.client.run(records.cancellation(queue, job_id))),
        )
