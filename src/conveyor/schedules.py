"""Recurring jobs: the schedules of a queue, set at run time or declared by tasks. Consumers fire them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from conveyor import task_loading
from conveyor.errors import BadCall, Full, TooLarge
from conveyor.job import Job
from conveyor.queue import PLAIN, Queue
from conveyor.store import Client, commands
from conveyor.store import schedules as stored
from conveyor.tasks import check_scheduled
from conveyor.wire import call, ids
from conveyor.wire.schedule import (
    Definition,
    Schedule,
    checked_name,
    decode_definition,
    encode_definition,
)
from conveyor.wire.signature import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from conveyor.store.schedules import StoredSchedule
    from conveyor.tasks import Registry, Task

#: Max bytes of the job of a schedule: all consumers read it at each instant.
MAX_JOB = 1 << 16


class ScheduleInfo(NamedTuple):
    """A schedule and what it has done."""

    queue: str
    name: str
    task: str
    """Name of the task; empty if the definition is of a later version."""
    schedule: Schedule | None
    """When it is due, without the arguments; None if the definition is unreadable here."""
    call: bytes
    """The bytes of its job."""
    priority: int
    module: str
    """The module that declares it, or "" if it was added at run time."""
    next_at: datetime | None
    """The next instant, or None if it is paused."""
    last_at: datetime | None
    """The last instant that was fired or skipped, or None if there was none."""
    last_job: str
    """The id of the last job, or "" if there was none."""
    fired: int
    skipped: int
    """Instants without a job, since an earlier one had not finished."""
    missed: int
    """Instants without a job, since no consumer fired them in time."""

    @property
    def timing(self) -> str:
        """When it is due, in words; "?" if that is unreadable here."""
        return self.schedule.words if self.schedule else "?"

    @property
    def paused(self) -> bool:
        """True if it is paused."""
        return self.next_at is None


class Schedules:
    """The schedules of a queue. `store` is a client or the URL of a server, by default that of `Queue`. Thread-safe.

    A change takes effect within 5 seconds. All methods with a name raise BadCall if no schedule is called so.
    """

    def __init__(self, queue: Queue[Any] | str = "default", *, store: Client | str | None = None) -> None:
        self.queue = queue if isinstance(queue, Queue) else Queue(queue, store=store)

    def __repr__(self) -> str:
        return f"Schedules({self.queue.name!r})"

    def add(self, function: Callable[..., object], schedule: Schedule) -> str:
        """Run a task or an importable function by a schedule, and return the schedule's name.

        Replaces one of that name that was added before; it stays paused if it is. Raises BadCall if the arguments do
        not fit, and if a schedule of that name is defined in code.
        """
        client, queue = self.queue.client, self.queue.name
        now = stored.schedule_clock(queue).ask(client)
        client.run_all(stored.setting(queue, "", 0.0, [entry_of(function, schedule, now)]))
        return schedule.name or name_of(function)

    def list(self) -> list[ScheduleInfo]:
        """Return all schedules of the queue, sorted by name."""
        found = stored.stored(self.queue.name).ask(self.queue.client)
        return [info_of(self.queue.name, one) for one in found]

    def get(self, name: str) -> ScheduleInfo:
        """Return one schedule."""
        found = stored.stored_one(self.queue.name, name).ask(self.queue.client)
        if found is None:
            raise self._unknown(name)
        return info_of(self.queue.name, found)

    def pause(self, name: str) -> bool:
        """Fire nothing until `resume`: instants until then are not missed. Return False if it was paused before."""
        return self._reschedule(name, "pause")

    def resume(self, name: str) -> bool:
        """Fire from the next instant on. Return False if it was not paused."""
        schedule = self.get(name).schedule
        now = stored.schedule_clock(self.queue.name).ask(self.queue.client)
        first = None if schedule is None else schedule.next_after(now)
        if first is None:
            raise BadCall(f"the schedule {name} has no further instant, or cannot be read here")
        return self._reschedule(name, "resume", first)

    def remove(self, name: str) -> None:
        """Remove a schedule; its jobs stay. One that is defined in code returns when a consumer starts."""
        self.get(name)
        self._reschedule(name, "remove")

    def run(self, name: str) -> Job[Any]:
        """Put a job of a schedule now, as well as at its instants, and return its handle.

        Raises Full if the queue is full, and ShutDown if it is shut down.
        """
        client, queue, info = self.queue.client, self.queue.name, self.get(name)
        if not info.call:
            raise BadCall(f"the schedule {name} cannot be read by this version")
        data = call.put_again(info.call, client.run(commands.server_time()))
        (job,) = ids.new_ids(1)
        params = commands.PutParams(priority=info.priority)
        reply, _ = client.run_all([commands.put(queue, [(job, data)], params), commands.note_queue(queue)])
        if not reply.accepted:
            raise Full(f"the queue {queue} is full", hint="try again once jobs were taken")
        return Job(job, queue, client=client)

    def _reschedule(self, name: str, action: str, first: float = 0.0) -> bool:
        reply = self.queue.client.run(stored.reschedule(self.queue.name, name, action, first))
        if reply == "GONE":
            raise self._unknown(name)
        return bool(reply == "OK")

    def _unknown(self, name: str) -> BadCall:
        return BadCall(
            f"no schedule of {self.queue.name} is called {name!r:.80}",
            hint="list them with `conveyor schedule list`",
        )


def entry_of(function: Callable[..., object], schedule: Schedule, now: float) -> stored.Entry:
    """Return the schedule of a function, as of now, to set it. Raises BadCall or TooLarge if it is invalid."""
    task = name_of(function)
    name = schedule.name or checked_name(task)
    run, put = getattr(function, "run", call.DEFAULTS), getattr(function, "put", PLAIN)
    check_scheduled(task, put)
    (data,) = call.encode_calls(function, task, [(schedule.args, schedule.kwargs)], run)
    check = getattr(function, "check", None)
    if check is not None:
        check(*schedule.args, **schedule.kwargs)
    if len(data) > MAX_JOB:
        raise TooLarge(
            f"the job of the schedule {name} has {len(data):,} bytes, the limit is {MAX_JOB:,}",
            hint="store large data in a file or an object store, and pass its path or URL",
        )
    first = schedule.next_after(now)
    if first is None:
        raise BadCall(f"the schedule {name} has no instant")
    timing = structs.replace(schedule, name="", args=(), kwargs={})
    definition = Definition(timing, task, put.priority, data)
    return stored.Entry(name, schedule.timing, encode_definition(definition), first)


def info_of(queue: str, one: StoredSchedule) -> ScheduleInfo:
    """Return what is stored of a schedule, for people."""
    parts: tuple[str, Schedule | None, bytes, int] = ("", None, b"", 0)
    try:
        found = decode_definition(one.definition)
        parts = found.task, found.schedule, found.call, found.priority
    except Exception:  # noqa: BLE001, S110 - of a later version, or this host does not know its time zone
        pass
    last_at = datetime.fromtimestamp(one.fired.at, UTC) if one.fired.at else None
    next_at = None if one.at is None else datetime.fromtimestamp(one.at, UTC)
    counts = (one.fired.fired, one.fired.skipped, one.fired.missed)
    return ScheduleInfo(queue, one.name, *parts, one.module, next_at, last_at, one.fired.job, *counts)


def declare(client: Client, queues: Sequence[str], registry: Registry, start: float | None = None) -> None:
    """Set the schedules that the registered tasks of these queues have, and remove those that they no longer have.

    `start` is when the consumer has started, by the server's clock, now by default: of two that have loaded the same
    module, the one that started later decides. Raises StoreError, and BadCall if a schedule is invalid.
    """
    tasks = [one for one in registry.tasks.values() if one.schedules and one.put.queue in queues]
    listed = client.run(stored.scheduled_among(queues))
    if not tasks and not listed:
        return
    if start is None:
        start = client.run(commands.server_time())
    loaded = {*registry.modules, *map(_module, registry.tasks.values())}
    for queue in queues:
        modules = _by_module(one for one in tasks if one.put.queue == queue)
        if queue in listed:
            modules |= {
                one: [] for one in client.run(stored.declared(queue)) if one in loaded and one not in modules
            }
        if modules:
            now = stored.schedule_clock(queue).ask(client)
            for module, some in modules.items():
                entries = [entry_of(task, schedule, now) for task in some for schedule in task.schedules]
                _check_names(module, entries)
                client.run_all(stored.setting(queue, module, start, entries))


def _by_module(tasks: Iterable[Task[..., Any]]) -> dict[str, list[Task[..., Any]]]:
    found: dict[str, list[Task[..., Any]]] = {}
    for task in tasks:
        found.setdefault(_module(task), []).append(task)
    return found


def _module(task: Task[..., Any]) -> str:
    """Return the name by which all processes know the module of a task."""
    return task_loading.main_name() if task.__module__ == "__main__" else task.__module__


def _check_names(module: str, entries: Sequence[stored.Entry]) -> None:
    names = [one.name for one in entries]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise BadCall(
            f"two schedules in {module} are called {twice}",
            hint='give each its own: Schedule(name="nightly", cron=…)',
        )
