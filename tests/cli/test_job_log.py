"""`conveyor job --follow`: the log of a job, line by line, until the job has finished."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from launcher import Launched, Launcher

TASKS = """
import logging
from pathlib import Path
import time

from conveyor import task

log = logging.getLogger("tasks")


@task(name="tell", queue="logs", retries=1, first_delay=0.01)
def tell(path: str, fails: bool = False) -> str:
    "Log until a file appears."
    log.warning("began")
    while not Path(path).exists():
        time.sleep(0.01)
    log.info("password=%s", "hunter2")
    if fails:
        raise ValueError("no")
    print("printed")
    return "done"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a working folder with a task that logs."""
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


@pytest.fixture
def followed(
    launcher: Launcher, folder: Path, environment: dict[str, str], at_server: Any
) -> Iterator[Callable[..., tuple[Launched, Path]]]:
    """Return a function that follows a job, and returns the process and the file with its output."""
    started: list[Launched] = []

    def follow(*words: str) -> tuple[Launched, Path]:
        file = folder / f"followed-{len(started)}.txt"
        with file.open("w") as out:
            started.append(launcher.start(["job", *words], folder, environment, out.fileno(), out.fileno()))
        return started[-1], file

    yield follow
    for one in started:
        if one.poll() is None:
            one.send_signal(signal.SIGKILL)
            one.wait(15)


def shown(file: Path) -> list[str]:
    """Return what was written after the server's URL, without times."""
    return [
        line.split(" ", 1)[1] if line[0].isdigit() else line for line in file.read_text().splitlines()[1:]
    ]


def test_lines_are_followed_to_the_end_of_a_job(
    conveyor: Any, start_consumer: Any, followed: Any, folder: Path, eventually: Any
) -> None:
    job = conveyor("produce", "tell", "go", "--no-wait").out.strip()
    process, file = followed(job, "--follow")
    eventually(lambda: "No workers on logs yet" in file.read_text())
    start_consumer("logs", "-n", 1, "--prints")
    eventually(lambda: "WARNING  began" in file.read_text())
    assert process.poll() is None
    (folder / "go").touch()
    assert process.wait(20) == 0
    hint, *lines, end = shown(file)
    assert hint.startswith("No workers on logs yet")
    assert lines == ["WARNING  began", "INFO     password=•••", "out      printed"]
    assert end.startswith("Done after")
    out = conveyor("job", job).out
    assert all(line in out for line in lines)


def test_failed_job_is_followed_through_its_attempts(
    conveyor: Any, start_consumer: Any, followed: Any, folder: Path
) -> None:
    (folder / "go").touch()
    start_consumer("logs", "-n", 1)
    job = conveyor("produce", "tell", "go", "fails=yes", "--no-wait").out.strip()
    process, file = followed(job, "-f")
    assert process.wait(20) == 1
    *lines, end = shown(file)
    run = ["WARNING  began", "INFO     password=•••"]
    assert lines == [*run, "Attempt 2", *run]
    assert end.startswith("Failed after")
    assert end.endswith("ValueError: no")
    ran = conveyor("job", job, "-f", "--json")
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert (ran.code, ran.err) == (1, "")
    assert [(one["attempt"], one["number"], one["level"], one["text"]) for one in found] == [
        (attempt, number, level, text)
        for attempt in (1, 2)
        for number, level, text in ((1, "WARNING", "began"), (2, "INFO", "password=•••"))
    ]


def test_interrupted_follower_leaves_the_job_alone(
    conveyor: Any, start_consumer: Any, followed: Any, folder: Path, eventually: Any
) -> None:
    start_consumer("logs", "-n", 1, "--log-level", "warning")
    job = conveyor("produce", "tell", "go", "--no-wait").out.strip()
    process, file = followed(job, "--follow")
    eventually(lambda: "began" in file.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert f"conveyor cancel {job}" in file.read_text()
    (folder / "go").touch()
    eventually(lambda: conveyor("job", job, "--json").document["state"] == "done")
    assert [line["text"] for line in conveyor("job", job, "--json").document["log"]] == ["began"]


def test_job_that_logs_nothing_and_unknown_job(conveyor: Any, start_consumer: Any, folder: Path) -> None:
    (folder / "go").touch()
    start_consumer("logs", "-n", 1, "--log-level", "error")
    job = conveyor("produce", "tell", "go", "--json").document["jobs"][0]
    ran = conveyor("job", job, "--follow")
    assert (ran.code, ran.out) == (0, "")
    assert "\nNo log lines. Done after" in ran.err
    assert conveyor("job", "unknown", "--follow").code == 3
    assert conveyor("job", job, "--follow", "--stack").code == 2
