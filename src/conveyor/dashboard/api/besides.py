"""What is described besides the endpoints of the table: the live channel, the metrics, and the probes."""

from __future__ import annotations

from typing import Any

from conveyor.dashboard.exposition import MEDIA_TYPE
from conveyor.dashboard.pulse import Moment, Pulse, Trouble, Version
from conveyor.dashboard.stream import LONGEST, MOST_ADDRESSES

#: What is named in the descriptions, so that it has a schema.
TYPES = (Moment, Pulse, Version, Trouble)
_PROBLEM = {"default": {"$ref": "#/components/responses/problem"}}
_WATCH = {
    "name": "watch",
    "in": "query",
    "required": False,
    "description": "Addresses of pages below the page's root, such as `/queues/mail`; those that may not be seen are "
    "left out.",
    "schema": {"type": "array", "items": {"type": "string"}, "maxItems": MOST_ADDRESSES},
}
_EVENTS = (
    "Server-sent events, each with JSON as its data. `pulse`: the numbers, a `Pulse`, once a second or less often; "
    "after the first one of a stream it tells only of the queues that have changed. "
    "`changed`: a page that is watched is in another state, a `Version`. `trouble`: there is no news, a `Trouble`. "
    f"`over`: the stream ends, after {LONGEST:.0f} seconds or since its process does; open the next. Only the latest "
    "of each is kept for who reads slowly. Needs the right to look."
)


def paths() -> dict[str, Any]:
    """Give the OpenAPI descriptions by path; those of the probes and the metrics are not below /api/v1."""
    text = {"schema": {"type": "string"}}
    return {
        "/events": _read(
            *("Follow what happens", _EVENTS, {"text/event-stream": text}),
            parameters=[_WATCH],
            responses=_PROBLEM,
        ),
        "/snapshot": _read(
            *("Tell what is now, as one who polls", "What `events` would say. Needs the right to look."),
            {"application/json": {"schema": {"$ref": "#/components/schemas/Moment"}}},
            parameters=[_WATCH],
            responses=_PROBLEM,
        ),
        "/metrics": _outside(
            "Give numbers for Prometheus", "Needs the right to look.", {MEDIA_TYPE: text}, responses=_PROBLEM
        ),
        "/healthz": _outside(
            "Tell whether this process answers", "Needs no login.", {"text/plain": text}, security=[]
        ),
        "/readyz": _outside(
            *("Tell whether the server answers, too", "Needs no login.", {"text/plain": text}),
            security=[],
            responses={"503": {"description": "It does not", "content": {"text/plain": text}}},
        ),
    }


def _read(
    summary: str, description: str, content: Any, *, responses: Any = None, **more: Any
) -> dict[str, Any]:
    """Give the description of a path that is read by GET."""
    name = summary.lower().replace(",", "").replace(" ", "_")
    found = {"200": {"description": "What is asked for", "content": content}, **(responses or {})}
    told = {"summary": summary, "description": description, "operationId": name, "responses": found}
    return {"get": {**told, "tags": ["besides"], **more}}


def _outside(summary: str, description: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"servers": [{"url": "/"}], **_read(summary, description, content, **more)}
