"""The API's description, made of the endpoints and the same types that read and write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

import conveyor
from conveyor.dashboard.access.problems import MEDIA_TYPE, ProblemDocument
from conveyor.dashboard.api.endpoint import MAX_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.api.endpoint import Endpoint

_REF = "#/components/schemas/{name}"
_PARTS = re.compile(r"\{(\w+)\}")
_PART = {"type": "string", "minLength": 1, "maxLength": 200}
_KEY = {"type": "string", "minLength": 1, "maxLength": MAX_KEY}


def document(endpoints: Sequence[Endpoint], base: str) -> bytes:
    """Return the OpenAPI 3.1 document as JSON."""
    types: list[Any] = [ProblemDocument]
    for one in endpoints:
        types += [one.response, one.query] + ([one.body] if one.body else [])
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    named = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, named, components)
    description = "Queues, jobs and workers: to look at, and to act on."
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Conveyor", "version": conveyor.__version__, "description": description},
        "servers": [{"url": base}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"problem": _content("A problem", named[ProblemDocument], MEDIA_TYPE)},
        },
    }
    return msgspec.json.encode(whole)


def _operation(one: Endpoint, named: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    query = components[named[one.query]["$ref"].rpartition("/")[2]]
    required = query.get("required", ())
    parameters = [_parameter(name, "path", _PART, required=True) for name in _PARTS.findall(one.path)]
    for name, schema in query.get("properties", {}).items():
        parameters.append(_parameter(name, "query", schema, required=name in required))
    if one.keyed:
        parameters.append(_parameter("Idempotency-Key", "header", _KEY, required=False))
    responses = {str(one.status): _content("The result", named[one.response])}
    if one.keyed:
        responses["200"] = _content("It was put before, with the same key", named[one.response])
    words = [_PARTS.sub(r"of_\1", part) for part in one.path.strip("/").split("/")]
    operation = {
        "summary": one.summary,
        "description": f"Needs the right to {one.right}.",
        "operationId": "_".join([one.method.lower(), *words]),
        "tags": [one.path.split("/")[1]],
        "parameters": parameters,
        "responses": {**responses, "default": {"$ref": "#/components/responses/problem"}},
    }
    if one.body is not None:
        body = {"application/json": {"schema": named[one.body]}}
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _parameter(name: str, place: str, schema: Any, *, required: bool) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": schema}


def _content(description: str, schema: Any, media: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}
