"""The report of a run: the server, the faults, the jobs, and a verdict on each promise."""

from __future__ import annotations

import platform
import statistics
from collections import Counter
from typing import TYPE_CHECKING

from conveyor.torture.faults import FAULTS
from conveyor.torture.history import Accepted, Fault, History, Outcome, Put, Start
from conveyor.torture.judge import growth, lost_by_level, recovery_times, role_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.torture.judge import Record, Verdict

_SHOWN = 5  # lines of each broken promise


def lines(record: Record, verdicts: list[Verdict], server: str, replay: str) -> Iterator[str]:
    """Return the report, line by line; the last one is the command that repeats the run."""
    history = record.history
    yield f"{server}, Python {platform.python_version()}, {platform.machine()}"
    faults = Counter(one.name for one in history.of(Fault))
    done = Counter({name: count for name, count in faults.items() if name in FAULTS})
    yield f"{done.total()} faults of {len(done)} kinds"
    yield from (f"  {count:5}  {name}" for name, count in sorted(faults.items()))
    if missing := [name for name in FAULTS if name not in done]:
        yield f"  not done: {', '.join(missing)}"
    kinds = Counter(one.kind for one in history.of(Put))
    accepted, runs = len(history.of(Accepted)), len(history.of(Start))
    yield f"{kinds.total()} jobs put, {accepted} accepted, {runs} runs"
    yield f"  what they did: {_listed(kinds)}"
    yield f"  how they ended: {_listed(Counter(one.state for one in history.of(Outcome)))}"
    for level, count in sorted(lost_by_level(record).items()):
        yield (
            f"  {count['accepted']} accepted at the level {level}: {count['excused']} lost to a fault that it does "
            f"not survive, {count['lost']} to anything else"
        )
    for name, seconds in recovery_times(record).items():
        median, longest = statistics.median(seconds), max(seconds)
        yield f"after {name}, {len(seconds)} jobs started again in {median:.2f} s (median), {longest:.2f} s at most"
    yield f"memory grew, at most: {', '.join(_growth(history))}"
    for one in verdicts:
        yield from _verdict(one)
    yield f"again: {replay}"


def _growth(history: History) -> Iterator[str]:
    """Return for each role the largest growth."""
    largest: dict[str, float] = {}
    for what, (memory, _) in growth(history).items():
        role = role_of(what)
        largest[role] = max(largest.get(role, memory), memory)
    yield from (f"{role} {memory / (1 << 20):.1f} MiB" for role, memory in sorted(largest.items()))


def _verdict(one: Verdict) -> Iterator[str]:
    word = "BROKEN" if one.broken else "held" if one.seen > one.excused else "not seen"
    count = f"{len(one.broken)} of {one.seen} times" if one.broken else f"{one.seen} checked"
    excused = f"; {one.excused} explained by a fault" if one.excused else ""
    yield f"{word:8}  {one.promise} ({count}{excused})"
    yield from (f"            {line}" for line in one.broken[:_SHOWN])


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"
