"""Standard streams that are closed, full, or at their end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def in_shell(folder: Path, environment: dict[str, str]) -> Any:
    """Return a function that runs Python in a shell with some arguments and redirections."""

    def run(words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", f"{sys.executable} {words}"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("tasks >&-", 0, ""),
        ("--help >&-", 0, ""),
        ("tasks <&- >&- 2>&-", 0, ""),
        ("produce <&-", 2, "TASK is missing"),
        ("nonesuch 2>&-", 2, ""),
        ("tasks >/dev/full", 1, "conveyor: cannot write: No space left on device"),
        ("tasks --json >/dev/full", 1, "cannot write"),
        ("--help >/dev/full", 1, "cannot write"),
        ("nonesuch 2>/dev/full", 2, ""),
    ],
)
def test_missing_or_full_streams_cause_no_crash(in_shell: Any, words: str, code: int, said: str) -> None:
    if "/dev/full" in words and not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    done = in_shell(f"-m conveyor {words}")
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert all(word not in done.stderr for word in ("a bug in", "Traceback", "ignored"))


def test_end_of_input_without_a_terminal_is_a_usage_error(at_server: Any, in_shell: Any) -> None:
    done = in_shell(f"{ROOT / 'consumer_main.py'} </dev/null")
    assert done.returncode == 2, done.stderr
    assert "no answer to “How many workers?" in done.stderr
