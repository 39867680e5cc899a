"""`conveyor schedule list`, `add`, `pause`, `resume`, `run` and `remove`: recurring jobs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conveyor.cli import options
from conveyor.cli.commands import print_help
from conveyor.cli.connection import open_actions, open_store
from conveyor.cli.exit_codes import NotFound, Usage, WrongState, closest
from conveyor.cli.options import (
    Json,
    OnlyQueue,
    Reason,
    TaskModules,
    argument,
    arguments,
    option,
    queue_option,
)
from conveyor.cli.output import document, note, table
from conveyor.cli.tasks import find_task
from conveyor.consumer import known_tasks
from conveyor.monitor import schedules as monitored
from conveyor.monitor.format import date_time
from conveyor.monitor.typed_input import bind
from conveyor.wire.schedule import Schedule

if TYPE_CHECKING:
    from conveyor.monitor.actions import ScheduleResult
    from conveyor.schedules import ScheduleInfo
    from conveyor.store import Client
    from conveyor.tasks import Task

_DURATION = re.compile(r"(\d+)([smhd]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}

schedule = typer.Typer(
    help="Control recurring jobs: list, add, pause, resume, run and remove them.", add_completion=False
)
schedule.callback(invoke_without_command=True)(print_help)
ScheduleName = Annotated[str, argument("NAME", "Name of the schedule.", options.schedules)]


@schedule.command("list")
def list_schedules(queue: OnlyQueue = "", *, as_json: Json = False) -> None:
    """List schedules with their next and last runs."""
    client = open_store(quiet=as_json)
    query = monitored.of_queue(queue) if queue else monitored.all_schedules()
    found = query.ask(client)
    if as_json:
        document("schedules/v1", schedules=[_document(one) for one in found])
    elif found:
        table([_row(one) for one in found], numbers=("FIRED",), may_shrink=("TASK", "WHEN", "LAST JOB"))
    else:
        note("No schedules yet. Add one with `conveyor schedule add TASK --every 5m`, or @task(every=300).")


@schedule.command()
def add(
    task: Annotated[str, argument("TASK", "Name of the task.", options.tasks)],
    arguments: Annotated[list[str], arguments("ARG | name=value", "Arguments of the task.")],
    *,
    cron: Annotated[str, option("EXPRESSION", "When it is due, as in crontab: five fields.")] = "",
    every: Annotated[
        str, option("DURATION", "Time from one run to the next: seconds, 30s, 5m, 2h, 1d.")
    ] = "",
    timezone: Annotated[str, option("ZONE", "IANA time zone of --cron.")] = "UTC",
    jitter: Annotated[str, option("DURATION", "Longest random delay of a job.")] = "0",
    missed: Annotated[str, option("POLICY", "For runs missed without consumers: skip, one or all.")] = "one",
    overlap: Annotated[
        str, option("POLICY", "While the job before has not finished: allow, skip or queue.")
    ] = "allow",
    name: Annotated[str, option("NAME", "Name of the schedule instead of the task's.")] = "",
    queue: Annotated[str, queue_option("Queue instead of the task's own.")] = "",
    reason: Reason = "",
    modules: TaskModules,
    as_json: Json = False,
) -> None:
    """Run a task again and again, or change the schedule of that name."""
    found = find_task(known_tasks(modules), task)
    if bool(cron) == bool(every):
        raise Usage("add takes either --cron or --every", hint='use --every 5m or --cron "30 4 * * mon-fri"')
    if queue:
        found = found.options(queue=queue)
    made = Schedule(
        cron=cron,
        every=_seconds("--every", every) if every else None,
        timezone=timezone,
        jitter=_seconds("--jitter", jitter),
        missed=missed,  # type: ignore[arg-type] # it is checked there
        overlap=overlap,  # type: ignore[arg-type]
        name=name,
        kwargs=_job_arguments(found, arguments),
    )
    client = open_store(quiet=as_json)
    known = {one.name: one for one in monitored.of_queue(found.put.queue).ask(client)}
    before = known.get(name or found.name)
    if before is not None and before.module:
        hint = f"change it in {before.module}, or use another --name"
        raise WrongState(f"the schedule {before.name} is defined in code", hint=hint)
    result = open_actions(client).add_schedule(found.put.queue, found, made, reason)
    info = _find(client, result.name, found.put.queue)
    if as_json:
        document("schedule/v1", **_document(info))
    else:
        print(f"{info.name} on {info.queue} is {'changed' if before else 'added'}: {_next(info)}.")


def _job_arguments(task: Task[..., Any], words: list[str]) -> dict[str, Any]:
    """Return the arguments of the one job that an order becomes. Raises Usage if it becomes several."""
    bound = bind(task, words)
    parts = [bound] if task.split is None else task.split(**bound)
    if len(parts) != 1:
        hint = "schedule a task of your own that submits the jobs"
        raise Usage(
            f"this order of {task.name} becomes {len(parts)} jobs, and a schedule puts one", hint=hint
        )
    return parts[0]


@schedule.command()
def pause(name: ScheduleName, *, queue: OnlyQueue = "", reason: Reason = "", as_json: Json = False) -> None:
    """Pause a schedule until resumed. Its runs until then are not made up for."""
    _act("pause", name, queue, reason, as_json=as_json)


@schedule.command()
def resume(name: ScheduleName, *, queue: OnlyQueue = "", reason: Reason = "", as_json: Json = False) -> None:
    """Resume a schedule from its next run on."""
    _act("resume", name, queue, reason, as_json=as_json)


@schedule.command()
def run(name: ScheduleName, *, queue: OnlyQueue = "", reason: Reason = "", as_json: Json = False) -> None:
    """Enqueue a job of a schedule now, and print its id."""
    _act("run", name, queue, reason, as_json=as_json)


@schedule.command()
def remove(name: ScheduleName, *, queue: OnlyQueue = "", reason: Reason = "", as_json: Json = False) -> None:
    """Remove a schedule. Its jobs stay; one defined in code returns when a consumer starts."""
    _act("remove", name, queue, reason, as_json=as_json)


_DONE = {"pause": "paused", "resume": "resumed", "remove": "removed"}


def _act(verb: str, name: str, queue: str, reason: str, *, as_json: bool) -> None:
    client = open_store(quiet=as_json)
    info = _find(client, name, queue)
    result: ScheduleResult = getattr(open_actions(client), f"{verb}_schedule")(info.queue, name, reason)
    if verb == "run":
        if as_json:
            document("schedule-run/v1", queue=info.queue, name=name, job=result.job)
        else:
            print(result.job)
        return
    state = _DONE[verb] if result.changed else "already paused" if verb == "pause" else "not paused"
    if as_json:
        document(f"schedule-{verb}/v1", queue=info.queue, name=name, changed=result.changed)
    else:
        print(f"{name} on {info.queue} {'is' if result.changed else 'was'} {state}.")
    if verb == "remove" and info.module and not as_json:
        note(f"It is defined in {info.module}: the next consumer that starts adds it again.")


def _find(client: Client, name: str, queue: str) -> ScheduleInfo:
    """Return the schedule of a name. Raises NotFound, or Usage if several queues have one."""
    found = (monitored.of_queue(queue) if queue else monitored.all_schedules()).ask(client)
    named = [one for one in found if one.name == name]
    if not named:
        hint = closest(name, [one.name for one in found]) or "list them with `conveyor schedule list`"
        raise NotFound(f"no schedule named {name!r}{f' in {queue}' if queue else ''}", hint=hint)
    if len(named) > 1:
        queues = ", ".join(one.queue for one in named)
        raise Usage(f"several queues have a schedule named {name!r}: {queues}", hint="add -q QUEUE")
    return named[0]


def _seconds(name: str, text: str) -> int:
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise Usage(f"invalid duration {text!r} of {name}", hint="use whole seconds, or 30s, 5m, 2h, 1d")
    return int(found[1]) * _UNITS[found[2]]


def _next(info: ScheduleInfo) -> str:
    return "paused" if info.next_at is None else f"next run {date_time(info.next_at.timestamp())}"


def _row(info: ScheduleInfo) -> dict[str, str]:
    return {
        "SCHEDULE": info.name,
        "QUEUE": info.queue,
        "TASK": info.task or "?",
        "WHEN": info.timing,
        "NEXT": "paused" if info.next_at is None else date_time(info.next_at.timestamp()),
        "LAST": "" if info.last_at is None else date_time(info.last_at.timestamp()),
        "LAST JOB": info.last_job,
        "FIRED": f"{info.fired:,}",
    }


def _document(info: ScheduleInfo) -> dict[str, Any]:
    timing = info.schedule
    return {
        "queue": info.queue,
        "name": info.name,
        "task": info.task,
        "cron": (timing and timing.cron) or None,
        "every": timing and timing.period,
        "timezone": timing and timing.timezone,
        "jitter": timing and timing.max_delay,
        "missed": timing and timing.missed,
        "overlap": timing and timing.overlap,
        "priority": info.priority,
        "module": info.module or None,
        "paused": info.paused,
        "next_at": info.next_at,
        "last_at": info.last_at,
        "last_job": info.last_job or None,
        "runs": {"fired": info.fired, "skipped": info.skipped, "missed": info.missed},
    }
