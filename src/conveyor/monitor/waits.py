"""What a deferred job waits for: for jobs before it, or for its turn under a limit that it shares with others."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.monitor.format import count_of, duration, safe, shorten, utc
from conveyor.store import commands
from conveyor.store.command import readable
from conveyor.store.query import Query, known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.commands import Limits, LimitState, Row

#: Jobs before it that are named, and that are read.
MAX_NAMED, MAX_READ = 3, 20
#: Characters of a key.
MAX_KEY = 60
_SPANS = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
_OTHERS = "other jobs"


class Wait(NamedTuple):
    """What one deferred job waits for."""

    jobs: Sequence[str] = ()
    """Ids of some jobs before it that have not ended, sorted."""
    before: int = 0
    """How many there are."""
    limit: LimitState | None = None
    """The limit that it has no slot of, without jobs before it."""
    ahead: int = 0
    """Deferred jobs of this limit in front of it."""

    @property
    def until(self) -> float | None:
        """When the next job of its limit may start, seconds since 1970 by the server's clock, if only time decides."""
        return self.limit.until or None if self.limit is not None else None

    def text(self, *, shown: bool = True) -> str:
        """Return what it waits for, without the time. The key of a limit may hold arguments: only if `shown`."""
        if self.before:
            return jobs_text(self.before, self.jobs)
        if self.limit is None:
            return _OTHERS
        key = f"limit {key_text(self.limit.key)}" if shown else "its limit"
        why = reason(self.limit)
        ahead = f", {count_of(self.ahead, 'job')} ahead" if self.ahead else ""
        return f"{key}, {why}{ahead}" if self.until else f"its turn: {key}, {why}{ahead}"

    def sentence(self) -> str:
        """Return the whole of it, for a terminal."""
        if self.until is None:
            return f"waits for {self.text()}"
        return f"waits until {clock_time(self.until)}: {self.text()}"


def jobs_text(count: int, names: Sequence[str]) -> str:
    """Return how many jobs come before another one, and the first of them."""
    more = count - len(names[:MAX_NAMED])
    named = ", ".join(names[:MAX_NAMED]) + (f" and {more:,} more" if more and names else "")
    return f"{count_of(count, 'job')} before it{': ' if named else ''}{named}"


def key_text(key: str) -> str:
    """Return the key of a limit for people: in one line, abbreviated, without secrets."""
    return shorten(safe(key), MAX_KEY)


def limit_text(limit: LimitState) -> str:
    """Return what a limit allows: `3 at a time, 100 starts per minute`."""
    parts = []
    if limit.in_order:
        parts.append("one at a time, in order")
    elif limit.max_running:
        parts.append(f"{limit.max_running:,} at a time")
    if limit.max_starts:
        span = _SPANS.get(int(limit.period)) if limit.period.is_integer() else None
        parts.append(f"{count_of(limit.max_starts, 'start')} per {span or duration(limit.period)}")
    return ", ".join(parts) or "no limit"


def figures(limit: LimitState) -> dict[str, Any]:
    """Return a limit and its use, for JSON; `until` in seconds since 1970, or None."""
    return {
        "running": limit.max_running,
        "starts": limit.max_starts,
        "per": limit.period,
        "in_order": limit.in_order,
        "now_running": limit.running,
        "now_started": limit.started,
        "waiting": limit.waiting,
        "until": limit.until or None,
    }


def reason(limit: LimitState) -> str:
    """Return what keeps the jobs of a limit from starting: `3 of 3 places taken`. Ready jobs have a place as well."""
    if is_resting(limit):
        return "a task asked for a rest"
    if limit.until:
        return limit_text(limit._replace(max_running=0, in_order=False))
    if limit.max_running:
        return f"{limit.running:,} of {count_of(limit.max_running, 'place')} taken"
    return f"{count_of(limit.running, 'place')} taken" if not limit.in_order else "one at a time, in order"


def is_resting(limit: LimitState) -> bool:
    """Return True if a task has asked for a rest; otherwise its starts are used up, or jobs are running."""
    return bool(limit.until and not (limit.max_starts and limit.started >= limit.max_starts))


def key_digest(key: str) -> str:
    """Return what stands for a key in addresses and pages: the key itself may hold secrets."""
    return hashlib.blake2b(key.encode(errors="replace"), digest_size=8).hexdigest()


def clock_time(at: float) -> str:
    """Return a moment of today as a clock shows it, in UTC."""
    return f"{utc(at):%H:%M:%S} UTC"


def limits(queue: str) -> Query[Limits]:
    """Return the limit of a queue, and the keys that jobs wait for."""
    return Query((commands.limits(queue),), lambda replies: replies[0])


def wait_of(queue: str, job_id: str, terms: bytes) -> Query[Wait]:
    """Return what a deferred job waits for, given its terms."""
    key = key_of(terms)
    if terms[:1] == b"a":
        asked = (commands.waits_for(queue, job_id, MAX_READ), commands.count_waits_for(queue, job_id))
        return Query(asked, lambda replies: Wait(*replies))
    if key is None:
        return known(Wait())

    def read(replies: Sequence[Any]) -> Wait:
        found, ahead = replies
        return Wait(limit=next(iter(found.keys), commands.LimitState(key)), ahead=ahead)

    return Query((commands.limits(queue, only=key), commands.place_in_lane(queue, key, job_id)), read)


def of_row(row: Row) -> str:
    """Return what a deferred job in a list waits for; "" for others."""
    if not row.terms:
        return ""
    if row.after:
        return jobs_text(row.after, [row.before.rpartition(" ")[2]] if row.after == 1 else [])
    key = key_of(row.terms)
    return _OTHERS if key is None else f"its turn: limit {key_text(key)}"


def key_of(terms: bytes) -> str | None:
    """Return the key of a job's limit, or None if it has none, given the first line of its terms."""
    return readable(terms[2:]) or None
