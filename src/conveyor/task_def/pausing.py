"""Waiting inside a task, so that a cancelled job stops waiting."""

import time

from conveyor.context import current_job

#: Seconds between two looks at whether the job was cancelled.
STEP = 0.05


def pause(seconds: float, *, report: bool = False) -> None:
    """Wait until `seconds` from now, to the millisecond; with `report`, say how far the wait is.

    Raises JobCancelled within a twentieth of a second after somebody asked the job to stop.
    """
    job = current_job()
    deadline = time.monotonic() + seconds
    job.check()
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, STEP))
        job.check()
        if report:
            job.progress(max(0.0, min(seconds, seconds - (deadline - time.monotonic()))), seconds, "sleeping")
