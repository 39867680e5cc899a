"""`conveyor kill`: stop workers on any host and report the reply of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from conveyor.cli import exit_codes, options
from conveyor.cli.connection import existing_queue, open_inspector
from conveyor.cli.control_targets import find_targets, send
from conveyor.cli.exit_codes import Usage
from conveyor.cli.options import Json, Reason, ReplyTimeout, Yes, arguments, flag, queue_option
from conveyor.cli.output import is_terminal, note
from conveyor.cli.prompts import Choice, open_prompt
from conveyor.cli.status import NO_WORKERS
from conveyor.monitor.format import count_of, duration, together

if TYPE_CHECKING:
    from conveyor.cli.control_targets import TargetSet
    from conveyor.cli.prompts import Prompt
    from conveyor.wire.control_messages import ConsumerReport, WorkerReport


def kill(
    names: Annotated[
        list[str],
        arguments("WORKER | CONSUMER", "Names as in `conveyor workers`.", options.workers),
    ],
    *,
    every: Annotated[bool, flag("All workers, on all hosts.", "--all")] = False,
    queue: Annotated[str, queue_option("All workers of this queue.")] = "",
    yes: Yes = False,
    now: Annotated[bool, flag("Do not wait for the current job.", "--now")] = False,
    reason: Reason = "",
    timeout: ReplyTimeout = 10.0,
    as_json: Json = False,
) -> int:
    """Stop workers after their current job, or immediately with --now.

    Any unambiguous prefix of a name works. The name of a consumer stops all its workers. On a terminal, --all and -q
    ask for confirmation. Stopped workers are not replaced; with --now, their jobs return to the queue.
    """
    if not (names or every or queue or as_json) and is_terminal():
        return prompt_kill(open_prompt(), now=now, reason=reason, timeout=timeout)
    if [bool(names), every, bool(queue)].count(True) != 1:
        raise Usage(
            "kill takes either names, -q QUEUE or --all", hint="list the names with `conveyor workers`"
        )
    inspector = open_inspector(quiet=as_json)
    consumers = inspector.consumers()
    if queue:
        existing_queue(inspector, queue)
        consumers = [one for one in consumers if queue in one.queues]
    on_queue = f" on {queue}" if queue else ""
    found = find_targets(consumers, names)
    if not found.targets and not as_json:
        note(f"No workers{on_queue}: nothing to stop.")
        return exit_codes.OK
    if found.targets and not (names or yes) and is_terminal() and not _confirm(found, on_queue, now=now):
        note("Nothing was stopped.")
        return exit_codes.OK
    verb = "kill" if now else "stop"
    return send(inspector.client, found, verb, reason=reason, timeout=timeout, as_json=as_json)


def _confirm(found: TargetSet, on_queue: str, *, now: bool) -> bool:
    """Ask whether to stop all these workers."""
    workers = count_of(sum("/" in name for name in found.targets), "worker")
    when = "immediately" if now else "after their current jobs"
    if now:
        note("Their jobs return to the queue.")
    consumers = count_of(len(found.names), "consumer")
    return open_prompt().confirm(f"Stop {workers} of {consumers}{on_queue} {when}?", default=False)


def prompt_kill(prompt: Prompt, *, now: bool = False, reason: str = "", timeout: float = 10.0) -> int:
    """Ask which worker or consumer to stop, and stop it."""
    inspector = open_inspector()
    consumers = inspector.consumers()
    workers = {worker.name: worker for one in consumers for worker in one.workers}
    if not workers:
        note(NO_WORKERS)
        return exit_codes.OK
    choices = [Choice(worker.name, _activity(one, worker)) for one in consumers for worker in one.workers]
    choices += [
        Choice(one.name, f"all {count_of(len(one.workers), 'worker')} of this consumer") for one in consumers
    ]
    found = prompt.choose("Stop which worker?", choices, lambda name: find_targets(consumers, [name]))
    busy = sum(1 for one in found.targets if one in workers and workers[one].job)
    if busy and not now:
        now = not prompt.confirm(f"{count_of(busy, 'job')} running there. Finish first?", default=True)
    note(f"To repeat: conveyor kill {found.names[0]}{' --now' if now else ''}")
    return send(inspector.client, found, "kill" if now else "stop", reason=reason, timeout=timeout)


def _activity(consumer: ConsumerReport, worker: WorkerReport) -> str:
    if worker.job:
        return f"runs {worker.task} {together(worker)} for {duration(worker.busy_for)}"
    return f"{worker.state}, takes from {', '.join(consumer.queues)}"
