"""Who may do what through the API: asked again at every endpoint, whatever the page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from examples import example, names

from conveyor.dashboard.access.rights import RIGHTS, Role
from conveyor.dashboard.api.table import ENDPOINTS

if TYPE_CHECKING:
    from api_kit import Api


def requested(api: Api, one: Any, who: str) -> Any:
    job = api.post("/jobs", {"task": "fail"})["jobs"][0]
    operation = api.post("/operations", {"kind": "retry", "queue": "alpha"})["operation"]
    path, body = example(one, job, operation)
    more = {} if body is None else {"json": body}
    return api.ask(one.method, f"/api/v1{path}", who, **more)


@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.word)
@pytest.mark.parametrize("one", ENDPOINTS, ids=names())
def test_an_endpoint_is_for_those_with_its_right(api: Api, one: Any, role: Role) -> None:
    response = requested(api, one, role.word)
    refused = response.status_code == 403
    assert refused == (one.right not in RIGHTS[role])
    if refused:
        assert response.json()["code"] == "forbidden"


@pytest.mark.parametrize("one", ENDPOINTS, ids=names())
def test_rights_on_one_queue_are_none_on_others(api: Api, one: Any) -> None:
    response = requested(api, one, "admin@beta")
    if one.method == "GET":
        assert response.status_code in {200, 403, 404}
        assert "alpha" not in response.text.replace("on the queue alpha", "").replace("'alpha'", "") or (
            one.path.startswith(("/tasks", "/system"))
        )
    else:
        assert response.status_code in {403, 404}


@pytest.mark.parametrize("verb", ["kill", "stack", "stop"])
def test_killing_needs_its_own_right(api: Api, verb: str) -> None:
    body = {"verb": verb, "targets": ["host-ab12/1"]}
    allowed = verb != "kill"
    expected = (404, "unknown-worker") if allowed else (403, "forbidden")
    assert api.refusal("POST", "/workers/tell", body, "operator") == expected
    assert api.refusal("POST", "/workers/tell", body, "viewer") == (403, "forbidden")


@pytest.mark.parametrize("one", [one for one in ENDPOINTS if one.method == "POST"], ids=lambda one: one.path)
def test_a_page_of_another_site_changes_nothing(api: Api, one: Any) -> None:
    path, body = example(one, "job", "operation")
    assert api.refusal("POST", path, body, **{"sec-fetch-site": "cross-site"}) == (403, "cross-site")


def test_who_is_unknown_gets_nothing(api: Api) -> None:
    assert api.refusal("GET", "/queues", who="") == (401, "unknown")


def test_a_viewer_sees_no_arguments_results_errors_or_lines(api: Api) -> None:
    job = api.post("/jobs", {"task": "greet", "arguments": {"name": "Secretary"}})["jobs"][0]
    assert api.get(f"/jobs/{job}", "operator")["arguments"] == [{"name": "name", "value": "Secretary"}]
    for path in (f"/jobs/{job}", "/jobs?queue=alpha", f"/jobs/{job}/log"):
        told = api.ask("GET", f"/api/v1{path}", "viewer")
        assert told.json()["hidden"] is True
        assert "Secretary" not in told.text
    assert api.refusal("GET", "/jobs?queue=alpha&text=Secretary", who="viewer") == (403, "forbidden")


def test_the_metrics_are_for_those_who_may_look(api: Api) -> None:
    assert api.ask("GET", "/metrics", "viewer").status_code == 200
    assert api.ask("GET", "/metrics", "").status_code in {303, 401}
