"""Leases on jobs: how long they last, and the commands that renew an explicit list of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from msgspec import structs

from conveyor.store import commands

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.store.command import Command

#: Seconds that a lease lasts, and seconds between renewals: a lease survives two renewals that fail. If every worker is
#: busy, only renewals detect expired leases: together with the interval at which a supervisor polls, the two must stay
#: below the guaranteed 20 seconds.
LEASE, RENEWAL = 15.0, 4.0


class Lease(Protocol):
    """A job that this process holds."""

    @property
    def queue(self) -> str:
        """The queue of the job."""

    @property
    def id(self) -> str:
        """The id of the job, unique in its queue."""

    @property
    def token(self) -> str:
        """The fencing token under which it was claimed."""

    @property
    def progress(self) -> str:
        """HELD, STARTED or LEAVING, as `commands.renew` takes it."""


L = TypeVar("L", bound=Lease)


class Renewed(NamedTuple, Generic[L]):
    """The reply about some leases."""

    leases: list[L]
    lost: list[L]
    """Expired leases: their jobs may run elsewhere by now."""
    cancelled: list[L]
    """Leases of jobs that were cancelled."""


def renewals(leases: Iterable[L], seconds: float) -> list[Command]:
    """Renew leases for the given time, in commands for one queue and a limited number each. Reply: `Renewed`."""
    by_queue: dict[str, list[L]] = {}
    for lease in leases:
        by_queue.setdefault(lease.queue, []).append(lease)
    return [
        _renewal(queue, mine[first : first + commands.MAX_RENEWED], seconds)
        for queue, mine in by_queue.items()
        for first in range(0, len(mine), commands.MAX_RENEWED)
    ]


def _renewal(queue: str, leases: list[L], seconds: float) -> Command:
    command = commands.renew(queue, [(one.id, one.token, one.progress) for one in leases], seconds)

    def read(reply: object) -> Renewed[L]:
        renewal = command.read(reply)
        lost, cancelled = ([leases[position] for position in found] for found in renewal)
        return Renewed(leases, lost, cancelled)

    return structs.replace(command, read=read)
