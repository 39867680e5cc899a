"""The live channel: the stream of events, and the same by polling for those who cannot have it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import JSONResponse, Response

from conveyor.dashboard.access import asgi
from conveyor.dashboard.page import NoSuchThing
from conveyor.dashboard.pulse import pulse_of
from conveyor.dashboard.stream import MOST_ADDRESSES, MOST_STREAMS, EventStream, Viewer
from conveyor.errors import ConveyorError, StoreError

if TYPE_CHECKING:
    from starlette.requests import Request

    from conveyor.dashboard.page import Page, Wanted
    from conveyor.dashboard.sampler import Sampler


class Live:
    """What open pages are told."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    async def stream(self, request: Request) -> Response:
        """Open a stream of events about the pages named by `watch`; 503 where there are too many, or can be none."""
        if not asgi.has_streams(request.scope) or self.sampler.watcher_count >= MOST_STREAMS:
            title = "too many streams are open, or can be none"
            problem = {"title": title, "status": 503, "hint": "poll /api/v1/snapshot"}
            return JSONResponse(problem, 503, media_type="application/problem+json")
        viewer = Viewer(self._watched(request), request.state.access)
        return EventStream(self.sampler, viewer)

    def snapshot(self, request: Request) -> Response:
        """Answer once with what a stream would say now: the numbers, and the versions of the pages named by `watch`."""
        sampler = self.sampler
        try:
            pulse = pulse_of(sampler.fresh(), sampler.pace.interval)
        except StoreError as error:
            problem = {
                "title": "the server does not answer",
                "status": 503,
                "detail": str(error),
                "hint": error.hint,
            }
            return JSONResponse(problem, 503, media_type="application/problem+json")
        access = request.state.access
        if access.is_limited:
            pulse = pulse.only(functools.partial(access.may, "look"))
        body: dict[str, Any] = {"pulse": pulse, "changed": []}
        for address, found in self._watched(request).items():
            try:
                version = sampler.look(*found).version
            except NoSuchThing:
                version = "gone"
            except ConveyorError:
                continue
            body["changed"].append({"address": address, "version": version})
        return Response(
            msgspec.json.encode(body), media_type="application/json", headers={"cache-control": "no-store"}
        )

    def _watched(self, request: Request) -> dict[str, tuple[Page, Wanted]]:
        """Give the pages named by `watch`, without those that whoever asks may not see."""
        pages, access = {}, request.state.access
        for address in request.query_params.getlist("watch")[:MOST_ADDRESSES]:
            found = self.sampler.book.find(address)
            if found is None or not access.may(found[0].right):
                continue
            queue = found[1].parts.get("queue")
            if queue is None or access.may(found[0].right, queue):
                pages[address] = found
        return pages
