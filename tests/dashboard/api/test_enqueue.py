"""Jobs are put through the API: checked like a call, once for each key, recorded."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Queue
from conveyor.dashboard import known_tasks
from conveyor.dashboard.api.problems import PartlyPut, problem_of
from conveyor.errors import DurabilityUnknown, StoreUnavailable
from conveyor.monitor.typed_input import bind

if TYPE_CHECKING:
    from api_kit import Api


def arguments_of(api: Api, job: str) -> dict[str, Any]:
    return {one["name"]: one["value"] for one in api.get(f"/jobs/{job}")["arguments"]}


def test_values_and_typed_texts_become_arguments(api: Api) -> None:
    body = {"task": "greet", "arguments": {"name": "Bob", "times": "2", "loud": True}, "reason": "to see"}
    told = api.post("/jobs", body)
    assert told["go"] == f"/jobs/{told['jobs'][0]}?queue=alpha"
    assert arguments_of(api, told["jobs"][0]) == {"name": "Bob", "times": 2, "loud": True}
    (act,) = api.get("/audit")["acts"]
    assert (act["action"], act["target"], act["reason"], act["who"], act["outcome"]) == (
        "enqueue",
        told["jobs"][0],
        "to see",
        "admin",
        "done",
    )


def test_options_set_queue_priority_delay_and_count(api: Api) -> None:
    told = api.post("/jobs", {"task": "fail", "queue": "beta", "priority": 7, "delay": 60, "count": 3})
    assert (len(told["jobs"]), told["go"]) == (3, "/queues/beta")
    assert api.get("/queues/beta")["delayed"] == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 0},
        {"count": 1001},
        {"priority": 256},
        {"priority": -1},
        {"delay": -1},
        {"expires": 0},
        {"queue": "no queue"},
    ],
)
def test_options_out_of_bounds_are_refused(api: Api, changes: dict[str, Any]) -> None:
    assert api.refusal("POST", "/jobs", {"task": "fail", **changes}) == (422, "bad-body")
    told = api.post("/tasks/fail/preview", changes)  # browsers write each 4xx to their console
    assert not told["ok"]
    (option,) = changes
    assert told["errors"][""].startswith(f"{option}: ")


def test_every_invalid_argument_is_named(api: Api) -> None:
    body = {"arguments": {"times": "x", "other": "1", "tone": "rude"}}
    told = api.post("/tasks/greet/preview", body)
    assert (told["ok"], told["command"]) == (False, "")
    assert set(told["errors"]) == {"name", "times", "other", "tone"}
    assert api.refusal("POST", "/jobs", {"task": "greet", **body}) == (422, "bad-values")
    assert api.refusal("GET", "/queues/alpha") == (404, "unknown-queue")  # nothing was put


def test_invalid_list_item_is_named_and_valid_values_are_kept(api: Api) -> None:
    body = {"arguments": {"when": "2026-03-01T12:00:00", "names": '["Ann"]', "sizes": '["1","2","foo"]'}}
    told = api.post("/tasks/arrange/preview", {**body, "priority": 3})
    assert told["errors"] == {"sizes": "sizes, item 3: foo is not a whole number"}
    assert told["partial"] == (
        """conveyor produce arrange when=2026-03-01T12:00:00 'names=["Ann"]' sizes=… --priority 3 --tasks api_tasks"""
    )
    told = api.post("/tasks/arrange/preview", {"arguments": {"sizes": "1 2"}})
    assert told["errors"]["sizes"] == "sizes='1 2' does not fit, it takes a list of whole numbers"
    assert told["errors"]["names"] == "is missing, it takes a list of texts"
    told = api.post("/tasks/enter/preview", {"arguments": {"pin": "hunter2"}})
    assert told["errors"] == {"pin": "pin does not fit, it takes a whole number"}


def test_refusal_by_the_task_is_reported(api: Api) -> None:
    assert api.refusal("POST", "/jobs", {"task": "greet", "arguments": {"name": " "}}) == (422, "bad-input")
    told = api.post("/tasks/greet/preview", {"arguments": {"name": "broken"}})
    assert not told["ok"]
    assert "ZeroDivisionError" in told["errors"][""]


def test_repeated_idempotency_key_puts_a_single_job(api: Api) -> None:
    body, key = {"task": "greet", "arguments": {"name": "Bob"}}, {"idempotency-key": "order 17"}
    first = api.ask("POST", "/api/v1/jobs", json=body, headers=key)
    second = api.ask("POST", "/api/v1/jobs", json=body, headers=key)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["jobs"] == second.json()["jobs"]
    assert api.get("/queues/alpha")["accepted"] == 1
    assert api.refusal("POST", "/jobs", {"task": "fail"}, **key) == (422, "key-reused")
    assert api.ask("POST", "/api/v1/jobs", "operator", json=body, headers=key).status_code == 201
    assert api.refusal("POST", "/jobs", {**body, "count": 2}, **key) == (422, "bad-key")


@pytest.mark.parametrize(
    "changes",
    [{"arguments": {"name": "Eve"}}, {"priority": 9}, {"queue": "beta"}, {"delay": 5.0}, {"task": "fail"}],
)
def test_idempotency_key_is_for_a_single_request(api: Api, changes: dict[str, Any]) -> None:
    body, key = {"task": "greet", "arguments": {"name": "Bob"}}, {"idempotency-key": "order 18"}
    api.post("/jobs", body, **key)
    other = {**body, **changes}
    if other["task"] == "fail":
        del other["arguments"]
    assert api.refusal("POST", "/jobs", other, **key) == (422, "key-reused")
    assert api.get("/queues/alpha")["accepted"] == 1
    assert api.refusal("GET", "/queues/beta") == (404, "unknown-queue")
    assert api.ask("POST", "/api/v1/jobs", json=body, headers=key).status_code == 200


def test_lost_put_is_repeated_by_the_next_request_with_its_key(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, key = {"task": "greet", "arguments": {"name": "Bob"}}, {"idempotency-key": "order 19"}
    with monkeypatch.context() as patch:
        patch.setattr("conveyor.dashboard.api.enqueue._put_all", lose)
        assert api.refusal("POST", "/jobs", body, **key) == (503, "server-away")
    assert api.refusal("POST", "/jobs", {**body, "priority": 9}, **key) == (422, "key-reused")
    (job,) = api.post("/jobs", body, **key)["jobs"]
    assert arguments_of(api, job)["name"] == "Bob"
    assert api.get("/queues/alpha")["accepted"] == 1


def lose(*_: object) -> None:
    message = "the server is away"
    raise StoreUnavailable(message)


def test_unconfirmed_job_is_reported_as_put() -> None:
    cause = DurabilityUnknown("the job a is on the queue alpha, but", hint="do not put it again")
    problem = problem_of(PartlyPut("alpha", ["a"], 1, cause)).document
    assert (problem.status, problem.code) == (504, "durability-unknown")
    assert problem.detail == "1 of 1 jobs are on alpha: the job a is on the queue alpha, but"
    assert problem.hint == "do not put it again"


def test_custom_id_is_accepted_once(api: Api) -> None:
    body = {"task": "fail", "id": "mine"}
    assert api.post("/jobs", body)["jobs"] == ["mine"]
    assert api.refusal("POST", "/jobs", body) == (409, "duplicate-job")


def test_order_is_split_on_request(api: Api) -> None:
    assert len(api.post("/jobs", {"task": "spread", "arguments": {"parts": 4}, "split": True})["jobs"]) == 4
    (one,) = api.post("/jobs", {"task": "spread", "arguments": {"part": 9}})["jobs"]
    assert arguments_of(api, one) == {"part": 9}
    too_many = {"task": "spread", "arguments": {"parts": 10_001}, "split": True}
    assert api.refusal("POST", "/jobs", too_many) == (422, "bad-call")


def test_full_queue_is_reported_promptly(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conveyor.dashboard.api.enqueue.PATIENCE", 0.3)
    api.post("/jobs", {"task": "fail"})
    api.post("/queues/alpha/bound", {"maxsize": 1})
    assert api.refusal("POST", "/jobs", {"task": "fail"}) == (409, "queue-full")
    assert api.get("/audit")["acts"][0]["outcome"].startswith("refused: ")


@pytest.mark.parametrize(
    "order",
    [{"task": "fail", "count": 20}, {"task": "spread", "arguments": {"parts": 20}, "split": True}],
    ids=["count", "split"],
)
@pytest.mark.parametrize("slice_", [3, 1000])
def test_jobs_put_before_the_queue_was_full_are_reported(
    api: Api, monkeypatch: pytest.MonkeyPatch, order: dict[str, Any], slice_: int
) -> None:
    monkeypatch.setattr("conveyor.dashboard.api.enqueue.PATIENCE", 0.3)
    monkeypatch.setattr("conveyor.dashboard.api.enqueue.SLICE", slice_)
    Queue("alpha", 5, store=api.client).pause()
    Queue("alpha", store=api.client).resize(5)
    response = api.ask("POST", "/api/v1/jobs", json=order)
    told = response.json()
    assert (response.status_code, told["code"], told["accepted"]) == (409, "queue-full", 5)
    assert "5 of 20 jobs are on alpha" in told["detail"]
    assert told["ids"] == [one["id"] for one in api.get("/jobs", queue="alpha")["jobs"]]
    act = api.get("/audit")["acts"][0]
    assert (act["after"]["jobs"], act["after"]["wanted"]) == (5, 20)
    assert act["outcome"].startswith("partly: 5 of 20 jobs")


def test_full_server_is_reported(api: Api, one_server: Any) -> None:
    api.post("/jobs", {"task": "fail"})
    one_server.raw.config_set("maxmemory", "1mb")
    assert api.refusal("POST", "/jobs", {"task": "fail"}) == (507, "server-full")


def test_preview_is_an_equivalent_command_line(api: Api) -> None:
    texts = {"name": "Bob's; rm *", "times": "3", "loud": "yes", "password": "hush"}
    told = api.post(
        "/tasks/greet/preview", {"arguments": texts, "priority": 3, "delay": 1.5, "expires": 9, "count": 2}
    )
    words = shlex.split(told["command"])
    assert words[:3] == ["conveyor", "produce", "greet"]
    options = words.index("--priority")
    assert words[options:] == shlex.split("--priority 3 --delay 1.5 --expires 9 --count 2 --tasks api_tasks")
    typed = bind(known_tasks.task_named("greet"), words[3:options])
    assert typed == {"name": "Bob's; rm *", "times": 3, "loud": True, "password": "•••"}
    assert "hush" not in told["python"]
    compile(told["python"], "preview", "exec")
    assert api.post("/tasks/spread/preview", {"arguments": {"part": "1"}})["command"] == ""


def test_tasks_list_their_parameters(api: Api) -> None:
    tasks, cursor = {}, ""
    while "spread" not in tasks:  # other tests of this process have registered many
        page = api.get("/tasks", cursor=cursor)
        tasks |= {one["name"]: one for one in page["tasks"]}
        cursor = page["next"]
        assert cursor or "spread" in tasks
    assert (tasks["greet"]["queue"], tasks["spread"]["splits"]) == ("alpha", True)
    greet = {one["name"]: one for one in api.get("/tasks/greet")["parameters"]}
    assert greet["name"] == {
        "name": "name",
        "type": "text",
        "required": True,
        "default": None,
        "help": "who is greeted",
        "json_schema": {"type": "string"},
    }
    assert greet["times"]["default"] == "1"
    assert sorted(greet["tone"]["json_schema"]["enum"]) == ["gruff", "kind"]
    spread = api.get("/tasks/spread")
    assert [one["name"] for one in spread["order"]] == ["parts"]
    assert [one["name"] for one in spread["parameters"]] == ["part", "secret_token"]
