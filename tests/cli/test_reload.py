"""`conveyor consume --reload`: real files change, and real processes follow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from conveyor import Job, Queue, task
from conveyor.cli.reload import folders_of
from conveyor.store import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CODE = """
import pathlib, time
from conveyor import task
import settings

@task(name="version", queue="reloads")
def version() -> int:
    return settings.VERSION

@task(name="hold", queue="reloads")
def hold(path: str) -> int:
    with pathlib.Path(path).open("a") as file:
        file.write("began\\n")
    while not pathlib.Path(path + ".go").exists():
        time.sleep(0.01)
    return settings.VERSION
"""


class Reloading:
    """A running `conveyor consume --reload`, and its code."""

    def __init__(self, folder: Path, environment: dict[str, str], queue: Queue, *words: str) -> None:
        self.folder, self.queue = folder, queue
        self.log = folder / "log"
        self.write(1)
        (folder / "tasks.py").write_text(CODE)
        command = [sys.executable, "-m", "conveyor", "consume", "reloads", "-n", "1", "--reload", *words]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def write(self, version: int | str) -> None:
        """Change the code."""
        (self.folder / "settings.py").write_text(f"VERSION = {version}\n")

    def submit(self, name: str, *arguments: object) -> Job[Any]:
        """Submit one of its tasks."""
        return self.queue.submit(task(name=name)(lambda *_: None).options(), *arguments)

    def version(self) -> int:
        """Return the version of the code that runs a job now."""
        return int(self.submit("version").result(60))

    def wrote(self, text: str) -> int:
        """Return how often it wrote a text."""
        return self.log.read_text().count(text)

    def supervisor(self) -> psutil.Process:
        """Return the process of the consumer."""
        (found,) = [one for one in psutil.Process(self.process.pid).children() if one.is_running()]
        return found


@pytest.fixture
def reloading(
    at_server: Any, environment: dict[str, str], tmp_path: Path, eventually: Callable[..., Any]
) -> Iterator[Callable[..., Reloading]]:
    """Return a function that starts one, and waits until it is ready."""
    started: list[Reloading] = []

    def start(*words: str) -> Reloading:
        folder = tmp_path / "code"
        folder.mkdir()
        one = Reloading(folder, environment, Queue("reloads", store=connect(at_server.url)), *words)
        started.append(one)
        eventually(lambda: one.wrote("1 worker on reloads"))
        return one

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.terminate()
            one.process.wait(30)
        eventually(lambda one=one: not psutil.pid_exists(one.process.pid) or one.process.poll() is not None)


def test_changed_code_runs_and_what_changed_is_shown(reloading: Any, eventually: Callable[..., Any]) -> None:
    one = reloading()
    assert one.version() == 1
    for version in (2, 3):
        one.write(version)
        eventually(lambda version=version: one.wrote("1 worker on reloads") == version)
        assert one.version() == version
    assert one.wrote("settings.py changed.") == 2
    (one.folder / "notes.txt").write_text("no code")
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(30) == 0
    assert one.wrote("changed.") == 2


def test_error_in_the_code_waits_for_the_next_change(reloading: Any, eventually: Callable[..., Any]) -> None:
    one = reloading()
    one.write("(")
    eventually(lambda: one.wrote("Waiting for a change of the code."))
    assert one.wrote("SyntaxError")
    assert one.wrote("python -c 'import tasks' shows where it fails")
    job = one.submit("version")
    one.write(2)
    assert job.result(60) == 2
    one.write("(")
    eventually(lambda: one.wrote("Waiting for a change of the code.") == 2)
    one.process.terminate()
    one.process.wait(30)


def test_running_job_finishes_before_the_code_changes(
    reloading: Any, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    one = reloading("--grace", "60")
    path = tmp_path / "marks"
    job = one.submit("hold", str(path))
    eventually(path.exists)
    one.write(2)
    eventually(lambda: one.wrote("changed."))
    later = one.submit("version")
    path.with_name("marks.go").touch()
    assert (job.result(60), later.result(60)) == (1, 2)
    assert path.read_text() == "began\n"


@pytest.mark.parametrize("how", ["second change", "grace"])
def test_long_job_returns_to_the_queue(
    reloading: Any, tmp_path: Path, eventually: Callable[..., Any], how: str
) -> None:
    one = reloading(*(("--grace", "0.3") if how == "grace" else ("--grace", "60")))
    path = tmp_path / "marks"
    job = one.submit("hold", str(path))
    eventually(path.exists)
    one.write(2)
    if how == "second change":
        eventually(lambda: one.wrote("changed."))
        one.write(3)
    eventually(lambda: path.read_text().count("began") == 2)
    path.with_name("marks.go").touch()
    assert job.result(60) == (2 if how == "grace" else 3)


def test_interrupt_during_a_reload_ends_all(
    reloading: Any, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    one = reloading("--grace", "60")
    path = tmp_path / "marks"
    job = one.submit("hold", str(path))
    eventually(path.exists)
    supervisor = one.supervisor()
    one.write(2)
    eventually(lambda: one.wrote("changed."))
    os.killpg(one.process.pid, signal.SIGINT)  # as a terminal does: to all processes
    assert one.process.wait(30) == 0
    assert not supervisor.is_running()
    assert job.status() == "waiting"


def test_interrupts_have_the_usual_levels(
    reloading: Any, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    one = reloading("--grace", "60")
    path = tmp_path / "marks"
    job = one.submit("hold", str(path))
    eventually(path.exists)
    os.killpg(one.process.pid, signal.SIGINT)
    path.with_name("marks.go").touch()
    assert job.result(60) == 1
    assert one.process.wait(30) == 0


def test_killed_watcher_leaves_no_process(
    reloading: Any, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    one = reloading("--grace", "0.3")
    path = tmp_path / "marks"
    job = one.submit("hold", str(path))
    eventually(path.exists)
    supervisor = one.supervisor()
    family = [supervisor, *supervisor.children(recursive=True)]
    one.process.kill()
    one.process.wait()
    eventually(lambda: not any(child.is_running() for child in family))
    assert job.status() == "waiting"


def test_watched_folders_are_those_of_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, other, installed = tmp_path / "here", tmp_path / "other", tmp_path / "site-packages"
    for package in (here / "tasks", other / "shop" / "jobs", installed / "library"):
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    (other / "shop" / "__init__.py").touch()
    monkeypatch.chdir(here)
    for place in (installed, other, here):
        monkeypatch.syspath_prepend(str(place))
    modules = ("tasks", "shop.jobs", "library", "nonesuch")
    assert [Path(one) for one in folders_of(modules)] == [here, other / "shop"]
