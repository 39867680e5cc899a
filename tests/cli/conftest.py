"""The command line as its users run it: a separate process and folder, against a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from launcher import Launched, Launcher

TASKS = """
import time
from dataclasses import dataclass

from conveyor import current_job, task


@dataclass
class Shape:
    size: int
    names: list[str]


@task(name="shape", queue="shapes")
def shape(size: int, *, named: bool = False) -> Shape:
    "Give a shape."
    current_job().log(f"size {size}")
    return Shape(size, ["one", "two"] if named else [])


@task(name="hasty", queue="full", wait=0)
def hasty() -> None:
    "Do nothing, if there is room."


@task(name="only", queue="unique", unique=True)
def only(number: int) -> int:
    "Return the number."
    return number


@task(name="refuse", queue="refused", unique=True)
def refuse(number: int) -> None:
    "Fail, always."
    raise ValueError(number)


@task(name="fail", queue="failures")
def fail(word: str = "no") -> None:
    "Fail, always."
    raise ValueError(word)


@task(name="hold", queue="held")
def hold(file: str) -> str:
    "Run until a file appears."
    import pathlib
    current_job().progress(1, 4, "holding on")
    while not pathlib.Path(file).exists():
        time.sleep(0.01)
        current_job().check()
    return "let go"


@task(name="deliver", queue="held")
def deliver(address: str, api_key: str, text: str = "") -> None:
    "Fail, and be careless about what it was given."
    current_job().log(f"Authorization: Bearer {api_key}")
    raise ValueError(f"refused, api_key={api_key}")
"""


@dataclass(frozen=True)
class Ran:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as its only JSON document."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def error(self) -> dict[str, Any]:
        """Standard error as its only JSON object."""
        found: dict[str, Any] = json.loads(self.err)
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a working folder with a `tasks.py`."""
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """Return the environment of the commands without the developer's own settings."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CONVEYOR", "_CONVEYOR"))
    }
    # A worker that a signal interrupts just as it makes a socket leaves that to the garbage collector.
    strict = "error,default:unclosed <socket:ResourceWarning"
    return {**kept, "CONVEYOR_HOME": str(folder / "home"), "COLUMNS": "120", "PYTHONWARNINGS": strict}


@pytest.fixture
def at_server(environment: dict[str, str], one_server: Any) -> Any:
    """Point the commands at the tests' server and return the server."""
    environment["CONVEYOR_URL"] = one_server.url
    return one_server


@pytest.fixture
def conveyor(launcher: Launcher, folder: Path, environment: dict[str, str]) -> Callable[..., Ran]:
    """Return a function that runs a command to its end."""

    def run(*words: object, **changes: str) -> Ran:
        done = launcher.run(words, folder, {**environment, **changes})
        assert "Traceback" not in done.stderr or "JobFailed" in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def start_consumer(
    launcher: Launcher,
    folder: Path,
    environment: dict[str, str],
    at_server: Any,
    eventually: Callable[..., Any],
) -> Iterator[Callable[..., Launched]]:
    """Return a function that starts `conveyor consume …` and waits until its workers are ready."""
    started: list[Launched] = []

    def start(*words: object) -> Launched:
        before = at_server.raw.zcard("conveyor:consumers")
        with (folder / f"consumer-{len(started)}.log").open("w") as log:
            process = launcher.start(["consume", *words], folder, environment, log.fileno(), log.fileno())
        started.append(process)
        eventually(lambda: process.poll() is not None or at_server.raw.zcard("conveyor:consumers") > before)
        return process

    yield start
    for process in started:
        for number in (signal.SIGTERM, signal.SIGINT):  # twice the same may arrive as one
            process.send_signal(number)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
