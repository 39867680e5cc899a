"""The targets of a control command to workers: found by name, sent the command, and followed by their replies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conveyor.cli import exit_codes
from conveyor.cli.connection import open_actions
from conveyor.cli.exit_codes import NotFound, Usage, WrongState
from conveyor.cli.output import document, note
from conveyor.errors import ConveyorError
from conveyor.monitor.follow import NO_REPLY, Target, follow_command
from conveyor.monitor.format import count_of, printable
from conveyor.store import control_channel
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.monitor import Inspector
    from conveyor.monitor.job_record import JobRecord
    from conveyor.store import Client
    from conveyor.wire.control_messages import ConsumerReport

#: Min seconds to wait for a supervisor's first reply, even if --timeout is shorter.
MIN_FIRST_REPLY = 2.0
#: Seconds that a supervisor has to return a stack; it takes less than one.
STACK_TIMEOUT = 3.0
#: What a target that has acknowledged a command does with its job.
_WITH_JOB = {"stop": "finishes job {} first", "kill": "job {} returns to the queue"}
_DONE = {"stop": "stopped", "kill": "stopped", "pause": "paused", "resume": "resumed"}
#: The schemas of the documents about commands that are named otherwise.
_SCHEMAS = {"stop": "kill/v1", "kill": "kill/v1", "scale": "scale/v1"}
_PENDING = {
    "stop": "{} will stop after the current job (--now does not wait for it)",
    "kill": "{} still stopping",
    "pause": "{} will pause after the current job",
    "resume": "{} still resuming",
    "scale": "added workers are still starting, or others finish their current jobs",
}


@dataclass(slots=True)
class TargetSet:
    """The targets of one command: whole consumers, and single workers of others."""

    names: list[str]
    """The full names that the command is sent to."""
    targets: dict[str, Target] = field(default_factory=dict)
    """Those that reply, by name: of a whole consumer, its workers and itself."""
    jobs: dict[str, str] = field(default_factory=dict)
    """The job that each single worker was running when it was listed."""


def find_targets(consumers: Sequence[ConsumerReport], names: Sequence[str]) -> TargetSet:
    """Return the targets with these names, or all without names. Raises NotFound, or Usage for an ambiguous name."""
    full_names = [_full_name(consumers, one) for one in names] or [one.name for one in consumers]
    found = TargetSet(list(dict.fromkeys(full_names)))
    for name in found.names:
        report = next(one for one in consumers if one.name == control_messages.consumer_of(name))
        replying = [name]
        if "/" in name:
            found.jobs |= {one.name: one.job for one in report.workers if one.name == name and one.job}
        else:
            replying = [*(worker.name for worker in report.workers), name]
        found.targets |= {one: Target(one) for one in replying}
    return found


def _full_name(consumers: Sequence[ConsumerReport], name: str) -> str:
    known = [one.name for one in consumers]
    if "/" in name:
        known = [worker.name for one in consumers for worker in one.workers]
    if name in known:
        return name
    near = [one for one in known if name and one.startswith(name)]
    if len(near) == 1:
        return near[0]
    if near:
        raise Usage(f"ambiguous name {name!r}: matches {' and '.join(near)}", hint="type more letters")
    raise NotFound(f"no worker or consumer named {name!r}", hint="list the names with `conveyor workers`")


def send(
    client: Client,
    to: TargetSet,
    verb: str,
    *,
    reason: str = "",
    scale: str = "",
    timeout: float,
    as_json: bool = False,
) -> int:
    """Send a command to workers, report their replies as they arrive and return the exit code."""
    receipt = open_actions(client).control_workers(verb, to.names, reason, jobs=to.jobs, scale=scale)

    def report(target: Target) -> None:
        if not as_json:
            print(f"{printable(target.name)}: {_describe(target, verb)}", flush=True)

    try:
        for one in follow_command(client, receipt.id, to.targets, timeout, max(timeout, MIN_FIRST_REPLY)):
            report(one)
    except KeyboardInterrupt:
        note("No longer waiting for replies; the command stays in effect.")
        return exit_codes.INTERRUPTED
    targets = list(to.targets.values())
    if as_json:
        documents = [{"name": one.name, "state": one.state, **_facts(one, verb)} for one in targets]
        document(_SCHEMAS.get(verb, f"{verb}-workers/v1"), targets=documents)
    else:
        for target in targets:
            if target.state == NO_REPLY:
                report(target)
        if summary := _summary(targets, verb):
            note(summary + ".")
    failed = any(one.state == NO_REPLY or one.had_no_effect for one in targets)
    return exit_codes.FAILED if failed else exit_codes.OK


def stack_of(inspector: Inspector, job: JobRecord) -> str:
    """Return the stacks of the worker that runs a job.

    Raises WrongState if it is not running, NotFound if no worker of a consumer runs it, ConveyorError without a reply.
    """
    hint = f"see `conveyor job {job.id}`"
    if job.state != "running":
        raise WrongState(f"no stack of job {job.id}: it is {job.state}, not running", hint=hint)
    consumer = control_messages.consumer_of(job.worker)
    if consumer not in {one.name for one in inspector.consumers()}:
        message = f"no stack of job {job.id}: {job.worker} is not a worker of a known consumer"
        raise NotFound(message, hint="list the workers with `conveyor workers`")
    target = Target(job.worker)
    jobs = {job.worker: job.id}
    receipt = open_actions(inspector.client).control_workers("stack", [job.worker], jobs=jobs)
    for _ in follow_command(inspector.client, receipt.id, {job.worker: target}, STACK_TIMEOUT):
        pass
    if target.state in {"unknown", "expired"}:
        raise WrongState(f"no stack of job {job.id}: {target.detail or 'it is not running'}", hint=hint)
    if target.state != "done":
        message = f"no stack of job {job.id}: {consumer} did not reply within {STACK_TIMEOUT:g} s"
        raise ConveyorError(message, hint="check with `conveyor workers` that it is there, and try again")
    return target.detail


def _describe(target: Target, verb: str) -> str:
    if verb == "scale" and not target.had_no_effect:
        return f"{target.description}, {target.detail}" if target.detail else target.description
    if target.job:
        return f"acknowledged, {_WITH_JOB.get(verb, 'runs job {}').format(printable(target.job))}"
    return target.description


def _facts(target: Target, verb: str) -> dict[str, str | int | None]:
    """Return what a document says about a target in addition to its state."""
    if verb != "scale":
        return {"job": target.job}
    before, after = numbers_of(target)
    return {"before": before, "after": after}


def numbers_of(target: Target) -> tuple[int | None, int | None]:
    """Return the numbers of workers before and after a scale, or None if it had no effect or no reply came."""
    numbers = [int(word) for word in target.detail.split() if word.isdigit()]
    return (numbers[0], numbers[1]) if len(numbers) == 2 and not target.had_no_effect else (None, None)  # noqa: PLR2004


def _summary(targets: Sequence[Target], verb: str) -> str:
    states = Counter(one.state for one in targets if one.is_worker or verb == "scale")
    done, pending = states["done"], states["acknowledged"]
    failed = sum(states[state] for state in control_messages.NOT_DONE)
    repeated, silent = states["repeated"], sum(one.state == NO_REPLY for one in targets)
    kept = f"unlisted {control_channel.REPORT_KEEP} s after the last report"
    parts = [
        (done if verb in _DONE else 0, f"{count_of(done, 'worker')} {_DONE.get(verb)}"),
        (pending, _PENDING[verb].format(count_of(pending, "worker"))),
        (
            failed if verb in _DONE else 0,
            f"too late for {count_of(failed, 'worker')}, where nothing was done",
        ),
        (repeated, f"a later command replaced this one for {count_of(repeated, 'worker')}"),
        (silent, f"{count_of(silent, 'target')} did not reply: probably dead, and {kept}"),
    ]
    return "; ".join(text for number, text in parts if number)
