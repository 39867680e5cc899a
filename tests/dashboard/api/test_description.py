"""The description matches the API: every response fits its schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import openapi_spec_validator
import pytest
from examples import example, names

import conveyor.dashboard
from conveyor.dashboard.api import ENDPOINTS

if TYPE_CHECKING:
    from api_kit import Api


def check(told: dict[str, Any], schema: dict[str, Any], instance: Any) -> None:
    whole = {**schema, "components": told["components"]}
    jsonschema.Draft202012Validator(whole).validate(instance)


def test_description_is_valid(api: Api) -> None:
    told = api.get("/openapi.json")
    openapi_spec_validator.validate(told)
    methods = {(path, method) for path, one in told["paths"].items() for method in one.keys() - {"servers"}}
    described = {(one.path, one.method.lower()) for one in ENDPOINTS}
    assert methods == described


@pytest.mark.parametrize("one", ENDPOINTS, ids=names())
def test_every_endpoint_responds_as_described(api: Api, one: Any) -> None:
    told = api.get("/openapi.json")
    job = api.post("/jobs", {"task": "greet", "arguments": {"name": "Bob"}})["jobs"][0]
    operation = api.post("/operations", {"kind": "retry", "queue": "alpha"})["operation"]
    path, body = example(one, job, operation)
    response = api.ask(one.method, f"/api/v1{path}", **({} if body is None else {"json": body}))
    described = told["paths"][one.path][one.method.lower()]["responses"]
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        check(told, {"$ref": "#/components/schemas/ProblemDocument"}, response.json())
        assert response.status_code in {404, 409}
    else:
        content = described[str(response.status_code)]["content"][response.headers["content-type"]]
        check(told, content["schema"], response.json())


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "no-endpoint"),
        ("DELETE", "/queues", 405, "wrong-method"),
        ("GET", "/queues?count=201", 422, "bad-query"),
        ("GET", "/queues?count=x", 422, "bad-query"),
        ("GET", "/queues?other=1", 422, "bad-query"),
        ("GET", "/queues?fields=name,nope", 422, "bad-query"),
        ("GET", "/queues?cursor=!", 422, "bad-call"),
        ("GET", "/queues/no%20queue", 404, "unknown-queue"),
        ("GET", "/queues/unknown", 404, "unknown-queue"),
        ("GET", "/jobs?state=eaten", 422, "bad-query"),
        ("GET", "/jobs?cursor=eA", 422, "bad-call"),
        ("GET", "/jobs/unknown", 404, "unknown-job"),
        ("GET", "/jobs/no%20id", 404, "unknown-job"),
        ("GET", "/orders/-", 404, "unknown-order"),
        ("GET", "/operations/unknown", 404, "unknown-operation"),
        ("GET", "/tasks/unknown", 404, "unknown-task"),
        ("GET", "/audit?cursor=YWJj", 422, "bad-call"),
    ],
)
def test_invalid_requests_get_a_code(api: Api, method: str, path: str, status: int, code: str) -> None:
    assert api.refusal(method, path) == (status, code)


def test_every_number_of_a_query_is_bounded(api: Api) -> None:
    """A billion rows or days are refused before the server is asked for any."""
    asked = 0
    for path, methods in api.get("/openapi.json")["paths"].items():
        for one in methods.get("get", {}).get("parameters", []):
            if one["in"] == "query" and one["schema"].get("type") in {"integer", "number"}:
                for value in (10**9, -(10**9)):
                    known = path.replace("{queue}", "alpha")
                    assert api.refusal("GET", f"{known}?{one['name']}={value}") == (422, "bad-query"), path
                asked += 1
    assert asked >= 5


def test_body_must_be_json_with_known_fields_only(api: Api) -> None:
    api.post("/jobs", {"task": "fail"})
    for content, expected in ((b"{", "bad-json"), (b"[]", "bad-body"), (b'{"reason": 1}', "bad-body")):
        response = api.ask("POST", "/api/v1/queues/alpha/pause", content=content)
        assert response.json()["code"] == expected
    assert api.refusal("POST", "/queues/alpha/pause", {"other": 1}) == (422, "bad-body")
    assert api.refusal("POST", "/queues/alpha/bound", {"maxsize": -1}) == (422, "bad-body")


def test_lists_are_paged_and_return_the_requested_fields(api: Api) -> None:
    jobs = [api.post("/jobs", {"task": "fail"})["jobs"][0] for _ in range(5)]
    found, cursor = [], ""
    while True:
        page = api.get("/jobs", queue="alpha", count=2, fields="id", cursor=cursor)
        assert all(list(row) == ["id"] for row in page["jobs"])
        found += [row["id"] for row in page["jobs"]]
        cursor = page["next"]
        if not cursor:
            break
    assert found == jobs


def test_unavailable_server_is_a_problem_document(api: Api, one_server: Any) -> None:
    api.post("/jobs", {"task": "fail"})
    one_server.stop()
    try:
        response = api.ask("POST", "/api/v1/queues/alpha/pause", json={})
        assert (response.status_code, response.json()["code"]) == (503, "server-away")
        assert response.headers["retry-after"]
        metrics = api.ask("GET", "/metrics")
        assert metrics.status_code == 200
        assert "conveyor_backend_up 0" in metrics.text
        assert "conveyor_queue_jobs" not in metrics.text
    finally:
        one_server.start()


def test_every_button_of_the_pages_has_an_endpoint() -> None:
    templates = Path(conveyor.dashboard.__file__).parent / "templates"
    text = "".join(one.read_text() for one in sorted(templates.glob("*.html")))
    buttons = set(re.findall(r'data-act="/api/v1([^"]+)"', text))
    patterns = [
        re.compile(re.sub(r"\{\w+\}", "[^/]+", one.path)) for one in ENDPOINTS if one.method == "POST"
    ]
    assert len(buttons) > 3
    lost = [
        one
        for one in buttons
        if not any(pattern.fullmatch(re.sub(r"\{\{.*?\}\}|\{\w+\}", "x", one)) for pattern in patterns)
    ]
    assert [one for one in lost if not one.endswith("{{ verb }}")] == []
