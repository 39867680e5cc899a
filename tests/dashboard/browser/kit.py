"""Processes that the tests start, as a user would from a terminal; each is ended by its pid."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from launcher import Launcher

SUPPORT = Path(__file__).parent / "support"
SOURCE = Path(__file__).parents[3] / "src"
#: A name of this host that is not localhost, so that plain HTTP is no secure context there.
OTHER_NAME = "conveyor.test"
ADDRESS = re.compile(r"The dashboard is at http://[^:]+:(\d+)/")


def environment(url: str, folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of the tests' processes."""
    mine = {name: text for name, text in os.environ.items() if not name.startswith("CONVEYOR_")}
    path = os.pathsep.join((str(SUPPORT), str(SOURCE)))
    return {**mine, "CONVEYOR_URL": url, "CONVEYOR_HOME": str(folder), "PYTHONPATH": path, **more}


class Command:
    """A running `conveyor …` whose output goes to a file."""

    def __init__(self, launcher: Launcher, words: Sequence[str], env: dict[str, str], said: Path) -> None:
        self.launcher = launcher
        self.words = [*words]
        self.env = env
        self.said = said
        self.start()

    def start(self) -> None:
        """Start it."""
        with self.said.open("w") as file:
            number = file.fileno()
            self.process = self.launcher.start(self.words, self.said.parent, self.env, number, number)

    def end(self) -> None:
        """Kill it with all that it has started, by pid."""
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        self.process.wait()

    def leave(self) -> None:
        """Terminate the process; kill it if that takes too long."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.end()


class Dashboard(Command):
    """The page's process; restarted, it has the same port."""

    def __init__(
        self,
        launcher: Launcher,
        url: str,
        eventually: Callable[..., Any],
        folder: Path,
        *words: str,
        **env: str,
    ) -> None:
        self.eventually = eventually
        super().__init__(
            launcher,
            ["dashboard", "-p", "0", "--tasks", "browser_tasks", *words],
            environment(url, folder, **env),
            folder / f"dashboard-{len(list(folder.iterdir()))}",
        )
        self.port = self._port()
        self.words[self.words.index("-p") + 1] = str(self.port)
        self.address = f"http://localhost:{self.port}"

    def _port(self) -> int:
        def told() -> re.Match[str] | None:
            assert self.process.poll() is None, self.said.read_text()
            return ADDRESS.search(self.said.read_text())

        return int(self.eventually(told)[1])

    def restart(self) -> None:
        """Start it again after its end."""
        self.start()
        assert self._port() == self.port
