"""The commands that show queues, jobs and workers: tables, JSON documents, and a message if there are none."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.queue import Queue
from conveyor.store import commands, control_channel
from conveyor.store.address import shown
from conveyor.tasks import Task
from conveyor.wire import call, control_messages
from conveyor.wire.call import PutOptions, RunOptions
from conveyor.wire.control_messages import ConsumerReport, WorkerReport
from conveyor.wire.outcome import MESSAGE_LIMIT, encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable


def test_standard_error_names_the_server_in_a_line(at_server: Any, conveyor: Callable[..., Any]) -> None:
    done = conveyor("queues")
    assert done.out == ""
    assert done.err.splitlines() == [
        f"conveyor: server at {shown(at_server.url)}",
        "No queues yet. Enqueue the first jobs with `conveyor produce`, or see it all with `conveyor demo`.",
    ]


@pytest.mark.parametrize(
    ("words", "schema", "key"),
    [
        (("queues",), "queues", "queues"),
        (("workers",), "workers", "consumers"),
        (("status",), "status", "queues"),
        (("kill", "--all"), "kill", "targets"),
    ],
)
def test_empty_list_is_a_json_document(
    at_server: Any, conveyor: Any, words: tuple[str, ...], schema: str, key: str
) -> None:
    done = conveyor(*words, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.document["schema"] == f"conveyor.{schema}/v1"
    assert done.document[key] == []


def test_queue_with_only_listeners_is_listed(at_server: Any, conveyor: Any) -> None:
    now = time.time()
    worker = WorkerReport("rack-0001/1", 100, "idle")
    consumer = ConsumerReport(
        "rack-0001", "rack", 99, ["fresh_q"], "process", now, [worker], "0.1", 8, "3.12", now
    )
    at_server.client.run(control_channel.report(consumer.name, control_messages.encode(consumer), now))
    Queue("a_put", store=at_server.client).put(1)
    found = [(one["name"], one["workers"]) for one in conveyor("queues", "--json").document["queues"]]
    assert found == [("a_put", 0), ("fresh_q", 1)]
    assert "fresh_q" in conveyor("queues").out
    assert "fresh_q" in conveyor("status").out


def test_queues_are_counted(at_server: Any, conveyor: Any) -> None:
    Queue("letters", maxsize=2, store=at_server.client).put_many(["a", "b"])
    conveyor("produce", "shape", 1, "--delay", 600)
    conveyor("pause", "shapes")
    found = {one["name"]: one for one in conveyor("queues", "--json").document["queues"]}
    assert found["letters"] == {
        "name": "letters",
        "state": "full",
        "waiting": 2,
        "deferred": 0,
        "delayed": 0,
        "running": 0,
        "dead": 0,
        "maxsize": 2,
        "rests_until": None,
        "workers": 0,
        "blocked_producers": 0,
        "accepted": 2,
        "finished": 0,
        "cancelled": 0,
    }
    assert (found["shapes"]["delayed"], found["shapes"]["state"]) == (1, "paused")
    lines = conveyor("queues").out.splitlines()
    states = ["WAITING", "DEFERRED", "DELAYED", "RUNNING", "DEAD"]
    assert lines[0].split() == ["QUEUE", *states, "LIMIT", "WORKERS", "STATE"]
    assert lines[1].split() == ["letters", "2", "0", "0", "0", "0", "2", "0", "full"]
    assert "letters" in conveyor("status").out


def test_jobs_are_paged(at_server: Any, conveyor: Any) -> None:
    ids = conveyor("produce", "shape", 7, "named=yes", "--count", 5).out.split()
    page = conveyor("jobs", "shapes", "--first", 1, "--count", 2, "--json").document
    assert page["total"] == 5
    assert (
        page["jobs"]
        == [
            {"id": ids[1], "task": "shape", "arguments": "7, named=True", "place": 2},
            {"id": ids[2], "task": "shape", "arguments": "7, named=True", "place": 3},
        ]
        or [job["id"] for job in page["jobs"]] == ids[1:3]
    )
    done = conveyor("jobs", "shapes", "--count", 2)
    assert ids[0] in done.out
    assert "1 to 2 of 5 waiting jobs; next: --first 2" in done.err
    assert "No dead jobs in shapes." in conveyor("jobs", "shapes", "--state", "dead").err


def test_delayed_jobs_show_their_due_time(at_server: Any, conveyor: Any) -> None:
    job = conveyor("produce", "shape", 7, "--delay", 600).out.strip()
    listed = conveyor("jobs", "shapes", "--state", "delayed", "--json").document["jobs"]
    assert [(one["id"], 590 < one["due_in"] <= 600) for one in listed] == [(job, True)]
    assert (
        "delayed, due in 10 min" in conveyor("job", job).out
        or "delayed, due in 9 min" in conveyor("job", job).out
    )


def test_job_is_shown_from_its_wait_to_its_result(at_server: Any, conveyor: Any, start_consumer: Any) -> None:
    job = conveyor("produce", "shape", 7).out.strip()
    before = conveyor("job", job, "--json").document
    assert (before["state"], before["place"], before["task"], before["result"]) == (
        "waiting",
        0,
        "shape",
        None,
    )
    assert datetime.fromisoformat(before["put_at"]).utcoffset().total_seconds() == 0  # type: ignore[union-attr]
    assert start_consumer("shapes", "-n", 1, "--until-empty").wait(20) == 0
    after = conveyor("job", job, "--json").document
    assert (after["state"], after["result"]) == ("done", {"size": 7, "names": []})
    (line,) = after["log"]
    assert (line["text"], line["level"], line["attempt"]) == ("size 7", "INFO", 1)
    shown = conveyor("job", job).out
    assert "done" in shown
    assert "size 7" in shown


def test_job_shows_its_headers_without_secrets(at_server: Any, conveyor: Any) -> None:
    queue = Queue("shapes", store=at_server.client)
    headers = call.header_pairs({"tenant": "7", "api_key": "abcdef"})
    shape = Task(len, "shape", PutOptions(), RunOptions(headers=headers))
    job = queue.submit(shape, "abc").id
    assert "Headers    tenant=7, api_key=•••" in conveyor("job", job).out
    assert conveyor("job", job, "--json").document["headers"] == {"tenant": "7", "api_key": "•••"}


def test_dead_jobs_show_their_error(at_server: Any, conveyor: Any, start_consumer: Any) -> None:
    job = conveyor("produce", "fail", "stay\x1bcalm").out.strip()
    assert start_consumer("failures", "-n", 1, "--until-empty").wait(20) == 0
    (listed,) = conveyor("jobs", "failures", "--state", "dead", "--json").document["jobs"]
    assert (listed["id"], listed["error"]) == (job, "ValueError: stay\x1bcalm")
    assert "ValueError: stay·calm" in conveyor("jobs", "failures", "--state", "dead").out
    shown = conveyor("job", job, "--json").document
    assert (shown["state"], shown["error"]["type"]) == ("failed", "ValueError")
    assert "in fail" in shown["error"]["traceback"]


def test_finished_job_shows_its_task_worker_and_attempts(
    at_server: Any, conveyor: Any, start_consumer: Any
) -> None:
    done, dead = conveyor("produce", "shape", 1).out.strip(), conveyor("produce", "fail").out.strip()
    assert start_consumer("shapes", "failures", "-n", 1, "--until-empty").wait(20) == 0
    shown = conveyor("job", done, "--json").document
    assert (shown["state"], shown["task"]) == ("done", "shape")
    (attempt,) = shown["attempts"]
    assert (attempt["attempt"], attempt["state"], attempt["error"]) == (1, "done", None)
    assert attempt["worker"] == shown["worker"]
    assert shown["worker"].endswith("/1")
    (failed,) = conveyor("job", dead, "--json").document["attempts"]
    assert (failed["state"], failed["error"]) == ("failed", "ValueError: no")
    assert failed["started"].endswith("Z")


def test_dead_jobs_show_the_longest_error_in_full(at_server: Any, conveyor: Any, start_consumer: Any) -> None:
    message = "é" * MESSAGE_LIMIT
    conveyor("produce", "fail", message)
    assert start_consumer("failures", "-n", 1, "--until-empty").wait(20) == 0
    (listed,) = conveyor("jobs", "failures", "--state", "dead", "--json").document["jobs"]
    assert listed["error"] == f"ValueError: {message}"


@pytest.mark.parametrize("state", ["done", "failed"])
def test_job_with_an_unreadable_outcome_is_shown(at_server: Any, conveyor: Any, state: str) -> None:
    job = conveyor("produce", "shape", 7).out.strip()
    outcome = encode_settled(state, b"\xc7\x01\x7e\xff")  # a pickle that is none
    at_server.client.run(commands.purge("shapes", "ready", 1, outcome, 60.0))
    for words in (("job", job), ("job", job, "--json")):
        done = conveyor(*words)
        assert done.code == 0
        assert "Undecodable" in done.out


def test_workers_show_their_current_job(
    at_server: Any, conveyor: Any, start_consumer: Any, folder: Any, eventually: Any
) -> None:
    process = start_consumer("held", "-n", 2)
    job = conveyor("produce", "hold", folder / "go").out.strip()

    def busy() -> Any:
        (consumer,) = conveyor("workers", "--json").document["consumers"]
        found = [worker for worker in consumer["workers"] if worker["job"] and worker["job"]["message"]]
        return found and (consumer, found[0])

    consumer, worker = eventually(busy)
    assert (consumer["pid"], consumer["queues"], len(consumer["workers"])) == (process.pid, ["held"], 2)
    assert worker["job"]["id"] == job
    assert (worker["job"]["task"], worker["job"]["message"]) == ("hold", "holding on")
    (running,) = conveyor("jobs", "held", "--state", "running", "--json").document["jobs"]
    assert (running["id"], running["worker"], running["progress"]) == (job, worker["name"], "25% holding on")
    table = conveyor("workers", "-q", "held").out
    assert job in table
    assert "25% holding on" in table
    assert "No workers on shapes." in conveyor("workers", "-q", "shapes").err
    assert "2 workers in 1 consumer, 1 busy" in conveyor("status").out
    (folder / "go").touch()


def test_workers_show_their_kind_unless_all_are_processes(
    at_server: Any, conveyor: Any, start_consumer: Any
) -> None:
    start_consumer("held", "-n", 1)
    assert "KIND" not in conveyor("workers").out
    start_consumer("held", "-n", 2, "--kind", "coroutine")
    table = conveyor("workers").out
    assert "KIND" in table
    assert (table.count("process"), table.count("coroutine")) == (1, 2)


def test_tasks_are_listed_with_their_parameters(conveyor: Any) -> None:
    found = {one["name"]: one for one in conveyor("tasks", "--json").document["tasks"]}
    assert {"sleep", "csv_search", "video_split", "web_scrape", "heavy_math", "shape", "fail"} <= set(found)
    assert (found["sleep"]["queue"], found["sleep"]["splits"]) == ("queue_zero", True)
    assert found["shape"]["parameters"][0] == {
        "name": "size",
        "type": "a whole number",
        "required": True,
        "default": None,
        "help": "",
    }
    assert "seconds that each job sleeps" in conveyor("tasks", "sleep").out
    assert conveyor("tasks", "nonesuch").code == 3
