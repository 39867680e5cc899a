"""`conveyor pause`, `resume`, `purge` and `delete`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from conveyor.cli import exit_codes
from conveyor.cli.connection import existing_queue, open_actions, open_inspector
from conveyor.cli.control_targets import find_targets, send
from conveyor.cli.exit_codes import Usage
from conveyor.cli.options import Json, QueueName, QueueOrWorker, Reason, ReplyTimeout, Yes, flag
from conveyor.cli.output import document, is_terminal, note, progress_bar
from conveyor.cli.prompts import open_prompt
from conveyor.monitor import bulk
from conveyor.monitor.format import count_of
from conveyor.monitor.snapshot import queue_counts

if TYPE_CHECKING:
    from conveyor.monitor import Inspector
    from conveyor.monitor.actions import Actions
    from conveyor.store.commands import Count


def pause(
    name: QueueOrWorker, *, reason: Reason = "", timeout: ReplyTimeout = 10.0, as_json: Json = False
) -> int:
    """Pause a queue or workers until resumed. Running jobs continue.

    A paused queue still accepts jobs. Any unambiguous prefix of the name of a worker or consumer works. Each paused
    worker replies, finishes its current job and stays.
    """
    inspector = open_inspector(quiet=as_json)
    if _means_workers(inspector, name):
        to = find_targets(inspector.consumers(), [name])
        code = send(inspector.client, to, "pause", reason=reason, timeout=timeout, as_json=as_json)
    else:
        existing_queue(inspector, name)
        _, count, *_ = open_actions(inspector.client).pause_queue(name, reason)
        code = exit_codes.OK
        if as_json:
            document("pause/v1", queue=name, state="paused", was_paused=bool(count.paused))
        else:
            _print_state(name, "was already paused" if count.paused else "is paused", count)
    if not as_json:
        note(f"To resume: conveyor resume {name}")
    return code


def resume(
    name: QueueOrWorker, *, reason: Reason = "", timeout: ReplyTimeout = 10.0, as_json: Json = False
) -> int:
    """Resume paused workers, or a queue that was paused or shut down."""
    inspector = open_inspector(quiet=as_json)
    if _means_workers(inspector, name):
        to = find_targets(inspector.consumers(), [name])
        return send(inspector.client, to, "resume", reason=reason, timeout=timeout, as_json=as_json)
    existing_queue(inspector, name)
    _, count, *_ = open_actions(inspector.client).resume_queue(name, reason)
    was_paused, was_shut = bool(count.paused), bool(count.shutdown)
    if as_json:
        document("resume/v1", queue=name, state="open", was_paused=was_paused, was_shut=was_shut)
    else:
        changed = was_paused or was_shut
        _print_state(name, "is resumed" if changed else "was neither paused nor shut down", count)
    return exit_codes.OK


def _means_workers(inspector: Inspector, name: str) -> bool:
    """Return True if a name is that of a worker, or not that of a queue and a prefix of that of a consumer."""
    if "/" in name:
        return True
    if not name or name in inspector.queues():
        return False
    consumers = inspector.consumers()
    is_queue = any(name in one.queues for one in consumers)
    return not is_queue and any(one.name.startswith(name) for one in consumers)


def _print_state(queue: str, state: str, count: Count) -> None:
    print(f"{queue} {state}: {count.ready:,} waiting, {count.leased:,} running.")


def purge(queue: QueueName, *, yes: Yes = False, reason: Reason = "", as_json: Json = False) -> int:
    """Cancel all waiting and delayed jobs of a queue. Running jobs continue."""
    inspector = open_inspector(quiet=as_json)
    existing_queue(inspector, queue)
    count = queue_counts([queue]).ask(inspector.client)[queue]
    question = f"Cancel {count_of(count.qsize, 'waiting or delayed job')} of {queue}?"
    if not yes and not _confirm(question, f"purge cancels every waiting job of {queue}", ask=count.qsize > 0):
        note("Nothing was cancelled.")
        return exit_codes.OK
    cancelled = run_operation(open_actions(inspector.client), "purge", queue, reason)
    if as_json:
        document("purge/v1", queue=queue, cancelled=cancelled, running=count.leased)
    else:
        running = f"; {count.leased:,} still running" if count.leased else ""
        print(f"{queue}: {count_of(cancelled, 'job')} cancelled{running}.")
    return exit_codes.OK


def delete(
    queue: QueueName,
    *,
    purge: Annotated[bool, flag("Cancel waiting jobs and discard dead ones first.", "--purge")] = False,
    yes: Yes = False,
    reason: Reason = "",
    as_json: Json = False,
) -> int:
    """Delete an empty queue with its settings, histories and outcomes."""
    inspector = open_inspector(quiet=as_json)
    existing_queue(inspector, queue)
    count = queue_counts([queue]).ask(inspector.client)[queue]
    jobs = count.live + count.dead
    question = f"Delete {queue} and its {count_of(jobs, 'job')}?"
    if purge and jobs and not yes and not _confirm(question, f"--purge drops every job of {queue}"):
        note("Nothing was deleted.")
        return exit_codes.OK
    open_actions(inspector.client).delete_queue(queue, reason, purge=purge)
    cancelled, discarded = (count.live, count.dead) if purge else (0, 0)
    if as_json:
        document("delete/v1", queue=queue, cancelled=cancelled, discarded=discarded)
    else:
        dropped = f" {count_of(cancelled, 'job')} cancelled, {discarded:,} discarded." if jobs else ""
        print(f"{queue} is deleted.{dropped}")
    return exit_codes.OK


def _confirm(question: str, consequence: str, *, ask: bool = True) -> bool:
    """Return True if the user agrees, or need not be asked. Raises Usage without a terminal."""
    if not is_terminal():
        raise Usage(f"{consequence}, and without a terminal it cannot be confirmed", hint="add --yes")
    return not ask or open_prompt().confirm(question, default=False)


def run_operation(actions: Actions, kind: str, queue: str, reason: str) -> int:
    """Run an operation on all jobs of a queue in chunks, so that the server stays responsive; return their number."""
    operation = actions.begin(kind, queue, reason=reason)
    done = 0
    with progress_bar(f"{kind} in {queue}", operation.total) as advance:
        for step in bulk.run(actions.client, operation, pause=0):
            advance(step.done - done)
            done = step.done
    return done
