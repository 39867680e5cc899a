"""The programs of other systems: each is as long here as `docs/rewritten.md` says, and not longer than theirs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/rewritten.md").read_text()
#: Title, table and program of each system.
SYSTEMS = [
    pytest.param(table, code, id=title)
    for title, table, code in re.findall(
        r"^## (\w+).*?\n\n(.*?)^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
    )
]
_ROW = re.compile(r"^\| (.+) \| (\d+) \| (\d+) \|$", re.MULTILINE)
_COMMENT = re.compile(r" *# (.+)")


def lines_by_comment(code: str) -> Counter[str]:
    """Return the number of code lines under each comment. Some programs have two parts, under the same comment."""
    found: Counter[str] = Counter()
    program = ""
    for line in code.splitlines():
        if comment := _COMMENT.fullmatch(line):
            program = comment[1]
        elif line.strip() and not line.startswith("with Consumer("):
            found[program] += 1
    return found


def test_all_five_systems_are_there() -> None:
    assert [param.id for param in SYSTEMS] == ["Celery", "Huey", "BullMQ", "Sidekiq", "River"]


@pytest.mark.parametrize(("table", "code"), SYSTEMS)
def test_programs_are_as_short_as_the_page_says(table: str, code: str) -> None:
    found = lines_by_comment(code)
    rows = _ROW.findall(table)
    assert {name: int(here) for name, _, here in rows} == {name: found[name] for name, _, _ in rows}
    assert not [name for name, there, here in rows if int(here) > int(there)]
