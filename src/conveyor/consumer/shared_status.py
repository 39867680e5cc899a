"""The status of a worker process in memory shared with its supervisor, readable even after the worker was killed.

The worker writes what it holds and which job it runs; the supervisor writes requests. It needs no lock, so neither side
waits and none can die with its holder, and a write costs well under a microsecond. A batch is written to the half that
is not in use, and then the counter that selects the half advances: if a worker is killed in the middle of a write, the
previous batch stays readable.
"""

from __future__ import annotations

import itertools
import mmap
from typing import Any, NamedTuple

import msgspec

from conveyor.batch_tasks import MAX_BATCH

STARTING, IDLE, BUSY, LEAVING, PAUSED = range(5)
STATE_NAMES = ("starting", "idle", "busy", "leaving", "paused")
#: The limits of a process.
MAX_JOBS, MAX_MEMORY = 1, 2
#: How the supervisor wants a run to end.
NO_REQUEST, REQUEST_CANCEL, REQUEST_RETURN, REQUEST_TIMEOUT = range(4)
#: In place of the seconds before a retry: those of a task without a policy; and none, since it is not retried.
USUAL_DELAY, NO_RETRY = -1.0, -2.0

# Offsets in the memory: of integers and floats in units of eight bytes, then of texts and batches in bytes.
_STATE, _BATCH, _POSITION, _SINCE, _LIMIT, _JOBS_DONE = range(6)
_REQUEST_BATCH, _REQUEST_POSITION, _REQUEST, _STEP, _STEP_DONE, _STEP_TOTAL = range(6, 12)
_RELEASED, _LAST, _ATTEMPT, _STOP, _PAUSE, _STACK_FILE, _SETTLED = range(12, 19)
_WAIT, _WAITING_SINCE, _TAKEN_BACK, _UNCONFIRMED, _STACK, _SOFT_LIMIT, _SPENT = range(19, 26)
_LIMIT_DELAY = 26
_CLAIM_AT, _CLAIM_ROOM = 224, 150
_MESSAGE_AT, _TASK_AT, _ERROR_AT, _TEXT_ROOM = 384, 896, 1408, 500
_ARGUMENTS_AT, _ARGUMENTS_ROOM = 2048, 1000
_BATCH_AT, _HALF = 3072, 128 * 1024
_ENDED_AT = _BATCH_AT + 2 * _HALF


class HeldBatch(msgspec.Struct, array_like=True, gc=False):
    """Jobs that a worker holds: under one token, and one of them may run; or gathered by claims, to run together."""

    queue: str
    token: str
    nonce: str
    ids: list[str]
    tokens: list[tuple[str, int]] = []
    """Of gathered jobs: each token, and how many of them it has, in order."""

    @property
    def is_gathered(self) -> bool:
        """True if its jobs run together; then the position of the run is 0."""
        return bool(self.tokens)

    def leases(self) -> list[tuple[str, str]]:
        """Return id and token of each job."""
        if not self.tokens:
            return [(one, self.token) for one in self.ids]
        each = itertools.chain.from_iterable(itertools.repeat(*share) for share in self.tokens)
        return list(zip(self.ids, each, strict=True))

    def token_of(self, job_id: str) -> str:
        """Return the token of one of its jobs."""
        return dict(self.leases())[job_id]

    def running(self, position: int) -> list[str]:
        """Return the jobs that run while the run is at this position."""
        return self.ids if self.is_gathered else self.ids[position : position + 1]


class StatusReading(NamedTuple):
    """A worker's status at one moment."""

    state: int
    batch: int
    """The number of its batch: one more with each."""
    position: int
    """Position of the running job in the batch, or -1."""
    since: float
    limit: float
    soft_limit: float
    jobs_done: int

    @property
    def is_running(self) -> bool:
        """True if user code is running."""
        return self.position >= 0

    @property
    def run(self) -> tuple[int, int]:
        """Batch and position, which identify a run of this worker."""
        return self.batch, self.position


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(HeldBatch).decode


class _Integer:
    """An integer in the shared memory. Reads and writes are atomic."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def __get__(self, status: SharedStatus, _: Any) -> int:
        return status.integers[self.offset]

    def __set__(self, status: SharedStatus, value: int) -> None:
        status.integers[self.offset] = value


class _Float:
    """A number in the shared memory. Reads and writes are atomic."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def __get__(self, status: SharedStatus, _: Any) -> float:
        return status.floats[self.offset]

    def __set__(self, status: SharedStatus, value: float) -> None:
        status.floats[self.offset] = value


class _Text:
    """A text in the shared memory, cut to the room there is."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def __get__(self, status: SharedStatus, _: Any) -> str:
        return status.read_text(self.offset)

    def __set__(self, status: SharedStatus, text: str) -> None:
        status.write_text(self.offset, text)


class SharedStatus:
    """One worker's piece of shared memory; created before the fork, used by both sides after it."""

    # Written by the worker.
    state = _Integer(_STATE)
    attempt = _Integer(_ATTEMPT)
    """Number of the attempt at the running job, or at the job that ran last."""
    last = _Integer(_LAST)
    """Position of the job in this batch that was begun last, running or not, or -1 for none."""
    settled_batch = _Integer(_SETTLED)
    """The batch of which only the running job is left: the others are settled or released."""
    unconfirmed = _Integer(_UNCONFIRMED)
    """The batch before, if its outcomes were sent and not confirmed so far, or 0."""
    soft_limit = _Float(_SOFT_LIMIT)
    """Seconds of the run after which SoftTimeout is to be raised in it; 0 for never, and once that is done."""
    limit_delay = _Float(_LIMIT_DELAY)
    """Seconds before the retry of the running job, should it reach its time limit; or USUAL_DELAY, or NO_RETRY."""
    stack_file = _Integer(_STACK_FILE)
    """File descriptor, in the worker, that its stacks are written to, or -1 for none."""
    spent = _Integer(_SPENT)
    """The limit of its process that makes the worker exit, or 0 for none."""
    task = _Text(_TASK_AT)
    error = _Text(_ERROR_AT)
    """Why the worker cannot work, or an empty string."""

    # Written by the supervisor.
    stop_requested = _Integer(_STOP)
    """1 if the worker is to stop after its current job. A signal requests it sooner, unless a task disabled signals."""
    pause_requested = _Integer(_PAUSE)
    """1 if the worker is to take no jobs after its current one."""
    stack_requested = _Integer(_STACK)
    """1 if a worker that shares its process is to write the stack of its own job, too."""

    worker = ""
    """The worker's name; not shared: known in its own process."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, _ENDED_AT + 8 + MAX_BATCH)
        self._view = memoryview(self.memory)
        self.integers, self.floats = self._view.cast("q"), self._view.cast("d")
        self.integers[_POSITION] = self.integers[_STACK_FILE] = -1
        self.floats[_LIMIT_DELAY] = USUAL_DELAY

    # Methods of the worker.

    def set_claim(self, queue: str, nonce: str) -> None:
        """Note a claim before it is sent."""
        self.write_text(_CLAIM_AT, f"{nonce} {queue}", _CLAIM_ROOM)

    def begin_wait(self, now: float) -> None:
        """Note a wait for the reply to a claim; `now` is of the clock that counts a suspension."""
        self.integers[_WAIT] += 1
        self.floats[_WAITING_SINCE] = now

    def end_wait(self) -> bool:
        """Note the end of the wait. Return False if the supervisor has taken its claim back."""
        self.floats[_WAITING_SINCE] = 0.0
        return self.integers[_TAKEN_BACK] != self.integers[_WAIT]

    def hold(self, batch: HeldBatch) -> int:
        """Note the jobs that are held now, and return the batch's number."""
        number = self.integers[_BATCH] + 1
        data = _encode(batch)
        at = _BATCH_AT + (number % 2) * _HALF
        self.memory[at + 4 : at + 4 + len(data)] = data
        self.memory[at : at + 4] = len(data).to_bytes(4, "little")
        self.integers[_POSITION] = self.integers[_LAST] = -1
        self.integers[_BATCH] = number
        return number

    def hold_nothing(self) -> None:
        """Note that no job of a batch is left to settle or to release; there may be those of an unread claim."""
        held = self.held()
        nothing = HeldBatch("", "", held.nonce if held else "", [])
        for _ in range(2):  # also of the batch before
            self.hold(nothing)

    def start(self, position: int, since: float, limit: float, attempt: int = 1) -> None:
        """Note that user code starts, for the job at this position of the batch.

        The position is written last: a reader who sees it must not see the times of the previous job.
        """
        integers, floats = self.integers, self.floats
        floats[_SINCE], floats[_LIMIT] = since, limit
        integers[_LAST], integers[_ATTEMPT] = position, attempt
        integers[_POSITION] = position

    def is_over_soft_limit(self, now: float) -> bool:
        """Return True if SoftTimeout is to be raised in the running job now."""
        limit = self.floats[_SOFT_LIMIT]
        return limit > 0 and now >= self.floats[_SINCE] + limit

    def end(self, jobs_done: int) -> None:
        """Note that no user code is running."""
        self.integers[_POSITION] = -1
        self.integers[_JOBS_DONE] = jobs_done

    def set_arguments(self, job_id: str, text: str) -> None:
        """Note the arguments of a job that starts, as a line without secrets."""
        self.write_text(_ARGUMENTS_AT, f"{job_id} {text}", _ARGUMENTS_ROOM)

    def clear_progress(self) -> None:
        """Clear the progress of the previous job."""
        if self.integers[_STEP]:
            self.integers[_STEP] = 0
            self.write_text(_MESSAGE_AT, "")

    def set_progress(self, done: float, total: float, message: str) -> None:
        """Note the progress of the running job."""
        if message:
            self.write_text(_MESSAGE_AT, message)
        self.floats[_STEP_DONE], self.floats[_STEP_TOTAL] = done, total
        self.integers[_STEP] += 1

    def request_for(self, batch: int, position: int) -> int:
        """Return the supervisor's request for the job at this position of this batch."""
        integers = self.integers
        is_meant = integers[_REQUEST_BATCH] == batch and integers[_REQUEST_POSITION] == position
        return integers[_REQUEST] if is_meant else NO_REQUEST

    def is_ended(self, batch: int, position: int) -> bool:
        """Return True if the supervisor wants this one of the gathered jobs that run to end."""
        return self.integers[_ENDED_AT // 8] == batch and bool(self.memory[_ENDED_AT + 8 + position])

    def is_released(self, batch: int) -> bool:
        """Return True if the supervisor has released the prefetched jobs of this batch."""
        return self.integers[_RELEASED] == batch

    # Methods of the supervisor.

    def read(self) -> StatusReading:
        """Read the worker's state and run."""
        integers, floats = self.integers, self.floats
        return StatusReading(
            integers[_STATE],
            integers[_BATCH],
            integers[_POSITION],
            floats[_SINCE],
            floats[_LIMIT],
            floats[_SOFT_LIMIT],
            integers[_JOBS_DONE],
        )

    def held(self, back: int = 0) -> HeldBatch | None:
        """Read the jobs that the worker holds, or None if there are none or they change at this moment.

        With `back` 1, read those of the batch before, whose outcomes may still be on their way.
        """
        number = self.integers[_BATCH] - back
        if number <= 0:
            return None
        at = _BATCH_AT + (number % 2) * _HALF
        size = int.from_bytes(self.memory[at : at + 4], "little")
        try:
            return _decode(self.memory[at + 4 : at + 4 + size])
        except msgspec.DecodeError:
            return None  # the worker moved on by two batches meanwhile

    def claim(self) -> tuple[str, str]:
        """Read nonce and queue of the last claim."""
        nonce, _, queue = self.read_text(_CLAIM_AT).partition(" ")
        return nonce, queue

    def progress(self) -> tuple[int, float, float, str]:
        """Read the progress: number of updates, done, total, message."""
        counter = self.integers[_STEP]
        if not counter:
            return 0, 0.0, 0.0, ""
        return counter, self.floats[_STEP_DONE], self.floats[_STEP_TOTAL], self.read_text(_MESSAGE_AT)

    def arguments(self, job_id: str) -> str:
        """Read the arguments of a job as a line, empty if they were not noted."""
        noted, _, text = self.read_text(_ARGUMENTS_AT).partition(" ")
        return text if noted == job_id else ""

    def request(self, batch: int, position: int, what: int) -> None:
        """Request the end of the run at this position of this batch, and of no other run."""
        integers = self.integers
        integers[_REQUEST_BATCH] = 0  # matches no batch, so a reader never mixes two requests
        integers[_REQUEST_POSITION], integers[_REQUEST] = position, what
        integers[_REQUEST_BATCH] = batch

    def end_one(self, batch: int, position: int) -> None:
        """Note that this one of the gathered jobs that run is to end, which interrupts nothing."""
        if self.integers[_ENDED_AT // 8] != batch:
            self.memory[_ENDED_AT + 8 : _ENDED_AT + 8 + MAX_BATCH] = bytes(MAX_BATCH)
            self.integers[_ENDED_AT // 8] = batch
        self.memory[_ENDED_AT + 8 + position] = 1

    def wait(self) -> tuple[int, float]:
        """Return the number of the worker's wait for a claim, and when it began, or 0.0 if it does not wait."""
        return self.integers[_WAIT], self.floats[_WAITING_SINCE]

    def take_back(self, wait: int) -> None:
        """Keep the worker from running what is claimed in this wait."""
        self.integers[_TAKEN_BACK] = wait

    def release_rest(self, batch: int) -> None:
        """Keep the worker from starting another job of this batch."""
        self.integers[_RELEASED] = batch

    def close(self) -> None:
        """Free the memory."""
        for view in (self.integers, self.floats, self._view):
            view.release()
        self.memory.close()

    def write_text(self, at: int, text: str, room: int = _TEXT_ROOM) -> None:
        """Write a text at an offset, cut to its room."""
        data = text.encode(errors="replace")[:room]
        self.memory[at + 2 : at + 2 + len(data)] = data
        self.memory[at : at + 2] = len(data).to_bytes(2, "little")

    def read_text(self, at: int) -> str:
        """Read the text at an offset."""
        size = int.from_bytes(self.memory[at : at + 2], "little")
        return self.memory[at + 2 : at + 2 + size].decode(errors="replace")
