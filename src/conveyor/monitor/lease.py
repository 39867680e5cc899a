"""Who runs a job and since when, as its lease on the server says."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.wire.statistics import read_figure

if TYPE_CHECKING:
    from conveyor.store.commands import State


class Lease(NamedTuple):
    """Who runs a job, as far as it can be read."""

    since: float | None = None
    """When it was claimed, seconds since 1970 by the server's clock."""
    owner: str = ""
    cancelling: bool = False


def read_lease(data: bytes) -> Lease:
    """Read a lease. Its token is the time of the claim in microseconds; where that is no number, it is not known."""
    token, owner, how, *_ = (*data.decode(errors="replace").split(" "), "", "", "")
    claimed = read_figure(token)
    return Lease(None if claimed is None else claimed / 1e6, owner, how == "C")


def lease_of(state: State) -> Lease:
    """Give the lease of a job in this state; an empty one where nobody runs it."""
    if state.state != "leased" or not isinstance(state.detail, bytes):
        return Lease()
    return read_lease(state.detail)
