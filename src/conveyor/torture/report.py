"""What is said about a run: the seed, the server, the faults, the jobs, and a verdict on each promise."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from conveyor.torture.history import Accepted, Fault, History, Outcome, Put, Start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.torture.judge import Verdict

_SHOWN = 5  # lines of each broken promise


def lines(history: History, verdicts: list[Verdict], title: str, replay: str) -> Iterator[str]:
    """Return the report, line by line."""
    yield title
    faults = Counter(one.name for one in history.of(Fault))
    yield f"{sum(faults.values())} faults of {len(faults)} kinds:"
    yield from (f"  {count:5}  {name}" for name, count in sorted(faults.items()))
    kinds = Counter(one.kind for one in history.of(Put))
    ends = Counter(one.state for one in history.of(Outcome))
    yield f"{sum(kinds.values())} jobs put, {len(history.of(Accepted))} accepted, {len(history.of(Start))} runs:"
    yield f"  {_listed(kinds)}"
    yield f"  ended as {_listed(ends)}"
    for one in verdicts:
        word = "BROKEN" if one.broken else "held" if one.seen else "not seen"
        excused = f", {one.excused} explained by a fault" if one.excused else ""
        count = f"{len(one.broken)} of {one.seen}" if one.broken else f"{one.seen} looked at"
        yield f"{word:8}  {one.promise}  ({count}{excused})"
        yield from (f"            {line}" for line in one.broken[:_SHOWN])
    yield f"again: {replay}"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"
