"""What needs somebody, from what every look at the server brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conveyor.inspector.snapshot import Snapshot
    from conveyor.store.commands import Count

#: Concerns that are listed.
MOST = 12


class Concern(NamedTuple):
    """One matter: what is so, what can be done, and the page that shows it."""

    level: str
    """wrong: work is not done or may be lost. warn: it will not go on like this for long. note: worth a look."""
    what: str
    hint: str
    address: str
    queue: str = ""
    """The queue that it is about."""


def concerns(snapshot: Snapshot, memory: Mapping[str, str]) -> list[Concern]:
    """Give what needs somebody, the worst first."""
    found = list(_of_server(memory))
    for name, count in snapshot.queues.items():
        found += _of_queue(name, count, len(snapshot.workers_of(name)))
    order = ("wrong", "warn", "note")
    return sorted(found, key=lambda concern: order.index(concern.level))[:MOST]


def _of_queue(name: str, count: Count, workers: int) -> Iterator[Concern]:
    address = f"/queues/{name}"
    if count.imbalance:
        yield Concern(
            "wrong", f"the books of {name} do not balance", "conveyor doctor tells more", address, name
        )
    if count.waiting and not workers and not count.paused:
        yield Concern(
            "wrong", f"{name} has jobs and no workers", f"conveyor consume {name} starts some", address, name
        )
    if count.blocked:
        yield Concern(
            "warn",
            f"{name} is full and blocks producers",
            "more workers, or a larger maxsize, let them go on",
            address,
            name,
        )
    if count.paused and count.waiting:
        yield Concern("note", f"{name} is paused while jobs wait", "Resume lets it go on", address, name)
    if count.dead:
        yield Concern(
            "note", f"{name} has dead letters", "look at why, and retry them", f"/failures?queue={name}", name
        )


def _of_server(memory: Mapping[str, str]) -> Iterator[Concern]:
    policy = memory.get("maxmemory_policy", "noeviction")
    limit, used = int(memory.get("maxmemory") or 0), int(memory.get("used_memory") or 0)
    if limit and policy != "noeviction":
        yield Concern(
            "wrong",
            f"the server throws keys away when its memory is full (maxmemory-policy {policy})",
            "set it to noeviction, else jobs are lost",
            "/system",
        )
    if limit and used > 0.9 * limit:
        yield Concern("warn", "the server's memory is nearly full", "puts are refused when it is", "/system")
