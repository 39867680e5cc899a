"""Loading a script for its functions only, and finding the modules of the working folder."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from conveyor import BadCall, Consumer, Queue, task_loading
from conveyor.task_loading import READ_ENOUGH, found_modules, load_script, main_file, stop_script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPT = """
from conveyor import Consumer, Queue
print("not again")
def first(): return 1
queue = Queue("letters")        # costs nothing, sends nothing
consumer = Consumer("letters")  # the same
{use}
def second(): return 2
"""
#: Its thread outlives the reading. What it notes afterwards is the error of a use of a queue.
THREAD = """
import threading
from conveyor import Queue
read, noted = threading.Event(), []
def use():
    read.wait()
    try: Queue("letters").put(1)
    except BaseException as error: noted.append(error)
thread = threading.Thread(target=use)
thread.start()
Queue("letters").put(2)
"""
LOOP = """
import asyncio
from conveyor import Queue
def first(): return 1
async def use(): Queue("letters").put(1)
async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(use())
        await asyncio.Event().wait()
asyncio.run(main())
def second(): return 2
"""
USES = (
    "queue.put(1)",
    "queue.submit(first)",
    "queue.qsize()",
    "consumer.start()",
    "consumer.run()",
    "with consumer: pass",
)


@pytest.fixture(autouse=True)
def forget_scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("a_script", None)


@pytest.mark.parametrize("use", USES)
def test_script_is_read_up_to_its_first_use_of_a_queue(
    use: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a_script.py"
    file.write_text(SCRIPT.format(use=use))
    load_script(str(file), "a_script")
    module = sys.modules["a_script"]
    assert module.first() == 1
    assert not hasattr(module, "second")
    assert capsys.readouterr().out == ""


def test_coroutine_of_a_script_stops_its_event_loop(tmp_path: Path) -> None:
    file = tmp_path / "a_script.py"
    file.write_text(LOOP)
    load_script(str(file), "a_script")
    module = sys.modules["a_script"]
    assert module.first() == 1
    assert not hasattr(module, "second")


def test_thread_of_a_script_uses_no_queue_after_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_loading._Loading, "threads", frozenset())
    file = tmp_path / "a_script.py"
    file.write_text(THREAD)
    load_script(str(file), "a_script")
    module = sys.modules["a_script"]
    module.read.set()
    module.thread.join(20)
    assert [str(error) for error in module.noted] == [READ_ENOUGH]
    stop_script()  # does nothing in other threads


def test_main_guard_is_skipped_and_sibling_modules_are_found(tmp_path: Path) -> None:
    (tmp_path / "a_neighbour.py").write_text("value = 3")
    file = tmp_path / "a_script.py"
    file.write_text(
        "import a_neighbour\nif __name__ == '__main__':\n    1 / 0\ndef three(): return a_neighbour.value\n"
    )
    try:
        load_script(str(file), "a_script")
        assert sys.modules["a_script"].three() == 3
    finally:
        sys.modules.pop("a_neighbour", None)


def test_error_of_a_script_is_raised_and_queues_work_afterwards(tmp_path: Path) -> None:
    file = tmp_path / "a_script.py"
    file.write_text("raise OSError('no terminal')")
    with pytest.raises(OSError, match="no terminal"):
        load_script(str(file), "a_script")
    stop_script()  # does nothing outside of a script that is being read


def test_only_a_script_being_read_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_script()
    monkeypatch.setattr(task_loading._Loading, "active", True)
    with pytest.raises(SystemExit, match=READ_ENOUGH):
        stop_script()


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("/opt/shop/shop.py", "/opt/shop/shop.py"),
        ("<stdin>", None),
        ("/usr/lib/python3.13/_pyrepl/__main__.py", None),  # of its interactive session
        (None, None),
    ],
)
def test_session_has_no_script(monkeypatch: pytest.MonkeyPatch, file: str | None, found: str | None) -> None:
    def function() -> None:
        """Be a function of the script."""

    monkeypatch.setattr(sys.modules["__main__"], "__file__", file, raising=False)
    function.__module__, function.__qualname__ = "__main__", "function"
    assert main_file() == found
    if found is None:
        assert Consumer().settings.script == ""
        with pytest.raises(BadCall, match="belongs to a program without a file"):
            Queue("letters").submit(function)


def test_script_that_exits_by_itself_raises(tmp_path: Path) -> None:
    file = tmp_path / "a_script.py"
    file.write_text("import sys\nsys.exit(3)")
    with pytest.raises(SystemExit, match="3"):
        load_script(str(file), "a_script")


def test_non_python_file_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "a_script"
    file.write_text("#!/bin/sh\nexit 1\n")
    load_script(str(file), "a_script")
    assert "a_script" not in sys.modules


def test_tasks_py_and_a_task_def_package_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_modules(str(tmp_path)) == []
    (tmp_path / "task_def").mkdir()
    assert found_modules(str(tmp_path)) == [], "a folder is no package"
    (tmp_path / "tasks.py").touch()
    (tmp_path / "task_def" / "__init__.py").touch()
    assert found_modules(str(tmp_path)) == ["tasks", "task_def"]
    monkeypatch.chdir(tmp_path)
    assert found_modules() == ["tasks", "task_def"]
