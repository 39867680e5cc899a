"""Whether a consumer is still heard of, and what that means for its workers and for the jobs that they took."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from conveyor.store import control_channel
from conveyor.wire import control_messages
from conveyor.wire.control_messages import SILENT

if TYPE_CHECKING:
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.wire.control_messages import ConsumerReport

#: Seconds after its last report that a consumer is called silent: one is due every 5, and it had 3 more.
SILENT_AFTER = 8.0
#: Seconds until a report is gone. One that is there and says it is older comes from a machine whose clock is wrong.
REPORT_KEEP = control_channel.REPORT_KEEP + 2.0


def last_heard(report: ConsumerReport, at: float, heard: float = 0.0) -> float | None:
    """Give when a silent consumer was last heard of, seconds since 1970; None where it is not silent.

    `at` is now, and `heard` when the list of consumers has it, 0 where that is not known.
    """
    last = max(report.at, heard)
    return last if last and SILENT_AFTER < at - last < REPORT_KEEP else None


def marked(report: ConsumerReport, at: float, heard: float = 0.0) -> ConsumerReport:
    """Give a report whose workers are silent where it is; else as it is."""
    if last_heard(report, at, heard) is None:
        return report
    told = [msgspec.structs.replace(worker, state=SILENT) for worker in report.workers]
    return msgspec.structs.replace(report, workers=told)


def since(snapshot: Snapshot, consumer: str) -> float | None:
    """Give when a silent consumer was last heard of; None where it is not silent, or left the list."""
    report = next((one for one in snapshot.consumers if one.name == consumer), None)
    heard = snapshot.heard.get(consumer, 0.0)
    if report is not None:
        return last_heard(report, snapshot.at, heard)
    return heard if heard and snapshot.at - heard > SILENT_AFTER else None


def of_job(snapshot: Snapshot, worker: str, claimed: float | None) -> float | None:
    """Give the last sign of life of the worker of a running job, where its consumer is silent; else None.

    That is the last report or the claim, whichever came later. A job that a program took by `Queue.get` has no
    consumer, and so none that is silent.
    """
    consumer, begun = control_messages.consumer_of(worker), claimed or 0.0
    if consumer == worker:
        return None
    last = since(snapshot, consumer)
    known = consumer in snapshot.heard or any(one.name == consumer for one in snapshot.consumers)
    if last is None and not known and snapshot.at - begun > SILENT_AFTER:
        last = begun  # it left the list; before that it may be so new that nobody asked for its report yet
    return None if last is None else max(last, begun)
