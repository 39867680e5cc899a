"""The comparison names a page and a test for each feature that Conveyor has."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "compared.md"


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    """Return the cells of all rows: feature, Conveyor, how, others, page, test."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "feature"]


def test_counts_are_those_of_the_rows(rows: list[list[str]]) -> None:
    counts = Counter(row[1] for row in rows)
    assert len(rows) == sum(counts.values()) == 118
    assert counts["yes"] >= 95
    told = re.search(
        r"118 features, of which Conveyor has (\d+), (\d+) in part, and\s+(\d+) not", PAGE.read_text()
    )
    assert told
    assert [int(number) for number in told.groups()] == [counts[word] for word in ("yes", "partly", "no")]


def test_each_feature_has_a_page_and_a_test_that_exist(rows: list[list[str]]) -> None:
    wrong = []
    for feature, mark, _, _, page, test in rows:
        path = re.search(r"\((.+?)(?:#.*)?\)", page)
        tests = re.findall(r"`(.+?)`", test)
        if mark != "no" and not (
            path
            and (PAGE.parent / path[1]).exists()
            and tests
            and all((ROOT / "tests" / one).exists() for one in tests)
        ):
            wrong.append(feature)
    assert wrong == []
