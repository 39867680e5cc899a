"""What users do to queues, jobs and workers from any surface: carried out, and recorded in the audit trail."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

import msgspec

from conveyor.errors import BadCall, ConveyorError
from conveyor.job import Job, cancel_jobs
from conveyor.monitor import audit, bulk
from conveyor.monitor.job_data import STATES, read_call
from conveyor.queue import Queue
from conveyor.schedules import Schedules
from conveyor.store import commands, control_channel
from conveyor.wire import call, control_messages, ids
from conveyor.wire.audit_entry import AuditEntry, Operation
from conveyor.wire.checks import check_whole
from conveyor.wire.signature import name_of
from conveyor.wire.terms import Limit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conveyor.store import Client
    from conveyor.store.command import Command
    from conveyor.store.commands import Count, Limits
    from conveyor.wire.audit_entry import Facts, Matching
    from conveyor.wire.schedule import Schedule

T = TypeVar("T")

#: Verbs of control commands.
VERBS = ("stop", "kill", "pause", "resume", "stack", "scale")
#: Verbs that apply only to the job that the worker was seen running.
JOB_VERBS = ("kill", "stack")
NO_JOBS: Mapping[str, str] = MappingProxyType({})
#: Seconds, by the server's clock, until a control command expires. Kill and stack are about the job that runs now; who
#: sees no effect of a change of scale soon may send it again.
EXPIRES_AFTER = {"kill": 10.0, "stack": 10.0, "scale": 10.0, "stop": 60.0, "pause": 60.0, "resume": 60.0}


class Actor(NamedTuple):
    """The user that acts, and from where."""

    who: str
    """Name of the user: of the operating system's account, or of the login."""
    origin: str
    """`cli@host`, or the address of a browser."""


class QueueResult(NamedTuple):
    """A queue right before and after an action; `recorded` is True if the audit trail has the action."""

    queue: str
    before: Count
    after: Count
    recorded: bool

    @property
    def changed(self) -> bool:
        """True if the queue's pause, shutdown or maxsize changed."""
        one, other = self.before, self.after
        return (one.paused, one.shutdown, one.maxsize) != (other.paused, other.shutdown, other.maxsize)


class LimitResult(NamedTuple):
    """The limit of a queue right before and after it was set; `recorded` as of QueueResult."""

    queue: str
    before: Limits
    after: Limits
    recorded: bool

    @property
    def changed(self) -> bool:
        """True if the limit changed."""
        return _limit_facts(self.before) != _limit_facts(self.after)


class JobResult(NamedTuple):
    """The result of an action on a job; `recorded` is True if the audit trail has the action."""

    state: str
    """waiting, discarded or cancelled; running: its worker was asked to stop it; otherwise nothing was done."""
    changed: bool
    recorded: bool
    holder: str = ""
    """The job that has the unique key of a dead one, which therefore was not retried."""


class ScheduleResult(NamedTuple):
    """The result of an action on a schedule; `recorded` is True if the audit trail has the action."""

    name: str
    changed: bool
    recorded: bool
    job: str = ""
    """The id of the job that was put."""


class CommandReceipt(NamedTuple):
    """A control command that was sent; `monitor.follow` reads the acknowledgements of its targets."""

    id: str
    targets: tuple[str, ...]
    recorded: bool


class Actions:
    """The actions of one user on one server. Thread-safe; each call waits for the server's reply.

    An action that cannot be recorded happens nevertheless: its result has `recorded=False`. An action that the server
    refuses is recorded as refused, and raises.
    """

    def __init__(self, client: Client, actor: Actor) -> None:
        self.client = client
        self.actor = actor

    def record(self, act: AuditEntry) -> bool:
        """Record an action that was carried out elsewhere, with this user as the default actor."""
        who, origin = act.who or self.actor.who, act.origin or self.actor.origin
        return audit.record(self.client, msgspec.structs.replace(act, who=who, origin=origin))

    def pause_queue(self, queue: str, reason: str = "") -> QueueResult:
        """Pause a queue: running jobs continue, and puts are accepted."""
        act = AuditEntry("pause_queue", queue, queue, reason)
        return self._on_queue(act, commands.pause(ids.checked_queue(queue)), _flags)

    def resume_queue(self, queue: str, reason: str = "") -> QueueResult:
        """Resume a queue that was paused or shut down."""
        act = AuditEntry("resume_queue", queue, queue, reason)
        return self._on_queue(act, commands.resume(ids.checked_queue(queue)), _flags)

    def bound_queue(self, queue: str, maxsize: int, reason: str = "") -> QueueResult:
        """Set the maxsize of a queue; 0 removes the limit. Raises BadCall for a negative number."""
        check_whole("maxsize", maxsize, call.MAX_SIZE)
        command = commands.bound(ids.checked_queue(queue), maxsize)
        act = AuditEntry("bound_queue", queue, queue, reason)
        return self._on_queue(act, command, lambda count: {"maxsize": count.maxsize})

    def limit_queue(self, queue: str, running: int, starts: int, per: float, reason: str = "") -> LimitResult:
        """Set how many jobs of a queue run at a time, and start within `per` seconds; zeros remove the limit.

        Raises BadCall for numbers that are out of range.
        """
        wanted = Limit(running=running, starts=starts, per=per)  # it checks them
        query = commands.limits(ids.checked_queue(queue))
        act = AuditEntry("limit_queue", queue, queue, reason)
        before: Limits = self.client.run(query)
        command = commands.limit(queue, wanted.running, wanted.starts, wanted.seconds)
        self._attempt(act, lambda: self.client.run(command))
        after: Limits = self.client.run(query)
        act = msgspec.structs.replace(act, before=_limit_facts(before))
        return LimitResult(queue, before, after, self._finish(act, "done", _limit_facts(after)))

    def end_rest(self, queue: str, key: str = "", reason: str = "") -> JobResult:
        """End the rest of a queue, or of the jobs of one limit, that a task has asked for by Throttle.

        The state of the result is resting if it did, otherwise open.
        """
        act = AuditEntry("end_rest", key or queue, ids.checked_queue(queue), reason)
        rested = bool(self._attempt(act, lambda: self.client.run(commands.end_rest(queue, key))))
        outcome = "done" if rested else "not done: it does not rest"
        return JobResult("resting" if rested else "open", rested, self._finish(act, outcome, {}))

    def delete_queue(self, queue: str, reason: str = "", *, purge: bool = False) -> QueueResult:
        """Delete an empty queue and everything stored about it; `purge` first removes waiting and dead jobs.

        Raises NotEmpty if it has jobs, or running ones in any case; see `Queue.delete`.
        """
        before: Count = self.client.run(commands.count(ids.checked_queue(queue)))
        facts: Facts = {"waiting": before.qsize, "running": before.leased, "dead": before.dead}
        act = AuditEntry("delete_queue", queue, queue, reason, before=facts)
        self._attempt(act, lambda: Queue(queue, store=self.client).delete(purge=purge))
        after: Count = self.client.run(commands.count(queue))
        return QueueResult(queue, before, after, self._finish(act, "done", {}))

    def add_schedule(
        self, queue: str, function: Callable[..., object], schedule: Schedule, reason: str = ""
    ) -> ScheduleResult:
        """Run a task or function of a queue by a schedule; see `Schedules.add`."""
        act = AuditEntry("add_schedule", schedule.name or name_of(function), queue, reason)
        name = self._attempt(act, lambda: self._schedules(queue).add(function, schedule))
        return ScheduleResult(
            name, changed=True, recorded=self._finish(act, "done", {"when": schedule.timing})
        )

    def pause_schedule(self, queue: str, name: str, reason: str = "") -> ScheduleResult:
        """Pause a schedule. Raises BadCall if there is none of that name."""
        return self._on_schedule("pause_schedule", queue, name, reason, lambda found: found.pause(name))

    def resume_schedule(self, queue: str, name: str, reason: str = "") -> ScheduleResult:
        """Resume a schedule from its next instant on. Raises BadCall if there is none of that name."""
        return self._on_schedule("resume_schedule", queue, name, reason, lambda found: found.resume(name))

    def remove_schedule(self, queue: str, name: str, reason: str = "") -> ScheduleResult:
        """Remove a schedule; its jobs stay. Raises BadCall if there is none of that name."""

        def remove(found: Schedules) -> bool:
            found.remove(name)
            return True

        return self._on_schedule("remove_schedule", queue, name, reason, remove)

    def run_schedule(self, queue: str, name: str, reason: str = "") -> ScheduleResult:
        """Put a job of a schedule now. Raises BadCall if there is none of that name, Full and ShutDown."""
        act = AuditEntry("run_schedule", name, queue, reason)
        job = self._attempt(act, lambda: self._schedules(queue).run(name))
        return ScheduleResult(
            name, changed=True, recorded=self._finish(act, "done", {"job": job.id}), job=job.id
        )

    def _schedules(self, queue: str) -> Schedules:
        return Schedules(ids.checked_queue(queue), store=self.client)

    def _on_schedule(
        self, action: str, queue: str, name: str, reason: str, change: Callable[[Schedules], bool]
    ) -> ScheduleResult:
        act = AuditEntry(action, name, queue, reason)
        changed = self._attempt(act, lambda: change(self._schedules(queue)))
        outcome = "done" if changed else "not changed: it was so before"
        return ScheduleResult(name, changed, self._finish(act, outcome, {}))

    def cancel_job(self, queue: str, job_id: str, reason: str = "") -> JobResult:
        """Cancel a job: immediately while it is waiting; if it is running, its worker is asked to stop it."""
        act, command_id = self._job_entry("cancel_job", queue, job_id, reason), ids.unique()
        (state,) = self._attempt(
            act,
            lambda: cancel_jobs(self.client, queue, [job_id], reason, order=command_id, who=self.actor.who),
        )
        changed = state in {"cancelled", "running"}
        outcome = state if changed else f"not done: {state}"
        after: Facts = {"state": state, **({"order": command_id} if state == "running" else {})}
        return JobResult(state, changed, self._finish(act, outcome, after))

    def retry_job(self, queue: str, job_id: str, reason: str = "") -> JobResult:
        """Return a dead job to its queue, as if never tried; not while another job has its unique key."""
        act = self._job_entry("retry_job", queue, job_id, reason)
        return self._on_dead(act, commands.revive(queue, [job_id]), "waiting", needs_key=True)

    def discard_job(self, queue: str, job_id: str, reason: str = "") -> JobResult:
        """Delete a dead job; its outcome expires as it would have."""
        act = self._job_entry("discard_job", queue, job_id, reason)
        return self._on_dead(act, commands.discard(queue, [job_id]), "discarded")

    def signal_job(self, queue: str, job_id: str, name: str, value: object, reason: str = "") -> JobResult:
        """Send a signal to a job that waits for it, or will. The value is not recorded: it may be a secret."""
        act = self._job_entry("signal_job", queue, job_id, reason)
        act = msgspec.structs.replace(act, before={**act.before, "signal": name[: ids.MAX_STEP_NAME]})
        job: Job[object] = Job(job_id, queue, client=self.client)
        changed = self._attempt(act, lambda: job.signal(name, value))
        outcome = "done" if changed else "not done: this signal came before, or the job has finished"
        return JobResult(cast("str", act.before["state"]), changed, self._finish(act, outcome, {}))

    def control_workers(
        self,
        verb: str,
        targets: Sequence[str],
        reason: str = "",
        *,
        jobs: Mapping[str, str] = NO_JOBS,
        queue: str = "",
        scale: str = "",
    ) -> CommandReceipt:
        """Send a control command to workers (`host-ab12/3`) and whole consumers (`host-ab12`), without waiting.

        stop: exit after the current job. kill: exit immediately, the job returns to the queue. pause, resume: take no
        more jobs, take jobs again. stack: reply with the current stack. scale: have the number of workers that `scale`
        says, such as `8`, `+2` or `auto`; only for whole consumers.

        `jobs` maps a worker to the job that it was seen running: kill and stack do nothing if it runs another one by
        then. A command that arrives after EXPIRES_AFTER does nothing, too. `queue` is the one queue of all these jobs,
        for the audit trail. Names must be full, and are not checked. Raises BadCall for another verb, or another scale.
        """
        if verb not in VERBS:
            message = f"verb must be one of {', '.join(VERBS)}, got {verb!r:.80}"
            raise BadCall(message)
        if verb == "scale":
            _check_scale(targets, scale)
        command_id = ids.unique()
        groups = _groups(targets, jobs if verb in JOB_VERBS else NO_JOBS)
        act = AuditEntry(f"{verb}_workers", ", ".join(targets), queue, reason)

        def send() -> None:
            expires = self.client.run(commands.server_time()) + EXPIRES_AFTER[verb]
            queries: list[Command] = []
            for consumer, workers, job in groups:
                control = control_messages.ControlCommand(
                    command_id, verb, workers, job, reason, expires, self.actor.who, scale=scale
                )
                queries.append(control_channel.send(consumer, control_messages.encode(control)))
            self.client.run_all(queries)

        if groups:
            self._attempt(act, send)
        facts: Facts = {"order": command_id, **({"workers": scale} if scale else {})}
        recorded = self._finish(act, "told", facts)
        return CommandReceipt(command_id, tuple(targets), recorded)

    def begin(
        self,
        kind: str,
        queue: str | Sequence[str],
        matching: Matching = bulk.ALL_JOBS,
        reason: str = "",
    ) -> Operation:
        """Begin a bulk operation: retry, discard, cancel or purge. `bulk.run` carries it out.

        Dead jobs can be retried or discarded in several queues. Raises BadCall for an invalid combination.
        """
        names = (queue,) if isinstance(queue, str) else tuple(dict.fromkeys(queue))
        wanted = Operation(kind, names[0], matching, reason, self.actor.who, self.actor.origin)
        if len(names) > 1:
            wanted = msgspec.structs.replace(wanted, queue="", queues=names)
        act = bulk.audit_entry_of(wanted)
        begun = self._attempt(act, lambda: bulk.begin(self.client, wanted))
        self._finish(act, "begun", {"operation": begun.id, "total": begun.total})
        return begun

    def resume_operation(self, operation_id: str, reason: str = "") -> Operation:
        """Resume a stopped, failed or stalled bulk operation where it was; `bulk.run` carries it out.

        Raises BadCall if it is unknown, done or running.
        """
        return self._on_operation("take_up_operation", operation_id, reason, bulk.resume)

    def stop_operation(self, operation_id: str, reason: str = "") -> Operation:
        """Stop a bulk operation after its current chunk, and return it. Raises BadCall if it is unknown."""
        return self._on_operation("stop_operation", operation_id, reason, bulk.stop)

    def _on_operation(
        self, action: str, operation_id: str, reason: str, change: Callable[[Client, str], Operation]
    ) -> Operation:
        act = AuditEntry(action, operation_id, reason=reason)
        found = self._attempt(act, lambda: change(self.client, operation_id))
        act = msgspec.structs.replace(act, queue=found.queue)
        self._finish(act, "done", {"done": found.done, "total": found.total})
        return found

    def _on_queue(self, act: AuditEntry, command: Command, facts: Callable[[Count], Facts]) -> QueueResult:
        # One by one: in one round trip, a script that the server does not know yet would run after the others.
        count = commands.count(act.queue)
        before: Count = self.client.run(count)
        self._attempt(act, lambda: self.client.run(command))
        after: Count = self.client.run(count)
        act = msgspec.structs.replace(act, before=facts(before))
        return QueueResult(act.queue, before, after, self._finish(act, "done", facts(after)))

    def _job_entry(self, action: str, queue: str, job_id: str, reason: str) -> AuditEntry:
        ids.checked_queue(queue)
        state: commands.State = self.client.run(commands.state(queue, job_id))
        before: Facts = {"state": STATES.get(state.state, state.state)}
        call = read_call(state.data)
        if call is not None:
            before["task"] = call.task
        return AuditEntry(action, job_id, queue, reason, before)

    def _on_dead(
        self, act: AuditEntry, command: Command, state: str, *, needs_key: bool = False
    ) -> JobResult:
        changed = bool(self._attempt(act, lambda: self.client.run(command)))
        outcome, holder = state, ""
        if not changed:
            state = cast("str", act.before["state"])
            holder = self._holder_of_key(act.queue, act.target) if needs_key and state == "dead" else ""
            outcome = f"not done: {holder} has its unique key" if holder else f"not dead: {state}"
        recorded = self._finish(act, outcome, {"state": state})
        return JobResult(state, changed, recorded, holder)

    def _holder_of_key(self, queue: str, job_id: str) -> str:
        """Return the other job that has the unique key of a job, or "" if there is none."""
        key: str = self.client.run(commands.unique_key(queue, job_id))
        holder: str = self.client.run(commands.holder_of_key(queue, key)) if key else ""
        return "" if holder == job_id else holder

    def _attempt(self, act: AuditEntry, do: Callable[[], T]) -> T:
        """Return what `do` returns; if it is refused, record that and raise the error."""
        try:
            return do()
        except ConveyorError as error:
            self._finish(act, f"refused: {error}", {})
            raise

    def _finish(self, act: AuditEntry, outcome: str, after: Facts) -> bool:
        return self.record(msgspec.structs.replace(act, outcome=outcome, after=after))


def _limit_facts(limits: Limits) -> Facts:
    """Return the limit of a queue for the audit trail."""
    limit = limits.queue
    if limit is None:
        return {"running": 0, "starts": 0}
    per: Facts = {"per": limit.period} if limit.max_starts else {}
    return {"running": limit.max_running, "starts": limit.max_starts, **per}


def _flags(count: Count) -> Facts:
    return {"paused": bool(count.paused), "shutdown": bool(count.shutdown)}


def _check_scale(targets: Sequence[str], scale: str) -> None:
    """Raise BadCall for an invalid number of workers, or if a target is not a whole consumer."""
    control_messages.check_scale(scale)
    for name in targets:
        if "/" in name:
            message = f"only consumers have a number of workers, got {name!r:.80}"
            raise BadCall(message, hint=f"use {control_messages.consumer_of(name)!r:.80}")


def _groups(targets: Sequence[str], jobs: Mapping[str, str]) -> list[tuple[str, list[str], str]]:
    """Return consumer, workers and job of each message: one per worker with a known job, one for the other workers.

    No workers means the whole consumer.
    """
    by_consumer: dict[str, list[str]] = {}
    for target in targets:
        by_consumer.setdefault(control_messages.consumer_of(target), []).append(target)
    groups = []
    for consumer, names in by_consumer.items():
        workers = [] if consumer in names else names
        others = [name for name in workers if not jobs.get(name)]
        if others or not workers:
            groups.append((consumer, others, ""))
        groups += [(consumer, [name], jobs[name]) for name in workers if jobs.get(name)]
    return groups
