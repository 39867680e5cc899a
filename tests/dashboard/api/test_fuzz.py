"""Any request gets a described response, and never a server error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from examples import names
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conveyor.dashboard.api import ENDPOINTS

if TYPE_CHECKING:
    from api_kit import Api

PLAIN = st.text(max_size=30)
NUMBERS = st.integers() | st.floats()
WORDS = st.sampled_from(
    [
        "alpha",
        "greet",
        "fail",
        "spread",
        "waiting",
        "ended",
        "dead",
        "retry",
        "purge",
        "kill",
        "minute",
        "0",
        "-1",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | PLAIN | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PLAIN | WORDS, inner, max_size=4),
    max_leaves=8,
)
PARTS = WORDS | st.text(
    st.characters(exclude_characters="/\\.\0", exclude_categories=["Cs"]), min_size=1, max_size=20
)


def fields(kind: Any) -> st.SearchStrategy[dict[str, Any]]:
    known = dict.fromkeys(kind.__struct_fields__, JSON)
    return st.fixed_dictionaries({}, optional=known) | st.dictionaries(PLAIN, JSON, max_size=3)


@pytest.mark.parametrize("one", ENDPOINTS, ids=names())
def test_fuzzed_requests_cause_no_server_error(api: Api, one: Any) -> None:
    api.post("/jobs", {"task": "fail"})

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def send(data: st.DataObject) -> None:
        path = one.path
        for part in ("queue", "id", "name"):
            if f"{{{part}}}" in path:
                path = path.replace(f"{{{part}}}", _quoted(data.draw(PARTS)))
        query = {name: str(value) for name, value in data.draw(fields(one.query)).items()}
        query = {key.encode(errors="replace").decode(): _plain(value) for key, value in query.items()}
        more: dict[str, Any] = {"params": query}
        if one.body is not None:
            more["content"] = data.draw(
                fields(one.body).map(_encoded) | JSON.map(_encoded) | st.binary(max_size=50)
            )
        elif one.method == "POST":
            more["content"] = b"{}"
        response = api.ask(one.method, f"/api/v1{path}", **more)
        assert response.status_code < 500, response.text

    send()


def _plain(text: str) -> str:
    return text.encode(errors="replace").decode()


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode()
