"""Names are completed from the server, and silently not if it does not reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def complete(conveyor: Callable[..., Any]) -> Callable[[str], list[str]]:
    """Return a function that completes a line as the shell does on Tab."""

    def tab(line: str) -> list[str]:
        count = str(len(line.split(" ")) - 1)
        done = conveyor(_CONVEYOR_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=count)
        assert done.err == ""
        found: list[str] = done.out.split()
        return found

    return tab


def test_queues_and_jobs_are_completed(
    at_server: Any, conveyor: Any, complete: Any, eventually: Callable[..., Any]
) -> None:
    job = conveyor("produce", "shape", 1).out.strip()
    # On a busy machine there is nothing to offer in the half second that a shell is kept waiting.
    assert eventually(lambda: complete("conveyor pause ")) == ["shapes"]
    assert complete("conveyor pause x") == []
    assert eventually(lambda: complete("conveyor cancel ")) == [job]
    assert complete("conveyor kill ") == []


def test_tasks_and_states_are_completed_without_a_server(
    complete: Any, eventually: Callable[..., Any]
) -> None:
    assert eventually(lambda: complete("conveyor produce sh")) == ["shape"]
    assert eventually(lambda: complete("conveyor produce sle")) == ["sleep"]
    assert complete("conveyor jobs x --state ") == ["waiting", "deferred", "delayed", "running", "dead"]
    assert complete("conveyor re") == ["resume", "retry"]


def test_completion_is_silent_if_the_server_is_unavailable(complete: Any, folder: Any) -> None:
    assert complete("conveyor --url redis://127.0.0.1:1 pause ") == []
    assert complete("conveyor pause ") == []
    assert not (folder / "home").exists(), "completion must not start a server"
