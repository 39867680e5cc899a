"""The plugin in a user's project: an application that submits jobs, and tests of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from conveyor import pytest_plugin

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., pytest.RunResult]

DOCS = Path(__file__).parents[2] / "docs" / "testing.md"
APPLICATION = """
from conveyor import Queue, task

sent = []
letters = Queue("letters", maxsize=2)

@task(queue="letters", retries=1)
def send(name: str) -> str:
    if not name:
        raise ValueError("no name")
    sent.append(name)
    return f"Dear {name}"

def count(names: list[str]) -> int:
    return len(names)

def welcome(name: str):
    return send.submit(name), letters.submit(count, [name])
"""
TESTS = """
import os

import pytest
from conveyor import JobFailed, Queue
from conveyor.testing import advance, run_jobs

import shop


@pytest.fixture(autouse=True)
def nothing_sent():
    shop.sent.clear()


@pytest.mark.parametrize("name", ["Ada", "Grace", "Edsger"])
def test_jobs_run_when_the_test_wants(conveyor_queue, name):
    assert conveyor_queue.name == "default"
    assert shop.letters.qsize() == 0
    letter, number = shop.welcome(name)
    assert shop.sent == []
    assert run_jobs() == 2
    assert (shop.sent, letter.result(), number.result()) == ([name], f"Dear {name}", 1)


def test_jobs_run_at_once(conveyor_inline):
    assert [job.result() for job in shop.welcome("Ada")] == ["Dear Ada", 1]
    assert shop.sent == ["Ada"]


def test_failed_job_is_retried_later(conveyor_queue):
    job = shop.send.submit("")
    assert run_jobs() == 1
    assert advance(5) == 1
    with pytest.raises(ValueError, match="no name"):
        run_jobs()
    with pytest.raises(JobFailed):
        job.result()


def test_functions_and_items_are_pickled(conveyor_inline):
    queue = Queue("models", serializer="pickle")
    assert queue.submit(lambda number: number + 1, 2).result() == 3
    queue.put(len)
    assert queue.get() is len


def test_jobs_are_only_put_again(conveyor_queue):
    shop.welcome("Ada")
    assert shop.letters.full()


def test_environment_is_as_before():
    assert not {"CONVEYOR_URL", "CONVEYOR_KEY"} & set(os.environ)
"""
USED_BEFORE = """
import asyncio

import pytest
from conveyor import Full, Queue, aio
from conveyor.testing import private_server

used = Queue("used", maxsize=1)
used_in_asyncio = aio.Queue("used")


@pytest.fixture(scope="module", autouse=True)
def production():
    with private_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVEYOR_URL", server.url)
        used.put("a real item")
        assert asyncio.run(used_in_asyncio.qsize()) == 1
        yield


def test_queue_is_that_of_the_test(conveyor_queue):
    assert used.qsize() == asyncio.run(used_in_asyncio.qsize()) == 0
    used.put("an item of the test")
    with pytest.raises(Full):
        used.put_nowait("another one")
    assert asyncio.run(used_in_asyncio.get()) == "an item of the test"


def test_queue_is_as_before():
    assert used.get(timeout=5) == "a real item"
    used.task_done()
"""
WHERE = """
from pathlib import Path

import pytest
from conveyor.store import connect, fitness


@pytest.mark.parametrize("number", range(4))
def test_server(conveyor_server, conveyor_queue, number):
    pid = connect(conveyor_server.url).run(fitness.info("server"))["process_id"]
    with Path("pids").open("a") as file:
        file.write(pid + "\\n")
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs pytest in the project, as its user does."""
    for name in (
        "PYTEST_XDIST_WORKER",
        "PYTEST_ADDOPTS",
        "CONVEYOR_URL",
    ):  # a command may have set the last one
        monkeypatch.delenv(name, raising=False)

    def call(*options: str) -> pytest.RunResult:
        others = ("-p", "no:valkey", "-p", "no:schemathesis", "-p", "no:anyio")
        return pytester.run(sys.executable, "-m", "pytest", *others, *options)

    return call


def test_application_is_tested_without_warnings(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(shop=APPLICATION, test_shop=TESTS)
    assert run("-W", "error").parseoutcomes() == {"passed": 8}


def test_queue_that_was_used_before_is_that_of_the_test(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(test_used=USED_BEFORE)
    assert run("-W", "error").parseoutcomes() == {"passed": 2}


def test_processes_of_xdist_have_servers_of_their_own(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(test_where=WHERE)
    assert run("-n", "2").parseoutcomes() == {"passed": 4}
    pids = {int(line) for line in (pytester.path / "pids").read_text().split()}
    assert len(pids) == 2
    assert not any(map(psutil.pid_exists, pids))


def test_unused_plugin_imports_nothing(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_unused="""
        import sys

        def test_imports():
            found = {name for name in sys.modules if name.partition(".")[0] == "conveyor"}
            assert found == {"conveyor", "conveyor.pytest_plugin"}
        """
    )
    assert run().parseoutcomes() == {"passed": 1}


def test_log_shows_why_an_inline_job_failed(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        shop=APPLICATION,
        test_shop="""
        import shop

        def test_letter(conveyor_inline):
            shop.send.submit("")
            assert shop.sent
        """,
    )
    result = run()
    assert result.parseoutcomes() == {"failed": 1}
    result.stdout.fnmatch_lines(["*job * failed and is retried in *", "*ValueError: no name"])


def test_documentation_lists_the_fixtures() -> None:
    fixtures = {name for name in vars(pytest_plugin) if name.startswith("conveyor_")}
    rows = {line.split("`")[1] for line in DOCS.read_text().splitlines() if line.startswith("| `conveyor_")}
    assert rows == fixtures
