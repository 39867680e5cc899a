"""Pausing workers: they finish what they run, give back what they hold, and stay without taking more until resumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor import clock
from conveyor.consumer import slate as slates

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.consumer.supervisor import Supervisor
    from conveyor.control import Control

    Answer = Callable[[Control, str, str, str], None]

#: Seconds after an order in which its effect is looked for often; a busy worker takes longer, and nobody waits.
SOON = 1.0
#: Why an order came to nothing.
LEFT = "it left before it could follow"


@dataclass(slots=True)
class _Open:
    """An order of which not all is known to be done."""

    order: Control
    names: set[str]
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
        self._open: list[_Open] = []

    @property
    def hurried(self) -> bool:
        """Whether a worker is about to follow an order."""
        return any(clock.monotonic() < one.soon for one in self._open)

    def obey(self, order: Control) -> None:
        """Pause or resume the workers that are named, all of the consumer where none is; `look` tells the rest."""
        workers = {one.name: one for one in self.supervisor.workers.values()}
        crew = {*workers, *self.supervisor.to_start}
        wanted = set(order.workers) or crew
        if not order.workers:
            self.answer(order, self.supervisor.report.name, "acknowledged", "")
        for name in sorted(wanted - crew):
            self.answer(order, name, "unknown", "no such worker")
        paused = order.verb == "pause"
        self.names = self.names | (wanted & crew) if paused else self.names - wanted
        for name in sorted(wanted & crew):
            worker = workers.get(name)
            if worker is not None:
                worker.pause(paused)
            self.answer(order, name, "acknowledged", worker.job()[1] if worker is not None else "")
        self._open.append(_Open(order, wanted & crew, clock.monotonic() + SOON))
        self.supervisor.beat.hurry()

    def look(self) -> None:
        """Answer for those who have followed."""
        for one in list(self._open):
            for name in sorted(one.names):
                came_to = self._came_to(name, paused=one.order.verb == "pause")
                if came_to:
                    one.names.discard(name)
                    one.came_to = "done" if came_to == "done" else one.came_to
                    self.answer(one.order, name, came_to, "" if came_to == "done" else LEFT)
            if not one.names:
                self._open.remove(one)
                if not one.order.workers:
                    detail = "" if one.came_to == "done" else LEFT
                    self.answer(one.order, self.supervisor.report.name, one.came_to, detail)

    def _came_to(self, name: str, *, paused: bool) -> str:
        """Tell whether a worker has followed (done), never will (gone), or is about to (empty)."""
        if (name in self.names) != paused:  # the contrary was ordered meanwhile
            return "done"
        worker = next((one for one in self.supervisor.workers.values() if one.name == name), None)
        if worker is None:  # after a crash its replacement, which begins paused, says so
            return "" if name in self.supervisor.to_start else "gone"
        return "done" if (worker.slate.glance().state == slates.PAUSED) == paused else ""
