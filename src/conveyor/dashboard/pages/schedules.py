"""Recurring jobs: when each runs next, and its last run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.page import Page, Slice, slice_of
from conveyor.monitor import schedules as monitored

if TYPE_CHECKING:
    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.schedules import ScheduleInfo
    from conveyor.store.query import Query

#: Schedules of one page.
ON_PAGE = 50
#: Next runs that are shown of each.
NEXT_RUNS = 3
_MISSED = {
    "skip": "missed runs are skipped",
    "one": "one run for missed ones",
    "all": "missed runs are made up",
}
_OVERLAP = {"allow": "", "skip": "one at a time", "queue": "one after the other"}


class ScheduleRow(NamedTuple):
    """One schedule's line; times are seconds since 1970."""

    info: ScheduleInfo
    next: tuple[float, ...]
    """Its next runs; empty if it is paused."""
    last: float | None
    policy: str
    """What happens to missed runs and to overlapping ones, in words."""


def _question(_: PageRequest, __: Snapshot) -> Query[Any]:
    return monitored.all_schedules()


def _row(info: ScheduleInfo) -> ScheduleRow:
    runs: list[float] = []
    if info.next_at is not None:
        runs.append(info.next_at.timestamp())
        while info.schedule and len(runs) < NEXT_RUNS:
            following = info.schedule.next_after(runs[-1])
            if following is None:
                break
            runs.append(following)
    last = None if info.last_at is None else info.last_at.timestamp()
    return ScheduleRow(info, tuple(runs), last, _policy(info))


def _policy(info: ScheduleInfo) -> str:
    if info.schedule is None:
        return "cannot be read by this version"
    words = [_MISSED[info.schedule.missed], _OVERLAP[info.schedule.overlap]]
    if info.schedule.max_delay:
        words.append(f"up to {info.schedule.max_delay:g} s of jitter")
    return ", ".join(filter(None, words))


def _view(request: PageRequest, _: Snapshot, found: list[ScheduleInfo]) -> Slice[ScheduleRow]:
    keys = [f"{one.queue} {one.name}" for one in found]
    order = sorted(range(len(found)), key=keys.__getitem__)
    part = slice_of([found[place] for place in order], sorted(keys), request, ON_PAGE)
    return Slice([_row(one) for one in part.items], *part[1:])


SCHEDULES = Page("schedules", "/schedules", "Schedules", _view, _question, menu="Schedules", key="r")
