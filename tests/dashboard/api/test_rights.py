"""Access rights through the API: checked at every endpoint, whatever the page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from examples import example, names

from conveyor.dashboard.access.rights import RIGHTS, Role
from conveyor.dashboard.api import ENDPOINTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from api_kit import Api


@pytest.mark.parametrize("one", ENDPOINTS, ids=names())
def test_endpoint_requires_its_right(api: Api, one: Any) -> None:
    job = api.post("/jobs", {"task": "fail"})["jobs"][0]
    operation = api.post("/operations", {"kind": "retry", "queue": "alpha"})["operation"]
    path, body = example(one, job, operation)
    more = {} if body is None else {"json": body}
    for role in Role:  # the least first: a refused request changes nothing
        response = api.ask(one.method, f"/api/v1{path}", role.word, **more)
        refused = response.status_code == 403
        assert refused == (one.right not in RIGHTS[role]), role.word
        if refused:
            assert response.json()["code"] == "forbidden", role.word


def test_every_write_endpoint_requires_a_write_right() -> None:
    rights = {f"{one.method} {one.path}": one.right for one in ENDPOINTS}
    many = {"/queues/{queue}/purge", "/operations", "/operations/{id}/stop", "/operations/{id}/resume"}
    writes = {
        name: "purge" if name.split()[1] in many else "act" for name in rights if not name.startswith("GET")
    }
    reads = {name: "inspect" if name == "GET /audit" else "look" for name in rights if name not in writes}
    assert rights == {**writes, **reads}


@pytest.mark.parametrize("one", [one for one in ENDPOINTS if one.method != "GET"], ids=lambda one: one.path)
def test_read_only_refuses_every_write_of_every_user(
    api: Api, one: Any, eventually: Callable[..., Any]
) -> None:
    job = api.post("/jobs", {"task": "fail"})["jobs"][0]
    operation = api.post("/operations", {"kind": "retry", "queue": "alpha"})["operation"]
    eventually(
        lambda: api.get("/audit")["acts"][0]["outcome"] == "done"
    )  # the operation's end is the last act
    before = api.get("/audit")
    path, body = example(one, job, operation)
    response = api.ask(one.method, f"/api/v1{path}", read_only=True, json=body)
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert api.get("/audit") == before


VERBS = {
    "stop": {"operator", "admin"},
    "pause": {"operator", "admin"},
    "resume": {"operator", "admin"},
    "stack": {"operator", "admin"},
    "kill": {"admin"},
}


@pytest.mark.parametrize("who", ["viewer", "operator", "admin", "admin, read only"])
@pytest.mark.parametrize("verb", VERBS)
def test_each_control_verb_requires_its_right(api: Api, verb: str, who: str) -> None:
    body = {"verb": verb, "targets": ["host-ab12/1"]}
    role, _, limit = who.partition(", ")
    response = api.ask("POST", "/api/v1/workers/tell", role, read_only=bool(limit), json=body)
    expected = (404, "unknown-worker") if who in VERBS[verb] else (403, "forbidden")
    assert (response.status_code, response.json()["code"]) == expected


def test_stack_requires_the_inspect_and_act_rights(api: Api) -> None:
    job = api.post("/jobs", {"task": "fail"})["jobs"][0]
    path = f"/api/v1/jobs/{job}/stack"
    for who, missing in (("act", "inspect"), ("inspect", "act")):
        response = api.ask("POST", path, f"viewer+{who}", json={"queue": "alpha"})
        assert response.status_code == 403
        assert f"“{missing}”" in response.json()["detail"]
    assert api.refusal("POST", path.removeprefix("/api/v1"), who="viewer+act+inspect") == (409, "wrong-state")


@pytest.mark.parametrize("one", [one for one in ENDPOINTS if one.method == "POST"], ids=lambda one: one.path)
def test_request_from_another_site_changes_nothing(api: Api, one: Any) -> None:
    path, body = example(one, "job", "operation")
    assert api.refusal("POST", path, body, **{"sec-fetch-site": "cross-site"}) == (403, "cross-site")


def test_unknown_caller_gets_401(api: Api) -> None:
    assert api.refusal("GET", "/queues", who="") == (401, "unknown")


def test_viewer_sees_no_arguments_results_errors_or_lines(api: Api) -> None:
    job = api.post("/jobs", {"task": "greet", "arguments": {"name": "Secretary"}})["jobs"][0]
    assert api.get(f"/jobs/{job}", "operator")["arguments"] == [{"name": "name", "value": "Secretary"}]
    for path in (f"/jobs/{job}", "/jobs?queue=alpha", f"/jobs/{job}/log"):
        told = api.ask("GET", f"/api/v1{path}", "viewer")
        assert told.json()["hidden"] is True
        assert "Secretary" not in told.text
    assert api.refusal("GET", "/jobs?queue=alpha&text=Secretary", who="viewer") == (403, "forbidden")


def test_metrics_require_the_right_to_look(api: Api) -> None:
    assert api.ask("GET", "/metrics", "viewer").status_code == 200
    assert api.ask("GET", "/metrics", "").status_code in {303, 401}


def test_audit_needs_inspect_and_filters_by_queue(api: Api) -> None:
    for queue in ("alpha", "beta"):
        api.post("/jobs", {"task": "fail", "queue": queue})
    beta = [one["queue"] for one in api.get("/audit", "operator", queue="beta")["acts"]]
    assert beta == ["beta"]
    assert api.refusal("GET", "/audit", who="viewer") == (403, "forbidden")
    assert {one["queue"] for one in api.get("/audit", "operator")["acts"]} == {"alpha", "beta"}
