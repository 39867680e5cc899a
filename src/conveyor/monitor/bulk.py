"""Operations over many jobs: begun once, worked on slice by slice, stopped and taken up again by anybody.

What an operation is about is fixed when it begins: dead jobs that are dead then, waiting jobs that were accepted by
then. So one that dies again, or is put meanwhile, is not taken. How far it is lies on the server after every slice.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from conveyor import clock
from conveyor.errors import BadCall, ConveyorError, StoreError, StoreUnavailable
from conveyor.monitor import recording
from conveyor.monitor.chunks import first_cursor, work
from conveyor.store import commands, records
from conveyor.wire import audit_entry, ids
from conveyor.wire.audit_entry import KINDS, AuditEntry, Matching, Operation, decode_operation

if TYPE_CHECKING:
    from collections.abc import Generator

    from conveyor.store import Client

#: Jobs of one slice, and seconds between two slices, in which the server sees to others.
SLICE, PAUSE = 500, 0.05
#: Ids, and queues, that one operation can name.
MOST_IDS, MOST_QUEUES = 1000, 1000
EVERYTHING = Matching()
_ACTIONS = {"retry": "retry_jobs", "discard": "discard_jobs", "cancel": "cancel_jobs", "purge": "purge_queue"}


def begin(client: Client, wished: Operation) -> Operation:
    """Give it an id, fix what it is about, and keep it on the server; nothing is done to any job yet.

    Raises BadCall where kind and matching make no sense together.
    """
    _check(wished)
    now: float = client.run(commands.server_time())
    cursor, total = first_cursor(client, wished, now)
    made = msgspec.structs.replace(
        wished, id=ids.unique(), cursor=cursor, total=total, started=now, changed=now
    )
    return keep(client, made)


def run(
    client: Client, operation: Operation, chunk: int = SLICE, pause: float = PAUSE
) -> Generator[Operation, None, None]:
    """Work on an operation that was begun or taken up; gives how far it is after each slice of `chunk` jobs.

    Ends when it is done, or somebody stopped it; closing the generator, or Ctrl-C, stops it too. If the server refuses
    something, the operation has failed, and the error is raised. If the server is away, StoreUnavailable is raised and
    the operation stays as it was. `take_up` goes on after any of these. Two that run the same operation do no harm to
    jobs; only their counts are wrong. If a process dies, the jobs of its last slice may be missing in the counts.
    """
    chunk = max(1, min(chunk, 1000))
    try:
        while operation.state == "running":
            operation = _step(client, operation, chunk)
            yield operation
            if operation.state == "running":
                clock.sleep(pause)
    except (GeneratorExit, KeyboardInterrupt):
        if operation.state == "running":
            _end(client, operation, "stopped")
        raise
    except StoreUnavailable:
        raise
    except ConveyorError as error:
        with contextlib.suppress(StoreError):
            _end(client, operation, "failed", str(error))
        raise


def stop(client: Client, operation_id: str) -> Operation:
    """Wish that an operation stops after the slice it is at; gives how far it is. Raises BadCall if it is not known.

    One that is stalled is stopped at once.
    """
    found = load(client, operation_id)
    if found.state == "running":
        # Also if it is stalled: its process may only be slow.
        client.run(records.stop_operation(operation_id))
        if found.stalled(client.run(commands.server_time())):
            return _end(client, found, "stopped")
    return found


def take_up(client: Client, operation_id: str, stalled_after: float = audit_entry.STALLED_AFTER) -> Operation:
    """Make an operation that was stopped, has failed or is stalled run again; hand it to `run`.

    Raises BadCall if it is not known, is done, or made progress within the last `stalled_after` seconds.
    """
    found = load(client, operation_id)
    now: float = client.run(commands.server_time())
    if found.state == "done":
        message = f"operation {operation_id} is done"
        raise BadCall(message)
    if found.state == "running" and now - found.changed <= stalled_after:
        message = f"operation {operation_id} is being worked on"
        hint = f"it counts as stalled after {stalled_after:g} s without progress"
        raise BadCall(message, hint=hint)
    client.run(records.unstop_operation(operation_id))
    return keep(client, msgspec.structs.replace(found, state="running", changed=now, error=""))


def load(client: Client, operation_id: str) -> Operation:
    """Give an operation as the server has it; raises BadCall if it is not known."""
    data = client.run(records.operation_states([operation_id]))[0]
    if data is None:
        message = f"no operation {operation_id!r:.80} is known"
        raise BadCall(message, hint="they are forgotten after 7 days")
    return decode_operation(data)


def keep(client: Client, operation: Operation) -> Operation:
    """Keep an operation on the server as it is now, and give it back."""
    client.run(records.keep_operation(operation.id, audit_entry.encode(operation), operation.started))
    return operation


def act_of(operation: Operation) -> AuditEntry:
    """Give the act that an operation is, for the audit trail."""
    narrowed = msgspec.structs.asdict(operation.matching)
    before: dict[str, Any] = {name: value for name, value in narrowed.items() if value}
    if "ids" in before:
        before["ids"] = ", ".join(before["ids"][:20])
    who, origin = operation.who, operation.origin
    action = _ACTIONS.get(operation.kind, operation.kind)
    target = operation.queue
    if operation.queues:
        target = f"{len(operation.queues):,} queues"
        before["queues"] = ", ".join(operation.queues[:20])
    return AuditEntry(
        action, target, operation.queue, operation.reason, before=before, who=who, origin=origin
    )


def _step(client: Client, operation: Operation, chunk: int) -> Operation:
    is_stopped, now = client.run_all([records.is_stopped(operation.id), commands.server_time()])
    if is_stopped:
        return _end(client, operation, "stopped")
    worked = work(client, msgspec.structs.replace(operation, changed=now), chunk)
    return _end(client, worked, "done") if worked.state == "done" else keep(client, worked)


def _end(client: Client, operation: Operation, state: str, error: str = "") -> Operation:
    ended = keep(client, msgspec.structs.replace(operation, state=state, error=error))
    facts: audit_entry.Facts = {"operation": ended.id, "done": ended.done, "skipped": ended.skipped}
    outcome = f"{state}: {error}" if error else state
    recording.record(client, msgspec.structs.replace(act_of(ended), after=facts, outcome=outcome))
    return ended


def _check(wished: Operation) -> None:
    for queue in wished.on:
        ids.checked_queue(queue)
    matching = wished.matching
    message = ""
    if wished.kind not in KINDS:
        message = f"no operation is called {wished.kind!r:.80}: it is one of {', '.join(KINDS)}"
    elif wished.kind == "purge" and matching != EVERYTHING:
        message = "purge is of all that waits; `cancel` takes only some"
    elif wished.kind == "cancel" and matching.before_score:
        message = "before_score is about dead jobs"
    elif wished.queues and (wished.queue or wished.kind not in {"retry", "discard"} or matching.ids):
        message = "an operation on several queues is to retry or discard dead jobs, and names no ids"
    elif len(wished.queues) > MOST_QUEUES:
        message = f"{len(wished.queues):,} queues: one operation names {MOST_QUEUES:,} at most"
    elif len(matching.ids) > MOST_IDS:
        message = f"{len(matching.ids):,} ids: one operation names {MOST_IDS:,} at most"
    if message:
        raise BadCall(message)
