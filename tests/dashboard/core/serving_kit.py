"""`conveyor dashboard` as a separate process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _pytest.fixtures import FixtureRequest

    from launcher import Launcher

__all__ = ["environment", "run", "start"]


@pytest.fixture
def environment(tmp_path: Path, request: FixtureRequest) -> dict[str, str]:
    """Return the environment of the processes without the developer's own settings."""
    kept = {name: value for name, value in os.environ.items() if "CONVEYOR" not in name}
    url = request.getfixturevalue("one_server").url
    return {**kept, "CONVEYOR_URL": url, "CONVEYOR_HOME": str(tmp_path / "home"), "COLUMNS": "200"}


class Dashboard:
    """A running process, with its output on standard error."""

    def __init__(self, process: subprocess.Popen[str], said: str) -> None:
        self.process = process
        self.said = said
        self.address = re.search(r"The dashboard is at (\S+) ", said)[1]
        self.port = int(re.search(r":(\d+)/", self.address)[1])

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
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Dashboard]]:
    """Return a function that starts `conveyor dashboard …` and waits until it prints its URL."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: object) -> Dashboard:
        process = subprocess.Popen(
            [sys.executable, "-m", "conveyor", "dashboard", "--port", "0", *map(str, words)],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        said = ""
        for line in iter(process.stderr.readline, ""):
            said += line
            if "The dashboard is at" in line:
                return Dashboard(process, said)
        return pytest.fail(f"it ended: {said}")

    yield start
    for process in started:
        process.kill()
        process.communicate()
