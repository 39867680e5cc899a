"""`conveyor schedule` sets, shows and changes recurring jobs, and records that."""

from __future__ import annotations

from typing import Any

import pytest


def listed(conveyor: Any, *words: Any) -> list[dict[str, Any]]:
    found = conveyor("schedule", "list", *words, "--json").document
    assert found["schema"] == "conveyor.schedules/v1"
    return found["schedules"]


def test_schedule_is_added_listed_and_changed(at_server: Any, conveyor: Any) -> None:
    assert conveyor("schedule", "list").err.endswith(
        "No schedules yet. Add one with `conveyor schedule add TASK --every 5m`, or @task(every=300).\n"
    )
    added = conveyor("schedule", "add", "shape", 3, "named=yes", "--every", "5m", "--jitter", "10s")
    assert (added.code, added.out.startswith("shape on shapes is added: next run ")) == (0, True)
    weekdays = ("--cron", "30 4 * * mon-fri", "--timezone", "Europe/Berlin", "--missed", "all")
    document = conveyor(
        *(
            "schedule",
            "add",
            "shape",
            1,
            *weekdays,
            "--overlap",
            "skip",
            "--name",
            "early",
            "-q",
            "dawn",
            "--json",
        )
    ).document
    wanted = {"cron": "30 4 * * mon-fri", "every": None, "timezone": "Europe/Berlin", "jitter": 0}
    wanted |= {"missed": "all", "overlap": "skip", "paused": False, "module": None, "task": "shape"}
    assert {name: document[name] for name in wanted} == wanted
    assert document["runs"] == {"fired": 0, "skipped": 0, "missed": 0}
    assert [(one["queue"], one["name"]) for one in listed(conveyor)] == [
        ("dawn", "early"),
        ("shapes", "shape"),
    ]
    assert [one["name"] for one in listed(conveyor, "-q", "dawn")] == ["early"]
    lines = conveyor("schedule", "list").out.splitlines()
    assert lines[0].split() == ["SCHEDULE", "QUEUE", "TASK", "WHEN", "NEXT", "LAST", "LAST", "JOB", "FIRED"]
    assert "every 5 minutes" in lines[2]
    changed = conveyor("schedule", "add", "shape", 3, "--every", "2h")
    assert "is changed" in changed.out
    assert listed(conveyor, "-q", "shapes")[0]["every"] == 7200


def test_schedule_is_paused_resumed_run_and_removed(at_server: Any, conveyor: Any) -> None:
    conveyor("schedule", "add", "shape", 3, "--every", "1d")
    assert conveyor("schedule", "pause", "shape", "--reason", "holiday").out == "shape on shapes is paused.\n"
    assert conveyor("schedule", "pause", "shape").out == "shape on shapes was already paused.\n"
    assert listed(conveyor)[0]["next_at"] is None
    assert "paused" in conveyor("schedule", "list").out
    assert conveyor("schedule", "resume", "shape").out == "shape on shapes is resumed.\n"
    assert conveyor("schedule", "resume", "shape", "--json").document["changed"] is False
    job = conveyor("schedule", "run", "shape").out.strip()
    assert conveyor("job", job, "--json").document["state"] == "waiting"
    assert conveyor("schedule", "remove", "shape").out == "shape on shapes is removed.\n"
    assert listed(conveyor) == []
    acts = conveyor("audit", "--json").document["acts"]
    assert [(one["action"], one["outcome"].partition(":")[0], one["reason"]) for one in acts] == [
        ("remove_schedule", "done", ""),
        ("run_schedule", "done", ""),
        ("resume_schedule", "not changed", ""),
        ("resume_schedule", "done", ""),
        ("pause_schedule", "not changed", ""),
        ("pause_schedule", "done", "holiday"),
        ("add_schedule", "done", ""),
    ]
    assert acts[-1]["after"] == {"when": "every 86400"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("pause", "nothing"), 3, "no schedule named 'nothing'"),
        (("add", "shape", "3"), 2, "either --cron or --every"),
        (("add", "shape", "3", "--every", "5m", "--cron", "* * * * *"), 2, "either --cron or --every"),
        (("add", "shape", "3", "--every", "5x"), 2, "invalid duration '5x' of --every"),
        (("add", "shape", "3", "--every", "0"), 2, "every must be a whole number"),
        (("add", "shape", "3", "--cron", "61 * * * *"), 2, "invalid cron expression"),
        (("add", "shape", "3", "--cron", "* * * * *", "--timezone", "Here"), 2, "unknown time zone 'Here'"),
        (("add", "shape", "3", "--every", "5", "--missed", "some"), 2, "missed must be skip, one, all"),
        (("add", "shape", "--every", "5"), 2, "size"),
        (("add", "shap", "3", "--every", "5"), 3, "no task named 'shap'"),
        (("add", "sleep", "1", "times=3", "--every", "5"), 2, "becomes 3 jobs"),
    ],
)
def test_invalid_schedules_are_refused(
    at_server: Any, conveyor: Any, words: tuple[str, ...], code: int, message: str
) -> None:
    refused = conveyor("schedule", *words)
    assert (refused.code, refused.out) == (code, "")
    assert message in refused.err
    assert "Hint" in refused.err or code == 2


def test_equal_names_need_a_queue(at_server: Any, conveyor: Any) -> None:
    for queue in ("shapes", "others"):
        conveyor("schedule", "add", "shape", 3, "--every", 60, "-q", queue)
    assert conveyor("schedule", "pause", "shape").code == 2
    assert conveyor("schedule", "pause", "shape", "-q", "others").code == 0
    assert [one["paused"] for one in listed(conveyor)] == [True, False]


def test_schedule_of_code_cannot_be_changed_at_run_time(
    at_server: Any, conveyor: Any, start_consumer: Any, folder: Any
) -> None:
    tasks = folder / "tasks.py"
    tasks.write_text(
        tasks.read_text() + "\n\n@task(name='hourly', queue='held', every=3600)\ndef hourly(): ...\n"
    )
    process = start_consumer("held", "-n", 1)
    assert listed(conveyor)[0]["module"] == "tasks"
    refused = conveyor("schedule", "add", "hourly", "--every", 60)
    assert (refused.code, "is defined in code" in refused.err) == (5, True)
    removed = conveyor("schedule", "remove", "hourly")
    assert (removed.code, "adds it again" in removed.err) == (0, True)
    conveyor("kill", "--all")
    process.wait(20)
