"""Each promise, and each fault, bug and attack on the pages, names existing tests."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from .test_pages import marked

TESTS = Path(__file__).parents[1]
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
_TEST = re.compile(r"(?:tests/)?((?:\w+/)+test_\w+\.py)::(test_\w+)")
_MARKED_SLOW = re.compile(_TEST.pattern + r"` \(slow\)")


@functools.cache
def functions_of(file: Path) -> dict[str, bool]:
    """Return the functions in a file, and whether each is marked as slow; none if there is no such file."""
    if not file.is_file():
        return {}
    found = [one for one in ast.walk(ast.parse(file.read_text())) if isinstance(one, FUNCTIONS)]
    return {one.name: "pytest.mark.slow" in map(ast.unparse, one.decorator_list) for one in found}


def test_named_tests_exist(pages: dict[str, str]) -> None:
    named = {name for text in pages.values() for name in _TEST.findall(text)}
    functions = {file: functions_of(TESTS / file) for file, _ in named}
    assert [f"{file}::{name}" for file, name in sorted(named) if name not in functions[file]] == []


@pytest.mark.parametrize("page", ["docs/guarantees.md", "docs/proof.md"])
def test_slow_tests_are_marked(page: str, pages: dict[str, str]) -> None:
    named = _TEST.findall(pages[page])
    slow = [(file, name) for file, name in named if functions_of(TESTS / file)[name]]
    assert _MARKED_SLOW.findall(pages[page]) == slow


@pytest.mark.parametrize(
    ("page", "table", "place"),
    [("docs/guarantees.md", "promises", 2), ("docs/proof.md", "breaks", 1), ("docs/proof.md", "bugs", 4)],
)
def test_each_row_names_tests(page: str, table: str, place: int, pages: dict[str, str]) -> None:
    found = marked(pages[page], table)
    assert found
    assert [row[0] for row in found if not _TEST.search(row[place])] == []


def test_each_promise_has_a_row(pages: dict[str, str]) -> None:
    section = pages["docs/guarantees.md"].split("## The promises")[1].split("\n## ")[0]
    promises = re.findall(r"^\*\*(.+)\.\*\*", section, re.MULTILINE)
    assert [row[0] for row in marked(pages["docs/guarantees.md"], "promises")] == promises


def test_each_break_has_a_row(pages: dict[str, str]) -> None:
    promised = [row[0] for row in marked(pages["docs/guarantees.md"], "breaks")]
    assert [row[0] for row in marked(pages["docs/proof.md"], "breaks")] == promised


@pytest.mark.parametrize(
    ("table", "mark", "most"), [("bugs", "", 55), ("faults", "F", 45), ("attacks", "S", 22)]
)
def test_numbered_lists_have_no_gaps(table: str, mark: str, most: int, pages: dict[str, str]) -> None:
    found = marked(pages["docs/proof.md"], table)
    assert [row[0] for row in found] == [f"{mark}{number}" for number in range(1, most + 1)]


@pytest.mark.parametrize("table", ["faults", "attacks"])
def test_row_without_a_test_has_a_reason(table: str, pages: dict[str, str]) -> None:
    for name, _, tests in marked(pages["docs/proof.md"], table):
        assert _TEST.search(tests) or len(tests) > 20, name
