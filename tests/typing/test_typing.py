"""Type checkers infer what `calls.py` states, and refuse exactly the lines that it marks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CALLS = Path(__file__).with_name("calls.py")
MARK = re.compile(r"# refused: (?P<mypy>[\w -]+); (?P<pyright>[\w ]+)$")

Found = set[tuple[int, str]]


def marked(checker: str) -> Found:
    """Return the lines that a checker must refuse, each with the code of its error."""
    lines = enumerate(CALLS.read_text().splitlines(), 1)
    return {
        (number, code)
        for number, line in lines
        if (mark := MARK.search(line))
        for code in mark[checker].split()
    }


def reported(*command: str) -> str:
    """Run a checker on the file with the interpreter of the tests, and return its report of errors."""
    words = [sys.executable, "-m", *command]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1, done.stderr or done.stdout
    return done.stdout


def test_mypy_accepts_and_refuses_as_stated() -> None:
    report = reported("mypy", "--output", "json", str(CALLS))
    errors: Iterator[dict[str, Any]] = map(json.loads, report.splitlines())
    assert {(one["line"], one["code"]) for one in errors if one["severity"] == "error"} == marked("mypy")


def test_pyright_accepts_and_refuses_as_stated() -> None:
    options = ("--project", str(CALLS.parent), "--pythonpath", sys.executable)
    report = json.loads(reported("basedpyright", "--outputjson", *options))
    errors = [one for one in report["generalDiagnostics"] if one["severity"] == "error"]
    assert {(one["range"]["start"]["line"] + 1, one["rule"]) for one in errors} == marked("pyright")
