"""Whether a server is fit to keep jobs: looked at once by each process that puts jobs or takes them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from conveyor.errors import StoreUnavailable
from conveyor.store import plain
from conveyor.store.address import is_sentinel, shown
from conveyor.store.limits import time_for

if TYPE_CHECKING:
    from conveyor.clock import Deadline
    from conveyor.store.client import Client

_log = logging.getLogger("conveyor")


def vet(client: Client, deadline: Deadline | None = None) -> None:
    """Look at the server, unless this process has done so; log what puts jobs at risk. Raises as `risk_of` does."""
    if not client.vetted and (risk := risk_of(client, deadline)):
        _log.warning("%s", risk)


def risk_of(client: Client, deadline: Deadline | None = None) -> str:
    """Return what puts jobs at risk, or "" if nothing is known to.

    One round trip; a user without the right to INFO learns nothing. Raises StoreUnavailable if the server is a replica,
    which a failover that is under way does not explain: of sentinels' addresses that is left to the commands.
    """
    told = [plain.info(section, optional=True) for section in ("replication", "memory")]
    replication, memory = client.run_all(told, within=time_for(deadline))
    if replication.get("role") == "slave" and not is_sentinel(client.url):
        message = f"the server at {shown(client.url)} is a replica and takes no jobs"
        hint = "use the address of the primary, or those of its sentinels: sentinel://host,host/name"
        raise StoreUnavailable(message, hint=hint)
    client.vetted = True
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return ""
    what = "jobs" if policy.startswith("allkeys") else "results"
    return (
        f"the server at {shown(client.url)} may throw {what} away when its memory is full: "
        f"set its maxmemory-policy to noeviction, now {policy}"
    )
