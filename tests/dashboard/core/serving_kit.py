"""`conveyor dashboard` as a separate process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _pytest.fixtures import FixtureRequest

    from launcher import Launched, Launcher

__all__ = ["environment", "run", "start"]


@pytest.fixture
def environment(tmp_path: Path, request: FixtureRequest) -> dict[str, str]:
    """Return the environment of the processes without the developer's own settings."""
    kept = {name: value for name, value in os.environ.items() if "CONVEYOR" not in name}
    url = request.getfixturevalue("one_server").url
    return {**kept, "CONVEYOR_URL": url, "CONVEYOR_HOME": str(tmp_path / "home"), "COLUMNS": "200"}


class Dashboard:
    """A running process, with its output on standard error."""

    def __init__(self, process: Launched, log: Path) -> None:
        self.process = process
        self.log = log
        self.address = re.search(r"The dashboard is at (\S+) ", self.said)[1]
        self.port = int(re.search(r":(\d+)/", self.address)[1])

    @property
    def said(self) -> str:
        """Its output so far."""
        return self.log.read_text()

    def get(self, path: str = "") -> httpx.Response:
        return httpx.get(f"{self.address}{path}", timeout=20)


@pytest.fixture
def run(
    launcher: Launcher, environment: dict[str, str], tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `conveyor dashboard …` to its end."""

    def run(*words: object, code: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
        if not code:
            return launcher.run(["dashboard", *words], tmp_path, {**environment, **changes})
        return subprocess.run(
            [sys.executable, "-c", code, "dashboard", *map(str, words)],
            cwd=tmp_path,
            env={**environment, **changes},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


@pytest.fixture
def start(
    launcher: Launcher, environment: dict[str, str], tmp_path: Path, eventually: Callable[..., Any]
) -> Iterator[Callable[..., Dashboard]]:
    """Return a function that starts `conveyor dashboard …` and waits until it prints its URL."""
    started: list[Launched] = []

    def start(*words: object) -> Dashboard:
        log = tmp_path / f"dashboard-{len(started)}.log"
        with log.open("w") as err, Path(os.devnull).open("w") as out:
            words = ["dashboard", "--port", "0", *words]
            process = launcher.start(words, tmp_path, environment, out.fileno(), err.fileno())
        started.append(process)
        eventually(lambda: "The dashboard is at" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        return Dashboard(process, log)

    yield start
    for process in started:
        process.kill()
        process.wait()
