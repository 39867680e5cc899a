"""What the doctor finds about the server: version, persistence, memory, speed, clock; and the client library."""

from __future__ import annotations

import importlib.metadata
import re
import statistics
from typing import TYPE_CHECKING

from conveyor import clock
from conveyor.cli.findings import BAD, OK, WARN, Finding
from conveyor.cli.output import count_of
from conveyor.store import commands, fitness
from conveyor.wire.durability import Durability

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.store import Client

#: Oldest servers that the tests run against.
OLDEST = {"Valkey": (8, 1), "Redis": (7, 4)}
#: First release without known security holes, for each line that has or had any: in scripts (CVE-2025-49844,
#: CVE-2026-23631), in blocked clients (CVE-2026-23479 and its like) and in RESTORE, which any client with a password
#: may try. Later lines never had them; a line that is no longer maintained has that of the next one.
PATCHED = {
    "Valkey": {
        (8, 1): (8, 1, 7),
        (9, 0): (9, 0, 5),
        (9, 1): (9, 1, 1),
    },
    "Redis": {
        (7, 4): (7, 4, 11),
        (8, 0): (8, 2, 9),
        (8, 2): (8, 2, 9),
        (8, 4): (8, 4, 6),
        (8, 6): (8, 6, 6),
        (8, 8): (8, 8, 2),
    },
}
OLDEST_CLIENT = (8,)
#: Questions whose answers are timed; milliseconds that are slow, and very slow.
QUESTIONS, SLOW, VERY_SLOW = 50, 5.0, 50.0
#: What each appendfsync means for jobs that were accepted.
_SYNCED = {
    "always": (OK, "synced before each answer: no accepted job is lost"),
    "everysec": (
        OK,
        "synced every second: a power cut may lose a second or two, as may a kill of the server while its disk is busy",
    ),
    "no": (WARN, "synced when the operating system decides: a power cut may lose half a minute"),
}
_SYNC_ALWAYS = "set no-appendfsync-on-rewrite no"
#: Seconds of difference between clocks that people would notice.
CLOCK_DIFFERENCE = 2.0
#: Shares of the memory limit.
FILLING, NEARLY_FULL = 0.8, 0.95


def server_findings(client: Client) -> Iterator[Finding]:
    """Examine the server that a client talks to. Raises StoreRefused for a node of a cluster."""
    facts = {
        name: value
        for section in ("server", "replication", "persistence", "memory", "stats", "cluster")
        for name, value in _info(client, section)
    }
    fitness.refuse_cluster(client, facts)
    yield _version(facts)
    yield _role(facts)
    yield _persistence(facts, client)
    yield _durability(facts, client)
    yield _eviction(facts)
    yield _memory(facts)
    yield _latency(client)
    yield _clock(client)
    yield _library()


def _info(client: Client, section: str) -> Iterator[tuple[str, str]]:
    found: dict[str, str] = client.run(fitness.info(section))
    yield from found.items()


def _version(facts: dict[str, str]) -> Finding:
    kind = "Valkey" if "valkey_version" in facts else "Redis"
    text = facts.get("valkey_version") or facts.get("redis_version", "?")
    version = _numbers(text)
    if version[:2] < OLDEST[kind]:
        return Finding("version", BAD, f"{kind} {text} is too old", "use Redis 7.4 or Valkey 8.1, or newer")
    floor = PATCHED[kind].get((version[0], version[1]), (0, 0, 0))
    if version < floor:
        hint = f"update to {kind} {'.'.join(map(str, floor))} or newer"
        return Finding("version", WARN, f"{kind} {text} has known security holes (CVE-2026-23479)", hint)
    return Finding("version", OK, f"{kind} {text}")


def _role(facts: dict[str, str]) -> Finding:
    if facts.get("role") == "slave":
        hint = "use the address of the primary, or those of its sentinels: sentinel://host,host/name"
        return Finding("role", BAD, "a replica: it takes no jobs", hint)
    replicas = int(facts.get("connected_slaves", 0))
    return Finding(
        "role", OK, f"primary, {count_of(replicas, 'replica') if replicas else 'without replicas'}"
    )


def _persistence(facts: dict[str, str], client: Client) -> Finding:
    if facts.get("aof_enabled") == "1":
        if facts.get("aof_last_write_status", "ok") != "ok":
            return Finding(
                "persistence",
                BAD,
                "the append-only file cannot be written",
                "look at the server's disk and its log",
            )
        synced = _setting(client, "appendfsync")
        verdict, means = _SYNCED.get(synced, (OK, "no right to read how often it is synced"))
        text = f"append-only file, {means}"
        if _setting(client, "no-appendfsync-on-rewrite") == "yes" and synced != "no":
            return Finding("persistence", WARN, f"{text}; not while it is rewritten", _SYNC_ALWAYS)
        return Finding("persistence", verdict, text, "set appendfsync everysec" if verdict == WARN else "")
    if _setting(client, "save"):
        text = "snapshots only: a crash loses what was put since the last one"
        if facts.get("rdb_last_bgsave_status", "ok") != "ok":
            return Finding(
                "persistence", BAD, "the last snapshot failed", "look at the server's disk and its log"
            )
        return Finding("persistence", WARN, text, "set appendonly yes")
    return Finding("persistence", WARN, "off: a restart of the server loses all jobs", "set appendonly yes")


def _durability(facts: dict[str, str], client: Client) -> Finding:
    """State which levels a put can demand now, for any queue: they are the server's."""
    synced = _setting(client, "appendfsync")
    given = fitness.levels(facts, synced)
    missing = [one for one in (Durability("written"), Durability("fsync")) if one not in given]
    text = f"every queue: {', '.join(map(str, given))}"
    if missing and (lack := fitness.lack_of(missing[-1], facts, synced)):
        text += f"; not {' or '.join(map(str, missing))}: {lack.why}"
    return Finding("durability", OK, text)


def _eviction(facts: dict[str, str]) -> Finding:
    policy, evicted = facts.get("maxmemory_policy", "?"), int(facts.get("evicted_keys", 0))
    gone = f"{count_of(evicted, 'key')} evicted since the server started"
    if policy in {"noeviction", "?"}:
        return (
            Finding("eviction", WARN, f"{policy}, but {gone}") if evicted else Finding("eviction", OK, policy)
        )
    limited = evicted or facts.get("maxmemory", "0") != "0"
    what = "jobs" if policy.startswith("allkeys") else "results"
    text = f"{policy}: the server may evict {what} when its memory is full; {gone}"
    return Finding("eviction", BAD if limited else WARN, text, "set maxmemory-policy noeviction")


def _memory(facts: dict[str, str]) -> Finding:
    used, limit = int(facts.get("used_memory", 0)), int(facts.get("maxmemory", 0))
    if not limit:
        total = int(facts.get("total_system_memory", 0))
        if total and used > FILLING * total:
            text = f"{_mib(used)} in use, no limit, {_mib(total)} in the machine"
            return Finding("memory", WARN, text, "work off what waits, or get more memory")
        return Finding("memory", OK, f"{_mib(used)} in use, no limit")
    share = used / limit
    verdict = OK if share < FILLING else WARN if share < NEARLY_FULL else BAD
    hint = "" if verdict == OK else "work off what waits, bound the queues with maxsize, or raise maxmemory"
    return Finding("memory", verdict, f"{_mib(used)} of {_mib(limit)} in use ({share:.0%})", hint)


def _latency(client: Client) -> Finding:
    times = []
    for _ in range(QUESTIONS):
        start = clock.monotonic()
        client.run(commands.server_time())
        times.append((clock.monotonic() - start) * 1000)
    median = statistics.median(times)
    text = f"{median:.2f} ms for a round trip (median of {QUESTIONS}, longest {max(times):.2f} ms)"
    if median < SLOW:
        return Finding("latency", OK, text)
    return Finding(
        "latency", WARN if median < VERY_SLOW else BAD, text, "bring workers and server closer together"
    )


def _clock(client: Client) -> Finding:
    start = clock.wall()
    difference = client.run(commands.server_time()) - (start + clock.wall()) / 2
    text = (
        f"the server's is {abs(difference):.3f} s {'ahead of' if difference > 0 else 'behind'} this machine's"
    )
    if abs(difference) < CLOCK_DIFFERENCE:
        return Finding("clock", OK, text)
    return Finding(
        "clock", WARN, f"{text}; jobs do not mind, shown times are off", "let both follow a time server"
    )


def _library() -> Finding:
    text = importlib.metadata.version("redis")
    if _numbers(text) < OLDEST_CLIENT:
        return Finding("client", BAD, f"redis-py {text} is too old", "pip install --upgrade 'redis[hiredis]'")
    return Finding("client", OK, f"redis-py {text}, hiredis {importlib.metadata.version('hiredis')}")


def _setting(client: Client, name: str) -> str:
    found: str = client.run(fitness.setting(name, optional=True))  # hosted servers often forbid CONFIG
    return found


def _numbers(version: str) -> tuple[int, int, int]:
    found = [int(part) for part in re.findall(r"\d+", version)[:3]]
    return (*found, 0, 0, 0)[:3]  # type: ignore[return-value]


def _mib(size: int) -> str:
    return f"{size / 1024**2:,.1f} MiB"
