"""The scripts that stop workers: one that is chosen, or all."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def test_one_worker_is_chosen_and_stopped(
    consumer: Any, open_terminal: Any, exit_code: Any, eventually: Any, one_server: Any
) -> None:
    eventually(lambda: one_server.raw.zcard("conveyor:consumers"))
    child = open_terminal("kill_thread/kill_thread.py")
    child.expect_exact("Which worker is to stop?")
    child.expect(r"0  (\S+)/1 ")
    name = child.match[1]
    child.expect(rf"5  {name}\s+all 5 workers of this consumer")
    child.expect_exact("Number or name [0]: ")
    child.sendline("nobody")
    child.expect_exact("no worker or consumer is called 'nobody'")
    child.expect_exact("Number or name [0]: ")
    child.sendline("2")
    child.expect_exact(f"Same again: conveyor kill {name}/3")
    child.expect_exact(f"{name}/3: done")
    assert exit_code(child) == 0
    consumer.expect_exact(f"worker {name}/3 was stopped")


@pytest.mark.parametrize("words", [(), ("--now",)])
def test_all_workers_are_stopped(
    consumer: Any,
    open_terminal: Any,
    exit_code: Any,
    eventually: Any,
    one_server: Any,
    words: tuple[str, ...],
) -> None:
    eventually(lambda: one_server.raw.zcard("conveyor:consumers"))
    child = open_terminal("kill_thread/kill_all_threads.py", *words)
    child.expect_exact("5 workers stopped.")
    assert exit_code(child) == 0
    consumer.expect_exact("has left, 0 jobs done")
    assert exit_code(consumer) == 0


@pytest.mark.parametrize("script", ["kill_thread.py", "kill_all_threads.py"])
def test_nobody_to_stop_is_no_error(open_terminal: Any, exit_code: Any, script: str) -> None:
    child = open_terminal(f"kill_thread/{script}")
    child.expect_exact("No workers")
    assert exit_code(child) == 0
