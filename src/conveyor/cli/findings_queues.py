"""What the doctor finds about the queues: do the books balance, does anybody listen, is anything dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.cli.findings import BAD, OK, WARN, Alike, Finding
from conveyor.cli.output import count_of
from conveyor.cli.queues import QueueLine, queue_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.monitor import Inspector


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
        text = f"{count_of(count.torn, 'job is', 'jobs are')} incomplete: the server evicted some of "
        text += "its keys" if count.torn == 1 else "their keys"
        yield Finding(line.name, BAD, text, "set maxmemory-policy noeviction; evicted keys are lost")
    if count.live and not line.workers and not count.paused:
        text = f"{count_of(count.live, 'job')} and no worker"
        yield _warning(line.name, text, "queues have jobs and no workers", "conveyor consume {0}")
    if count.paused:
        text = f"paused, {count.ready:,} waiting"
        yield _warning(line.name, text, "queues are paused", "conveyor resume {0}")
    if count.dead:
        hint = "conveyor jobs {0} --state dead, then conveyor retry --all {0}"
        yield _warning(line.name, count_of(count.dead, "dead job"), "queues have dead jobs", hint)
    if count.blocked and count.is_full:
        text = f"full: {count_of(count.blocked, 'producer waits', 'producers wait')} for room"
        yield _warning(line.name, text, "queues are full", "more workers: conveyor consume {0}")


def _warning(queue: str, text: str, of_several: str, hint: str) -> Finding:
    return Finding(queue, WARN, text, hint.format(queue), Alike(of_several, hint.format("QUEUE")))
