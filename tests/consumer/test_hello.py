"""A script that is producer and consumer in one: six lines, no server to start, nothing done twice."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from consumer_kit import lines

from conveyor.store import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELLO = """
from conveyor import Consumer, Queue
def add(a: int, b: int) -> int:
    return a + b
with Consumer("sums", workers=2):
    print(Queue("sums").submit(add, 2, 3).result(timeout=20))
"""
GUARDED = """
from conveyor import Consumer, task

print("once")

@task(queue="sums")
def double(number: int) -> int:
    return 2 * number

def main() -> None:
    with Consumer("sums", workers=1):
        print(double.submit(21).result(timeout=20))

if __name__ == "__main__":
    main()
"""
PUTS_FIRST = """
import os, pathlib, sys
from conveyor import Consumer, Queue, task

@task(queue="letters")
def note(letter: str) -> None:
    with open(sys.argv[1], "a") as file:
        file.write(letter + "\\n")

print("put by", sys.argv[2])
jobs = note.submit_many([("a",), ("b",)])
with open(sys.argv[1] + ".puts", "a") as file:
    file.write("put\\n")
with Consumer("letters", workers=2):
    for job in jobs:
        job.result(timeout=20)
"""
DEFINED_TOO_LATE = """
from conveyor import Consumer, JobFailed, Queue

queue = Queue("sums")
queue.qsize()

def add(a: int, b: int) -> int:
    return a + b

with Consumer("sums", workers=1):
    try:
        queue.submit(add, 2, 3).result(timeout=20)
    except JobFailed as error:
        print(error)
"""
ORDERS_FIRST = """
import sys
from conveyor import Consumer, task
from conveyor.order import Order

@task(queue="parts")
def part(number: int) -> int:
    return number

@part.splits
def parts(count: int) -> list[dict[str, int]]:
    with open(sys.argv[1], "a") as file:
        file.write("split\\n")
    return [{"number": number} for number in range(count)]

order = Order.place(part, {"count": 3})
with Consumer("parts", workers=2):
    print(order.result(timeout=20))
"""


@pytest.fixture
def folder(alone: None, tmp_path: Path) -> Iterator[Path]:
    """Provide a folder for a script; stop the embedded server that its run starts afterwards."""
    place = tmp_path / "here"
    place.mkdir()
    yield place
    embedded.stop()


def run_script(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "hello.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "hello.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_hello_world_prints_five(folder: Path) -> None:
    done = run_script(folder, HELLO)
    assert done.stdout == "5\n"
    assert done.stderr.count("\n") == 1, "only the line that tells which server is used"
    assert "server.sock" in done.stderr


def test_script_with_a_main_guard_prints_only_once(folder: Path) -> None:
    assert run_script(folder, GUARDED).stdout == "once\n42\n"


def test_script_that_puts_before_it_consumes_puts_once(folder: Path) -> None:
    path = folder / "letters"
    done = run_script(folder, PUTS_FIRST, str(path), "its caller")
    assert done.stdout == "put by its caller\n"
    assert sorted(lines(path)) == ["a", "b"]
    assert lines(folder / "letters.puts") == ["put"]


def test_script_that_orders_before_it_consumes_splits_once(folder: Path) -> None:
    path = folder / "splits"
    assert run_script(folder, ORDERS_FIRST, str(path)).stdout == "[0, 1, 2]\n"
    assert lines(path) == ["split"]


def test_function_below_the_first_use_fails_with_what_to_do(folder: Path) -> None:
    done = run_script(folder, DEFINED_TOO_LATE)
    assert "unknown task" in done.stdout
    assert "define it above the script's first use of a queue" in done.stdout


def test_task_output_appears_where_the_script_prints(folder: Path) -> None:
    loud = HELLO.replace("    return a", "    print('x' * 200_000)\n    return a")
    done = run_script(folder, loud)
    assert done.stdout == "x" * 200_000 + "\n5\n"


def test_script_with_closed_output_still_ends(folder: Path) -> None:
    (folder / "hello.py").write_text(HELLO.replace("    return a", "    print('lost')\n    return a"))
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [sys.executable, "hello.py"], cwd=folder, stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    _, told = process.communicate(timeout=40)
    assert process.returncode == 1
    assert "BrokenPipeError" in told
