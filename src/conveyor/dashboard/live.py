"""The live channel: the stream of events, and the same by polling for those who cannot have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from conveyor.dashboard.access.problems import Problem
from conveyor.dashboard.access.request import has_streams
from conveyor.dashboard.access.security import allowed
from conveyor.dashboard.api import problems
from conveyor.dashboard.pulse import Moment, Version, pulse_of
from conveyor.dashboard.stream import MOST_ADDRESSES, MOST_EACH, MOST_STREAMS, EventStream, Viewer
from conveyor.dashboard.watcher import pages_at
from conveyor.errors import StoreError

if TYPE_CHECKING:
    from starlette.requests import Request

    from conveyor.dashboard.access.rights import Access
    from conveyor.dashboard.sampler import Sampler


class Live:
    """What open pages are told."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    async def stream(self, request: Request) -> Response:
        """Open a stream of events about the pages named by `watch`; 503 where there are too many, or can be none."""
        access = allowed(request.scope, "look")
        if not has_streams(request.scope) or self._is_full_for(access):
            detail = "Too many streams are open, or there can be none here."
            return problems.answer(Problem(503, "no-stream", detail, "Poll /api/v1/snapshot."))
        return EventStream(self.sampler, Viewer(_watched(request), access))

    def _is_full_for(self, access: Access) -> bool:
        watchers = self.sampler.watchers
        own = sum(one.access is not None and one.access.who == access.who for one in watchers)
        return len(watchers) >= MOST_STREAMS or (access.source != "local" and own >= MOST_EACH)

    def snapshot(self, request: Request) -> Response:
        """Answer once with what a stream would say now: the numbers, and the versions of the pages named by `watch`."""
        access, sampler = allowed(request.scope, "look"), self.sampler
        try:
            sampler.fresh()
            pages = pages_at(_watched(request), access, sampler.book)
            versions = sampler.versions({one[1].address: one for one in pages.values()})
        except StoreError as error:
            return problems.answer(problems.problem_of(error))
        pulse = pulse_of(sampler.snapshot, sampler.pace.interval)
        changed = [
            Version(address, versions[wanted.address])
            for address, (_, wanted) in pages.items()
            if wanted.address in versions
        ]
        headers = {"cache-control": "no-store"}
        return Response(
            msgspec.json.encode(Moment(pulse, changed)), media_type="application/json", headers=headers
        )


def _watched(request: Request) -> list[str]:
    """Give the addresses named by `watch`."""
    return request.query_params.getlist("watch")[:MOST_ADDRESSES]
