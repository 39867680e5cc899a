"""Schedules compute the same instants as a walk through all minutes, also where clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conveyor import BadCall, Schedule
from conveyor.wire import call
from conveyor.wire.schedule import MAX_MISSED, Plan, job_id, plan

#: Zones whose clocks are changed by an hour, half an hour, at midnight, south of the equator, and not at all.
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Asia/Kolkata",
    "UTC",
)
#: When clocks are changed in some of them: the middle of the days around.
CHANGES = ("2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-05", "2026-10-04", "2026-09-06")
MINUTE = 60


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def field(low: int, high: int) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    some = st.lists(numbers, min_size=1, max_size=3, unique=True).map(
        lambda found: ",".join(map(str, sorted(found)))
    )
    span = st.tuples(numbers, numbers).map(lambda ends: f"{min(ends)}-{max(ends)}")
    return st.one_of(st.just("*"), some, span, st.integers(1, high).map(lambda step: f"*/{step}"))


def numbers_of(text: str, low: int, high: int) -> set[int]:
    """Return the numbers that a field of an expression means."""
    found: set[int] = set()
    for part in text.split(","):
        body, _, step = part.partition("/")
        first, _, last = body.partition("-")
        ends = (low, high) if body == "*" else (int(first), int(last or first))
        found.update(range(ends[0], ends[1] + 1, int(step or 1)))
    return found


def by_walking(cron: str, zone: str, after: float, upto: float) -> list[float]:
    """Return the instants after one time and up to another, found minute by minute of real time.

    The rules of Debian's cron. An expression whose minutes or hours begin with a star follows the clock on the wall
    wherever it stands: hours that are left out have no instant, repeated ones have them again. One with fixed times
    has each of them once a day: in its first pass if it is repeated, and when the clock goes on if it is left out.
    """
    minutes, hours, days, months, weekdays = cron.split()
    local_zone = ZoneInfo(zone)
    wanted = [
        numbers_of(*one)
        for one in ((minutes, 0, 59), (hours, 0, 23), (days, 1, 31), (months, 1, 12), (weekdays, 0, 7))
    ]
    wanted[4] = {one % 7 for one in wanted[4]}

    def matches(local: datetime) -> bool:
        in_month, in_week = local.day in wanted[2], local.isoweekday() % 7 in wanted[4]
        is_day = (in_month and in_week) if "*" in (days[0], weekdays[0]) else (in_month or in_week)
        return local.minute in wanted[0] and local.hour in wanted[1] and local.month in wanted[3] and is_day

    is_fixed = not (minutes.startswith("*") or hours.startswith("*"))
    found = []
    moment = datetime.fromtimestamp(after // MINUTE * MINUTE, UTC)
    while moment.timestamp() <= upto:
        local = moment.astimezone(local_zone)
        is_repeated = local.fold == 1
        due = matches(local) and not (is_fixed and is_repeated)
        if is_fixed and not due:  # times that were left out just before
            wall = local.replace(tzinfo=None)
            before = (moment - timedelta(minutes=1)).astimezone(local_zone).replace(tzinfo=None)
            left_out = int((wall - before).total_seconds() // MINUTE) - 1
            due = any(matches(wall - timedelta(minutes=back + 1)) for back in range(max(0, left_out)))
        if due and after < moment.timestamp() <= upto:
            found.append(moment.timestamp())
        moment += timedelta(minutes=1)
    return found


@given(
    cron=st.builds(
        "{} {} {} {} {}".format,
        field(0, 59),
        field(0, 23),
        st.one_of(st.just("*"), field(1, 31)),
        st.just("*"),
        st.one_of(st.just("*"), field(0, 6)),
    ),
    zone=st.sampled_from(ZONES),
    day=st.sampled_from(CHANGES),
    start=st.integers(-36 * 60, 12 * 60),
    second=st.integers(0, 59),
)
@example("30 2 * * *", "Europe/Berlin", "2026-03-29", -600, 0)
@example("30 2 * * *", "Europe/Berlin", "2026-10-25", -600, 0)
@example("15,45 2 * * *", "Europe/Berlin", "2026-03-29", -600, 0)
@example("0 2,3 * * *", "Europe/Berlin", "2026-03-29", -600, 0)
@example("30 * * * *", "Europe/Berlin", "2026-10-25", -600, 0)
@example("* */2 * * *", "Australia/Lord_Howe", "2026-04-05", -600, 0)
@example("* 1,3 * * *", "Australia/Lord_Howe", "2026-10-04", -600, 0)
@example("* */18 * * 0", "America/Santiago", "2026-09-06", -1300, 0)
@example("30 1-5 * * *", "Australia/Lord_Howe", "2026-10-04", -600, 0)
@example("0 0 * * *", "America/Santiago", "2026-09-06", -600, 0)
@example("* * * * *", "Australia/Lord_Howe", "2026-04-05", -300, 7)
def test_instants_equal_those_of_a_walk_through_all_minutes(
    cron: str, zone: str, day: str, start: int, second: int
) -> None:
    after = at(f"{day}T03:00", zone) + start * MINUTE + second
    upto = after + 30 * 3600
    schedule = Schedule(cron=cron, timezone=zone)
    expected = by_walking(cron, zone, after, upto)
    assert schedule.between(after, upto, most=10_000) == expected
    assert schedule.between(after, upto, most=7) == expected[-7:]
    found = schedule.next_after(after)
    assert found == expected[0] if expected else found is None or found > upto


def test_last_instants_of_a_long_time_are_found_quickly() -> None:
    dense = Schedule(cron="* * * 1-6 *", timezone="Europe/Berlin")
    found = dense.between(at("2000-01-01"), at("2026-12-01"))
    assert len(found) == MAX_MISSED
    assert found[-1] == at("2026-06-30T23:59", "Europe/Berlin")
    assert Schedule(every=1).between(0.0, at("2026-01-01"))[-1] == at("2026-01-01")
    assert len(Schedule(every=1).between(0.0, at("2026-01-01"))) == MAX_MISSED


def test_times_left_out_run_once_and_repeated_ones_once() -> None:
    nightly = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    spring = nightly.between(at("2026-03-28T12:00"), at("2026-03-30T12:00"))
    assert spring == [at("2026-03-29T03:00", "Europe/Berlin"), at("2026-03-30T02:30", "Europe/Berlin")]
    autumn = nightly.between(at("2026-10-24T12:00"), at("2026-10-25T12:00"))
    assert autumn == [at("2026-10-25T02:30", "Europe/Berlin", fold=0)]


def test_periods_are_counted_from_1970() -> None:
    assert Schedule(every=30).next_after(45.5) == 60.0
    assert Schedule(every=30).next_after(60.0) == 90.0
    assert Schedule(every=timedelta(minutes=5)).between(299.0, 900.0) == [300.0, 600.0, 900.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either cron or every"),
        ({"cron": "* * * * *", "every": 5}, "either cron or every"),
        ({"every": 0}, "every must be"),
        ({"every": 1.5}, "every must be"),
        ({"every": float("nan")}, "every must be"),
        ({"cron": "61 * * * *"}, "bad minute"),
        ({"cron": "* * * *"}, "five fields"),
        ({"cron": "*/5 * * * * *"}, "five fields"),
        ({"cron": "0 0 30 2 *"}, "bad day-of-month"),
        ({"cron": "* * */20 * 1L"}, "no instant"),
        ({"every": 5, "timezone": "Mars/Olympus"}, "unknown time zone"),
        ({"every": 5, "timezone": "../../etc/passwd"}, "unknown time zone"),
        ({"every": 5, "jitter": -1}, "jitter must be"),
        ({"every": 5, "missed": "some"}, "missed must be"),
        ({"every": 5, "overlap": "perhaps"}, "overlap must be"),
        ({"every": 5, "name": "a b"}, "invalid schedule name"),
    ],
)
def test_invalid_schedules_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadCall, match=message):
        Schedule(**options)


def test_jitter_is_different_for_each_instant_and_equal_for_all() -> None:
    schedule = Schedule(every=10, jitter=timedelta(seconds=4))
    delays = [schedule.delay_of("report", instant) for instant in range(0, 1000, 10)]
    assert delays == [schedule.delay_of("report", instant) for instant in range(0, 1000, 10)]
    assert len(set(delays)) > 90
    assert 0 <= min(delays) < 0.5
    assert 3.5 < max(delays) < 4


def test_job_of_an_instant_is_named_after_it() -> None:
    assert job_id("report", at("2026-11-30T03:45")) == "report:2026-11-30T03:45:00Z"


def test_job_put_again_differs_in_its_time_only() -> None:
    def report(of: str, *, size: int = 3) -> None: ...

    options = call.RunOptions(retries=3, keep=77.0, headers=(("trace", "1"),))
    (data,) = call.encode_calls(report, "daily.report", [(("sales",), {"size": 4})], options)
    again = call.put_again(data, 1_700_000_000.25)
    before, after = call.decode_call(data), call.decode_call(again)
    assert after.put_at == 1_700_000_000.25
    assert (after.task, after.args, after.kwargs) == (before.task, before.args, before.kwargs)
    assert (after.options, after.labels) == (before.options, before.labels)
    assert len(again) == len(data)


# --- what becomes of instants


def plan_of(
    late: float, every: int = 10, *, first: float = 1000.0, held: bool = False, **options: Any
) -> Plan:
    return plan(Schedule(every=every, **options), first, first + late, held=held)


@pytest.mark.parametrize("missed", ["skip", "one", "all"])
def test_instants_in_time_are_fired_by_any_policy(missed: Any) -> None:
    assert plan_of(0.3, missed=missed) == Plan([1000.0], 1010.0)
    assert plan_of(3.0, every=1, missed=missed) == Plan([1000.0, 1001.0, 1002.0, 1003.0], 1004.0)
    assert plan_of(59.0, every=3600, first=3600.0, missed=missed) == Plan([3600.0], 7200.0)


def test_policy_decides_about_missed_instants() -> None:
    assert plan_of(31.0, missed="skip") == Plan([1030.0], 1040.0, missed=3)
    assert plan_of(100.0, every=1000, missed="skip") == Plan([], 2000.0, missed=1)
    assert plan_of(100.0, every=1000, missed="one") == Plan([1000.0], 2000.0)
    assert plan_of(31.0, missed="one") == Plan([1030.0], 1040.0, missed=3)
    assert plan_of(31.0, missed="all") == Plan([1000.0, 1010.0, 1020.0, 1030.0], 1040.0)
    assert len(plan_of(1e6, missed="all").instants) == MAX_MISSED


def test_instants_queue_one_behind_the_other() -> None:
    assert plan_of(31.0, overlap="queue", missed="all") == Plan([1000.0], 1010.0)
    assert plan_of(31.0, overlap="queue", held=True) == Plan([1030.0], 1040.0, skipped=3)
    late = plan_of(500.0, every=1000, overlap="queue", missed="skip", held=True)
    assert late == Plan([1000.0], 2000.0), "a held instant is not missed"
