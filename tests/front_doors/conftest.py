"""The scripts of the repository's root, driven through pseudo-terminals as a user does."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
#: Seconds to wait for a text on the screen.
PATIENCE = 20
#: This end of the terminal does not report its cursor, and no program should wait for that.
PLAIN = {"PROMPT_TOOLKIT_NO_CPR": "1", "PYTHONWARNINGS": "error"}


@pytest.fixture
def open_terminal(one_server: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that starts a script, or `conveyor …`, on a separate terminal from another folder."""
    opened: list[Any] = []
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CONVEYOR", "_CONVEYOR"))
    }

    def open_one(*words: str, terminal: str = "dumb") -> Any:
        program = [str(ROOT / words[0]), *words[1:]] if words[0].endswith(".py") else ["-m", *words]
        child = pexpect.spawn(
            sys.executable,
            program,
            cwd=str(tmp_path),
            env={**kept, **PLAIN, "CONVEYOR_URL": one_server.url, "TERM": terminal},
            encoding="utf-8",
            timeout=PATIENCE,
            dimensions=(40, 120),
        )
        opened.append(child)
        return child

    yield open_one
    for child in opened:
        if child.isalive():
            with suppress(ProcessLookupError):
                child.kill(signal.SIGKILL)  # workers do not outlive their supervisor
        child.close()


@pytest.fixture
def exit_code() -> Callable[[Any], int | None]:
    """Return a function that waits for the end of the program on a terminal and returns its exit code."""

    def ended(child: Any) -> int | None:
        child.expect(pexpect.EOF)
        child.close()
        code: int | None = child.exitstatus
        return code

    return ended


@pytest.fixture
def consumer(open_terminal: Any) -> Any:
    """Provide `consumer_main.py` with five workers on queue_zero."""
    child = open_terminal("consumer_main.py")
    child.expect_exact("How many workers? 1 to 10")
    child.sendline("5")
    child.expect_exact("Number, or any name [0]: ")
    child.sendline("0")
    child.expect_exact("5 workers on queue_zero")
    return child
