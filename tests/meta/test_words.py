"""The repository's texts hold on every host and contain no private names."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LARGEST_TEXT = 1_000_000  # bytes; anything larger is data

RULES = {
    "the host of a package registry: the ordinary client knows where packages are": (
        r"(?:pypi|pythonhosted|npmjs|debian|golang|crates|rubygems|maven)\." + r"(?:org|io|com)\b"
    ),
    "an absolute path of somebody's machine": r"(?<![\w.:/])/(?:root|home|Users)/\w",
    "a mark of an unfinished merge": r"^(?:<{7}|>{7}) ",
    "a private key": r"BEGIN [A-Z ]*PRIVATE KEY",
    "an open point without the number of its issue": r"\b(?:TO" + r"DO|FIX" + r"ME)\b(?!\(#\d+\))",
}


@functools.cache
def tracked_texts() -> dict[str, str]:
    """Return every text file that git has or would add, by its path."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("this is not a clone: git does not know its files")
    texts = {}
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path.stat().st_size <= LARGEST_TEXT and b"\0" not in path.read_bytes():
            texts[name] = path.read_text(errors="replace")
    return texts


def findings(rule: str, texts: dict[str, str]) -> list[str]:
    """Return the matches of a rule's pattern, as `file:line text`."""
    pattern = re.compile(rule)
    return [
        f"{name}:{number} {line.strip()[:100]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("what", RULES)
def test_no_file_has_forbidden_text(what: str) -> None:
    assert findings(RULES[what], tracked_texts()) == []


@pytest.mark.parametrize(
    "line",
    [
        "see https://files.python" + "hosted.org/x",
        "open('/ro" + "ot/x')",
        "/ho" + "me/ada/conveyor",
        "# TO" + "DO later",
    ],
)
def test_rules_find_forbidden_text(line: str) -> None:
    assert any(findings(rule, {"a.py": line}) for rule in RULES.values())


@pytest.mark.parametrize(
    "line", ["https://example.org/home/page", "~/.local/state/conveyor", "# TO" + "DO(#12) later"]
)
def test_rules_accept_allowed_text(line: str) -> None:
    assert not any(findings(rule, {"a.py": line}) for rule in RULES.values())
