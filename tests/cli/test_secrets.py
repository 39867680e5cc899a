"""Hidden content of jobs is in no output of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "sk-9f3e7711"


def test_positional_secret_is_in_no_list_and_no_job_record(
    conveyor: Callable[..., Any], at_server: Any, start_consumer: Any, eventually: Callable[..., Any]
) -> None:
    start_consumer("held", "-n", "1")
    dead = conveyor("produce", "deliver", "here", SECRET, "--json").document["jobs"][0]
    eventually(lambda: at_server.raw.zcard("conveyor:{held}:dead"))
    assert conveyor("pause", "held").code == 0
    waiting = conveyor("produce", "deliver", "here", SECRET, "--json").document["jobs"][0]
    said = []
    for words in (("jobs", "held"), ("jobs", "held", "--state", "dead"), ("job", waiting), ("job", dead)):
        said += [conveyor(*words), conveyor(*words, "--json")]
    assert [one.code for one in said] == [0] * len(said)
    assert "address='here', api_key=•••" in said[0].out
    assert "refused, api_key=•••" in said[2].out
    assert "refused, api_key=•••" in said[-2].out
    assert [line["text"] for line in said[-1].document["log"]] == ["Authorization: •••"]
    assert not any(SECRET in one.out + one.err for one in said)


def test_broken_task_module_is_reported_and_hides_no_job(
    conveyor: Callable[..., Any], at_server: Any, folder: Any
) -> None:
    assert conveyor("produce", "shape", 5).code == 0
    (folder / "tasks.py").write_text("print('a word')\nraise ValueError('broken')\n")
    ran = conveyor("jobs", "shapes", "--json")
    assert [one["task"] for one in ran.document["jobs"]] == ["shape"]
    assert "broken" in ran.err
    assert conveyor("jobs", "shapes", "--tasks", "no_such").code != 0
