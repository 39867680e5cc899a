"""`conveyor doctor`: check version, persistence, memory, speed and clock of the server, and the queues."""

from __future__ import annotations

import importlib.metadata
import re
import statistics
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from conveyor import clock
from conveyor.cli import exit_codes
from conveyor.cli.connection import open_inspector
from conveyor.cli.options import Json
from conveyor.cli.output import document, note, screen
from conveyor.cli.status import queue_lines
from conveyor.monitor.format import count_of, size, utc
from conveyor.store import commands, fitness
from conveyor.store.address import shown
from conveyor.wire.durability import Durability

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conveyor.cli.status import QueueLine
    from conveyor.monitor import Inspector
    from conveyor.store import Client


OK, WARN, BAD = "ok", "warn", "bad"
#: Oldest servers in the tests.
OLDEST = {"Valkey": (8, 1), "Redis": (7, 4)}
#: First release of each line without known vulnerabilities: in scripts (CVE-2025-49844, CVE-2026-23631), in blocked
#: clients (CVE-2026-23479 and similar) and in RESTORE, which any client with a password may use. Later lines never had
#: them; an unmaintained line has the release of the next one.
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
OLDEST_HIREDIS = (3,)
#: Round trips that are timed; milliseconds that are slow, and very slow.
ROUND_TRIPS, SLOW, VERY_SLOW = 50, 5.0, 50.0
#: What each appendfsync means for accepted jobs.
_SYNCED = {
    "always": (OK, "synced before each reply: no accepted job is lost"),
    "everysec": (
        OK,
        "synced every second: a power cut may lose a second or two, as may a kill of the server while its disk is busy",
    ),
    "no": (WARN, "synced when the operating system decides: a power cut may lose half a minute"),
}
_CHECK_DISK = "check the server's disk and its log"
_SYNC_ALWAYS = "set no-appendfsync-on-rewrite no"
#: Seconds of difference between clocks that a user would notice.
CLOCK_DIFFERENCE = 2.0
#: Shares of the memory limit in use.
FILLING, NEARLY_FULL = 0.8, 0.95


class Shared(NamedTuple):
    """The same finding for several queues."""

    text: str
    """What follows their number, such as "queues have dead jobs"."""
    hint: str


class Finding(NamedTuple):
    """The result of one check."""

    about: str
    verdict: str
    """ok, warn or bad."""
    text: str
    hint: str = ""
    shared: Shared | None = None
    """Set if many such findings may share a line."""


def check_server(client: Client) -> Iterator[Finding]:
    """Check the server of a client. Raises StoreRefused for a node of a cluster."""
    facts: dict[str, str] = {}
    for section in ("server", "replication", "persistence", "memory", "stats", "cluster"):
        facts |= client.run(fitness.info(section))
    for name in ("appendfsync", "no-appendfsync-on-rewrite", "save"):
        facts[name] = client.run(fitness.setting(name, optional=True))  # hosted servers often forbid CONFIG
    fitness.refuse_cluster(client, facts)
    yield check_version(facts)
    yield _role(facts)
    yield _persistence(facts)
    yield _durability(facts)
    yield _eviction(facts)
    yield _memory(facts)
    yield _latency(client)
    yield _clock(client)
    yield _library()


def check_version(facts: dict[str, str]) -> Finding:
    """Check the version of the server for support and known vulnerabilities."""
    kind = "Valkey" if "valkey_version" in facts else "Redis"
    text = facts.get("valkey_version") or facts.get("redis_version", "?")
    version = _numbers(text)
    if version[:2] < OLDEST[kind]:
        return Finding("version", BAD, f"{kind} {text} is too old", "use Redis 7.4 or Valkey 8.1, or newer")
    floor = PATCHED[kind].get((version[0], version[1]), (0, 0, 0))
    if version < floor:
        hint = f"update to {kind} {'.'.join(map(str, floor))} or newer"
        return Finding("version", WARN, f"{kind} {text} has known vulnerabilities (CVE-2026-23479)", hint)
    return Finding("version", OK, f"{kind} {text}")


def _role(facts: dict[str, str]) -> Finding:
    if facts.get("role") == "slave":
        hint = "use the URL of the primary, or of its sentinels: sentinel://host,host/name"
        return Finding("role", BAD, "a replica: it accepts no jobs", hint)
    replicas = int(facts.get("connected_slaves", 0))
    return Finding(
        "role", OK, f"primary, {count_of(replicas, 'replica') if replicas else 'without replicas'}"
    )


def _persistence(facts: dict[str, str]) -> Finding:
    if facts.get("aof_enabled") == "1":
        if facts.get("aof_last_write_status", "ok") != "ok":
            return Finding("persistence", BAD, "the append-only file cannot be written", _CHECK_DISK)
        synced = facts["appendfsync"]
        verdict, means = _SYNCED.get(synced, (OK, "syncing unknown: no permission to read the setting"))
        text = f"append-only file, {means}"
        if facts["no-appendfsync-on-rewrite"] == "yes" and synced != "no":
            return Finding("persistence", WARN, f"{text}; not while it is rewritten", _SYNC_ALWAYS)
        return Finding("persistence", verdict, text, "set appendfsync everysec" if verdict == WARN else "")
    if facts["save"]:
        text = "snapshots only: a crash loses the jobs since the last one"
        if facts.get("rdb_last_bgsave_status", "ok") != "ok":
            return Finding("persistence", BAD, "the last snapshot failed", _CHECK_DISK)
        return Finding("persistence", WARN, text, "set appendonly yes")
    return Finding("persistence", WARN, "off: a restart of the server loses all jobs", "set appendonly yes")


def _durability(facts: dict[str, str]) -> Finding:
    """List the levels that any queue can demand now: they depend on the server alone."""
    synced = facts["appendfsync"]
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
            text = f"{size(used)} in use, no limit, {size(total)} in the machine"
            return Finding("memory", WARN, text, "process waiting jobs, or add memory")
        return Finding("memory", OK, f"{size(used)} in use, no limit")
    share = used / limit
    verdict = OK if share < FILLING else WARN if share < NEARLY_FULL else BAD
    hint = "" if verdict == OK else "process waiting jobs, limit the queues with maxsize, or raise maxmemory"
    return Finding("memory", verdict, f"{size(used)} of {size(limit)} in use ({share:.0%})", hint)


def _latency(client: Client) -> Finding:
    times = []
    for _ in range(ROUND_TRIPS):
        start = clock.monotonic()
        client.run(commands.server_time())
        times.append((clock.monotonic() - start) * 1000)
    median = statistics.median(times)
    text = f"{median:.2f} ms for a round trip (median of {ROUND_TRIPS}, longest {max(times):.2f} ms)"
    if median < SLOW:
        return Finding("latency", OK, text)
    return Finding(
        "latency", WARN if median < VERY_SLOW else BAD, text, "move workers and server closer together"
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
        "clock",
        WARN,
        f"{text}; jobs are not affected, displayed times are off",
        "synchronize both with a time server",
    )


def _library() -> Finding:
    text = importlib.metadata.version("hiredis")
    if _numbers(text) < OLDEST_HIREDIS:
        return Finding("client", BAD, f"hiredis {text} is too old", "pip install --upgrade hiredis")
    return Finding("client", OK, f"hiredis {text}")


def _numbers(version: str) -> tuple[int, int, int]:
    found = [int(part) for part in re.findall(r"\d+", version)[:3]]
    return (*found, 0, 0, 0)[:3]  # type: ignore[return-value]


def check_queues(inspector: Inspector) -> Iterator[Finding]:
    """Check all queues; those without problems share one line."""
    lines = queue_lines(inspector)
    found = [finding for line in lines for finding in _check_queue(line)]
    if not any(one.verdict == BAD for one in found):
        accepted = sum(line.count.accepted for line in lines)
        text = f"balanced: {count_of(len(lines), 'queue')}, {count_of(accepted, 'job')} accepted"
        yield Finding("ledger", OK, text)
    yield from found


def _check_queue(line: QueueLine) -> Iterator[Finding]:
    name, count = line.name, line.count
    if count.imbalance:
        how = "unaccounted for" if count.imbalance > 0 else "too many accounted for"
        text = f"{count_of(abs(count.imbalance), 'job')} of {count.accepted:,} {how}"
        hint = "report it, with the recent history of this server; another program may have written its keys"
        yield Finding(name, BAD, text, hint)
    if count.torn:
        text = f"{count_of(count.torn, 'job is', 'jobs are')} incomplete: the server evicted some of "
        text += "its keys" if count.torn == 1 else "their keys"
        yield Finding(name, BAD, text, "set maxmemory-policy noeviction; evicted keys are lost")
    if count.live and not line.workers and not count.paused:
        text = f"{count_of(count.live, 'job')} and no workers"
        yield _warning(name, text, "queues have jobs and no workers", "conveyor consume {0}")
    if count.paused:
        text = f"paused, {count.ready:,} waiting"
        yield _warning(name, text, "queues are paused", "conveyor resume {0}")
    if count.rest:
        text = f"no job starts until {utc(count.rest / 1000):%H:%M:%S} UTC: a task raised Throttle"
        yield _warning(name, text, "queues are throttled by a task", "conveyor limit {0} --end-rest")
    if count.dead:
        hint = "conveyor jobs {0} --state dead, then conveyor retry --all {0}"
        yield _warning(name, count_of(count.dead, "dead job"), "queues have dead jobs", hint)
    if count.blocked and count.is_full:
        text = f"full: {count_of(count.blocked, 'blocked producer')}"
        yield _warning(name, text, "queues are full", "conveyor consume {0}, with more workers")


def _warning(queue: str, text: str, shared: str, hint: str) -> Finding:
    return Finding(queue, WARN, text, hint.format(queue), Shared(shared, hint.format("QUEUE")))


_COLORS = {OK: "green", WARN: "yellow", BAD: "bold red"}
#: Queues with the same finding that have a line each, and those that a shared line names.
MAX_ALONE = MAX_NAMED = 3


def doctor(*, as_json: Json = False) -> int:
    """Check the server and the queues and suggest fixes.

    Exit with code 1 if a check fails.
    """
    inspector = open_inspector(quiet=as_json)
    findings = [*check_server(inspector.client), *check_queues(inspector)]
    if as_json:
        found = [
            {"about": one.about, "verdict": one.verdict, "message": one.text, "hint": one.hint}
            for one in findings
        ]
        document("doctor/v1", server=shown(inspector.client.url), findings=found)
    else:
        _print(merged(findings))
    return exit_codes.FAILED if any(one.verdict == BAD for one in findings) else exit_codes.OK


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with those that many queues share grouped into one, in place of the first."""
    groups: dict[object, list[Finding]] = {}
    for number, one in enumerate(findings):
        groups.setdefault(one.shared or number, []).append(one)
    found = []
    for group in groups.values():
        shared = group[0].shared
        if shared is None or len(group) <= MAX_ALONE:
            found += group
            continue
        named = ", ".join(one.about for one in group[:MAX_NAMED])
        text = f"{len(group):,} {shared.text}: {named} and {len(group) - MAX_NAMED:,} more"
        found.append(Finding("queues", group[0].verdict, text, shared.hint))
    return found


def _print(findings: list[Finding]) -> None:
    show = screen()
    width = max(len(one.about) for one in findings)
    for one in findings:
        verdict = (one.verdict.ljust(6), _COLORS[one.verdict])
        show.print(Text.assemble(verdict, one.about.ljust(width + 2), one.text), soft_wrap=True)
        if one.hint:
            show.print(Text(" " * (width + 8) + "Try: " + one.hint, style="dim"), soft_wrap=True)
    counts = Counter(one.verdict for one in findings)
    parts = [
        count_of(counts[verdict], noun)
        for verdict, noun in ((BAD, "problem"), (WARN, "warning"))
        if counts[verdict]
    ]
    note(f"\n{' and '.join(parts) or 'All checks passed'}.")
