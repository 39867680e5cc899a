"""What acts answer. `recorded` tells whether the audit trail has the act; it has happened either way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from conveyor.store.commands import Count


class Actor(NamedTuple):
    """Who acts, and from where."""

    who: str
    """The name of a person, as well as it is known: of the operating system's user, or of who logged in."""
    origin: str
    """`cli@host`, or where a browser is."""


class QueueAnswer(NamedTuple):
    """A queue right before and right after an act."""

    queue: str
    before: Count
    after: Count
    recorded: bool

    @property
    def changed(self) -> bool:
        """True if the queue is paused, shut down or bounded otherwise than before."""
        one, other = self.before, self.after
        return (one.paused, one.shutdown, one.maxsize) != (other.paused, other.shutdown, other.maxsize)


class CancelAnswer(NamedTuple):
    """What became of a job that was to be cancelled."""

    state: str
    """cancelled; running: its worker is told to stop it; over, dead or gone: nothing was done."""
    recorded: bool


class JobAnswer(NamedTuple):
    """What became of a dead job that was to be put back or discarded."""

    state: str
    """waiting or discarded; otherwise where the job is instead of dead, and nothing was done."""
    changed: bool
    recorded: bool


class Order(NamedTuple):
    """What workers were told; each target answers on its own, under the order's id."""

    id: str
    targets: tuple[str, ...]
    recorded: bool
