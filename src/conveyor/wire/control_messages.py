"""What people and consumers tell each other: control commands, answers to them, reports of who does what."""

from __future__ import annotations

import math

import msgspec


def fraction_of(done: float, total: float) -> float | None:
    """Give how much of a whole is done, 0 to 1, whatever numbers a program told; None where that cannot be said."""
    if not (math.isfinite(done) and math.isfinite(total) and total > 0):
        return None
    return max(0.0, min(1.0, done / total))


class ControlCommand(msgspec.Struct, frozen=True):
    """A command to a consumer's supervisor."""

    id: str
    """Under which it is answered; a cancellation whose id is the job's own is not."""
    verb: str
    """stop: finish the current job, then leave. kill: stop at once, the job goes back. cancel: end one job.

    pause: finish the current job, then stay and take none. resume: take jobs again. stack: say where the code is.
    """
    workers: list[str] = []
    """The workers it is for; empty: the whole consumer."""
    job: str = ""
    """The job that is meant: by cancel always; by stack, where the stack of another would be of no use; by kill of one
    worker, where whoever wants it saw that job: if another runs there, nothing is done."""
    reason: str = ""
    expires: float = 0.0
    """Seconds since 1970 by the server's clock after which it is not obeyed any more; 0: never."""
    who: str = ""
    """Who gave the order; empty where they did not say."""
    queue: str = ""
    """The queue of the job to cancel: an id is unique within one queue only. Empty in commands of older programs."""
    token: str = ""
    """The token of the run to cancel, for the command may come when the job runs again. Empty: any run."""


class Acknowledgement(msgspec.Struct, frozen=True):
    """What a supervisor says to a control command, about one target; `acknowledged` comes first, `done` at the end."""

    target: str
    state: str
    """acknowledged, done; unknown: there is no such worker; gone: it left before it could follow.

    expired: the order came too late, or the worker runs another job than the one that was meant; nothing was done.
    repeated: the same was ordered again for this worker or job, and that order is answered.
    """
    detail: str = ""
    """The job that still runs (stop, kill, pause), or the stacks as text (stack), or why nothing came of it."""

    @property
    def last_word(self) -> str:
        """The state, and why nothing came of it: what is kept of the answer for good."""
        return f"{self.state}: {self.detail[:100]}" if self.state in NOT_DONE and self.detail else self.state


class WorkerReport(msgspec.Struct, frozen=True):
    """What one worker is doing."""

    name: str
    pid: int
    state: str
    """starting, idle, busy, paused, leaving; to those who read: silent, where its consumer is not heard of."""
    jobs_done: int = 0
    """Runs that have ended, however they did."""
    job: str = ""
    """Empty also where a busy one is at a job that has only just begun."""
    task: str = ""
    queue: str = ""
    busy_for: float = 0.0
    """Seconds since the current job began."""
    done: float = 0.0
    total: float = 0.0
    message: str = ""
    attempt: int = 0
    """Which attempt at the current job this is, from 1; 0 without a job."""
    paused: bool = False
    """Whether it takes no jobs until it is resumed; busy and paused: it still finishes one."""
    cpu: float = 0.0
    """Share of one core since the last report, 1.0 for a whole one; without programs that the task has started."""
    memory: int = 0
    """Bytes of memory in use, parts that it shares with other workers included; likewise."""
    cancelling: bool = False
    """Whether somebody wants the current job cancelled, and it was told so."""
    kill_in: float = 0.0
    """Seconds until it is killed if that job has not ended by then."""
    busy: bool = False
    """Whether it runs a job, in any state: a leaving worker finishes its last one. See `is_busy`."""

    @property
    def is_busy(self) -> bool:
        """True if it runs a job, leaving workers included; of a silent one that is not known."""
        return self.state != SILENT and (self.busy or bool(self.job) or self.state == "busy")

    def is_busy_on(self, queue: str) -> bool:
        """Return True if it runs a job of this queue."""
        return self.is_busy and self.queue == queue

    @property
    def fraction(self) -> float | None:
        """How far the current job is, 0 to 1; None where that cannot be said."""
        return fraction_of(self.done, self.total)


class ConsumerReport(msgspec.Struct, frozen=True):
    """What one consumer is doing; at most 20 seconds old, else it is gone."""

    name: str
    host: str
    pid: int
    queues: list[str]
    kind: str
    started: float
    """Seconds since 1970, by that machine's clock."""
    workers: list[WorkerReport]
    version: str = ""
    """Of Conveyor."""
    cores: int = 0
    """Cores that the consumer may use."""
    python: str = ""
    """Version of Python."""
    at: float = 0.0
    """When this was told, seconds since 1970 by that machine's clock."""


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far a running job is."""

    done: float
    total: float
    message: str = ""

    @property
    def fraction(self) -> float | None:
        """How far it is, 0 to 1; None where that cannot be said."""
        return fraction_of(self.done, self.total)


#: The state of a worker that has missed its heartbeats, to those who read: it may be busy, or dead.
SILENT = "silent"
#: States of answers to what was not done.
NOT_DONE = frozenset({"unknown", "gone", "expired"})
#: What people read for states of answers that are no words for them.
WORDS = {"unknown": "unknown to its consumer", "expired": "too late", "repeated": "asked for again since"}

encode = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(ControlCommand).decode
decode_acknowledgement = msgspec.msgpack.Decoder(Acknowledgement).decode
decode_report = msgspec.msgpack.Decoder(ConsumerReport).decode
decode_progress = msgspec.msgpack.Decoder(Progress).decode


def consumer_of(owner: str) -> str:
    """Give the consumer of a worker's name: `host-1a2b/3` belongs to `host-1a2b`."""
    return owner.partition("/")[0]


def short_name(worker: str) -> str:
    """Give the last part of a worker's name: `host-1a2b/3` is `1a2b/3` to those who see the host anyway."""
    return worker.rpartition("-")[2]
