"""Pausing workers: they finish what they run, give back what they hold, and stay without taking more until resumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor import clock
from conveyor.consumer import shared_status as slates

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.consumer.supervisor import Supervisor
    from conveyor.consumer.worker_handle import Worker
    from conveyor.wire.control_messages import Control

    Answer = Callable[[Control, str, str, str], None]

#: Seconds after an order in which its effect is looked for often; a busy worker takes longer, and nobody waits.
SOON = 1.0
#: Why an order came to nothing.
LEFT = "it left before it could follow"
#: What comes of an order; of several workers the last of these counts.
_OUTCOMES = ("gone", "repeated", "done")


@dataclass(slots=True)
class _Open:
    """An order of which not all is known to be done."""

    order: Control
    left: int
    """How many workers are still to be answered for."""
    soon: float
    """Until when it is worth a hurry."""
    came_to: str = "gone"
    """What the whole consumer says in the end: done, if one of its workers has followed."""


class Pauses:
    """Who is paused; by name, so that the one who replaces a crashed worker is paused as well."""

    def __init__(self, supervisor: Supervisor, answer: Answer) -> None:
        self.supervisor = supervisor
        self.answer = answer
        self.names: set[str] = set()
        self._open: dict[str, _Open] = {}
        """The last order to each worker that has not followed it yet, by name."""

    @property
    def hurried(self) -> bool:
        """Whether a worker is about to follow an order."""
        return any(clock.monotonic() < one.soon for one in self._open.values())

    def obey(self, order: Control) -> None:
        """Pause or resume the workers that are named, all of the consumer if none is; `look` answers for the rest.

        An earlier order to a worker that has not followed it yet is over.
        """
        workers = self._workers()
        crew = {*workers, *self.supervisor.to_start}
        wanted = set(order.workers) or crew
        if not order.workers:
            self.answer(order, self.supervisor.report.name, "acknowledged", "")
        for name in sorted(wanted - crew):
            self.answer(order, name, "unknown", "no such worker")
        paused = order.verb == "pause"
        self.names = self.names | (wanted & crew) if paused else self.names - wanted
        one = _Open(order, len(wanted & crew), clock.monotonic() + SOON)
        for name in sorted(wanted & crew):
            before = self._open.get(name)
            if before is not None:
                self._close(name, "repeated" if before.order.verb == order.verb else "done")
            self._open[name] = one
            worker = workers.get(name)
            if worker is not None:
                worker.pause(paused)
            self.answer(order, name, "acknowledged", worker.job()[1] if worker is not None else "")
        self._close_whole(one)
        self.supervisor.beat.hurry()

    def look(self) -> None:
        """Answer for those who have followed."""
        workers = self._workers() if self._open else {}
        for name in sorted(self._open):
            came_to = self._came_to(name, workers.get(name))
            if came_to:
                self._close(name, came_to)

    def _workers(self) -> dict[str, Worker]:
        return {one.name: one for one in self.supervisor.workers.values()}

    def _close(self, name: str, came_to: str) -> None:
        """Answer for a worker, and after the last one for the whole consumer."""
        one = self._open.pop(name)
        one.left -= 1
        one.came_to = max(one.came_to, came_to, key=_OUTCOMES.index)
        self.answer(one.order, name, came_to, LEFT if came_to == "gone" else "")
        self._close_whole(one)

    def _close_whole(self, one: _Open) -> None:
        if not one.left and not one.order.workers:
            detail = LEFT if one.came_to == "gone" else ""
            self.answer(one.order, self.supervisor.report.name, one.came_to, detail)

    def _came_to(self, name: str, worker: Worker | None) -> str:
        """Tell whether a worker has followed (done), never will (gone), or is about to (empty)."""
        if worker is None:  # after a crash its replacement, which begins paused, says so
            return "" if name in self.supervisor.to_start else "gone"
        return "done" if (worker.slate.glance().state == slates.PAUSED) == (name in self.names) else ""
