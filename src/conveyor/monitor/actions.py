"""What people do to queues, jobs and workers, whatever surface they use: done, answered, and written down."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

from conveyor.errors import BadCall, ConveyorError
from conveyor.job import cancel_jobs
from conveyor.monitor import bulk, recording
from conveyor.monitor.answers import Actor, CancelAnswer, JobAnswer, Order, QueueAnswer
from conveyor.monitor.jobs import read_call
from conveyor.monitor.runner import OperationRunner
from conveyor.queue import Queue
from conveyor.store import commands, control_channel
from conveyor.wire import call, control_messages, ids
from conveyor.wire.audit_entry import AuditEntry, Matching, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conveyor.store import Client
    from conveyor.store.command import Command
    from conveyor.store.commands import Count
    from conveyor.wire.audit_entry import Facts

T = TypeVar("T")

__all__ = [
    "Actions",
    "Actor",
    "AuditEntry",
    "CancelAnswer",
    "JobAnswer",
    "Matching",
    "Operation",
    "OperationRunner",
    "Order",
    "QueueAnswer",
]

#: What workers and consumers can be told.
VERBS = ("stop", "kill", "pause", "resume", "stack")
#: Those for which it matters which job a worker was seen at.
ABOUT_JOBS = ("kill", "stack")
NO_JOBS: Mapping[str, str] = MappingProxyType({})
#: Seconds, by the server's clock, after which a supervisor does not obey any more; what ends or shows a job at once is
#: about what ran when it was wanted.
OBEYED_WITHIN = {"kill": 10.0, "stack": 10.0, "stop": 60.0, "pause": 60.0, "resume": 60.0}
_WORDS = {"ready": "waiting", "leased": "running"}


class Actions:
    """What one actor can do on one server, from any thread; each call waits for the server's answer.

    An act that cannot be written down happens all the same: the answer says `recorded=False`. An act that the server
    refuses is written down as refused, and raises.
    """

    def __init__(self, client: Client, actor: Actor) -> None:
        self.client = client
        self.actor = actor

    def record(self, act: AuditEntry) -> bool:
        """Write down an act that was done elsewhere; this actor's name is put where none is."""
        who, origin = act.who or self.actor.who, act.origin or self.actor.origin
        return recording.record(self.client, msgspec.structs.replace(act, who=who, origin=origin))

    def pause_queue(self, queue: str, reason: str = "") -> QueueAnswer:
        """Let a queue give out nothing; what runs goes on, puts are accepted."""
        act = AuditEntry("pause_queue", queue, queue, reason)
        return self._on_queue(act, commands.pause(ids.checked_queue(queue)), _open_or_not)

    def resume_queue(self, queue: str, reason: str = "") -> QueueAnswer:
        """Let a queue that was paused or shut down work again."""
        act = AuditEntry("resume_queue", queue, queue, reason)
        return self._on_queue(act, commands.resume(ids.checked_queue(queue)), _open_or_not)

    def bound_queue(self, queue: str, maxsize: int, reason: str = "") -> QueueAnswer:
        """Set how many jobs may wait in a queue; 0 lifts the bound. Raises BadCall for a negative number."""
        call.check_whole("maxsize", maxsize, call.MAX_SIZE)
        command = commands.bound(ids.checked_queue(queue), maxsize)
        return self._on_queue(
            AuditEntry("bound_queue", queue, queue, reason), command, lambda count: {"maxsize": count.maxsize}
        )

    def delete_queue(self, queue: str, reason: str = "", *, purge: bool = False) -> QueueAnswer:
        """Remove an empty queue and all that is kept of it; with `purge`, what waits or is dead goes first.

        Raises NotEmpty if it has jobs, or has running ones in any case; see `Queue.delete`.
        """
        before: Count = self.client.run(commands.count(ids.checked_queue(queue)))
        facts: Facts = {"waiting": before.qsize, "running": before.leased, "dead": before.dead}
        act = AuditEntry("delete_queue", queue, queue, reason, before=facts)
        self._done(act, lambda: Queue(queue, store=self.client).delete(purge=purge))
        return QueueAnswer(
            queue, before, self.client.run(commands.count(queue)), self._finish(act, "done", {})
        )

    def cancel_job(self, queue: str, job_id: str, reason: str = "") -> CancelAnswer:
        """Cancel a job: at once while it waits; if it runs, its worker is told to stop it."""
        act, order = self._about_job("cancel_job", queue, job_id, reason), ids.unique()
        (state,) = self._done(
            act,
            lambda: cancel_jobs(self.client, queue, [job_id], reason, order=order, who=self.actor.who),
        )
        outcome = state if state in {"cancelled", "running"} else f"not done: {state}"
        after: Facts = {"state": state, **({"order": order} if state == "running" else {})}
        return CancelAnswer(state, self._finish(act, outcome, after))

    def retry_job(self, queue: str, job_id: str, reason: str = "") -> JobAnswer:
        """Put a dead job back, as if never tried."""
        act = self._about_job("retry_job", queue, job_id, reason)
        return self._on_dead(act, commands.revive(queue, [job_id]), "waiting")

    def discard_job(self, queue: str, job_id: str, reason: str = "") -> JobAnswer:
        """Remove a dead job for good; its outcome is kept as long as it would have been."""
        act = self._about_job("discard_job", queue, job_id, reason)
        return self._on_dead(act, commands.discard(queue, [job_id]), "discarded")

    def tell_workers(
        self,
        verb: str,
        targets: Sequence[str],
        reason: str = "",
        *,
        jobs: Mapping[str, str] = NO_JOBS,
        queue: str = "",
    ) -> Order:
        """Tell workers (`host-ab12/3`) and whole consumers (`host-ab12`) something, and do not wait for their answers.

        stop: finish the current job, then leave. kill: leave at once, the job goes back. pause, resume: take no more
        jobs, take jobs again. stack: tell what the code is doing. `jobs` has the job that a single worker was
        seen at: if it runs another by then, kill and stack do nothing. Nor does an order that is heard too late, as
        OBEYED_WITHIN says. `queue` is for the record: the one that all of these jobs are of.
        Names must be full; nobody checks that they exist.
        Raises BadCall for another verb.
        """
        if verb not in VERBS:
            message = f"workers cannot be told to {verb!r:.80}: it is one of {', '.join(VERBS)}"
            raise BadCall(message)
        order = ids.unique()
        meant = jobs if verb in ABOUT_JOBS else NO_JOBS
        groups = _groups(targets, meant)
        act = AuditEntry(f"{verb}_workers", ", ".join(targets), queue, reason)

        def tell() -> None:
            expires = self.client.run(commands.server_time()) + OBEYED_WITHIN[verb]
            told: list[Command] = []
            for consumer, workers, job in groups:
                said = control_messages.ControlCommand(
                    order, verb, workers, job, reason, expires, self.actor.who
                )
                told.append(control_channel.send(consumer, control_messages.encode(said)))
            self.client.run_all(told)

        if groups:
            self._done(act, tell)
        return Order(order, tuple(targets), self._finish(act, "told", {"order": order}))

    def begin(
        self,
        kind: str,
        queue: str | Sequence[str],
        matching: Matching = bulk.EVERYTHING,
        reason: str = "",
    ) -> Operation:
        """Begin an operation over many jobs: retry, discard, cancel or purge. It is worked on by `operation.run`.

        Dead jobs can be retried or discarded in several queues. Raises BadCall where kind and matching make no sense.
        """
        names = (queue,) if isinstance(queue, str) else tuple(dict.fromkeys(queue))
        wished = Operation(kind, names[0], matching, reason, self.actor.who, self.actor.origin)
        if len(names) > 1:
            wished = msgspec.structs.replace(wished, queue="", queues=names)
        act = bulk.act_of(wished)
        begun = self._done(act, lambda: bulk.begin(self.client, wished))
        self._finish(act, "begun", {"operation": begun.id, "total": begun.total})
        return begun

    def take_up(self, operation_id: str, reason: str = "") -> Operation:
        """Take up an operation that was stopped, has failed or is stalled, to be worked on again where it was.

        Raises BadCall if it is not known, is done, or somebody works on it.
        """
        return self._on_operation("take_up_operation", operation_id, reason, bulk.take_up)

    def stop_operation(self, operation_id: str, reason: str = "") -> Operation:
        """Stop an operation after the jobs it is just at; gives how far it is. Raises BadCall if it is not known."""
        return self._on_operation("stop_operation", operation_id, reason, bulk.stop)

    def _on_operation(
        self, action: str, operation_id: str, reason: str, change: Callable[[Client, str], Operation]
    ) -> Operation:
        act = AuditEntry(action, operation_id, reason=reason)
        found = self._done(act, lambda: change(self.client, operation_id))
        act = msgspec.structs.replace(act, queue=found.queue)
        self._finish(act, "done", {"done": found.done, "total": found.total})
        return found

    def _on_queue(self, act: AuditEntry, command: Command, facts: Callable[[Count], Facts]) -> QueueAnswer:
        # One by one: in one round trip, a script that the server must first be taught would run after the others.
        count = commands.count(act.queue)
        before: Count = self.client.run(count)
        self._done(act, lambda: self.client.run(command))
        after: Count = self.client.run(count)
        act = msgspec.structs.replace(act, before=facts(before))
        return QueueAnswer(act.queue, before, after, self._finish(act, "done", facts(after)))

    def _about_job(self, action: str, queue: str, job_id: str, reason: str) -> AuditEntry:
        ids.checked_queue(queue)
        state: commands.State = self.client.run(commands.state(queue, job_id))
        before: Facts = {"state": _WORDS.get(state.state, state.state)}
        call = read_call(state.data)
        if call is not None:
            before["task"] = call.task
        return AuditEntry(action, job_id, queue, reason, before)

    def _on_dead(self, act: AuditEntry, command: Command, state: str) -> JobAnswer:
        changed = bool(self._done(act, lambda: self.client.run(command)))
        if not changed:
            state = cast("str", act.before["state"])
        recorded = self._finish(act, state if changed else f"not dead: {state}", {"state": state})
        return JobAnswer(state, changed, recorded)

    def _done(self, act: AuditEntry, do: Callable[[], T]) -> T:
        """Do it; what is refused is written down as well, and raised."""
        try:
            return do()
        except ConveyorError as error:
            self._finish(act, f"refused: {error}", {})
            raise

    def _finish(self, act: AuditEntry, outcome: str, after: Facts) -> bool:
        return self.record(msgspec.structs.replace(act, outcome=outcome, after=after))


def _open_or_not(count: Count) -> Facts:
    return {"paused": bool(count.paused), "shutdown": bool(count.shutdown)}


def _groups(targets: Sequence[str], jobs: Mapping[str, str]) -> list[tuple[str, list[str], str]]:
    """Give consumer, workers and job of each command: one for each worker whose job is known, one for the others."""
    groups = []
    for consumer, workers in _by_consumer(targets).items():
        others = [name for name in workers if not jobs.get(name)]
        if others or not workers:
            groups.append((consumer, others, ""))
        groups += [(consumer, [name], jobs[name]) for name in workers if jobs.get(name)]
    return groups


def _by_consumer(targets: Sequence[str]) -> dict[str, list[str]]:
    """Give each consumer's workers that are meant; none where the whole consumer is."""
    found: dict[str, list[str]] = {}
    for target in targets:
        found.setdefault(control_messages.consumer_of(target), []).append(target)
    return {consumer: [] if consumer in names else names for consumer, names in found.items()}
