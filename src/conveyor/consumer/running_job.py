"""The run that a task sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.consumer import shared_status as slates
from conveyor.context import CurrentJob
from conveyor.errors import BadCall
from conveyor.wire.call import decode_call
from conveyor.wire.redaction import without

if TYPE_CHECKING:
    from conveyor.consumer.worker_process import CrewWorker
    from conveyor.store.commands import Claimed


class RunningJob(CurrentJob):
    """The run a task sees through `current_job()`; what it says goes to the slate, and costs no round trip."""

    def __init__(self, worker: CrewWorker, queue: str, token: str, place: int, job: Claimed) -> None:
        self.id = job.id
        self.attempt = job.retries + job.crashes + 1
        self.token = int(token)
        self._worker = worker
        self._queue = queue
        self._number = worker.batch_number
        self._place = place
        self._is_over = self._was_cancelled = False
        self._data = job.data
        self._secrets: list[str] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for this job to stop."""
        if self._is_over:
            return self._was_cancelled
        return self._worker.slate.wish(self._number, self._place) != slates.NO_WISH

    def end(self, *, cancelled: bool) -> None:
        """Keep whether it was to stop: a thread of the task may ask when the slate has a request for another run."""
        self._was_cancelled = cancelled
        self._is_over = True

    def progress(self, done: float, total: float = 1.0, message: str = "") -> None:
        """Say how far the work is; does nothing when the run is over, since another one may be in its place."""
        if self._is_over:
            return
        self._worker.slate.set_progress(done, total, self._open(message) if message else "")

    def log(self, text: str) -> None:
        """Keep a line of text with the job; a job does not fail where the server cannot take the line."""
        self._worker.lines.add(self._queue, self.id, self._open(text))

    def _open(self, text: object) -> str:
        """Return a text without the secrets among the job's arguments. Raises BadCall if it is not a str."""
        if not isinstance(text, str):
            message = f"a log line or a progress message must be a str, got {type(text).__name__}"
            raise BadCall(message, hint="decode bytes, and convert other values with str()")
        if self._secrets is None:
            job = decode_call(self._data)
            self._secrets = self._worker.executor.secrets(job)
        return without(str.__str__(text), self._secrets)  # a subclass may override any method
