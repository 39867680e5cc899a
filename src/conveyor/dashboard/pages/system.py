"""The server and the books: what it is, how it fares, and whether every job is accounted for."""

from __future__ import annotations

import platform
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.page import Page
from conveyor.store import fitness, plain
from conveyor.store.query import Query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.commands import Count

#: Sections of INFO; all that a user of Conveyor may ask by the rights in docs/running.md.
SECTIONS = ("server", "memory", "clients", "persistence", "stats", "replication")
#: The setting that says when the append-only file is synced.
SYNCED = "appendfsync"
#: Queues whose books are shown: those that do not balance first, then the largest.
MOST_BOOKS = 30
MOST_VERSIONS = 20
PYTHON = platform.python_version()
SYSTEM = platform.platform(terse=True)
MACHINE = platform.machine()


class Memory(NamedTuple):
    """What the server takes; bytes."""

    used: int
    peak: int
    limit: int
    """0: none."""
    machine: int
    policy: str
    fragmentation: str

    @property
    def evicts(self) -> bool:
        """Tell whether jobs may be thrown away when the memory is full."""
        return self.limit > 0 and self.policy != "noeviction"


class Keeping(NamedTuple):
    """What survives a restart of the server."""

    log: bool
    """Whether there is an append-only file."""
    log_well: bool
    levels: str
    """The levels of durability that a put can demand now."""
    saved: float | None
    """When the last snapshot was written, seconds since 1970; None: none since the server started."""
    save_well: bool
    changes: int
    """Changes since the last snapshot."""
    loading: bool


class ServerFacts(NamedTuple):
    """What the server says of itself."""

    kind: str
    version: str
    mode: str
    role: str
    system: str
    started: float
    memory: Memory
    keeping: Keeping
    clients: int
    blocked_clients: int
    most_clients: int
    per_second: int
    commands: int
    evicted: int
    refused: int
    """Connections that were refused because there were too many."""


class Books(NamedTuple):
    """Where the jobs of a queue, or of all, went."""

    queue: str
    accepted: int
    live: int
    finished: int
    cancelled: int
    dead: int
    discarded: int
    imbalance: int


class Versions(NamedTuple):
    """Consumers that run the same versions."""

    conveyor: str
    python: str
    consumers: int


class System(NamedTuple):
    """What the page shows."""

    told: bool
    """Whether the server's user may ask for its facts."""
    server: ServerFacts
    books: Sequence[Books]
    sum: Books
    unbalanced: int
    """Queues whose books do not balance."""
    queues: int
    versions: Sequence[Versions]
    workers: int
    python: str
    system: str
    machine: str


def _question(_: PageRequest, __: Snapshot) -> Query[dict[str, str]]:
    def read(answers: Sequence[Any]) -> dict[str, str]:
        synced, *sections = answers
        facts = {name: value for section in sections for name, value in section.items()}
        return {**facts, SYNCED: synced} if facts else {}

    asked = [plain.info(section, optional=True) for section in SECTIONS]
    return Query((plain.setting(SYNCED, optional=True), *asked), read)


def _number(facts: Mapping[str, str], name: str) -> int:
    text = facts.get(name, "")
    return int(text) if text.lstrip("-").isdigit() and text.isascii() else 0


def _server(facts: Mapping[str, str], at: float) -> ServerFacts:
    is_valkey = "valkey_version" in facts
    return ServerFacts(
        kind="Valkey" if is_valkey else "Redis",
        version=facts.get("valkey_version" if is_valkey else "redis_version", "?"),
        mode=facts.get("server_mode") or facts.get("redis_mode", "?"),
        role={"slave": "replica"}.get(facts.get("role", ""), facts.get("role", "")),
        system=facts.get("os", ""),
        started=_started(facts, at),
        memory=Memory(
            _number(facts, "used_memory"),
            _number(facts, "used_memory_peak"),
            _number(facts, "maxmemory"),
            _number(facts, "total_system_memory"),
            facts.get("maxmemory_policy", "?"),
            facts.get("mem_fragmentation_ratio", ""),
        ),
        keeping=Keeping(
            log=facts.get("aof_enabled") == "1",
            log_well=facts.get("aof_last_write_status", "ok") == "ok",
            levels=", ".join(map(str, fitness.levels(facts, facts.get(SYNCED, "")))),
            saved=_saved(facts),
            save_well=facts.get("rdb_last_bgsave_status", "ok") == "ok",
            changes=_number(facts, "rdb_changes_since_last_save"),
            loading=facts.get("loading") == "1",
        ),
        clients=_number(facts, "connected_clients"),
        blocked_clients=_number(facts, "blocked_clients"),
        most_clients=_number(facts, "maxclients"),
        per_second=_number(facts, "instantaneous_ops_per_sec"),
        commands=_number(facts, "total_commands_processed"),
        evicted=_number(facts, "evicted_keys"),
        refused=_number(facts, "rejected_connections"),
    )


def _saved(facts: Mapping[str, str]) -> float | None:
    """Give when the last snapshot was written; where none was, the server tells the time of its own start instead."""
    return None if facts.get("rdb_saves") == "0" else _number(facts, "rdb_last_save_time") or None


def _started(facts: Mapping[str, str], at: float) -> float:
    """Give when the server started, to the minute: its uptime is in whole seconds and must not make news of itself."""
    uptime = _number(facts, "uptime_in_seconds")
    return (at - uptime) // 10 * 10 if uptime else 0.0


def books_of(name: str, count: Count) -> Books:
    """Give the books of a queue."""
    return Books(
        name,
        count.accepted,
        count.live,
        count.finished,
        count.cancelled,
        count.dead,
        count.discarded,
        count.imbalance,
    )


def _view(_: PageRequest, snapshot: Snapshot, facts: dict[str, str]) -> System:
    books = [books_of(name, count) for name, count in snapshot.queues.items()]
    books.sort(key=lambda one: (one.imbalance == 0, -one.accepted, one.queue))
    versions = Counter((one.version, one.python) for one in snapshot.consumers)
    return System(
        told=bool(facts),
        server=_server(facts, snapshot.at),
        books=books[:MOST_BOOKS],
        sum=Books("", *[sum(column) for column in list(zip(*books, strict=True))[1:]] or [0] * 7),
        unbalanced=sum(one.imbalance != 0 for one in books),
        queues=len(books),
        versions=[Versions(*pair, number) for pair, number in versions.most_common(MOST_VERSIONS)],
        workers=len(snapshot.workers()),
        python=PYTHON,
        system=SYSTEM,
        machine=MACHINE,
    )


SYSTEM_PAGE = Page("system", "/system", "System", _view, _question, menu="System", key="s", section="System")
