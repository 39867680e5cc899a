"""The terminal view of a silent worker; values alone."""

from __future__ import annotations

from conveyor.monitor.job_list import JobRow
from conveyor.monitor.snapshot import Snapshot
from conveyor.monitor.workers import with_silence
from conveyor.top import jobs_tab, tabs
from conveyor.top.poller import PollResult, View
from conveyor.wire.control_messages import ConsumerReport, WorkerReport

AT, OWNER = 10_000.0, "host-ab12/3"
JOB = JobRow(
    *("job1", "video", "leased", "split", "", None, None),
    *(AT - 100, OWNER, 0, 0, 1, None, 10, "", ""),
)


def result(ago: float) -> PollResult:
    """Return the status of a worker whose consumer reported `ago` seconds ago; after 20 seconds it has no report."""
    worker = WorkerReport(OWNER, 7, "busy", 0, "job1", "split", "video", 100 - ago)
    report = ConsumerReport("host-ab12", "host", 1, ["video"], "process", 1.0, [worker], at=AT - ago)
    reports = [with_silence(report, AT)] if ago < 20 else []
    view = View(queue="video", state="running")
    return PollResult(
        Snapshot(AT, consumers=reports, reported={"host-ab12": AT - ago}), view, [JOB], polled_at=0.0
    )


def cells(seen: PollResult) -> list[str]:
    """Return the cells of the job."""
    (row,) = jobs_tab.rows(seen, "", [20] * 6)
    return [cell.plain.strip() for cell in row.cells]


def test_job_of_a_silent_worker_is_shown_as_silent() -> None:
    for ago, ran in ((15.0, "≥1:25"), (40.0, "≥1:00")):
        assert cells(result(ago))[2:4] == [f"silent {OWNER}", ran]


def test_job_of_a_reporting_worker_is_not_shown_as_silent() -> None:
    assert cells(result(3.0))[2] == OWNER


def test_silent_worker_is_red_and_its_job_time_is_frozen() -> None:
    (row,) = tabs.worker_rows(result(15.0), "", [20] * 10)
    words = [cell.plain.strip() for cell in row.cells]
    assert (words[1], words[5]) == ("silent", "≥1:25")
