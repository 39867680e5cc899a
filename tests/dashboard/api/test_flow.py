"""A working day through the API alone, with a real consumer."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest
from many_kit import kill

from conveyor import Queue, Schedule, Schedules
from conveyor.store import control_channel
from conveyor.task_def.sleep import sleep
from conveyor.wire import control_messages
from conveyor.wire.control_messages import ConsumerReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from api_kit import Api

TASKS = ("api_tasks",)


@pytest.fixture
def put(api: Api, queue: Queue) -> Callable[..., str]:
    """Return a function that enqueues a job on the test's queue."""

    def put(task: str, **arguments: Any) -> str:
        return str(api.post("/jobs", {"task": task, "queue": queue.name, "arguments": arguments})["jobs"][0])

    return put


def state(api: Api, job: str) -> str:
    with contextlib.suppress(AssertionError):
        return str(api.get(f"/jobs/{job}")["state"])
    return ""


def answered(api: Api, order: str, word: str) -> list[dict[str, Any]]:
    return [one for one in api.get(f"/orders/{order}")["answers"] if one["state"] == word]


def test_job_is_put_watched_inspected_and_cancelled(
    api: Api, consume: Any, queue: Queue, put: Any, eventually: Any
) -> None:
    running = consume(workers=1, modules=TASKS)
    job = put("linger")
    assert eventually(lambda: api.get("/jobs", queue=queue.name, state="running")["jobs"])[0]["id"] == job
    worker = eventually(
        lambda: [one for one in api.get("/workers")["consumers"][0]["workers"] if one["job"] == job]
    )[0]
    assert worker["name"] == f"{running.name}/1"
    (line,) = eventually(lambda: api.get(f"/jobs/{job}/log")["lines"])
    assert (line["level"], line["attempt"], line["number"]) == ("INFO", 1, 1)
    told = api.post(f"/jobs/{job}/stack", {"reason": "it hangs"})
    assert told["targets"] == [worker["name"]]
    stack = eventually(lambda: answered(api, told["order"], "done"))
    assert "linger" in stack[0]["detail"]
    assert api.get(f"/orders/{told['order']}", "viewer")["answers"][0]["detail"] == ""
    assert api.post(f"/jobs/{job}/cancel", {"reason": "too long"})["state"] == "running"
    eventually(lambda: state(api, job) == "cancelled")
    assert api.refusal("POST", f"/jobs/{job}/cancel") == (409, "wrong-state")
    acts = {one["action"]: one for one in api.get("/audit")["acts"]}
    assert (acts["cancel_job"]["who"], acts["cancel_job"]["reason"]) == ("admin", "too long")
    assert acts["stack_workers"]["reason"] == "it hangs"
    assert acts["stack_workers"]["answers"] == {worker["name"]: "done"}, "the stack itself is not kept"


def test_failed_job_is_diagnosed_and_retried(
    api: Api, consume: Any, queue: Queue, put: Any, eventually: Any
) -> None:
    consume(workers=1, modules=TASKS)
    job = put("fail", why="what went wrong")
    eventually(lambda: state(api, job) == "dead")
    told = api.get(f"/jobs/{job}", queue=queue.name)
    assert told["error"]["message"] == "what went wrong"
    assert "ValueError" in told["error"]["traceback"]
    group = eventually(lambda: api.get("/failures", queue=queue.name)["failures"])[0]
    assert (group["count"], group["message"]) == (1, "what went wrong")
    hidden = api.get("/failures", "viewer", queue=queue.name)
    assert (hidden["hidden"], hidden["failures"][0]["message"]) == (True, None)
    api.post(f"/queues/{queue.name}/pause", {"reason": "a look first"})
    assert api.post(f"/jobs/{job}/retry", {"queue": queue.name})["state"] == "waiting"
    assert api.get("/jobs", queue=queue.name, state="waiting")["jobs"][0]["id"] == job
    assert api.refusal("POST", f"/jobs/{job}/discard") == (409, "wrong-state")
    api.post(f"/queues/{queue.name}/resume")
    eventually(lambda: state(api, job) == "dead")
    assert api.post(f"/jobs/{job}/discard")["state"] == "discarded"
    assert state(api, job) == "failed"
    ended = api.get("/jobs", queue=queue.name, state="ended", fields="id,state")["jobs"]
    assert ended[0] == {"id": job, "state": "failed"}


def test_killed_worker_is_reported(api: Api, consume: Any, queue: Queue, put: Any, eventually: Any) -> None:
    running = consume(workers=2, modules=TASKS)
    name = f"{running.name}/1"
    eventually(lambda: len(api.get("/workers")["consumers"][0]["workers"]) == 2)
    jobs = [put("linger"), put("linger")]
    eventually(lambda: {state(api, job) for job in jobs} == {"running"})
    seen = {"verb": "kill", "targets": [name], "jobs": {name: "another"}}
    order = api.post("/workers/tell", seen)["order"]
    (late,) = eventually(lambda: answered(api, order, "expired"))
    assert late["detail"].startswith("it runs job ")
    told = api.post("/workers/tell", {"verb": "kill", "targets": [name], "reason": "it eats memory"})
    assert eventually(lambda: answered(api, told["order"], "done"))[0]["target"] == name
    assert api.refusal("POST", "/workers/tell", {"verb": "kill", "targets": ["no-one/1"]}) == (
        404,
        "unknown-worker",
    )
    act = api.get("/audit")["acts"][0]
    assert (act["action"], act["target"], act["reason"]) == ("kill_workers", name, "it eats memory")
    for job in jobs:
        api.post(f"/jobs/{job}/cancel")
    eventually(lambda: {state(api, job) for job in jobs} == {"cancelled"})


def test_repeated_queue_action_reports_no_change(api: Api, queue: Queue) -> None:
    queue.put(1)
    for verb, body in (("pause", None), ("resume", None), ("bound", {"maxsize": 7})):
        address = f"/queues/{queue.name}/{verb}"
        assert [api.post(address, body)["changed"] for _ in range(2)] == [True, False], verb


def test_action_on_a_queue_with_only_listeners_gets_409(api: Api) -> None:
    now = time.time()
    crew = ConsumerReport("rack-0001", "rack", 99, ["fresh_q"], "process", now, [], "0.1.0", 8, "3.12.1", now)
    api.client.run(control_channel.report(crew.name, control_messages.encode(crew), now))
    assert api.get("/queues/fresh_q")["waiting"] == 0
    for verb, body in (("pause", None), ("resume", None), ("bound", {"maxsize": 7}), ("purge", None)):
        assert api.refusal("POST", f"/queues/fresh_q/{verb}", body) == (409, "wrong-state"), verb
    assert api.refusal("POST", "/operations", {"kind": "retry", "queue": "fresh_q"}) == (409, "wrong-state")
    assert api.refusal("POST", "/queues/nowhere/pause") == (404, "unknown-queue")
    Queue("fresh_q", store=api.client).put(1)
    assert api.post("/queues/fresh_q/pause")["changed"]


def test_similar_failures_are_retried_in_all_queues(api: Api, eventually: Any) -> None:
    for number in range(60):
        kill(api.client, f"shop{number % 20:02}", "OSError" if number % 4 else "ValueError", f"{number}")
    groups = api.get("/failures")["failures"]
    assert {(one["kind"], one["count"], len(one["queues"])) for one in groups} == {
        ("OSError", 45, 15),
        ("ValueError", 15, 5),
    }
    (one,) = (one for one in groups if one["kind"] == "OSError")
    assert one["queue"] in one["queues"]
    matching = {"group": one["fingerprint"]}
    refused = {"kind": "retry", "matching": {}}
    assert api.refusal("POST", "/operations", refused) == (422, "bad-body")
    begin = {"kind": "retry", "matching": matching}
    assert api.refusal("POST", "/operations", begin, who="operator") == (403, "forbidden")
    assert api.refusal("POST", "/operations", {**begin, "queues": ["shop01", "nowhere"]})[0] == 404
    told = api.post("/operations", begin)
    assert told["message"] == "Retrying dead jobs of 20 queues: 60 to check"

    def done(operation: str) -> Any:
        found = api.get(f"/operations/{operation}")
        return found["state"] == "done" and found

    found = eventually(lambda: done(told["operation"]))
    assert (found["done"], found["queue"], len(found["queues"])) == (45, "", 20)
    assert [one["id"] for one in api.get("/operations", queue="shop07")["operations"]] == [found["id"]]
    (rest,) = api.get("/failures")["failures"]
    assert (rest["kind"], rest["count"]) == ("ValueError", 15)
    some = {"kind": "discard", "queues": rest["queues"][:2], "matching": {"group": rest["fingerprint"]}}
    told = api.post("/operations", some)
    assert eventually(lambda: done(told["operation"]))["done"] == 6


def test_operations_process_many_dead_jobs(
    api: Api, consume: Any, queue: Queue, put: Any, eventually: Any
) -> None:
    consume(workers=2, modules=TASKS)
    body = {"task": "fail", "queue": queue.name, "arguments": {"why": "alike"}, "count": 600}
    jobs = api.post("/jobs", body)["jobs"]
    eventually(lambda: api.get(f"/queues/{queue.name}")["dead"] == 600, 40)
    api.post(f"/queues/{queue.name}/pause")
    some = {"kind": "retry", "queue": queue.name, "matching": {"ids": jobs[:50]}, "reason": "a try"}
    told = api.post("/operations", some)
    assert (told["total"], told["go"]) == (50, "/operations")
    eventually(lambda: api.get(f"/operations/{told['operation']}")["state"] == "done")
    rest = api.post("/operations", {"kind": "discard", "queue": queue.name, "matching": {"task": "fail"}})
    done = eventually(lambda: (one := api.get(f"/operations/{rest['operation']}"))["state"] == "done" and one)
    assert done["done"] == 550
    assert [one["kind"] for one in api.get("/operations", queue=queue.name)["operations"]] == [
        "discard",
        "retry",
    ]
    purge = api.post(f"/queues/{queue.name}/purge", {"reason": "enough"})
    eventually(lambda: api.get(f"/operations/{purge['operation']}")["done"] == 50)
    assert api.refusal("POST", f"/operations/{purge['operation']}/resume") == (409, "wrong-state")
    assert {"retry_jobs", "discard_jobs", "purge_queue"} <= {
        one["action"] for one in api.get("/audit")["acts"]
    }


def test_autoscaler_endpoint_reports_the_needed_workers(api: Api, queue: Queue, put: Any) -> None:
    for _ in range(5):
        put("fail")
    path = f"/queues/{queue.name}/scaling"
    assert api.get(path) == {"desired_workers": 5, "running": 0, "waiting": 5, "workers": 0}
    assert api.get(path, jobs_per_worker=2)["desired_workers"] == 3
    api.post(f"/queues/{queue.name}/pause")
    assert api.get(path)["desired_workers"] == 0


def test_schedules_are_listed_and_controlled(api: Api, queue: Queue) -> None:
    schedules = Schedules(queue)
    schedules.add(sleep, Schedule(cron="30 4 * * *", timezone="Europe/Berlin", name="nightly", args=(0,)))
    schedules.add(sleep, Schedule(every=86_400, name="daily", args=(0,), jitter=5, missed="all"))
    daily, nightly = api.get("/schedules", queue=queue.name)["schedules"]
    assert (daily["every"], daily["cron"], daily["jitter"], daily["missed_policy"]) == (86_400, "", 5, "all")
    assert (nightly["when"], nightly["paused"], nightly["last_at"]) == (
        "30 4 * * * Europe/Berlin",
        False,
        None,
    )
    assert nightly["next_at"] == schedules.get("nightly").next_at.timestamp()
    path = f"/queues/{queue.name}/schedules/nightly"
    assert api.post(f"{path}/pause", {"reason": "holiday"})["changed"] is True
    assert api.post(f"{path}/pause")["changed"] is False
    assert api.get("/schedules", count=1, queue=queue.name, fields="name")["schedules"] == [{"name": "daily"}]
    assert [one["paused"] for one in api.get("/schedules")["schedules"]] == [False, True]
    assert api.post(f"{path}/resume")["changed"] is True
    job = api.post(f"{path}/run")["job"]
    assert api.get(f"/jobs/{job}")["state"] == "waiting"
    assert api.post(f"{path}/remove")["recorded"] is True
    assert api.refusal("POST", f"{path}/remove") == (404, "unknown-schedule")
    assert [one["action"] for one in api.get("/audit")["acts"]][:2] == ["remove_schedule", "run_schedule"]
