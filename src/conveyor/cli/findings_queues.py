"""What the doctor finds about the queues: do the books balance, does anybody listen, is anything dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.cli.findings import BAD, OK, WARN, Finding
from conveyor.cli.output import count_of
from conveyor.cli.queues import QueueLine, queue_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.inspector import Inspector


def queue_findings(inspector: Inspector) -> Iterator[Finding]:
    """Examine all queues; what is well is told in one line for all."""
    lines = queue_lines(inspector)
    found = [finding for line in lines for finding in _of_one(line)]
    if not any(one.verdict == BAD for one in found):
        accepted = sum(line.count.accepted for line in lines)
        text = f"the books of {count_of(len(lines), 'queue')} balance, {count_of(accepted, 'job')} accepted"
        yield Finding("ledger", OK, text)
    yield from found


def _of_one(line: QueueLine) -> Iterator[Finding]:
    count = line.count
    if count.imbalance:
        how = "unaccounted for" if count.imbalance > 0 else "too many accounted for"
        yield Finding(
            line.name,
            BAD,
            f"{count_of(abs(count.imbalance), 'job')} of {count.accepted:,} {how}",
            "please report it, with what happened to this server before; something else may have written its keys",
        )
    if count.torn:
        text = f"{count_of(count.torn, 'entry', 'entries')} of its keys lack the other half: keys were thrown away"
        yield Finding(
            line.name, BAD, text, "set maxmemory-policy noeviction; what was thrown away does not come back"
        )
    if count.live and not line.workers and not count.paused:
        text = f"{count_of(count.live, 'job')} and no worker"
        yield Finding(line.name, WARN, text, f"conveyor consume {line.name}")
    if count.paused:
        yield Finding(line.name, WARN, f"paused, {count.ready:,} waiting", f"conveyor resume {line.name}")
    if count.dead:
        hint = f"conveyor jobs {line.name} --state dead, then conveyor retry --all {line.name}"
        yield Finding(line.name, WARN, f"{count_of(count.dead, 'dead job')}", hint)
    if count.blocked and count.is_full:
        text = f"full: {count_of(count.blocked, 'producer waits', 'producers wait')} for room"
        yield Finding(line.name, WARN, text, f"more workers: conveyor consume {line.name}")
