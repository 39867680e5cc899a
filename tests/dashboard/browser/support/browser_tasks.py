"""Tasks of the browser tests: each has a single visible effect."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from conveyor import current_job, task
from conveyor.errors import BadInput, JobCancelled

QUEUE = "forms"


@task(name="double", queue=QUEUE)
def double(number: Annotated[int, "what is doubled"], times: int = 1, *, loud: bool = False) -> int:
    """Double a number."""
    return number * 2**times


@double.checks
def check_double(number: int, times: int = 1, *, loud: bool = False) -> None:
    """Refuse invalid input."""
    if times < 1:
        raise BadInput("nothing to do", hint="give at least 1")


@task(name="hold", queue=QUEUE)
def hold(path: str) -> str:
    """Run until there is a file at this path; report progress and a line."""
    job = current_job()
    job.progress(1, 4, "holding on")
    job.log("it holds")
    while not Path(path).exists():
        time.sleep(0.005)
    return "let go"


@task(name="tarry", queue=QUEUE)
def tarry(path: str) -> None:
    """Take note of a cancellation, and end only when there is a file at this path."""
    try:
        hold.function(path)
    except JobCancelled:
        hold.function(path)
        raise


@task(name="report", queue=QUEUE)
def report(path: str) -> int:
    """Log each line that is added to a file, until the line "end"."""
    job = current_job()
    told = 0
    while True:
        file = Path(path)
        lines = file.read_text().splitlines() if file.exists() else []
        for line in lines[told:]:
            if line == "end":
                return told
            job.log(line)
        job.progress(len(lines), 100, f"line {len(lines)}")
        told = len(lines)
        time.sleep(0.01)


@task(name="refuse", queue=QUEUE)
def fail(why: str) -> None:
    """Fail, unless there is a file at the path that `why` is."""
    if not Path(why).is_file():
        raise ValueError(why)


@task(name="echo", queue=QUEUE)
def echo(text: str) -> str:
    """Write the text everywhere: to the log, as progress and as the result."""
    job = current_job()
    job.log(text)
    job.progress(1, 2, text)
    return text


@task(name="dwell", queue=QUEUE)
def linger(text: str, path: str) -> str:
    """Write the text everywhere, then run until there is a file at this path."""
    echo(text)
    while not Path(path).exists():
        time.sleep(0.01)
    return text


@task(name="rest", queue=QUEUE)
def rest(seconds: float) -> float:
    """Take a while."""
    time.sleep(seconds)
    return seconds
