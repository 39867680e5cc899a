"""`conveyor demo` on a server in use, and if a user or a signal ends it early."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pexpect
import pytest

from conveyor import Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: The demo with two families, whose jobs take the seconds of the first argument.
SMALL = """
import sys
from conveyor.cli import demo
from conveyor.cli.main import exit_code
from conveyor.task_def.sleep import sleep
words = {"seconds": float(sys.argv[1])}
demo.FAMILIES = tuple(demo.Family(title, sleep, words, lambda _: ("slept", "")) for title in ("First", "Second"))
sys.exit(exit_code(demo.demo))
"""


@pytest.fixture
def start_demo(
    folder: Path, environment: dict[str, str]
) -> Iterator[Callable[[float], subprocess.Popen[str]]]:
    """Return a function that starts the small demo."""
    started: list[subprocess.Popen[str]] = []

    def start(seconds: float) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SMALL, str(seconds)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_demo_is_not_blocked_by_jobs_in_other_queues(at_server: Any, conveyor: Any, start_demo: Any) -> None:
    conveyor("produce", "sleep", 60, "-q", "queue_zero")
    for name in ("queue_one", "demo"):
        Queue(name, store=at_server.url).pause()
    process = start_demo(0.01)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "slept" in out
    assert re.search(r"Watch it at http://localhost:\d+/", err), "and off a terminal it has ended by itself"
    assert "stay up until Ctrl-C" not in err
    assert Queue("queue_zero", store=at_server.url).qsize() == 6  # five parts, and their join


def test_killed_workers_are_noticed(at_server: Any, conveyor: Any, start_demo: Any, eventually: Any) -> None:
    process = start_demo(60)
    eventually(lambda: Queue("demo", store=at_server.url).count().leased)
    conveyor("kill", "--all", "--now")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1, err
    assert "First: the demo's workers exited" in err
    assert out.count("failed: the demo's workers exited") == 2
    assert Queue("demo", store=at_server.url).qsize() == 0


def test_interrupt_clears_waiting_demo_jobs(at_server: Any, start_demo: Any, eventually: Any) -> None:
    process = start_demo(1)
    eventually(lambda: Queue("demo", store=at_server.url).count().leased)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "interrupted; jobs that had not started were cleared" in err
    assert Queue("demo", store=at_server.url).qsize() == 0


def test_dashboard_stays_up_until_ctrl_c_on_a_terminal(
    at_server: Any, folder: Path, environment: dict[str, str]
) -> None:
    words = ["-c", SMALL, "0.01"]
    child = pexpect.spawn(
        sys.executable, words, env=environment, cwd=str(folder), timeout=30, encoding="utf-8"
    )
    try:
        child.expect(r"Watch it at (http://localhost:\d+/)")
        address = child.match[1]
        child.expect_exact(f"stay up until Ctrl-C: {address}")
        page = httpx.get(address, timeout=20)
        assert page.status_code == 200
        assert 'data-queue="demo"' in page.text
        child.sendintr()
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
    finally:
        child.close(force=True)


def test_exit_code_is_69_if_the_server_is_unavailable(conveyor: Any) -> None:
    assert conveyor("demo", "--url", "redis://127.0.0.1:1").code == 69
