"""The API's description, made of the table of endpoints and the same types that read and write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

import conveyor
from conveyor.dashboard.access.problems import MEDIA_TYPE
from conveyor.dashboard.api.endpoint import LONGEST_KEY
from conveyor.dashboard.api.problems import ProblemDocument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.api.endpoint import Endpoint

_REF = "#/components/schemas/{name}"
_PARTS = re.compile(r"\{(\w+)\}")
_LONGEST_PART = 200


def document(endpoints: Sequence[Endpoint], base: str) -> bytes:
    """Give the OpenAPI 3.1 document as JSON."""
    types: list[Any] = [ProblemDocument]
    for one in endpoints:
        types += [one.answer, one.query] + ([one.body] if one.body else [])
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    named = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, named, components)
    told = {
        "openapi": "3.1.0",
        "info": {
            "title": "Conveyor",
            "version": conveyor.__version__,
            "description": "Queues, jobs and workers: to look at, and to act on.",
        },
        "servers": [{"url": base}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"problem": _content("A problem", named[ProblemDocument], MEDIA_TYPE)},
        },
    }
    return msgspec.json.encode(told)


def _operation(one: Endpoint, named: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    query = components[named[one.query]["$ref"].rpartition("/")[2]]
    parameters = [_part(name) for name in _PARTS.findall(one.path)]
    parameters += [
        {"name": name, "in": "query", "required": name in query.get("required", ()), "schema": schema}
        for name, schema in query.get("properties", {}).items()
    ]
    if one.keyed:
        schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY}
        parameters.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema})
    responses = {str(one.status): _content("What came of it", named[one.answer])}
    if one.keyed:
        responses["200"] = _content("It was put before, with the same key", named[one.answer])
    told = {
        "summary": one.summary,
        "description": f"Needs the right to {one.right}.",
        "operationId": _name(one),
        "tags": [one.path.split("/")[1]],
        "parameters": parameters,
        "responses": {**responses, "default": {"$ref": "#/components/responses/problem"}},
    }
    if one.body is not None:
        told["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": named[one.body]}},
        }
    return told


def _part(name: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": _LONGEST_PART}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _content(description: str, schema: Any, media: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}


def _name(one: Endpoint) -> str:
    words = [_PARTS.sub(r"of_\1", part) for part in one.path.strip("/").split("/")]
    return "_".join([one.method.lower(), *words])
