"""The live channel: the stream of events, and the same by polling for those who cannot have it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from conveyor.dashboard.access import asgi
from conveyor.dashboard.access.problem import Problem
from conveyor.dashboard.api import problems
from conveyor.dashboard.guard import allowed
from conveyor.dashboard.pulse import Moment, Version, pulse_of
from conveyor.dashboard.stream import MOST_ADDRESSES, MOST_STREAMS, EventStream, Viewer
from conveyor.errors import StoreError

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
        access = allowed(request.scope, "look")
        if not asgi.has_streams(request.scope) or self.sampler.watcher_count >= MOST_STREAMS:
            detail = "Too many streams are open, or there can be none here."
            return problems.answer(Problem(503, "no-stream", detail, "Poll /api/v1/snapshot."))
        return EventStream(self.sampler, Viewer(self._watched(request), access))

    def snapshot(self, request: Request) -> Response:
        """Answer once with what a stream would say now: the numbers, and the versions of the pages named by `watch`."""
        access, sampler = allowed(request.scope, "look"), self.sampler
        try:
            pulse = pulse_of(sampler.fresh(), sampler.pace.interval)
            versions = sampler.versions(self._watched(request))
        except StoreError as error:
            return problems.answer(problems.problem_of(error))
        if access.is_limited:
            pulse = pulse.only(functools.partial(access.may, "look"))
        changed = [Version(address, version) for address, version in versions.items()]
        headers = {"cache-control": "no-store"}
        return Response(
            msgspec.json.encode(Moment(pulse, changed)), media_type="application/json", headers=headers
        )

    def _watched(self, request: Request) -> dict[str, tuple[Page, Wanted]]:
        """Give the pages named by `watch`, without those that whoever asks may not see."""
        pages, access = {}, request.state.access
        for address in request.query_params.getlist("watch")[:MOST_ADDRESSES]:
            found = self.sampler.book.find(address)
            if found is not None and found[0].missing(found[1], access) is None:
                pages[address] = found
        return pages
