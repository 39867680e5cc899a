"""Fitness of a server to keep jobs, and the levels of durability that it can give; for producers, takers and people."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor import clock
from conveyor.errors import StoreDenied, StoreError, StoreRefused, StoreUnavailable
from conveyor.store import plain
from conveyor.store.address import is_sentinel, shown
from conveyor.store.timeouts import time_for
from conveyor.wire.durability import MEMORY, Durability

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.clock import Deadline
    from conveyor.store.client import Client
    from conveyor.store.command import Command

#: Seconds after which a producer checks again that the server can give a level of durability.
CHECK_AGAIN = 10.0
#: Seconds since a server last gave a level in which a failover may be the reason that it does not.
FAILOVER = 30.0
#: First version whose WAITAOF waits for the sync of every second: with others it returns before it (redis#13793), as
#: with all of Valkey so far. A sync before each answer, `appendfsync always`, is waited for by all.
_WAITS_FOR_SYNC = (8, 0)

_log = logging.getLogger("conveyor")


class Lack(NamedTuple):
    """Why a server cannot give a level of durability now, what to do about it, and what is raised if it is demanded."""

    why: str
    hint: str
    error: type[StoreError] = StoreRefused


def vet(client: Client, deadline: Deadline | None = None, durability: Durability = MEMORY) -> None:
    """Look at the server, unless this process has done so; log what puts jobs at risk.

    Raises as `risk_of` does, and as `check_level` does if a level of durability is demanded.
    """
    if not client.vetted and (risk := risk_of(client, deadline)):
        _log.warning("%s", risk)
    if durability != MEMORY:
        now = clock.monotonic()
        if now - client.levels.get(durability, -CHECK_AGAIN) >= CHECK_AGAIN:
            try:
                check_level(client, durability, deadline)
            except StoreUnavailable:
                if now - client.levels.get(durability, float("-inf")) > FAILOVER:
                    raise  # before that, each put waits until the server has its replicas
            else:
                client.levels[durability] = now


def risk_of(client: Client, deadline: Deadline | None = None) -> str:
    """Return what puts jobs at risk, or "" if nothing is known to.

    One round trip; a user without the right to INFO learns nothing. Raises StoreUnavailable if the server is a replica,
    which a failover that is under way does not explain: of sentinels' addresses that is left to the commands. Raises
    StoreRefused if it is a node of a cluster.
    """
    told = [plain.info(section, optional=True) for section in ("replication", "memory", "cluster")]
    replication, memory, cluster = client.run_all(told, within=time_for(deadline))
    refuse_cluster(client, cluster)
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


def refuse_cluster(client: Client, facts: Mapping[str, str]) -> None:
    """Raise StoreRefused if a server is a node of a cluster: the keys of a script have to lie on one node."""
    if facts.get("cluster_enabled") == "1":
        message = f"the server at {shown(client.url)} is a node of a Redis Cluster, which cannot keep queues"
        hint = "use a server with cluster-enabled no; sentinels let a replica take over: sentinel://host,host/name"
        raise StoreRefused(message, hint=hint)


def levels_of(client: Client) -> list[Durability]:
    """Return the levels of durability that a server can give now; none if its user may not know. One round trip."""
    facts, synced = _answers(client.run_all(_questions()))
    return levels(facts, synced) if "aof_enabled" in facts else []


def _questions() -> list[Command]:
    """Ask what levels depend on, as far as the user may know it."""
    return [
        plain.info("persistence", optional=True),
        plain.info("replication", optional=True),
        plain.info("server", optional=True),
        plain.setting("appendfsync", optional=True),
    ]


def _answers(replies: Sequence[Any]) -> tuple[dict[str, str], str]:
    """Return what a server says of itself, and its appendfsync."""
    persistence, replication, server, synced, *_ = replies
    return {**persistence, **replication, **server}, synced


def check_level(client: Client, durability: Durability, deadline: Deadline | None = None) -> None:
    """Check that the server can give a level of durability; one round trip.

    Raises StoreRefused if it cannot as it is set up, StoreDenied if its user lacks a right that the level needs, and
    StoreUnavailable if too few replicas are connected now. The embedded server is set up for the level.
    """
    told = [*_questions(), plain.may_confirm(durability)]
    facts, synced = _answers(client.run_all(told, within=time_for(deadline)))
    if durability.level == "fsync":
        client.waits_for_sync = waits_for_sync(facts)
        if client.revive and synced != "always":
            synced = "always"
            client.run(plain.set_setting("appendfsync", synced), within=time_for(deadline))
    if lack := lack_of(durability, facts, synced):
        message = f"the server at {shown(client.url)} cannot keep jobs at the level {durability}: {lack.why}"
        raise lack.error(message, hint=lack.hint)


def lack_of(durability: Durability, facts: Mapping[str, str], synced: str) -> Lack | None:
    """Return why a server cannot give a level of durability now, or None if nothing speaks against it.

    `facts` are its persistence, replication and version, `synced` its appendfsync; empty if its user may not know them.
    """
    if durability.needs_file:
        if facts.get("aof_enabled", "1") == "0":
            return Lack("its append-only file is off", "set appendonly yes, or choose the level memory")
        if facts.get("aof_last_write_status", "ok") != "ok":
            return Lack("its append-only file cannot be written", "look at the server's disk and its log")
    if durability.level == "fsync" and synced != "always" and (synced == "no" or not waits_for_sync(facts)):
        return _lack_of_sync(synced)
    if durability.replicas and "connected_slaves" in facts:
        there = replicas_of(facts)
        if there < durability.replicas:
            why = f"only {there} of {durability.replicas} replicas are connected"
            hint = "look at the server's replicas, or choose a level with fewer of them"
            return Lack(why, hint, StoreUnavailable)
    return None


def _lack_of_sync(synced: str) -> Lack:
    if not synced:
        why = "its appendfsync is not known, and with another one than always its WAITAOF may not wait for a sync"
        return Lack(
            why, "grant it: ACL SETUSER … +config|get; docs/running.md has the whole line", StoreDenied
        )
    if synced == "no":
        why = "it never syncs its append-only file (appendfsync no)"
    else:
        why = f"it syncs once a second (appendfsync {synced}), and its WAITAOF does not wait for that"
    return Lack(why, "set appendfsync always")


def waits_for_sync(facts: Mapping[str, str]) -> bool:
    """Return True if WAITAOF of a server of this version waits for a sync that is not done before each answer."""
    version = facts.get("redis_version", "0.0").split(".")
    return "valkey_version" not in facts and tuple(map(int, version[:2])) >= _WAITS_FOR_SYNC


def replicas_of(facts: Mapping[str, str]) -> int:
    """Return how many replicas follow a server."""
    return sum("state=online" in value for name, value in facts.items() if name.startswith("slave"))


def levels(facts: Mapping[str, str], synced: str) -> list[Durability]:
    """Return the levels of durability that a server can give now, from what `lack_of` takes; of replicas, the most."""
    known = [MEMORY, Durability("written"), Durability("fsync")]
    if most := replicas_of(facts):
        known.append(Durability("replicated", most))
    return [one for one in known if not lack_of(one, facts, synced)]
