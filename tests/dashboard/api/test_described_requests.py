"""Requests generated from the description are answered, or refused with a problem."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from examples import names
from hypothesis import HealthCheck, Phase, given, settings

from conveyor.dashboard.api import ENDPOINTS
from conveyor.dashboard.api.openapi import document

if TYPE_CHECKING:
    from api_kit import Api

BASE = "http://localhost:9181/api/v1"


@functools.cache
def described() -> Any:
    """Return the description as schemathesis loads it."""
    return schemathesis.openapi.from_dict(json.loads(document(ENDPOINTS, "/api/v1")))


@pytest.mark.parametrize("place", range(len(ENDPOINTS)), ids=names())
def test_requests_within_the_description_are_answered(api: Api, place: int) -> None:
    api.post("/jobs", {"task": "fail"})
    one = ENDPOINTS[place]
    operation = described()[one.path][one.method]

    @settings(
        max_examples=15, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None
    )
    @given(case=operation.as_strategy())
    def send(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url=BASE)
        more = (
            {"json": sent["json"]} if "json" in sent else {"content": b"{}"} if one.method == "POST" else {}
        )
        response = api.ask(one.method, sent["url"], params=sent.get("params"), **more)
        assert response.status_code < 500, response.text
        if response.status_code < 400:
            case.operation.validate_response(schemathesis.Response.from_any(response))
        else:
            assert response.headers["content-type"] == "application/problem+json"

    send()
