"""Control commands to a consumer: received, carried out and replied to, per target.

Each target replies `acknowledged` immediately, and `done` when the command has taken effect. The levels of a stop are:
finish the current job, cancel one job, kill.
"""

from __future__ import annotations

import contextlib
import select
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from conveyor import clock, events
from conveyor.consumer import shared_status
from conveyor.consumer.settings import HEARTBEAT
from conveyor.consumer.shared_status import REQUEST_CANCEL, REQUEST_RETURN
from conveyor.consumer.stack import NoStacks, StackDump, section_of
from conveyor.errors import BadCall, StoreError, StoreUnavailable
from conveyor.store import commands, control_channel
from conveyor.store.client import Listener
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.consumer.heartbeat import Notice
    from conveyor.consumer.scaling import Scaling
    from conveyor.consumer.worker_handle import WorkerHandle
    from conveyor.store import Client
    from conveyor.store.command import Command
    from conveyor.wire.control_messages import ControlCommand

    #: Replies to a command about one target: with its state and, if there is more to say, a detail.
    Reply = Callable[..., None]

#: Seconds without a reply after which the connection for control commands counts as dead.
DEAD_AFTER = 3 * HEARTBEAT
#: Control commands that are remembered, so that a resent one is carried out once.
MAX_REMEMBERED = 1000
#: Seconds between a claim and the start of the run, at most, in which a cancellation may arrive.
EARLY = 2.0
#: Seconds after a command in which its effect is polled often; a busy worker takes longer.
SOON = 1.0
#: Workers of a consumer that write their stacks at a time: each is an open file of the supervisor meanwhile.
MAX_DUMPS = 32
#: Replies that are kept while the server is silent: two from each of 1,000 workers. The oldest are dropped first.
MAX_UNSENT = 2500
#: Replies, and bytes of them, in one round trip.
MAX_TOGETHER, MAX_BYTES_TOGETHER = 100, 128 * 1024
#: Seconds after which the supervisor goes on although replies are left: usually, and before it exits.
SENDING, LAST_SENDING = 1.0, 5.0
_GONE = "it exited before it could follow"
#: Results of a command, in ascending precedence for its whole consumer.
_RESULTS = ("gone", "repeated", "done")


class ControlChannel:
    """The connection on which a supervisor receives control commands, without ever blocking on it."""

    def __init__(self, client: Client, consumer: str) -> None:
        self.client = client
        self.consumer = consumer
        self.listener = Listener(client)
        """Its file descriptor is readable when there is something to poll."""
        self._asked = 0.0
        self._known: deque[bytes] = deque(maxlen=MAX_REMEMBERED)

    def poll(self, handle: Callable[[ControlCommand, float], None], interval: float) -> None:
        """Pass on a received command with the seconds it is late, and ask for the next one.

        Asks at most once per interval, in seconds.
        """
        since_asked = clock.monotonic() - self._asked
        if self.listener.fileno() >= 0:
            if not select.select([self.listener.fileno()], [], [], 0)[0]:
                if since_asked > DEAD_AFTER:
                    self.listener.close()
                return
            with contextlib.suppress(StoreError):
                data = self.listener.reply()
                control = self._decode(data) if data is not None else None
                if control is not None:
                    handle(control, self._seconds_late(control))
        if since_asked < interval:
            return
        self._asked = clock.monotonic()
        with contextlib.suppress(StoreError):
            self.listener.ask(control_channel.await_command(self.consumer, HEARTBEAT))

    def _decode(self, data: bytes) -> ControlCommand | None:
        """Return a command, or None if it is invalid or was sent twice."""
        try:
            control = control_messages.decode_command(data)
        except (msgspec.MsgspecError, ValueError):
            return None
        if control.id == control.job:  # a plain cancellation has no id of its own: equal ones are distinct
            return control
        is_known = data in self._known
        self._known.append(data)
        return None if is_known else control

    def _seconds_late(self, control: ControlCommand) -> float:
        """Return how long ago a command has expired: the supervisor may have hung, and its sender gave up."""
        if not control.expires:
            return 0.0
        try:
            now = self.client.run(commands.server_time(), patience=0.0)
        except StoreError:  # it has just become unavailable; this machine's clock is the next best
            now = clock.wall()
        return max(0.0, float(now - control.expires))


class Replies:
    """Replies to control commands. They are sent together: a round trip for each would take long."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.unsent: deque[Command] = deque(maxlen=MAX_UNSENT)

    def add(self, control: ControlCommand, target: str, state: str, detail: str = "") -> None:
        """Reply to a command about one target."""
        reply = control_messages.Acknowledgement(target, state, detail)
        data = control_messages.encode(reply)
        self.unsent.append(control_channel.acknowledge(control.id, data, target, reply.last_word))

    def send(self, seconds: float = SENDING) -> None:
        """Send the replies in order, for the given time. Raises StoreError; refused replies are dropped."""
        until = clock.Deadline(seconds)
        refusal: StoreError | None = None
        while self.unsent and not until.passed():
            some = self._next()
            try:
                self.client.run_all(some, patience=0.0)
            except StoreUnavailable:
                raise
            except StoreError as error:
                refusal = error
            for _ in some:
                self.unsent.popleft()
        if refusal is not None:
            raise refusal

    def _next(self) -> list[Command]:
        """Return the replies to send next: few enough for one round trip, even if they contain stacks."""
        some: list[Command] = []
        size = 0
        for one in self.unsent:
            size += sum(len(word) for word in one.words if isinstance(word, bytes))
            if some and (len(some) == MAX_TOGETHER or size > MAX_BYTES_TOGETHER):
                break
            some.append(one)
        return some


@dataclass
class ControlHandler:
    """Carries out control commands.

    `workers` are the consumer's running workers, and `to_start` the times when others are to start, both by name and
    shared with the supervisor. `hurry` makes the next heartbeat report all workers.
    """

    consumer: str
    workers: dict[str, WorkerHandle]
    to_start: dict[str, float]
    reply: Reply
    hurry: Callable[[], None]
    scaling: Scaling
    _early: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    """Jobs to cancel, by queue and id, whose run has not started here yet: its token, and the deadline."""
    _cancels: dict[tuple[str, str], ControlCommand] = field(default_factory=dict)
    """Commands that are done when a run ends, by its queue and id."""
    _whole: list[ControlCommand] = field(default_factory=list)
    """Commands that are done when the whole consumer ends."""
    _scale: _OpenScale | None = None
    """The last command to scale the consumer, until it has taken full effect."""

    def __post_init__(self) -> None:
        self.pauses = Pauses(self.consumer, self.workers, self.to_start, self.reply)
        self._stacks = _StackCommands(self.workers, self.reply)

    @property
    def is_urgent(self) -> bool:
        """True if an effect is imminent that only polling detects."""
        is_scaling = self._scale is not None and clock.monotonic() < self._scale.soon
        return bool(self._early) or is_scaling or self.pauses.is_urgent or self._stacks.is_urgent

    def handle(self, control: ControlCommand, seconds_late: float = 0.0) -> None:
        """Carry out a control command, or reply that it came too late."""
        if seconds_late > 0:
            detail = f"it came {seconds_late:.1f} s too late; nothing was done"
            for name in control.workers or (*sorted(self.workers), self.consumer):
                self.reply(control, name, "expired", detail)
        elif control.verb == "cancel":
            self._handle_cancel(control)
        elif control.verb in {"stop", "kill"}:
            self._handle_stop(control)
            self.hurry()
        elif control.verb in {"pause", "resume"}:
            self.pauses.handle(control)
            self.hurry()
        elif control.verb == "stack":
            self._stacks.handle(control)
        elif control.verb == "scale":
            self._handle_scale(control)
            self.hurry()

    def poll(self) -> None:
        """Carry out what could not be done immediately, and reply to commands that have taken effect."""
        for job, (token, until) in list(self._early.items()):
            if self.cancel(*job, token) or clock.monotonic() > until:
                del self._early[job]
        for job, control in list(self._cancels.items()):
            if job not in self._early and all(one.run_of(*job) is None for one in self.workers.values()):
                del self._cancels[job]
                self.reply(control, control.workers[0], "done")
        self.pauses.poll()
        self._stacks.poll()
        self._poll_scale()

    def finish(self) -> None:
        """Reply to the commands to the whole consumer, now that it ends, and to all others."""
        self.poll()
        for control in self._whole:
            self.reply(control, self.consumer, "done")

    def cancel(self, queue: str, job_id: str, token: str = "") -> bool:
        """Cancel a run: raise in the task, and kill its worker if it does not react. Return False if it is not running.

        An empty queue matches any queue, an empty token any run. If two workers run the job, the run with the newest
        token has the valid lease; the other one gets a notice.
        """
        found = [(worker, worker.run_of(queue, job_id)) for worker in self.workers.values()]
        runs = [
            (worker, *run)
            for worker, run in found
            if run is not None and token in {"", run[1].token_of(job_id)}
        ]
        if not runs:
            self._cancel_resting(queue, job_id, token)
            return False
        worker, reading, held = max(runs, key=lambda run: int(run[2].token_of(job_id)))
        worker.end_job(reading, held, job_id, REQUEST_CANCEL)
        return True

    def _cancel_resting(self, queue: str, job_id: str, token: str) -> None:
        """Cancel a job that a worker of a crew holds, before it begins; one that gathers jobs asks the server then."""
        for worker in self.workers.values():
            found = worker.resting()
            if found is None or found[1].ids != [job_id] or queue not in {"", found[1].queue}:
                continue
            if found[1].is_gathered:
                continue
            if token in {"", found[1].token}:
                worker.end_resting(found[0].batch, REQUEST_CANCEL)

    def handle_notice(self, notice: Notice) -> None:
        """End the run that a notice applies to, if it is still running."""
        held, worker = notice.held, notice.held.worker
        request = REQUEST_RETURN if notice.lost else REQUEST_CANCEL
        found = worker.running()
        if found is None or found[0].run != held.run:
            resting = worker.resting()
            if resting is not None and resting[0].batch == held.run[0] and not resting[1].is_gathered:
                worker.end_resting(resting[0].batch, request)
        elif worker.end_job(*found, held.id, request) and notice.lost:
            events.emit(events.LeaseLost(worker.name, held.id))

    def _handle_cancel(self, control: ControlCommand) -> None:
        events.emit(events.CancelAsked(control.job, control.reason))
        key = control.queue, control.job
        if not self.cancel(*key, control.token):
            self._early[key] = control.token, clock.monotonic() + EARLY
        if control.id != control.job and control.workers:
            before = self._cancels.pop(key, None)
            if before is not None:
                self.reply(before, before.workers[0], "repeated")
            self._cancels[key] = control
            self.reply(control, control.workers[0], "acknowledged", control.job)

    def _handle_stop(self, control: ControlCommand) -> None:
        targets = [
            one for name, one in self.workers.items() if not control.workers or name in control.workers
        ]
        if control.workers:
            for name in set(control.workers) - {one.name for one in targets}:
                if self.to_start.pop(name, None) is None:
                    self.reply(control, name, "unknown", "no such worker")
                else:  # its replacement has not started, and will not
                    self.pauses.names.discard(name)
                    self.reply(control, name, "acknowledged")
                    self.reply(control, name, "done")
        else:
            self._replace(self._whole, control, self.consumer)
            self.reply(control, self.consumer, "acknowledged")
            self.scaling.close()
            self.to_start.clear()
        for worker in targets:
            self._stop(worker, control)

    def _handle_scale(self, control: ControlCommand) -> None:
        """Scale the consumer; `_poll_scale` replies when the added workers are ready and the others have left."""
        if self._scale is not None:
            self.reply(self._scale.control, self.consumer, "repeated")
            self._scale = None
        if self.scaling.is_closed:
            self.reply(control, self.consumer, "gone", "it is exiting")
            return
        leaving = {name for name, one in self.workers.items() if one.verb}
        try:
            scale = control_messages.check_scale(control.scale)
            before, after = self.scaling.handle(scale, control.reason)
        except BadCall as error:
            self.reply(control, self.consumer, "refused", str(error))
            return
        detail = f"{before} to {after} workers"
        self.reply(control, self.consumer, "acknowledged", detail)
        stopped = [one for name, one in self.workers.items() if one.verb and name not in leaving]
        self._scale = _OpenScale(control, detail, stopped, clock.monotonic() + SOON)

    def _poll_scale(self) -> None:
        if self._scale is None or self.to_start:
            return
        running = self.workers.values()
        is_ready = all(one.status.state != shared_status.STARTING for one in running)
        if is_ready and not any(self.workers.get(one.name) is one for one in self._scale.stopped):
            self.reply(self._scale.control, self.consumer, "done", self._scale.detail)
            self._scale = None

    def _stop(self, worker: WorkerHandle, control: ControlCommand) -> None:
        job, jobs = worker.job()[1], worker.jobs()[1]
        if control.verb == "kill" and control.workers and control.job and jobs and control.job not in jobs:
            self.reply(control, worker.name, "expired", f"it runs job {job} now")
            return
        self._replace(worker.controls, control, worker.name)
        self.to_start.pop(worker.name, None)
        self.reply(control, worker.name, "acknowledged", job)
        if control.verb == "kill":
            worker.verb = "kill"
            worker.kill(f"worker {worker.name} was killed by {control.who or 'an unnamed user'}")
        else:
            worker.stop()

    def _replace(self, controls: list[ControlCommand], control: ControlCommand, target: str) -> None:
        """Add a command in place of an equal one to this target, so that repetitions do not grow the list."""
        for before in [one for one in controls if one.verb == control.verb]:
            controls.remove(before)
            self.reply(before, target, "repeated")
        controls.append(control)


@dataclass(slots=True)
class _OpenScale:
    """A command to scale the consumer that has not taken full effect."""

    control: ControlCommand
    detail: str
    stopped: list[WorkerHandle]
    soon: float
    """Until when its effect is polled often."""


@dataclass(slots=True)
class _OpenPause:
    """A command to pause or resume that has not taken full effect."""

    control: ControlCommand
    left: int
    """Number of workers that have not replied."""
    soon: float
    """Until when its effect is polled often."""
    result: str = "gone"
    """The reply of the whole consumer: done, if one of its workers has followed."""


@dataclass
class Pauses:
    """The paused workers, by name, so that the replacement of a crashed worker is paused as well."""

    consumer: str
    workers: dict[str, WorkerHandle]
    to_start: dict[str, float]
    reply: Reply
    names: set[str] = field(default_factory=set)
    includes_new: bool = False
    """True if workers that are added start paused: the whole consumer was paused, and nothing resumed since."""
    _open: dict[str, _OpenPause] = field(default_factory=dict)
    """The last command to each worker that has not followed it yet, by name."""

    @property
    def is_urgent(self) -> bool:
        """True if a worker is about to follow a command."""
        return any(clock.monotonic() < one.soon for one in self._open.values())

    def handle(self, control: ControlCommand) -> None:
        """Pause or resume the named workers, or all workers without names; `poll` replies when they have followed.

        This replaces an earlier command to a worker that has not followed it yet.
        """
        names = {*self.workers, *self.to_start}
        wanted = set(control.workers) or names
        if not control.workers:
            self.reply(control, self.consumer, "acknowledged")
        for name in sorted(wanted - names):
            self.reply(control, name, "unknown", "no such worker")
        is_pause = control.verb == "pause"
        self.names = self.names | (wanted & names) if is_pause else self.names - wanted
        self.includes_new = is_pause and (self.includes_new or not control.workers)
        opened = _OpenPause(control, len(wanted & names), clock.monotonic() + SOON)
        if not names:
            opened.result = "done"
        for name in sorted(wanted & names):
            before = self._open.get(name)
            if before is not None:
                self._close(name, "repeated" if before.control.verb == control.verb else "done")
            self._open[name] = opened
            worker = self.workers.get(name)
            if worker is not None:
                worker.pause(is_pause)
            self.reply(control, name, "acknowledged", worker.job()[1] if worker is not None else "")
        self._close_whole(opened)

    def start(self, name: str) -> bool:
        """Return True if a worker is to start paused: the one before it was, or the whole consumer is."""
        if self.includes_new:
            self.names.add(name)
        return name in self.names

    def poll(self) -> None:
        """Reply for workers that have followed."""
        for name in sorted(self._open):
            worker = self.workers.get(name)
            if worker is not None:
                is_paused = worker.status.state == shared_status.PAUSED
                result = "done" if is_paused == (name in self.names) else ""
            else:  # after a crash its replacement, which starts paused, follows
                result = "" if name in self.to_start else "gone"
            if result:
                self._close(name, result)

    def _close(self, name: str, result: str) -> None:
        """Reply for a worker, and after the last one for the whole consumer."""
        opened = self._open.pop(name)
        opened.left -= 1
        opened.result = max(opened.result, result, key=_RESULTS.index)
        self.reply(opened.control, name, result, _GONE if result == "gone" else "")
        self._close_whole(opened)

    def _close_whole(self, opened: _OpenPause) -> None:
        if not opened.left and not opened.control.workers:
            detail = _GONE if opened.result == "gone" else ""
            self.reply(opened.control, self.consumer, opened.result, detail)


@dataclass
class _StackCommands:
    """Commands for the stacks of workers."""

    workers: dict[str, WorkerHandle]
    reply: Reply
    _waiting: deque[tuple[WorkerHandle, ControlCommand]] = field(default_factory=deque)
    _dumps: dict[int, tuple[StackDump, list[tuple[WorkerHandle, ControlCommand]]]] = field(
        default_factory=dict
    )
    """By process id, with those that wait for them."""

    @property
    def is_urgent(self) -> bool:
        """True if stacks are being written, or about to be."""
        return bool(self._dumps or self._waiting)

    def handle(self, control: ControlCommand) -> None:
        """Request the stacks of the named workers, or of all processes; the replies follow within about a second."""
        first_ones = {one.pid: name for name, one in sorted(self.workers.items(), reverse=True)}
        for name in control.workers or sorted(first_ones.values()):
            worker = self.workers.get(name)
            if worker is None:
                self.reply(control, name, "unknown", "no such worker")
            elif control.job and control.job not in worker.jobs()[1]:
                self.reply(control, name, "unknown", "it is not running that job")
            else:
                self._waiting.append((worker, control))

    def poll(self) -> None:
        """Make the next workers write, and reply with finished stacks."""
        while self._waiting and len(self._dumps) < MAX_DUMPS:
            self._begin(*self._waiting.popleft())
        for pid, (dump, waiting) in list(self._dumps.items()):
            if dump.is_over() or all(self.workers.get(one.name) is not one for one, _ in waiting):
                del self._dumps[pid]
                text = dump.read() or "no stacks: the worker wrote nothing in time"
                for worker, control in waiting:
                    self.reply(control, worker.name, "done", section_of(text, worker.name))

    def _begin(self, worker: WorkerHandle, control: ControlCommand) -> None:
        if text := worker.process.stack_of(worker.name):
            self.reply(control, worker.name, "done", text)
            return
        worker.status.stack_requested = int(bool(control.workers))
        if worker.pid in self._dumps:
            self._dumps[worker.pid][1].append((worker, control))
            return
        try:
            if self.workers.get(worker.name) is not worker:
                raise NoStacks("the worker is gone")
            dump = StackDump(worker.pid, worker.process.workers[0].status.stack_file)
            self._dumps[worker.pid] = dump, [(worker, control)]
        except NoStacks as error:
            self.reply(control, worker.name, "done", f"no stacks: {error}")
