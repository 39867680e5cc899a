"""Schedules: when a recurring job is due, and the definition of one as bytes."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import msgspec
from msgspec import structs

from conveyor.errors import BadCall, MissingExtra
from conveyor.wire.call import as_seconds
from conveyor.wire.checks import check_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from zoneinfo import ZoneInfo

Missed = Literal["skip", "one", "all"]
Overlap = Literal["allow", "skip", "queue"]
#: Seconds that an instant may be late and counts as on time: if a later one is due as well, and if not.
ON_TIME, LAST_ON_TIME = 5.0, 60.0
#: Max instants that are made up for, the last ones; and that are counted as missed, each time.
MAX_MISSED = 100
#: Max characters of a schedule's name: with an instant it is the id of a job.
MAX_NAME = 43
#: Instants that are computed forward before they are computed back from the end.
_STEPS = 200
#: Seconds by which local time goes back at most.
_MAX_SHIFT = 3 * 3600.0
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}", re.ASCII)
_MINUTE = 60
_FIELDS = 5
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a task runs again and again, and with which arguments. Raises BadCall if it is invalid.

    Exactly one of `cron` and `every` is set. All times are by the server's clock.
    """

    cron: str = ""
    """Five fields: minute, hour, day of the month, month, day of the week, as in crontab."""
    every: float | timedelta | None = None
    """Whole seconds from one instant to the next. They are counted from 1970, so `every=30` is due at :00 and :30."""
    timezone: str = "UTC"
    """IANA name of the time zone in which `cron` is read, such as "Europe/Berlin"."""
    jitter: float | timedelta = 0.0
    """Max seconds by which a job is delayed; by how much is different for each instant."""
    missed: Missed = "one"
    """What happens to instants that pass while no consumer runs: skip them, run one job for them, or run all."""
    overlap: Overlap = "allow"
    """If the job of the instant before has not finished: run both, skip the instant, or queue one behind it."""
    name: str = ""
    """Unique in the queue; by default the name of the task."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    """Arguments of the task."""

    def __post_init__(self) -> None:
        structs.force_setattr(self, "every", as_seconds(self.every))
        structs.force_setattr(self, "jitter", as_seconds(self.jitter))
        if bool(self.cron) == (self.every is not None):
            raise BadCall("a schedule has either cron or every", hint='use cron="*/5 * * * *" or every=300')
        if self.every is not None:
            every: float = as_seconds(self.every)
            check_seconds("every", every)
            if every < 1 or every % 1:
                raise BadCall(
                    f"every must be a whole number of seconds and at least 1, got {self.every!r:.80}"
                )
        check_seconds("jitter", self.jitter)
        for name, choices in (("missed", get_args(Missed)), ("overlap", get_args(Overlap))):
            if getattr(self, name) not in choices:
                raise BadCall(f"{name} must be {', '.join(choices)}, got {getattr(self, name)!r:.80}")
        if self.name:
            checked_name(self.name)
        zone = _zone(self.timezone)
        if self.cron:
            _check_cron(self.cron, zone)

    @property
    def timing(self) -> str:
        """What the instants depend on, as a line."""
        if self.every is not None:
            return f"every {self._period}"
        return f"{' '.join(self.cron.split())} {self.timezone}"

    @property
    def words(self) -> str:
        """When it is due, for people: `every 5 minutes`, or the expression and its time zone."""
        if self.every is None:
            return self.timing
        size, unit = next(one for one in _UNITS if self._period % one[0] == 0)
        number = self._period // size
        return f"every {unit}" if number == 1 else f"every {number:,} {unit}s"

    @property
    def period(self) -> float | None:
        """The seconds from one instant to the next, or None for a cron expression."""
        return None if self.every is None else float(as_seconds(self.every))

    @property
    def max_delay(self) -> float:
        """The longest jitter in seconds."""
        return float(as_seconds(self.jitter))

    @property
    def _period(self) -> int:
        return int(self.period or 1)

    def next_after(self, at: float) -> float | None:
        """Return the first instant after a time, both in seconds since 1970, or None if there is none."""
        return next(self._after(at), None)

    def between(self, after: float, upto: float, most: int = MAX_MISSED) -> list[float]:
        """Return the last `most` instants after one time and not after another, the oldest first."""
        if self.every is not None:
            first = max(after // self._period + 1, upto // self._period - most + 1)
            return [
                number * self._period
                for number in itertools.takewhile(
                    lambda number: number * self._period <= upto, itertools.count(first)
                )
            ]
        found: deque[float] = deque(maxlen=most)
        for number, instant in enumerate(self._after(after)):
            if instant > upto:
                return list(found)
            if number == _STEPS:
                return self._last(after, upto, most)
            found.append(instant)
        return list(found)

    def delay_of(self, name: str, instant: float) -> float:
        """Return the seconds by which jitter delays an instant: equal in all processes."""
        digest = hashlib.blake2b(f"{name} {instant:.0f}".encode(), digest_size=4).digest()
        return self.max_delay * int.from_bytes(digest, "big") / 2**32

    def _after(self, at: float) -> Iterator[float]:
        """Yield the instants after a time, in order."""
        if self.every is not None:
            first = int(at // self._period) + 1
            yield from (float(number * self._period) for number in itertools.count(first))
            return
        last = at
        # After a change of the clocks it begins before that, since the library passes over local times only once.
        zone, before = _zone(self.timezone), at - _MAX_SHIFT
        is_changed = (
            datetime.fromtimestamp(before, zone).utcoffset() != datetime.fromtimestamp(at, zone).utcoffset()
        )
        for instant in self._simulated(before if is_changed else at):
            # Several fixed times that a change of the clock leaves out fall on the same instant.
            if instant > last:
                last = instant
                yield instant

    def _last(self, after: float, upto: float, most: int) -> list[float]:
        """Return what `between` returns, found from the end."""
        found: set[float] = set()
        for instant in self._simulated(upto + _MAX_SHIFT, reverse=True):
            if instant <= after or len(found) == most:
                break
            if instant <= upto:
                found.add(instant)
        return sorted(found)

    def _simulated(self, at: float, *, reverse: bool = False) -> Iterator[float]:
        try:
            local = datetime.fromtimestamp(at, _zone(self.timezone))
            for moment in _simulation(self.cron, local, reverse=reverse):
                if moment == moment.astimezone(UTC).astimezone(moment.tzinfo):  # not a time that is left out
                    yield moment.timestamp()
        except (OverflowError, ValueError, OSError):  # beyond the years that datetime has
            return


def _simulation(cron: str, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
    """Return the local times of an expression. Raises MissingExtra, or an error of the library if it is invalid."""
    return _simulator()(cron, start, reverse=reverse)


@functools.cache
def _simulator() -> Callable[..., Iterator[datetime]]:
    try:
        from cronsim import CronSim  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtra("cron expressions", "cron", error.name) from error

    class HourByHour(CronSim):
        """Stops at each full hour and after each gap, where the library would pass over minutes."""

        def tick(self, seconds: int = 1) -> None:
            real = self.dt.astimezone(UTC).astimezone(self.dt.tzinfo) if self.dt.tzinfo else self.dt
            if (
                self.dt != real and self.tick_direction > 0
            ):  # the library has set a full hour that is left out
                self.dt = real
                return
            if seconds > _MINUTE:
                left = self.dt.minute + 1 if self.tick_direction < 0 else 60 - self.dt.minute
                seconds = min(seconds, left * _MINUTE)
            super().tick(seconds)

    return HourByHour


@functools.lru_cache(maxsize=256)
def _check_cron(cron: str, zone: ZoneInfo) -> None:
    if len(cron.split()) != _FIELDS:
        raise BadCall(
            f"invalid cron expression {cron!r:.80}: it must have five fields",
            hint='minute, hour, day of the month, month, day of the week: "30 4 * * mon-fri"; use every for seconds',
        )
    try:
        is_never = next(_simulation(cron, datetime.now(zone)), None) is None
    except MissingExtra:
        raise
    except Exception as error:
        raise BadCall(
            f"invalid cron expression {cron!r:.80}: {str(error).lower()}",
            hint='minute, hour, day of the month, month, day of the week: "30 4 * * mon-fri"',
        ) from error
    if is_never:
        raise BadCall(f"the cron expression {cron!r:.80} has no instant within 50 years")


@functools.lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - takes 1 MB of each worker, and few tasks have a schedule

    try:
        return ZoneInfo(name)
    except Exception as error:
        raise BadCall(
            f"unknown time zone {name!r:.80}",
            hint='use an IANA name such as "Europe/Berlin"; on systems without time zones: pip install tzdata',
        ) from error


def checked_name(name: str) -> str:
    """Return the name of a schedule. Raises BadCall unless it is 1 to 43 letters, digits or `._-`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadCall(
            f"invalid schedule name {name!r:.80}",
            hint=f"pass name=…: 1 to {MAX_NAME} letters, digits or ._- that start with a letter or digit",
        )
    return name


def job_id(name: str, instant: float) -> str:
    """Return the id of the job of an instant, such as `report:2026-11-30T03:45:00Z`."""
    return f"{name}:{datetime.fromtimestamp(instant, UTC):%Y-%m-%dT%H:%M:%SZ}"


class Definition(msgspec.Struct, frozen=True):
    """A schedule as the server keeps it, with the job to put."""

    schedule: Schedule
    """Without the arguments."""
    task: str
    priority: int
    call: bytes
    """The bytes of the job, as of the definition."""


_decoder = msgspec.msgpack.Decoder(Definition)
encode_definition = msgspec.msgpack.Encoder().encode


def decode_definition(data: bytes) -> Definition:
    """Return a definition of its bytes. Raises ValueError or BadCall if they are invalid here."""
    return _decoder.decode(data)


class Plan(NamedTuple):
    """What to do at one moment for a schedule that is due."""

    instants: list[float]
    """Those of which to put jobs, the oldest first."""
    following: float | None
    """The instant after them, or None."""
    skipped: int = 0
    missed: int = 0


def plan(schedule: Schedule, at: float, now: float, *, held: bool = False) -> Plan:
    """Decide what becomes of the instants from `at` to `now`. An instant that was `held` is not missed."""
    due, following = schedule.between(at - 1, now), schedule.next_after(now)
    on_time = [one for one in due if now - one <= (LAST_ON_TIME if one == due[-1] else ON_TIME)]
    if schedule.missed == "all":
        chosen = due
    elif schedule.missed == "one" or held:
        chosen = on_time or due[-1:]
    else:
        chosen = on_time
    missed = 0 if held else len(due) - len(chosen)
    skipped = len(due) - len(chosen) if held else 0
    if schedule.overlap == "queue" and len(chosen) > 1:
        if schedule.missed == "all":  # one after the other
            chosen, following = chosen[:1], chosen[1]
        else:
            chosen, skipped = chosen[-1:], skipped + len(chosen) - 1
    return Plan(chosen, following, skipped, missed)
