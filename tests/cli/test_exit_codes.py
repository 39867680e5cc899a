"""Exit codes and errors: what happened, why and what to try, on standard error, without a traceback."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.cli.exit_codes import write_error

if TYPE_CHECKING:
    from collections.abc import Callable

LOOKING = [
    ("queues",),
    ("jobs", "shapes"),
    ("doctor",),
    ("purge", "shapes", "--yes"),
    ("kill", "--all"),
    ("produce", "shape", "1"),
    ("consume", "shapes"),
]


def test_exit_code_is_69_if_the_server_is_unavailable(conveyor: Callable[..., Any]) -> None:
    with ThreadPoolExecutor() as threads:  # each of them waits a second before it gives up
        ran = list(threads.map(lambda words: conveyor(*words, "--url", "redis://127.0.0.1:1"), LOOKING))
    assert [(words[0], done.code, done.out) for words, done in zip(LOOKING, ran, strict=True)] == [
        (words[0], 69, "") for words in LOOKING
    ]
    assert all("no reply from the server at redis://127.0.0.1:1" in done.err for done in ran)
    assert all("Hint: " in done.err for done in ran)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("frobnicate",), "No such command 'frobnicate'"),
        (("jobs",), "Missing argument 'QUEUE'"),
        (("queues", "--jsn"), "No such option: --jsn"),
        (("jobs", "q", "--state", "odd"), "'odd'"),
        (("--url", "ftp://x", "queues"), "invalid server URL 'ftp://x'"),
        (("produce",), "TASK is missing"),
        (("consume",), "QUEUE is missing"),
        (("consume", "a b"), "invalid queue name 'a b'"),
        (("kill",), "kill takes either names, -q QUEUE or --all"),
        (("kill", "--all", "x"), "kill takes either names"),
        (("retry",), "either ids of jobs or --all QUEUE"),
        (("produce", "shape"), "size is missing"),
        (("produce", "shape", "x"), "size='x' does not fit, it takes a whole number"),
        (("produce", "shape", "1", "2"), "'2' is one argument too many"),
        (("produce", "shape", "1", "sise=2"), "no parameter 'sise'"),
        (("produce", "shape", "1", "size=2"), "size is given twice"),
        (("produce", "shape", "1", "--priority", "300"), "priority must be"),
        (("produce", "shape", "1", "-q", "a b"), "invalid queue name 'a b'"),
        (("produce", "sleep", "1", "0"), "times must be between 1 and"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_exit_code_is_2_if_the_arguments_are_invalid(
    at_server: Any, conveyor: Any, words: tuple[str, ...], message: str
) -> None:
    done = conveyor(*words)
    assert done.code == 2
    assert done.out == ""
    assert message in done.err
    assert at_server.raw.exists("conveyor:queues") == 0, "nothing may have been put"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://x", "http://x"),
        ("redis://127.0.0.1:99999", "redis://127.0.0.1:•••"),
        ("redis://127.0.0.1:x", "redis://127.0.0.1:•••"),
    ],
)
def test_exit_code_is_2_if_the_server_url_is_invalid(conveyor: Any, address: str, shown: str) -> None:
    done = conveyor("queues", CONVEYOR_URL=address)
    assert (done.code, done.out) == (2, "")
    assert f"invalid server URL '{shown}'" in done.err


@pytest.mark.parametrize("query", ["?password=s3cr3t", "?passwrd=s3cr3t"])
def test_urls_in_errors_use_a_single_mask(conveyor: Any, query: str) -> None:
    done = conveyor("queues", CONVEYOR_URL=f"redis://:pw@127.0.0.1:1{query}")
    assert "redis://:•••@127.0.0.1:1" in done.err
    assert not any(one in done.err for one in ("s3cr3t", "pw", "***"))


def test_exit_code_is_3_if_the_target_does_not_exist(at_server: Any, conveyor: Any) -> None:
    conveyor("produce", "shape", 1)
    assert conveyor("purge", "shape").code == 3
    assert "Hint: add --yes" in conveyor("purge", "shapes").err
    for words in (
        ("jobs", "shape"),
        ("pause", "shape"),
        ("kill", "x"),
    ):
        assert conveyor(*words).code == 3, words
    assert "did you mean shapes?" in conveyor("pause", "shape").err
    assert "did you mean shape?" in conveyor("produce", "shap", 1).err
    assert conveyor("produce", "nonesuch").code == 3


def test_errors_are_objects_in_json_mode(at_server: Any, conveyor: Any) -> None:
    done = conveyor("job", "x", "--json")
    assert done.out == ""
    assert done.error == {"code": 3, "message": "no job 'x'", "hint": done.error["hint"]}
    assert conveyor("jobs", "--json").error["code"] == 2
    assert conveyor("queues", "--json", "--url", "redis://127.0.0.1:1").error["code"] == 69


def test_import_error_of_tasks_is_reported(at_server: Any, conveyor: Any, folder: Any) -> None:
    (folder / "tasks.py").write_text("1 / 0\n")
    done = conveyor("produce", "shape", 1)
    assert (done.code, done.out) == (1, "")
    assert "the tasks cannot be imported: ZeroDivisionError" in done.err


def test_error_text_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    write_error("ValueError: \x1b[31mred\nand \u202eback", "try \x07", 1, as_json=False)
    assert capsys.readouterr().err == "conveyor: ValueError: ·[31mred\nand ·back\n  Hint: try ·\n"
