"""What a worker process is doing, written where its supervisor can read it even after the worker was killed.

A slate is a piece of shared memory. The worker writes what it holds and which job it runs; the supervisor writes
wishes. Nobody waits for anybody, no lock can die with its holder, and a write costs well under a microsecond.
The batch is written to the half that is not in use, then the counter that names the half is moved on: a worker
killed in the middle of a write leaves the previous batch readable.
"""

from __future__ import annotations

import mmap
from typing import NamedTuple

import msgspec

STARTING, IDLE, BUSY, LEAVING, PAUSED = range(5)
STATE_NAMES = ("starting", "idle", "busy", "leaving", "paused")
#: Why the supervisor wants a run to end.
NO_WISH, WISH_CANCEL, WISH_RETURN = range(3)

# Places in the memory: of whole numbers and floats of eight bytes each, then of texts and batches in bytes. A number of
# eight bytes is read and written at once.
_STATE, _BATCH_NUMBER, _PLACE, _SINCE, _LIMIT, _JOBS_DONE = range(6)
_WISH_NUMBER, _WISH_PLACE, _WISH, _STEP, _STEP_DONE, _STEP_TOTAL = range(6, 12)
_TAKEN, _LAST, _ATTEMPT, _LEAVE, _PAUSE, _STACK_FILE, _RELIEVED = range(12, 19)
_CLAIM_AT, _CLAIM_ROOM = 192, 150
_MESSAGE_AT, _TASK_AT, _ERROR_AT, _TEXT_ROOM = 384, 896, 1408, 500
_ARGUMENTS_AT, _ARGUMENTS_ROOM = 2048, 1000
_BATCH_AT, _HALF = 3072, 64 * 1024


class HeldBatch(msgspec.Struct, array_like=True, gc=False):
    """Jobs that a worker holds under one token."""

    queue: str
    token: str
    nonce: str
    ids: list[str]


class Glance(NamedTuple):
    """What the supervisor sees when it looks at a slate."""

    state: int
    number: int
    place: int
    since: float
    limit: float
    jobs_done: int

    @property
    def runs(self) -> bool:
        """Whether user code runs."""
        return self.place >= 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(HeldBatch).decode


class Slate:
    """One worker's piece of shared memory; made before the fork, used by both sides after it."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, _BATCH_AT + 2 * _HALF)
        self._view = memoryview(self.memory)
        self._whole, self._real = self._view.cast("q"), self._view.cast("d")
        self._whole[_PLACE] = self._whole[_STACK_FILE] = -1

    # What the worker writes.

    def set_state(self, state: int) -> None:
        """Say what the worker is at."""
        self._whole[_STATE] = state

    def claiming(self, queue: str, nonce: str) -> None:
        """Note a claim before it is sent."""
        self._write_text(_CLAIM_AT, f"{nonce} {queue}", _CLAIM_ROOM)

    def hold(self, batch: HeldBatch) -> int:
        """Note what is held now; gives the batch's number."""
        number = self._whole[_BATCH_NUMBER] + 1
        data = _encode(batch)
        at = _BATCH_AT + (number % 2) * _HALF
        self.memory[at + 4 : at + 4 + len(data)] = data
        self.memory[at : at + 4] = len(data).to_bytes(4, "little")
        self._whole[_PLACE] = self._whole[_LAST] = -1
        self._whole[_BATCH_NUMBER] = number
        return number

    def hold_nothing(self) -> None:
        """Note that nothing is left for the supervisor to settle or to give back."""
        self.hold(HeldBatch("", "", "", []))
        self.claiming("", "")

    def take(self, place: int) -> None:
        """Note the job at this place as the one at hand: it is suspected if the worker dies now."""
        self._whole[_LAST] = place

    def start(self, place: int, since: float, limit: float, attempt: int = 1) -> None:
        """Note that user code begins to run, for the job at this place of the batch.

        The place comes last: whoever sees it must not see the times of the job before.
        """
        whole, real = self._whole, self._real
        real[_SINCE], real[_LIMIT] = since, limit
        whole[_LAST], whole[_ATTEMPT] = place, attempt
        whole[_PLACE] = place

    def end(self, jobs_done: int) -> None:
        """Note that no user code runs."""
        self._whole[_PLACE] = -1
        self._whole[_JOBS_DONE] = jobs_done

    def set_task(self, name: str) -> None:
        """Note the task of the running job, and forget the progress of the one before."""
        self._write_text(_TASK_AT, name)

    def set_arguments(self, job_id: str, text: str) -> None:
        """Note the arguments of a job that begins, as a line without secrets."""
        self._write_text(_ARGUMENTS_AT, f"{job_id} {text}", _ARGUMENTS_ROOM)

    def clear_progress(self) -> None:
        """Forget the progress of the job before, and what it said of it."""
        if self._whole[_STEP]:
            self._whole[_STEP] = 0
            self._write_text(_MESSAGE_AT, "")

    def set_progress(self, done: float, total: float, message: str) -> None:
        """Note how far the running job is."""
        if message:
            self._write_text(_MESSAGE_AT, message)
        self._real[_STEP_DONE], self._real[_STEP_TOTAL] = done, total
        self._whole[_STEP] += 1

    def set_stack_file(self, descriptor: int) -> None:
        """Note which of the worker's open files its stacks are written to; -1 for none."""
        self._whole[_STACK_FILE] = descriptor

    def set_relieved(self, number: int) -> None:
        """Note that of this batch only the running job is left: the others are settled or released."""
        self._whole[_RELIEVED] = number

    def set_error(self, text: str) -> None:
        """Note why the worker cannot work."""
        self._write_text(_ERROR_AT, text)

    def wish(self, number: int, place: int) -> int:
        """Give what the supervisor wants for the job at this place of this batch."""
        whole = self._whole
        return whole[_WISH] if whole[_WISH_NUMBER] == number and whole[_WISH_PLACE] == place else NO_WISH

    def is_taken(self, number: int) -> bool:
        """Tell whether the supervisor has given back what was not begun of this batch."""
        return self._whole[_TAKEN] == number

    # What the supervisor reads and writes.

    def last(self) -> int:
        """Return the place of the job taken in hand last in this batch, running or not, or -1 for none."""
        return self._whole[_LAST]

    def must_leave(self) -> bool:
        """Tell the worker whether it is to leave; a signal says so sooner, but a task may have turned signals off."""
        return self._whole[_LEAVE] != 0

    def ask_to_leave(self) -> None:
        """Have the worker leave after its current job."""
        self._whole[_LEAVE] = 1

    def must_pause(self) -> bool:
        """Tell whether the worker is to take no jobs for now."""
        return self._whole[_PAUSE] != 0

    def ask_to_pause(self, paused: bool) -> None:  # noqa: FBT001 - the matter itself
        """Have the worker take no jobs after its current one, or take some again."""
        self._whole[_PAUSE] = paused

    def attempt(self) -> int:
        """Read which attempt at its job the run is that was begun last."""
        return self._whole[_ATTEMPT]

    def stack_file(self) -> int:
        """Read which of the worker's open files its stacks are written to; -1 for none."""
        return self._whole[_STACK_FILE]

    def glance(self) -> Glance:
        """Read what the worker is at."""
        whole, real = self._whole, self._real
        return Glance(
            whole[_STATE],
            whole[_BATCH_NUMBER],
            whole[_PLACE],
            real[_SINCE],
            real[_LIMIT],
            whole[_JOBS_DONE],
        )

    def held(self) -> HeldBatch | None:
        """Read what the worker holds."""
        number = self._whole[_BATCH_NUMBER]
        if number == 0:
            return None
        at = _BATCH_AT + (number % 2) * _HALF
        size = int.from_bytes(self.memory[at : at + 4], "little")
        try:
            return _decode(self.memory[at + 4 : at + 4 + size])
        except msgspec.DecodeError:
            return None  # the worker has gone two batches on while we read

    def claim(self) -> tuple[str, str]:
        """Read nonce and queue of the last claim."""
        nonce, _, queue = self._read_text(_CLAIM_AT).partition(" ")
        return nonce, queue

    def progress(self) -> tuple[int, float, float, str]:
        """Read the progress: how often it changed, done, total, message."""
        counter = self._whole[_STEP]
        if not counter:
            return 0, 0.0, 0.0, ""
        return counter, self._real[_STEP_DONE], self._real[_STEP_TOTAL], self._read_text(_MESSAGE_AT)

    def task(self) -> str:
        """Read the task of the running job."""
        return self._read_text(_TASK_AT)

    def arguments(self, job_id: str) -> str:
        """Read the arguments of a job as a line; empty where they were not noted."""
        noted, _, text = self._read_text(_ARGUMENTS_AT).partition(" ")
        return text if noted == job_id else ""

    def is_relieved(self, number: int) -> bool:
        """Return True if only the running job is left of this batch."""
        return self._whole[_RELIEVED] == number

    def error(self) -> str:
        """Read why the worker cannot work."""
        return self._read_text(_ERROR_AT)

    def want(self, number: int, place: int, what: int) -> None:
        """Wish something for the job at this place of this batch; for no other."""
        whole = self._whole
        whole[_WISH_NUMBER] = 0  # no batch has it: nobody reads half of one wish and half of another
        whole[_WISH_PLACE], whole[_WISH] = place, what
        whole[_WISH_NUMBER] = number

    def take_rest(self, number: int) -> None:
        """Have the worker begin no other job of this batch."""
        self._whole[_TAKEN] = number

    def close(self) -> None:
        """Give the memory back."""
        for view in (self._whole, self._real, self._view):
            view.release()
        self.memory.close()

    def _write_text(self, at: int, text: str, room: int = _TEXT_ROOM) -> None:
        data = text.encode(errors="replace")[:room]
        self.memory[at + 2 : at + 2 + len(data)] = data
        self.memory[at : at + 2] = len(data).to_bytes(2, "little")

    def _read_text(self, at: int) -> str:
        size = int.from_bytes(self.memory[at : at + 2], "little")
        return self.memory[at + 2 : at + 2 + size].decode(errors="replace")
