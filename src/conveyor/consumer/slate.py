"""What a worker process is doing, written where its supervisor can read it even after the worker was killed.

A slate is a piece of shared memory. The worker writes what it holds and which job it runs; the supervisor writes
wishes. Nobody waits for anybody, no lock can die with its holder, and a write costs well under a microsecond.
The batch is written to the half that is not in use, then the counter that names the half is moved on: a worker
killed in the middle of a write leaves the previous batch readable.
"""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

import msgspec

STARTING, IDLE, BUSY, LEAVING, PAUSED = range(5)
STATE_NAMES = ("starting", "idle", "busy", "leaving", "paused")
#: Why the supervisor wants a run to end.
NO_WISH, WISH_CANCEL, WISH_RETURN = range(3)

_HEAD = struct.Struct("=qqqdd")  # state, batch number, place of the running job or -1, since, time limit or 0
_PLACE = struct.Struct("=qdd")
_TIMES = struct.Struct("=dd")
_COUNT = struct.Struct("=q")
_BEGUN = struct.Struct("=qq")  # place of the job that was begun last, its attempt
_WISH = struct.Struct("=qqq")  # batch number, place, what
_STEP = struct.Struct("=qdd")  # counter of progress messages, done, total
_TEXT_SIZE = struct.Struct("=H")
_HEAD_AT, _PLACE_AT, _TIMES_AT, _BATCH_NUMBER_AT, _STATE_AT = 0, 16, 24, 8, 0
_COUNT_AT, _WISH_AT, _STEP_AT, _CLAIM_AT = 40, 48, 72, 96
_TAKEN_AT, _LAST_AT, _ATTEMPT_AT, _LEAVE_AT, _PAUSE_AT, _STACK_AT = 1792, 1800, 1808, 1816, 1824, 1832
_RELIEVED_AT = 1840
_MESSAGE_AT, _TASK_AT, _ERROR_AT, _TEXT_ROOM = 256, 768, 1280, 500
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
        _PLACE.pack_into(self.memory, _PLACE_AT, -1, 0.0, 0.0)
        self.set_stack_file(-1)

    # What the worker writes.

    def set_state(self, state: int) -> None:
        """Say what the worker is at."""
        _COUNT.pack_into(self.memory, _STATE_AT, state)

    def claiming(self, queue: str, nonce: str) -> None:
        """Note a claim before it is sent."""
        self._write_text(_CLAIM_AT, f"{nonce} {queue}", 150)

    def hold(self, batch: HeldBatch) -> int:
        """Note what is held now; gives the batch's number."""
        number = _COUNT.unpack_from(self.memory, _BATCH_NUMBER_AT)[0] + 1
        data = _encode(batch)
        at = _BATCH_AT + (number % 2) * _HALF
        self.memory[at + 4 : at + 4 + len(data)] = data
        self.memory[at : at + 4] = len(data).to_bytes(4, "little")
        _PLACE.pack_into(self.memory, _PLACE_AT, -1, 0.0, 0.0)
        _COUNT.pack_into(self.memory, _LAST_AT, -1)
        _COUNT.pack_into(self.memory, _BATCH_NUMBER_AT, number)
        return int(number)

    def hold_nothing(self) -> None:
        """Note that nothing is left for the supervisor to settle or to give back."""
        self.hold(HeldBatch("", "", "", []))
        self.claiming("", "")

    def take(self, place: int) -> None:
        """Note the job at this place as the one at hand: it is suspected if the worker dies now."""
        _COUNT.pack_into(self.memory, _LAST_AT, place)

    def start(self, place: int, since: float, limit: float, attempt: int = 1) -> None:
        """Note that user code begins to run, for the job at this place of the batch.

        The place comes last: whoever sees it must not see the times of the job before.
        """
        _TIMES.pack_into(self.memory, _TIMES_AT, since, limit)
        _BEGUN.pack_into(self.memory, _LAST_AT, place, attempt)
        _COUNT.pack_into(self.memory, _PLACE_AT, place)

    def end(self, jobs_done: int) -> None:
        """Note that no user code runs."""
        _COUNT.pack_into(self.memory, _PLACE_AT, -1)
        _COUNT.pack_into(self.memory, _COUNT_AT, jobs_done)

    def set_task(self, name: str) -> None:
        """Note the task of the running job, and forget the progress of the one before."""
        self._write_text(_TASK_AT, name)

    def set_arguments(self, job_id: str, text: str) -> None:
        """Note the arguments of a job that begins, as a line without secrets."""
        self._write_text(_ARGUMENTS_AT, f"{job_id} {text}", _ARGUMENTS_ROOM)

    def clear_progress(self) -> None:
        """Forget the progress of the job before, and what it said of it."""
        _STEP.pack_into(self.memory, _STEP_AT, 0, 0.0, 0.0)
        _TEXT_SIZE.pack_into(self.memory, _MESSAGE_AT, 0)

    def set_progress(self, done: float, total: float, message: str) -> None:
        """Note how far the running job is."""
        if message:
            self._write_text(_MESSAGE_AT, message)
        counter = _COUNT.unpack_from(self.memory, _STEP_AT)[0]
        _STEP.pack_into(self.memory, _STEP_AT, counter + (2 if message else 1), done, total)

    def set_stack_file(self, descriptor: int) -> None:
        """Note which of the worker's open files its stacks are written to; -1 for none."""
        _COUNT.pack_into(self.memory, _STACK_AT, descriptor)

    def set_relieved(self, number: int) -> None:
        """Note that of this batch only the running job is left: the others are settled or released."""
        _COUNT.pack_into(self.memory, _RELIEVED_AT, number)

    def set_error(self, text: str) -> None:
        """Note why the worker cannot work."""
        self._write_text(_ERROR_AT, text)

    def wish(self, number: int, place: int) -> int:
        """Give what the supervisor wants for the job at this place of this batch."""
        wanted, at, what = _WISH.unpack_from(self.memory, _WISH_AT)
        return int(what) if (wanted, at) == (number, place) else NO_WISH

    def is_taken(self, number: int) -> bool:
        """Tell whether the supervisor has given back what was not begun of this batch."""
        return bool(_COUNT.unpack_from(self.memory, _TAKEN_AT)[0] == number)

    # What the supervisor reads and writes.

    def last(self) -> int:
        """Return the place of the job taken in hand last in this batch, running or not, or -1 for none."""
        return int(_COUNT.unpack_from(self.memory, _LAST_AT)[0])

    def must_leave(self) -> bool:
        """Tell the worker whether it is to leave; a signal says so sooner, but a task may have turned signals off."""
        return bool(_COUNT.unpack_from(self.memory, _LEAVE_AT)[0])

    def ask_to_leave(self) -> None:
        """Have the worker leave after its current job."""
        _COUNT.pack_into(self.memory, _LEAVE_AT, 1)

    def must_pause(self) -> bool:
        """Tell whether the worker is to take no jobs for now."""
        return bool(_COUNT.unpack_from(self.memory, _PAUSE_AT)[0])

    def ask_to_pause(self, paused: bool) -> None:  # noqa: FBT001 - the matter itself
        """Have the worker take no jobs after its current one, or take some again."""
        _COUNT.pack_into(self.memory, _PAUSE_AT, int(paused))

    def attempt(self) -> int:
        """Read which attempt at its job the run is that was begun last."""
        return int(_COUNT.unpack_from(self.memory, _ATTEMPT_AT)[0])

    def stack_file(self) -> int:
        """Read which of the worker's open files its stacks are written to; -1 for none."""
        return int(_COUNT.unpack_from(self.memory, _STACK_AT)[0])

    def glance(self) -> Glance:
        """Read what the worker is at."""
        return Glance(*_HEAD.unpack_from(self.memory, _HEAD_AT), *_COUNT.unpack_from(self.memory, _COUNT_AT))

    def held(self) -> HeldBatch | None:
        """Read what the worker holds."""
        number = _COUNT.unpack_from(self.memory, _BATCH_NUMBER_AT)[0]
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
        counter, done, total = _STEP.unpack_from(self.memory, _STEP_AT)
        return counter, done, total, self._read_text(_MESSAGE_AT) if counter else ""

    def task(self) -> str:
        """Read the task of the running job."""
        return self._read_text(_TASK_AT)

    def arguments(self, job_id: str) -> str:
        """Read the arguments of a job as a line; empty where they were not noted."""
        noted, _, text = self._read_text(_ARGUMENTS_AT).partition(" ")
        return text if noted == job_id else ""

    def is_relieved(self, number: int) -> bool:
        """Return True if only the running job is left of this batch."""
        return bool(_COUNT.unpack_from(self.memory, _RELIEVED_AT)[0] == number)

    def error(self) -> str:
        """Read why the worker cannot work."""
        return self._read_text(_ERROR_AT)

    def want(self, number: int, place: int, what: int) -> None:
        """Wish something for the job at this place of this batch; for no other."""
        _WISH.pack_into(self.memory, _WISH_AT, number, place, what)

    def take_rest(self, number: int) -> None:
        """Have the worker begin no other job of this batch."""
        _COUNT.pack_into(self.memory, _TAKEN_AT, number)

    def close(self) -> None:
        """Give the memory back."""
        self.memory.close()

    def _write_text(self, at: int, text: str, room: int = _TEXT_ROOM) -> None:
        data = text.encode(errors="replace")[:room]
        self.memory[at + 2 : at + 2 + len(data)] = data
        _TEXT_SIZE.pack_into(self.memory, at, len(data))

    def _read_text(self, at: int) -> str:
        size = _TEXT_SIZE.unpack_from(self.memory, at)[0]
        return self.memory[at + 2 : at + 2 + size].decode(errors="replace")
