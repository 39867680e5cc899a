"""The server and the ledger: what it is, how it fares, if every job is accounted for; the last speedup experiment."""

from __future__ import annotations

import platform
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor import speedup
from conveyor.dashboard.page import Page
from conveyor.store import fitness, records
from conveyor.store.query import Query
from conveyor.wire.codec import try_decode
from conveyor.wire.statistics import read_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.speedup import Experiment
    from conveyor.store.commands import Count

#: Sections of INFO; all that a user of Conveyor may read by the rights in docs/running.md.
SECTIONS = ("server", "memory", "clients", "persistence", "stats", "replication")
#: Their facts that are shown: numbers, and strings with what stands for an unknown one.
NUMBERS = (
    "used_memory",
    "used_memory_peak",
    "maxmemory",
    "total_system_memory",
    "evicted_keys",
    "connected_clients",
    "blocked_clients",
    "maxclients",
    "rejected_connections",
    "instantaneous_ops_per_sec",
    "total_commands_processed",
)
STRINGS = {
    "os": "",
    "role": "",
    "maxmemory_policy": "?",
    "aof_enabled": "0",
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
}
#: The setting that says when the append-only file is synced.
SYNCED = "appendfsync"
#: Queues whose ledger is shown: those that do not balance first, then the largest.
MAX_LEDGERS = 30
MAX_VERSIONS = 20
COLUMNS = ("accepted", "live", "finished", "cancelled", "dead", "discarded", "imbalance")
PYTHON = platform.python_version()
SYSTEM = f"{platform.platform(terse=True)}, {platform.machine()}"


class ServerView(NamedTuple):
    """What the server says of itself."""

    name: str
    """Kind, version and mode."""
    started: float
    saved: float | None
    """When the last snapshot was written, seconds since 1970; None: none since the server started."""
    levels: str
    """The levels of durability that a put can demand now."""
    numbers: Mapping[str, int]
    strings: Mapping[str, str]


class Replies(NamedTuple):
    """What the page asks of the server."""

    facts: Mapping[str, str]
    """Empty if the server's user may not read them."""
    experiment: Experiment | None


class SystemView(NamedTuple):
    """What the page shows."""

    server: ServerView | None
    """None if the server's user may not read its facts."""
    ledgers: Sequence[tuple[str, Count]]
    sums: Mapping[str, int]
    unbalanced: int
    """Queues whose ledger does not balance."""
    queues: int
    versions: Sequence[tuple[tuple[str, str], int]]
    """Versions of Conveyor and Python, and how many consumers run them."""
    python: str
    system: str
    experiment: Experiment | None
    """The last speedup experiment; None if there is none, or if it is unreadable."""


def _question(_: PageRequest, __: Snapshot) -> Query[Replies]:
    def read(replies: Sequence[Any]) -> Replies:
        kept, synced, *sections = replies
        facts = {name: value for section in sections for name, value in section.items()}
        experiment = try_decode(speedup.decode, kept)
        return Replies({**facts, SYNCED: synced} if facts else {}, experiment)

    sections = [fitness.info(section, optional=True) for section in SECTIONS]
    return Query((records.speedup(), fitness.setting(SYNCED, optional=True), *sections), read)


def _number(facts: Mapping[str, str], name: str) -> int:
    return read_figure(facts.get(name, "")) or 0


def _server(facts: Mapping[str, str], at: float) -> ServerView:
    kind = "Valkey" if "valkey_version" in facts else "Redis"
    mode = facts.get("server_mode") or facts.get("redis_mode", "?")
    # Without a snapshot, the server reports the time of its own start instead.
    saved = None if facts.get("rdb_saves") == "0" else _number(facts, "rdb_last_save_time") or None
    # To ten seconds: the uptime is in whole seconds, and must not make a new version of the page.
    uptime = _number(facts, "uptime_in_seconds")
    return ServerView(
        name=f"{kind} {facts.get(f'{kind.lower()}_version', '?')}, {mode}",
        started=(at - uptime) // 10 * 10 if uptime else 0.0,
        saved=saved,
        levels=", ".join(map(str, fitness.levels(facts, facts.get(SYNCED, "")))),
        numbers={name: _number(facts, name) for name in NUMBERS},
        strings={name: facts.get(name) or unknown for name, unknown in STRINGS.items()},
    )


def _view(_: PageRequest, snapshot: Snapshot, replies: Replies) -> SystemView:
    ledgers = sorted(
        snapshot.queues.items(), key=lambda one: (one[1].imbalance == 0, -one[1].accepted, one[0])
    )
    versions = Counter((one.version, one.python) for one in snapshot.consumers)
    return SystemView(
        server=_server(replies.facts, snapshot.at) if replies.facts else None,
        ledgers=ledgers[:MAX_LEDGERS],
        sums={name: sum(getattr(count, name) for _, count in ledgers) for name in COLUMNS},
        unbalanced=sum(count.imbalance != 0 for _, count in ledgers),
        queues=len(ledgers),
        versions=versions.most_common(MAX_VERSIONS),
        python=PYTHON,
        system=SYSTEM,
        experiment=replies.experiment,
    )


SYSTEM_PAGE = Page("system", "/system", "System", _view, _question, menu="System", key="s")
