"""The examples in the pages work as the pages describe.

A Python block that begins with `# name.py` is a file, and all files of a page lie in one folder. If a `text` block
follows, the file is run and has to print just that. If its name begins with `test_`, it is run with pytest and has to
pass. Every other Python block has to be valid Python.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TIME_LIMIT = 30  # seconds for one example
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$\s*", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.py)\n")


class Block(NamedTuple):
    """A fenced block: the language, the text, and the `text` block right after it, if there is one."""

    language: str
    text: str
    printed: str | None


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    found = list(_BLOCK.finditer(page.read_text()))
    return [
        Block(
            one[1],
            one[2],
            following[2] if following and following[1] == "text" and following.start() == one.end() else None,
        )
        for one, following in zip_longest(found, found[1:])
    ]


def files_of(page: Path) -> dict[str, Block]:
    """Return the examples of a page that are files, by name."""
    python = [one for one in blocks_of(page) if one.language == "python"]
    return {match[1]: one for one in python if (match := _FILE.match(one.text))}


WITH_FILES = [page for page in PAGES if files_of(page)]
#: Examples of a page that one test runs.
AT_ONCE = 8
PARTS = [
    pytest.param(page, first, id=f"{page.name}-{first // AT_ONCE}")
    for page in WITH_FILES
    for first in range(0, sum(one.printed is not None for one in files_of(page).values()) or 1, AT_ONCE)
]
WITH_TESTS = [page for page in PAGES if any(name.startswith("test_") for name in files_of(page))]


@pytest.mark.parametrize(("page", "first"), PARTS)
def test_examples_print_the_documented_output(
    page: Path, first: int, tmp_path: Path, private_environment: dict[str, str]
) -> None:
    files = files_of(page)
    for name, block in files.items():
        (tmp_path / name).write_text(block.text)
    wanted = {name: block.printed for name, block in files.items() if block.printed is not None}
    some = list(wanted)[first : first + AT_ONCE]
    printed = {name: _run(tmp_path, private_environment, name) for name in some}
    assert printed == {name: wanted[name] for name in some}
    assert printed


@pytest.mark.parametrize("page", WITH_TESTS, ids=lambda page: page.name)
def test_examples_of_tests_pass(page: Path, tmp_path: Path, private_environment: dict[str, str]) -> None:
    for name, block in files_of(page).items():
        (tmp_path / name).write_text(block.text)
    _run(tmp_path, private_environment, "-m", "pytest", "-W", "error")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_is_valid(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "python":
            ast.parse(block.text)


def test_hello_has_six_lines_at_most() -> None:
    text = files_of(ROOT / "README.md")["hello.py"].text
    lines = [line for line in text.splitlines()[1:] if line.strip()]
    assert len(lines) <= 6


def test_pages_have_examples() -> None:
    assert {page.name for page in WITH_FILES} >= {"README.md", "tasks.md", "testing.md"}
    assert [page.name for page in WITH_TESTS] == ["schedules.md", "steps.md", "testing.md"]


def _run(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    """Run Python in a folder and return its output; show standard error if it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout
