"""The scripts that stop workers: a selected one, or all."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def test_selected_worker_is_stopped(
    consumer: Any, open_terminal: Any, exit_code: Any, eventually: Any, one_server: Any
) -> None:
    eventually(lambda: one_server.raw.zcard("conveyor:consumers"))
    child = open_terminal("kill_thread/kill_thread.py")
    child.expect_exact("Stop which worker?")
    child.expect(r"0  (\S+)/1 ")
    name = child.match[1]
    child.expect(rf"5  {name}\s+all 5 workers of this consumer")
    child.expect_exact("Number or name [0]: ")
    child.sendline("nobody")
    child.expect_exact("no worker or consumer named 'nobody'")
    child.expect_exact("Number or name [0]: ")
    child.sendline("2")
    child.expect_exact(f"To repeat: conveyor kill {name}/3")
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
    consumer.expect_exact("has exited, 0 jobs done")
    assert exit_code(consumer) == 0


@pytest.mark.parametrize("whom", [("--all",), ("-q", "queue_zero")])
def test_kill_of_all_asks_for_confirmation_on_a_terminal(
    consumer: Any, open_terminal: Any, exit_code: Any, eventually: Any, one_server: Any, whom: tuple[str, ...]
) -> None:
    eventually(lambda: one_server.raw.zcard("conveyor:consumers"))
    on = " on queue_zero" if whom[0] == "-q" else ""
    for words, question in (
        ((), f"Stop 5 workers of 1 consumer{on} after their current jobs? (y/n) [n]: "),
        (("--now",), f"Stop 5 workers of 1 consumer{on} immediately? (y/n) [n]: "),
    ):
        child = open_terminal("conveyor", "kill", *whom, *words)
        child.expect_exact(question)
        child.sendline("")
        child.expect_exact("Nothing was stopped.")
        assert exit_code(child) == 0
    child = open_terminal("conveyor", "kill", *whom, "--yes")
    child.expect_exact("5 workers stopped.")
    assert exit_code(child) == 0
    assert "?" not in child.before
    assert exit_code(consumer) == 0


def test_interrupt_exits_top(one_server: Any, open_terminal: Any, exit_code: Any) -> None:
    child = open_terminal("conveyor", "top", terminal="xterm-256color")
    child.expect("[Qq]ueues")
    child.send("\x03")
    assert exit_code(child) == 130


@pytest.mark.parametrize("script", ["kill_thread.py", "kill_all_threads.py"])
def test_kill_without_workers_is_no_error(open_terminal: Any, exit_code: Any, script: str) -> None:
    child = open_terminal(f"kill_thread/{script}")
    child.expect_exact("No workers")
    assert exit_code(child) == 0


SCRIPTS = [
    "producer_main.py",
    "consumer_main.py",
    "kill_thread/kill_thread.py",
    "kill_thread/kill_all_threads.py",
]


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(("word", "code"), [("--help", 0), ("-h", 0), ("--no", 2), ("now", 2)])
def test_invalid_arguments_of_kill_scripts_have_no_effect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str, word: str, code: int
) -> None:
    monkeypatch.setattr(sys, "argv", [script, word])
    monkeypatch.setenv("CONVEYOR_URL", "redis://127.0.0.1:1")  # any query fails with 69
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    out, err = capsys.readouterr()
    assert end.value.code == code
    assert "usage: " in (err if code else out)
    assert code == 0 or word in err
