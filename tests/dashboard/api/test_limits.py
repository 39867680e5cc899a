"""Limits, rests, deferred jobs and graphs through the API, and who may see and change what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Limit, Queue, Task, result_of
from conveyor.store import commands
from conveyor.wire.call import PutOptions, RunOptions

if TYPE_CHECKING:
    from api_kit import Api


def step(*_: Any) -> int:
    return 1


def made(**options: Any) -> Any:
    return Task(step, "step", PutOptions(), RunOptions()).options(**options)


@pytest.fixture
def jobs(queue: Queue) -> list[Any]:
    """Put three jobs of one key, of which one is ready, and return them."""
    return queue.submit_many(made(limit=Limit(running=1, by=lambda tenant: tenant)), [("ann",)] * 3)


def rest(queue: Queue, *, whole: bool) -> None:
    batch = queue.client.run(commands.claim(queue.name, "ann", "nonce.1", 1, 60.0))
    command = commands.throttle(queue.name, batch.token, batch.jobs[0].id, 600.0, whole_queue=whole)
    assert queue.client.run(command) == "OK"


def test_limit_is_set_shown_and_removed(api: Api, queue: Queue, jobs: Any) -> None:
    path = f"/queues/{queue.name}"
    assert api.get(f"{path}/limits")["limit"] is None
    done = api.post(f"{path}/limit", {"running": 3, "starts": 100, "per": 60, "reason": "small disk"})
    assert done["message"] == f"{queue.name} is limited to 3 at a time, 100 starts per minute"
    assert (done["changed"], done["recorded"]) == (True, True)
    found = api.get(f"{path}/limits")
    assert (found["limit"]["running"], found["limit"]["starts"], found["limit"]["per"]) == (3, 100, 60)
    assert [(one["key"], one["waiting"], one["running"]) for one in found["keys"]] == [("step ann", 2, 1)]
    act = api.get("/audit", queue=queue.name)["acts"][0]
    assert (act["action"], act["reason"], act["after"]) == (
        "limit_queue",
        "small disk",
        {"running": 3, "starts": 100, "per": 60.0},
    )
    assert api.post(f"{path}/limit", {})["message"] == f"{queue.name} is no longer limited"
    assert not api.post(f"{path}/limit", {})["changed"]


def test_rest_of_a_queue_is_ended(api: Api, queue: Queue) -> None:
    queue.submit(made())
    rest(queue, whole=True)
    path = f"/queues/{queue.name}"
    assert api.get(path)["rests_until"] == api.get(f"{path}/limits")["rests_until"] > 0
    assert api.post(f"{path}/end-rest")["message"] == "Jobs start again"
    assert api.get(path)["rests_until"] is None
    assert not api.post(f"{path}/end-rest")["changed"]


def test_rest_of_a_key_is_ended_by_its_id(api: Api, queue: Queue, jobs: Any) -> None:
    rest(queue, whole=False)
    path = f"/queues/{queue.name}"
    (key,) = api.get(f"{path}/limits")["keys"]
    assert key["until"]
    assert api.post(f"{path}/end-rest", {"key": key["id"]})["changed"]
    assert api.get(path)["ready"] == 1
    assert api.refusal("POST", f"{path}/end-rest", {"key": "0" * 16}) == (404, "unknown-key")


def test_limits_need_the_right_to_act_and_keys_that_to_inspect(api: Api, queue: Queue, jobs: Any) -> None:
    path = f"/queues/{queue.name}"
    for what in ("limit", "end-rest"):
        assert api.refusal("POST", f"{path}/{what}", {}, who="viewer")[0] == 403
    assert [one["key"] for one in api.get(f"{path}/limits", "viewer")["keys"]] == [None]
    (row, *_) = api.get("/jobs", "viewer", queue=queue.name, state="deferred")["jobs"]
    assert row["waits_for"] is None
    shown = api.get(f"/jobs/{row['id']}", "viewer", queue=queue.name)["waits_for"]
    assert shown == "its turn: its limit, 1 of 1 place taken"
    assert "ann" not in api.ask("GET", f"/api/v1/jobs/{row['id']}/flow", "viewer").text


@pytest.mark.parametrize("body", [{"running": -1}, {"starts": 10**6}, {"per": 0}, {"other": 1}])
def test_limits_out_of_range_are_refused(api: Api, queue: Queue, jobs: Any, body: Any) -> None:
    assert api.refusal("POST", f"/queues/{queue.name}/limit", body) == (422, "bad-body")


def test_deferred_jobs_are_listed_with_what_they_wait_for(api: Api, queue: Queue, jobs: Any) -> None:
    after = queue.submit(made(after=jobs))
    found = api.get("/jobs", queue=queue.name, state="deferred")
    assert [(one["id"], one["waits_for"]) for one in found["jobs"]] == [
        (jobs[1].id, "its turn: limit step ann"),
        (jobs[2].id, "its turn: limit step ann"),
        (after.id, "3 jobs before it"),
    ]
    every = api.get("/jobs", state="deferred")
    assert {one["id"] for one in found["jobs"]} <= {one["id"] for one in every["jobs"]}
    line = api.get(f"/queues/{queue.name}")
    assert (line["ready"], line["deferred"], line["qsize"]) == (1, 3, 4)
    shown = api.get(f"/jobs/{jobs[2].id}", queue=queue.name)
    assert (shown["state"], shown["waits_until"]) == ("deferred", None)
    assert shown["waits_for"] == "its turn: limit step ann, 1 of 1 place taken, 1 job ahead"


def test_graph_of_a_job_is_described(api: Api, queue: Queue) -> None:
    first = queue.submit(made())
    last = queue.submit(made(after=[first]))
    found = api.get(f"/jobs/{first.id}/flow")
    assert (found["left_out"], [one["id"] for one in found["jobs"]]) == (0, [first.id, last.id])
    assert found["jobs"][1]["before"] == [{"queue": queue.name, "id": first.id}]
    assert (found["jobs"][1]["level"], found["jobs"][1]["waits_for"]) == (1, f"1 job before it: {first.id}")
    assert api.refusal("GET", "/jobs/nosuch/flow")[0] == 404


def test_results_of_other_jobs_are_shown_as_such(api: Api, queue: Queue) -> None:
    first = queue.submit(made(), "ann")
    last = queue.submit(made(), result_of(first))
    shown = api.get(f"/jobs/{last.id}", queue=queue.name)
    assert [one["value"] for one in shown["arguments"]] == [f"result of {first.id}"]
    assert shown["preview"].endswith(f"result of {first.id}")


def test_cancellation_has_its_reason(api: Api, queue: Queue) -> None:
    first = queue.submit(made())
    last = queue.submit(made(after=[first]))
    first.cancel()
    shown = api.get(f"/jobs/{last.id}", queue=queue.name)
    reason = f"the job {first.id}, which it comes after, ended as cancelled"
    assert (shown["state"], shown["cancel_reason"]) == ("cancelled", reason)
    assert (shown["error"]["kind"], shown["error"]["message"]) == (
        "JobCancelled",
        f"the job was cancelled: {reason}",
    )
    hidden = api.get(f"/jobs/{last.id}", "viewer", queue=queue.name)
    assert (hidden["cancel_reason"], hidden["error"]["message"]) == (None, None)


def test_metrics_count_deferred_jobs_and_throttled_queues(api: Api, queue: Queue, jobs: Any) -> None:
    rest(queue, whole=True)
    text = api.ask("GET", "/metrics").text
    label = f'queue="{queue.name}"'
    assert f'conveyor_queue_jobs{{{label},state="deferred"}} 2' in text
    assert f"conveyor_queue_throttled{{{label}}} 1" in text
