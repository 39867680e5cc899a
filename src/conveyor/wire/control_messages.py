"""Messages between people and consumers: control commands, acknowledgements, and reports."""

from __future__ import annotations

import math
import re

import msgspec

from conveyor.errors import BadCall


def fraction_of(done: float, total: float) -> float | None:
    """Return the part of a whole that is done, 0 to 1, whatever a task reports, or None if it is unknown."""
    if not (math.isfinite(done) and math.isfinite(total) and total > 0):
        return None
    return max(0.0, min(1.0, done / total))


class ControlCommand(msgspec.Struct, frozen=True):
    """A command to a consumer's supervisor, from an operator or a program."""

    id: str
    """The id for acknowledgements; a cancellation whose id is that of the job gets none."""
    verb: str
    """stop: exit after the current job. kill: exit immediately, the job returns to the queue. cancel: end one job.

    pause: take no jobs after the current one. resume: take jobs again. stack: report the stacks.
    scale: change the number of workers, always of the whole consumer.
    """
    workers: list[str] = []
    """The target workers; empty for the whole consumer."""
    job: str = ""
    """The target job: always for cancel; for stack and the kill of one worker, if the sender means only this job.
    If another one runs there, nothing is done."""
    reason: str = ""
    expires: float = 0.0
    """Seconds since 1970 by the server's clock after which it is refused; 0 for never."""
    who: str = ""
    """The sender; empty if unknown."""
    queue: str = ""
    """The queue of the job to cancel: an id is unique only within a queue. Empty in commands of older versions."""
    token: str = ""
    """The token of the run to cancel, since the command may arrive when the job runs again. Empty for any run."""
    scale: str = ""
    """For scale: the number of workers (`8`), a change of it (`+2`, `-1`), or `auto`: as many as are needed again."""


class Acknowledgement(msgspec.Struct, frozen=True):
    """A supervisor's reply to a control command for one target; `acknowledged` comes first, `done` last."""

    target: str
    state: str
    """acknowledged, done; unknown: there is no such worker; gone: it exited before it could handle the command.

    expired: the command arrived too late, or the worker runs another job than the target; nothing was done.
    refused: the consumer cannot do that.
    repeated: the same command came again for this worker or job, and that one is acknowledged.
    """
    detail: str = ""
    """The job that still runs (stop, kill, pause), the stacks as a string (stack), the numbers of workers before and
    after (scale: `2 to 4 workers`), or why nothing was done."""

    @property
    def last_word(self) -> str:
        """The state, and why nothing was done: what the audit trail keeps."""
        return f"{self.state}: {self.detail[:100]}" if self.state in NOT_DONE and self.detail else self.state


class WorkerReport(msgspec.Struct, frozen=True):
    """What a worker is doing."""

    name: str
    pid: int
    state: str
    """starting, idle, busy, paused, leaving; silent, set by readers if its consumer has missed its heartbeats."""
    jobs_done: int = 0
    """Finished runs, whatever their outcomes."""
    job: str = ""
    """Also empty if it is busy with a job that has just started."""
    task: str = ""
    queue: str = ""
    busy_for: float = 0.0
    """Seconds since the current job started."""
    done: float = 0.0
    total: float = 0.0
    message: str = ""
    attempt: int = 0
    """The attempt of the current job, from 1; 0 without a job."""
    paused: bool = False
    """True if it takes no jobs until it is resumed; busy and paused: it still finishes one."""
    cpu: float = 0.0
    """Share of one core since the last report, 1.0 for a whole one; without programs started by the task."""
    memory: int = 0
    """Bytes of memory in use, including parts shared with other workers; without programs started by the task."""
    cancelling: bool = False
    """True if the current job was requested to stop."""
    kill_in: float = 0.0
    """Seconds until it is killed if that job has not finished by then."""
    busy: bool = False
    """True if it runs a job, in any state: a leaving worker finishes its last one. See `is_busy`."""
    batch: int = 0
    """How many jobs it runs together, `job` and those behind it; more than one only of a batch task."""

    @property
    def is_busy(self) -> bool:
        """True if it runs a job, leaving workers included; False for a silent one, where it is unknown."""
        return self.state != SILENT and (self.busy or bool(self.job) or self.state == "busy")

    def is_busy_on(self, queue: str) -> bool:
        """Return True if it runs a job of this queue."""
        return self.is_busy and self.queue == queue

    @property
    def fraction(self) -> float | None:
        """The progress of the current job, 0 to 1, or None if unknown."""
        return fraction_of(self.done, self.total)


class ConsumerReport(msgspec.Struct, frozen=True):
    """What a consumer is doing; after 20 seconds without a new report it counts as gone."""

    name: str
    host: str
    pid: int
    queues: list[str]
    kind: str
    started: float
    """Seconds since 1970, by that host's clock."""
    workers: list[WorkerReport]
    version: str = ""
    """Version of Conveyor."""
    cores: int = 0
    """Cores that the consumer may use."""
    python: str = ""
    """Version of Python."""
    at: float = 0.0
    """When this was reported, seconds since 1970 by that host's clock."""
    min_workers: int = 0
    max_workers: int = 0
    """Limits between which the number of its workers follows what waits, or 0 if it does not."""
    trouble: str = ""
    """Why its workers cannot start, such as a resource that cannot be opened; empty if they can."""


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """The progress of a running job."""

    done: float
    total: float
    message: str = ""

    @property
    def fraction(self) -> float | None:
        """The done part, 0 to 1, or None if unknown."""
        return fraction_of(self.done, self.total)


#: Workers of one consumer.
MAX_WORKERS = 1000
#: The `scale` after which the number of workers follows what waits again.
AUTO = "auto"
#: The state of a worker that has missed its heartbeats: it may be busy, or dead.
SILENT = "silent"
#: States of acknowledgements if nothing was done.
NOT_DONE = frozenset({"unknown", "gone", "expired", "refused"})
#: What people read instead of some states of acknowledgements.
WORDS = {"unknown": "unknown to its consumer", "expired": "too late", "repeated": "asked for again since"}

encode = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(ControlCommand).decode
decode_acknowledgement = msgspec.msgpack.Decoder(Acknowledgement).decode
decode_report = msgspec.msgpack.Decoder(ConsumerReport).decode
decode_progress = msgspec.msgpack.Decoder(Progress).decode


def check_scale(text: str) -> str:
    """Return a valid `ControlCommand.scale`. Raises BadCall for anything else."""
    number = re.fullmatch(r"([+-]?)(\d{1,9})", text, re.ASCII)
    if text != AUTO and (number is None or int(number[2]) > MAX_WORKERS):
        message = f"invalid number of workers {text!r:.80}"
        raise BadCall(message, hint=f"use a number up to {MAX_WORKERS}, a change such as +2 or -1, or auto")
    return text


def scaled(count: int, scale: str) -> int:
    """Return the number of workers that a number or a change of it leads to."""
    return count + int(scale) if scale[:1] in {"+", "-"} else int(scale)


def consumer_of(owner: str) -> str:
    """Return the consumer of a worker's name: `host-1a2b/3` belongs to `host-1a2b`."""
    return owner.partition("/")[0]


def short_name(worker: str) -> str:
    """Return the last part of a worker's name, without the host: `host-1a2b/3` becomes `1a2b/3`."""
    return worker.rpartition("-")[2]
