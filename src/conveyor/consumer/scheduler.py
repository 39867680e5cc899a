"""The scheduler: puts recurring jobs when they are due. It runs no user code.

Every consumer has one, for its queues. All of them see the same instants, and the script `fire` lets one fire each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor import clock, events
from conveyor.errors import StoreRefused
from conveyor.store import schedules
from conveyor.wire.call import put_again
from conveyor.wire.schedule import decode_definition, job_id, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.store import Client
    from conveyor.store.command import Command
    from conveyor.store.schedules import DueSchedule, StoredSchedule

#: Seconds after which changes of schedules are noticed.
LOOK_EVERY = 5.0
#: Seconds after which an instant that could not be fired is tried again.
RETRY_EVERY = 1.0
#: Replies after which an instant is no longer due.
DONE = {"OK", "STALE"}
#: Seconds that firing takes before other work of the supervisor.
FIRE_WITHIN = 0.5
#: Seconds that one call to the server is tried.
PATIENCE = 0.25


class Scheduler:
    """Fires the due instants of some queues."""

    def __init__(self, client: Client, queues: Sequence[str]) -> None:
        self.client = client
        self.queues = queues
        self._look_at = float("-inf")
        self._due_at: dict[str, float] = {}
        """When the next instant of a queue may come, by its name."""
        self._declared: dict[str, dict[str, tuple[float, list[StoredSchedule]]]] = {}
        """By queue and module: when the consumer started that declared schedules last, and these."""
        self._reported: set[events.Event] = set()

    def hurry(self) -> None:
        """Look for schedules immediately: the tasks that declare them are loaded."""
        self._look_at = float("-inf")

    @property
    def due_at(self) -> float:
        """When `run` has something to do next, on the monotonic clock."""
        return min(self._look_at, *self._due_at.values(), float("inf"))

    def run(self) -> None:
        """Fire what is due. Raises StoreError."""
        if self.due_at > clock.monotonic():
            return
        if self._look_at <= clock.monotonic():
            self._look_at = clock.monotonic() + LOOK_EVERY
            self._look()
        for queue, at in list(self._due_at.items()):
            if at <= clock.monotonic():
                self._due_at[queue] = clock.monotonic() + RETRY_EVERY  # if this raises
                wait = fire_due(self.client, queue, PATIENCE, self._report)
                self._due_at[queue] = clock.monotonic() + min(wait, 2 * LOOK_EVERY)

    def _look(self) -> None:
        """Find the queues with schedules, and set again what the server has lost of those that modules declare."""
        found = self.client.run(schedules.scheduled_among(self.queues), patience=PATIENCE)
        for queue in {*found, *self._declared}:
            starts: dict[str, float] = self.client.run(schedules.declared(queue), patience=PATIENCE)
            known = self._declared.get(queue, {})
            lost = {module: one for module, one in known.items() if starts.get(module, -1.0) < one[0]}
            if lost:
                self._restore(queue, lost)
                found.append(queue)
            elif starts != {module: start for module, (start, _) in known.items()}:
                stored = schedules.stored(queue).ask(self.client, patience=PATIENCE)
                self._declared[queue] = {
                    module: (start, [one for one in stored if one.module == module])
                    for module, start in starts.items()
                }
        self._due_at = dict.fromkeys(found, float("-inf"))

    def _restore(self, queue: str, lost: dict[str, tuple[float, list[StoredSchedule]]]) -> None:
        now = schedules.schedule_clock(queue).ask(self.client, patience=PATIENCE)
        for module, (start, stored) in lost.items():
            if start <= now:  # or the server's clock was ahead when they were declared
                entries = [entry for one in stored if (entry := _entry_of(one, now)) is not None]
                self.client.run_all(schedules.setting(queue, module, start, entries), patience=PATIENCE)

    def _report(self, event: events.Event) -> None:
        """Report an event once."""
        if event not in self._reported:
            self._reported.add(event)
            events.emit(event)


def _entry_of(one: StoredSchedule, now: float) -> schedules.Entry | None:
    """Return a stored schedule to set it again, or None if it has no instant or is unreadable here."""
    try:
        schedule = decode_definition(one.definition).schedule
        first = schedule.next_after(now)
    except Exception:  # noqa: BLE001 - of a later version, or this host does not know its time zone
        return None
    return None if first is None else schedules.Entry(one.name, schedule.timing, one.definition, first)


def fire_due(
    client: Client,
    queue: str,
    patience: float | None = None,
    report: Callable[[events.Event], object] = events.emit,
) -> float:
    """Fire the due instants of a queue, and return the seconds until it pays to look again. Raises StoreError.

    Returns 0 after a moment, since leases have to be renewed meanwhile.
    """
    wait, left, end = float("inf"), 0, clock.Deadline(FIRE_WITHIN)
    while not end.passed():
        found: schedules.DueReply = client.run(schedules.due(queue, left), patience=patience)
        firings: list[tuple[Command, float | None]] = []
        for one in found.due:
            try:
                firings.append(firing(queue, one, found.now))
            except Exception as error:  # noqa: BLE001 - of a later version, or this host does not know its time zone
                report(events.ScheduleStuck(queue, one.name, str(error)))
        replies = ["REFUSED"] * len(firings)
        try:
            if firings:
                replies = client.run_all([command for command, _ in firings], patience=patience)
        except StoreRefused as error:  # such as by a full server, which still takes renewals
            report(events.ScheduleStuck(queue, found.due[0].name, str(error)))
        fired = [following for (_, following), reply in zip(firings, replies, strict=True) if reply in DONE]
        wait = min([wait, *((following or float("inf")) - found.now for following in fired)])
        left += len(found.due) - len(fired)
        if len(found.due) < schedules.MAX_DUE:
            wait = min(wait, float("inf") if found.wait is None else found.wait)
            return max(0.0, min(wait, RETRY_EVERY) if left else wait)
    return 0.0


def firing(queue: str, due: DueSchedule, now: float) -> tuple[Command, float | None]:
    """Return the command that fires what is due, and the instant after it. Raises for an unreadable definition."""
    definition = decode_definition(due.definition)
    schedule = definition.schedule
    decided = plan(schedule, due.at, now, held=due.fired.held)
    puts = [
        schedules.Put(
            instant,
            job_id(due.name, instant),
            put_again(definition.call, now),
            max(0.0, instant + schedule.delay_of(due.name, instant) - now),
        )
        for instant in decided.instants
    ]
    how = schedules.How(schedule.overlap, definition.priority, decided.skipped, decided.missed)
    return schedules.fire(queue, due, decided.following, puts, how), decided.following
