"""Fitness of a server to keep jobs: its facts and settings, and the levels of durability that it can provide."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor import clock
from conveyor.errors import StoreDenied, StoreError, StoreRefused, StoreUnavailable
from conveyor.store.address import is_sentinel, shown
from conveyor.store.client import time_for
from conveyor.store.command import Command, Exchange
from conveyor.wire.durability import MEMORY, Durability

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.clock import Deadline
    from conveyor.store.client import Client
    from conveyor.store.command import Operation

#: Seconds after which a producer checks again that the server can provide a level of durability.
CHECK_AGAIN = 10.0
#: Seconds after a server last provided a level in which its absence may be due to a failover.
FAILOVER = 30.0
#: First version whose WAITAOF waits for the sync of every second. Others return before it (redis#13793), as does all
#: of Valkey so far. All wait for a sync before each reply, `appendfsync always`.
_WAITS_FOR_SYNC = (8, 0)

_log = logging.getLogger("conveyor")


class Lack(NamedTuple):
    """Why a server cannot provide a level of durability now, what to do about it, and which error to raise."""

    why: str
    hint: str
    error: type[StoreError] = StoreRefused


def vet(client: Client, deadline: Deadline | None = None, durability: Durability = MEMORY) -> Operation[None]:
    """Check the server, unless this process has done so, and log what puts jobs at risk.

    Raises what `risk_of` raises, and what `check_level` raises if a level of durability is demanded.
    """
    if not client.vetted and (risk := (yield from risk_of(client, deadline))):
        _log.warning("%s", risk)
    if durability != MEMORY:
        now = clock.monotonic()
        if now - client.levels.get(durability, -CHECK_AGAIN) >= CHECK_AGAIN:
            try:
                yield from check_level(client, durability, deadline)
            except StoreUnavailable:
                if now - client.levels.get(durability, float("-inf")) > FAILOVER:
                    raise  # before that, each put waits until the server has its replicas
            else:
                client.levels[durability] = now


def risk_of(client: Client, deadline: Deadline | None = None) -> Operation[str]:
    """Return what puts jobs at risk, or "" if nothing is known to.

    One round trip; without the right to INFO nothing is known. Raises StoreUnavailable if the server is a replica and
    no failover can explain that: with the URL of sentinels, the commands find out. Raises StoreRefused if it is a node
    of a cluster.
    """
    sections = [info(section, optional=True) for section in ("replication", "memory", "cluster")]
    replication, memory, cluster = yield Exchange(sections, time_for(deadline))
    refuse_cluster(client, cluster)
    if replication.get("role") == "slave" and not is_sentinel(client.url):
        raise StoreUnavailable(
            f"the server at {shown(client.url)} is a replica and accepts no jobs",
            hint="use the URL of the primary, or of its sentinels: sentinel://host,host/name",
        )
    client.vetted = True
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return ""
    return (
        f"the server at {shown(client.url)} may evict {'jobs' if policy.startswith('allkeys') else 'results'} "
        f"when its memory is full: set its maxmemory-policy to noeviction, now {policy}"
    )


def refuse_cluster(client: Client, facts: Mapping[str, str]) -> None:
    """Raise StoreRefused if the server is a node of a cluster: the keys of a script have to be on one node."""
    if facts.get("cluster_enabled") == "1":
        raise StoreRefused(
            f"the server at {shown(client.url)} is a node of a Redis Cluster, which cannot keep queues",
            hint="use a server with cluster-enabled no; for failover use sentinels: sentinel://host,host/name",
        )


def levels_of() -> Operation[list[Durability]]:
    """Return the levels of durability that a server can provide now; none if its user may not know. One round trip."""
    facts, synced = yield from _facts(None)
    return levels(facts, synced) if "aof_enabled" in facts else []


def check_level(client: Client, durability: Durability, deadline: Deadline | None = None) -> Operation[None]:
    """Check that the server can provide a level of durability, in one round trip.

    The embedded server is configured for the level. Raises StoreRefused if the server is not, StoreDenied if its user
    lacks a right that the level needs, and StoreUnavailable if too few replicas are connected now.
    """
    facts, synced = yield from _facts(deadline, may_confirm(durability))
    if durability.level == "fsync":
        client.waits_for_sync = waits_for_sync(facts)
        if client.revive and synced != "always":
            synced = "always"
            yield Exchange((set_setting("appendfsync", synced),), time_for(deadline))
    if lack := lack_of(durability, facts, synced):
        message = f"the server at {shown(client.url)} cannot keep jobs at the level {durability}: {lack.why}"
        raise lack.error(message, hint=lack.hint)


def _facts(deadline: Deadline | None, *checks: Command) -> Operation[tuple[dict[str, str], str]]:
    """Return the facts that levels depend on, as far as the user may know them, and appendfsync; run checks as well."""
    sections = [info(section, optional=True) for section in ("persistence", "replication", "server")]
    queries = [*sections, setting("appendfsync", optional=True), *checks]
    persistence, replication, server, synced, *_ = yield Exchange(queries, time_for(deadline))
    return {**persistence, **replication, **server}, synced


def lack_of(durability: Durability, facts: Mapping[str, str], synced: str) -> Lack | None:
    """Return why a server cannot provide a level of durability now, or None if nothing is known to prevent it.

    `facts` are its persistence, replication and version, `synced` its appendfsync; empty if its user may not know them.
    """
    if durability.needs_file:
        if facts.get("aof_enabled", "1") == "0":
            return Lack("its append-only file is off", "set appendonly yes, or choose the level memory")
        if facts.get("aof_last_write_status", "ok") != "ok":
            return Lack("its append-only file cannot be written", "check the server's disk and its log")
    if durability.level == "fsync" and synced != "always" and (synced == "no" or not waits_for_sync(facts)):
        return _lack_of_sync(synced)
    if durability.replicas and "connected_slaves" in facts:
        there = replicas_of(facts)
        if there < durability.replicas:
            why = f"only {there} of {durability.replicas} replicas are connected"
            hint = "check the server's replicas, or choose a level with fewer of them"
            return Lack(why, hint, StoreUnavailable)
    return None


def _lack_of_sync(synced: str) -> Lack:
    if not synced:
        return Lack(
            "its appendfsync is unknown, and unless it is always, its WAITAOF may not wait for a sync",
            "grant it: ACL SETUSER … +config|get; docs/running.md has the whole line",
            StoreDenied,
        )
    if synced == "no":
        why = "it never syncs its append-only file (appendfsync no)"
    else:
        why = f"it syncs once a second (appendfsync {synced}), and its WAITAOF does not wait for that"
    return Lack(why, "set appendfsync always")


def waits_for_sync(facts: Mapping[str, str]) -> bool:
    """Return True if WAITAOF of a server of this version waits for a sync that is not done before each reply."""
    version = facts.get("redis_version", "0.0").split(".")
    return "valkey_version" not in facts and tuple(map(int, version[:2])) >= _WAITS_FOR_SYNC


def replicas_of(facts: Mapping[str, str]) -> int:
    """Return how many replicas follow a server."""
    return sum("state=online" in value for name, value in facts.items() if name.startswith("slave"))


def levels(facts: Mapping[str, str], synced: str) -> list[Durability]:
    """Return the levels of durability for which `lack_of` has no objection, with as many replicas as possible."""
    known = [MEMORY, Durability("written"), Durability("fsync")]
    if most := replicas_of(facts):
        known.append(Durability("replicated", most))
    return [one for one in known if not lack_of(one, facts, synced)]


# --- commands


def info(section: str, *, optional: bool = False) -> Command:
    """Read a section of the server's facts. Reply: strings by name; none if it is `optional` and forbidden."""

    def read(reply: bytes | None) -> dict[str, str]:
        pairs = (line.split(":", 1) for line in (reply or b"").decode().splitlines() if ":" in line)
        return {name: value.strip() for name, value in pairs}

    return Command(("INFO", section), read=read, optional=optional)


def setting(name: str, *, optional: bool = False) -> Command:
    """Read one of the server's settings. Reply: a string; "" if there is none, or it is `optional` and forbidden."""
    return Command(
        ("CONFIG", "GET", name), read=lambda reply: reply[1].decode() if reply else "", optional=optional
    )


def set_setting(name: str, value: str) -> Command:
    """Change one of the server's settings."""
    return Command(("CONFIG", "SET", name, value))


def confirm(durability: Durability, seconds: float) -> Command:
    """Wait until earlier writes of the connection reach a level. Reply: "", or what is missing.

    It has to follow the write in one round trip. A write that is sent again must write something even if the server
    knows it already, so that this waits for the first one, too.
    """
    wait = max(1, int(seconds * 1000))  # 0 would be forever
    replicas = durability.replicas
    words: tuple[Any, ...] = ("WAIT", replicas, wait) if replicas else ("WAITAOF", 1, 0, wait)
    if is_written := durability.level == "written":
        wait, words = 0, ("INFO", "persistence")

    def read(reply: Any) -> str:
        if isinstance(reply, Exception):
            return str(reply).rstrip(".")
        if is_written:
            return "" if b"aof_enabled:1" in reply else "the server's append-only file is off"
        if replicas:
            return "" if reply >= replicas else f"{reply} of {replicas} replicas have received it"
        return "" if reply[0] else "the server has not synced its append-only file"

    return Command(words, read=read, block=wait / 1000, confirms=True)


def may_confirm(durability: Durability) -> Command:
    """Check that the server's user may have a level confirmed, without waiting."""
    if durability.level == "written":
        return info("persistence")
    return Command(("WAIT", 0, 1) if durability.replicas else ("WAITAOF", 0, 0, 1))
