"""The judge of the torture bench, on made-up histories: a quiet one breaks no promise, and each harm breaks its own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from conveyor.torture import history, report
from conveyor.torture.history import (
    Accepted,
    CancelAsked,
    Closed,
    Depth,
    End,
    Event,
    Fault,
    History,
    LossSeen,
    Outcome,
    ProcessEnded,
    Put,
    Start,
    Step,
    Usage,
)
from conveyor.torture.judge import PROMISES, Record, growth, judge, recovery_times

LANE, ORDER, ITEMS = "torture-1-own-mixed", "torture-1-own-order", "torture-1-own-items"
EMPTY = "torture-1-own-long"
SHARED, FLOW = "torture-1-own-shared", "torture-1-own-flow"
PRODUCER, WORKER, OTHER = 100, 200, 300


def key(number: int) -> str:
    return f"producer.{PRODUCER}.{number}"


def put(
    number: int, at: float, lane: str = LANE, kind: str = "works", delay: float = 0.0, priority: int = 0
) -> list[Event]:
    return [
        Put(at, key(number), lane, kind, f"{key(number)}/0", delay, priority),
        Accepted(at + 0.1, key(number), f"id{number}"),
    ]


def put_with_terms(number: int, at: float, *before: int) -> list[Event]:
    """Return the put of a job of whose key one runs at a time, after others."""
    made = Put(
        at, key(number), FLOW, "works", f"{key(number)}/0", 0.0, 0, "key", 1, [key(one) for one in before]
    )
    return [made, Accepted(at + 0.1, key(number), f"id{number}")]


def put_in_flow(number: int, at: float, **terms: Any) -> list[Event]:
    """Return the put of a job with other terms."""
    made = Put(at, key(number), FLOW, "works", f"{key(number)}/0", **terms)
    return [made, Accepted(at + 0.1, key(number), f"id{number}")]


def put_by_server(job: str, at: float, kind: str, value: str = "", token: int = 0) -> list[Event]:
    """Return put and run of a job that no producer has put."""
    token = token or int(at * 10)
    start, end = Start(at, job, job, token, WORKER), End(at + 0.1, job, token, WORKER, "done")
    return [Put(at, job, FLOW, kind, value), start, end]


def instant(second: int, at: float) -> list[Event]:
    """Return put and run of a job of a schedule."""
    return put_by_server(f"tick:2026-11-30T00:00:{second:02}Z", at, "instant")


def steps(number: int, *which: tuple[float, int, bool]) -> list[Event]:
    """Return the steps of a job: when, which, and whether it has returned."""
    return [Step(at, f"id{number}", step, int(at * 10), kept) for at, step, kept in which]


def run(
    number: int, at: float, until: float, pid: int = WORKER, how: str = "done", token: int = 0
) -> list[Event]:
    """Return a run with its start and, unless `how` is empty, its end."""
    token = token or int(at * 10)
    start = Start(at, key(number), f"id{number}", token, pid)
    return [start, *([End(until, key(number), token, pid, how)] if how else [])]


def told(number: int, at: float, state: str = "done", value: str | None = None) -> Outcome:
    return Outcome(at, key(number), state, f"{key(number)}/0" if value is None else value)


def fault(name: str, at: float, until: float, *effects: str, pids: tuple[int, ...] = ()) -> Fault:
    return Fault(at, until, name, list(pids), list(effects), "own")


#: One of each: two jobs in order, an item, a job that is cancelled, one that ends its worker, and a quiet end.
QUIET: list[Event] = [
    *put(1, 1.0, ORDER), *run(1, 2.0, 3.0), told(1, 3.1),
    *put(2, 1.5, ORDER), *run(2, 3.0, 4.0), told(2, 4.1), told(2, 4.2),
    *put(10, 1.7, ORDER, priority=7), *run(10, 2.5, 2.6), told(10, 2.7),
    *put(11, 1.0, delay=2.0), *run(11, 3.0, 3.5), told(11, 3.6),
    put(12, 1.0)[0], Accepted(1.1, key(12), "id12", held=False, level="fsync"), *run(12, 4.0, 4.5),
    told(12, 4.6),
    *put_with_terms(31, 1.0), *run(31, 2.0, 3.0), told(31, 3.1),
    *put_with_terms(32, 1.0, 31), *run(32, 3.0, 4.0), told(32, 4.1),
    *put_in_flow(33, 1.0, limit="rate", starts=1, per=0.5), *run(33, 2.0, 2.1, token=2_000_000), told(33, 2.2),
    *put_in_flow(34, 1.0, limit="rate", starts=1, per=0.5), *run(34, 2.5, 2.6, token=2_500_000), told(34, 2.7),
    *put_in_flow(35, 1.0, unique="only"), *run(35, 2.0, 3.0), told(35, 3.1),
    put_in_flow(36, 1.5, unique="only")[0], Accepted(1.6, key(36), "id35"), told(36, 3.1, value=f"{key(35)}/0"),
    *put_in_flow(37, 3.0, unique="only"), *run(37, 4.0, 5.0), told(37, 5.1),
    *put_in_flow(38, 1.0, has_hooks=True), *run(38, 2.0, 3.0), told(38, 3.1),
    *put_by_server("h38", 3.2, "hook", "id38 done"),
    *instant(1, 1.0), *instant(2, 2.0),
    *put_in_flow(39, 1.0), *run(39, 2.0, 5.0), told(39, 5.1),
    *steps(39, (2.1, 1, False), (2.2, 1, True), (2.3, 2, False), (4.1, 2, False), (4.2, 2, True)),
    *put(3, 1.0, ITEMS, "item"), *run(3, 2.0, 3.0, OTHER), told(3, 3.1),
    *put(4, 1.0), CancelAsked(1.5, "id4"), told(4, 2.0, "cancelled", ""),
    *put(5, 1.0, kind="crashes"), *(one for at in (2, 3, 4) for one in run(5, at, at, 290 + at, how="")),
    told(5, 5.0, "lost", "died"),
    *put(6, 1.0, kind="raises"), *run(6, 5.0, 6.0, how="Spoiled"), told(6, 6.1, "failed", "Spoiled"),
    Usage(-20.0, "worker 8", 5 << 20), Usage(5.0, "worker 8", 60 << 20), Usage(9.0, "worker 8", 60 << 20),
    Depth(2.0, ITEMS, 10, 10), Usage(1.0, "server", 10 << 20), Usage(9.0, "server", 12 << 20),
    ProcessEnded(5.0, "taker items 1", OTHER, -9, wanted=True), Closed(9.0, EMPTY, 0, 0, 0, 0, 3.0, 0),
]  # fmt: skip


def broken(*events: Event) -> list[str]:
    """Return the promises that a history breaks: the quiet one, with these events as well."""
    return [one.promise for one in judge(Record(History([*QUIET, *events]))) if one.broken]


def test_quiet_history_keeps_and_tests_each_promise() -> None:
    verdicts = judge(Record(History(QUIET)))
    assert [one.promise for one in verdicts] == list(PROMISES)
    assert [(one.promise, one.broken, one.excused) for one in verdicts if one.broken or one.excused] == []
    assert [one.promise for one in verdicts if not one.seen] == []


HARMS: dict[str, tuple[str, list[Event]]] = {
    "a job without an outcome": ("no accepted job is lost", [*put(9, 1.0), *run(9, 2.0, 3.0)]),
    "an outcome that is gone": ("no accepted job is lost", [*put(9, 1.0), told(9, 4.0, "gone")]),
    "an item that was not processed": ("no accepted job is lost", put(9, 1.0, ITEMS, "item")),
    "two outcomes": ("one outcome each", [told(1, 5.0, "failed", "late")]),
    "an item processed twice": ("one outcome each", [told(3, 5.0)]),
    "the value of another job": ("outcomes are right", [*put(9, 1.0), *run(9, 2.0, 3.0), told(9, 4.0, value="x")]),
    "the value of a job of like name": (
        "outcomes are right", [*put(9, 1.0), *run(9, 2.0, 3.0), told(9, 4.0, value=f"{key(90)}/0")],
    ),
    "done without a run": ("outcomes are right", [*put(9, 1.0), told(9, 4.0)]),
    "done after half a run": ("outcomes are right", [*put(9, 1.0), *run(9, 2.0, 3.0, how="Spoiled"), told(9, 4.0)]),
    "a healthy job that failed": ("outcomes are right", [*put(9, 1.0), told(9, 4.0, "failed", "no")]),
    "a failing job that is done": (
        "outcomes are right",
        [*put(9, 1.0, kind="raises"), *run(9, 2.0, 3.0), told(9, 4.0)],
    ),
    "a failing job that failed without a run": (
        "outcomes are right", [*put(9, 1.0, kind="raises"), told(9, 4.0, "failed")],
    ),
    "a crashing job that failed": (
        "outcomes are right", [*put(9, 1.0, kind="crashes"), *run(9, 2.0, 3.0, 209, how=""), told(9, 4.0, "failed")],
    ),
    "cancelled without a request": ("no healthy job is cancelled", [*put(9, 1.0), told(9, 4.0, "cancelled", "")]),
    "cancelled before the request": (
        "no healthy job is cancelled", [*put(9, 1.0), told(9, 4.0, "cancelled", ""), CancelAsked(4.5, "id9")],
    ),
    "a run that vanished": (
        "no healthy run is ended", [*put(9, 1.0), *run(9, 2.0, 3.0, 203, how=""), *run(9, 4.0, 5.0), told(9, 5.1)],
    ),
    "a run that was interrupted": (
        "no healthy run is ended",
        [*put(9, 1.0), *run(9, 2.0, 3.0, how="JobCancelled"), *run(9, 4.0, 5.0), told(9, 5.1)],
    ),
    "interrupted by a consumer that was to let it finish": (
        "no healthy run is ended",
        [
            *put(9, 1.0), *run(9, 2.0, 3.0, how="JobCancelled"), *run(9, 4.0, 5.0), told(9, 5.1),
            fault("consumer leaves in good order", 2.5, 2.5, pids=(WORKER,)),
        ],
    ),
    "killed after it was interrupted": (
        "no healthy run is ended",
        [
            *put(9, 1.0), *run(9, 2.0, 3.0, how="JobCancelled"), *run(9, 7.0, 8.0, OTHER), told(9, 8.1),
            fault("worker killed", 5.0, 5.0, "kill", pids=(WORKER,)),
        ],
    ),
    "blamed for the kills of later runs": (
        "no healthy job is blamed",
        [
            *put(9, 1.0),
            *(one for at in (2, 3, 4) for one in run(9, at, at + 0.5, how="Spoiled")), told(9, 6.0, "lost", "died"),
            *(fault("worker killed", 8.0, 8.0, "kill", pids=(WORKER,)) for _ in range(3)),
        ],
    ),
    "blamed for nothing": ("no healthy job is blamed", [*put(9, 1.0), told(9, 4.0, "lost", "died")]),
    "blamed for a run that never started": (
        "no healthy job is blamed",
        [
            *put(9, 1.0), Start(2.0, key(9), "id9", 20, WORKER, attempt=2), End(3.0, key(9), 20, WORKER, "done"),
            told(9, 4.0),
        ],
    ),
    "dead after one crash": (
        "no healthy job is blamed",
        [*put(9, 1.0, kind="crashes"), *run(9, 2.0, 3.0, 209, how=""), told(9, 4.0, "lost", "died")],
    ),
    "blamed for two kills": (
        "no healthy job is blamed",
        [
            *put(9, 1.0), *run(9, 2.0, 3.0, 201, how=""), *run(9, 4.0, 5.0, 202, how=""), told(9, 6.0, "lost", "died"),
            *(fault("worker killed", at, at, "kill", pids=(pid,)) for at, pid in ((2.5, 201), (4.5, 202))),
        ],
    ),
    "two of a key at once": (
        "limits hold", [*put_with_terms(9, 1.0), *run(9, 2.5, 2.7, OTHER), told(9, 4.0)],
    ),
    "two of a rate within its period": (
        "rates hold",
        [*put_in_flow(9, 1.0, limit="rate", starts=1, per=0.5), *run(9, 2.7, 2.8, token=2_600_000), told(9, 3.2)],
    ),
    "a second job of a unique key": (
        "unique keys hold", [*put_in_flow(9, 2.0, unique="only"), *run(9, 6.0, 7.0), told(9, 7.1)],
    ),
    "a handle of a unique key without an end": (
        "no accepted job is lost", [put_in_flow(9, 1.5, unique="only")[0], Accepted(1.6, key(9), "id35")],
    ),
    "a handle with the value of its own arguments": (
        "outcomes are right",
        [put_in_flow(9, 1.5, unique="only")[0], Accepted(1.6, key(9), "id35"), told(9, 3.2)],
    ),
    "a job of a batch with the value of another": (
        "outcomes are right",
        [*put_in_flow(9, 1.0), *run(9, 2.0, 3.0), told(9, 3.1, value=f"{key(8)}/0"), *put_in_flow(8, 1.0),
         *run(8, 2.0, 3.0), told(8, 3.1)],
    ),
    "a job of a batch that failed with another": (
        "outcomes are right",
        [*put_in_flow(9, 1.0), *run(9, 2.0, 3.0), told(9, 3.1, "failed", "Spoiled"),
         Put(1.0, key(8), FLOW, "raises"), *run(8, 2.0, 3.0, how="Spoiled"), told(8, 3.1, "failed", "Spoiled")],
    ),
    "a job of a batch that was settled twice": (
        "one outcome each", [*put_in_flow(9, 1.0), *run(9, 2.0, 3.0), told(9, 3.1), told(9, 5.0, "failed", "late")],
    ),
    "an end without a hook": (
        "hooks follow each end", [*put_in_flow(9, 1.0, has_hooks=True), *run(9, 2.0, 3.0), told(9, 3.1)],
    ),
    "an end with two hooks": ("hooks follow each end", put_by_server("again", 4.0, "hook", "id38 done")),
    "a hook for another end": (
        "hooks follow each end",
        [
            *put_in_flow(9, 1.0, has_hooks=True), *run(9, 2.0, 3.0), told(9, 3.1),
            *put_by_server("other", 4.0, "hook", "id9 failed"),
        ],
    ),
    "a hook of a cancelled job": (
        "hooks follow each end",
        [
            *put_in_flow(9, 1.0, has_hooks=True), CancelAsked(1.5, "id9"), *run(9, 2.0, 2.1, how="JobCancelled"),
            told(9, 2.2, "cancelled", ""), *put_by_server("other", 4.0, "hook", "id9 failed"),
        ],
    ),
    "an instant without a job": ("each instant is fired once", instant(4, 4.0)),
    "an instant with two jobs": (
        "no finished job runs again", put_by_server("tick:2026-11-30T00:00:02Z", 6.0, "instant"),
    ),
    "a finished step that was repeated": ("finished steps are not repeated", steps(39, (4.3, 2, False))),
    "a finished step that was repeated after a later one": (
        "finished steps are not repeated", steps(39, (2.4, 1, False)),
    ),
    "two steps repeated after a crash": (
        "finished steps are not repeated",
        [
            *put_in_flow(9, 1.0), *run(9, 2.0, 5.0), told(9, 5.1),
            *steps(9, (2.1, 1, False), (2.2, 2, False), (4.1, 1, False)),
        ],
    ),
    "started before one on another queue that it comes after": (
        "followers come after",
        [
            Put(1.0, key(9), FLOW.replace("flow", "next"), "works", f"{key(9)}/0", before=[key(32)]),
            *run(9, 1.5, 1.6), told(9, 4.5),
        ],
    ),
    "started before one that it comes after": (
        "followers come after", [*put_with_terms(9, 1.0, 32), *run(9, 1.5, 1.6), told(9, 4.5)],
    ),
    "two runs at once": (
        "no job runs twice at once",
        [*put(9, 1.0), *run(9, 2.0, 4.0), *run(9, 3.0, 5.0, OTHER), told(9, 6.0)],
    ),
    "two runs at once, of which the first was killed": (
        "no job runs twice at once",
        [
            *put(9, 1.0), *run(9, 2.0, 4.0, 203, how=""), *run(9, 3.0, 5.0, OTHER), told(9, 6.0),
            Usage(3.5, "worker 203", 9), fault("worker killed", 3.6, 3.6, "kill", pids=(203,)),
        ],
    ),
    "a token that did not grow": (
        "no job runs twice at once",
        [*put(9, 1.0), *run(9, 2.0, 3.0, how="Spoiled", token=8), *run(9, 4.0, 5.0, token=7), told(9, 6.0)],
    ),
    "done, and run again": (
        "no finished job runs again", [*put(9, 1.0), *run(9, 2.0, 3.0), *run(9, 4.0, 5.0, OTHER), told(9, 6.0)],
    ),
    "done, and run again long after, when its worker was killed": (
        "no finished job runs again",
        [
            *put(9, 1.0), *run(9, 2.0, 3.0), *run(9, 45.0, 46.0, OTHER), told(9, 47.0),
            fault("worker killed", 44.0, 44.0, "kill", pids=(WORKER,)),
        ],
    ),
    "done, and run again long after, when its worker ended": (
        "no finished job runs again",
        [
            *put(9, 1.0), *run(9, 2.0, 3.0), *run(9, 45.0, 46.0, OTHER), told(9, 47.0),
            *put(13, 40.0, kind="exits"), *run(13, 44.0, 44.0, how=""), told(13, 47.0, "lost", "died"),
            *run(13, 45.0, 45.0, 281, how=""), *run(13, 46.0, 46.0, 282, how=""),
        ],
    ),
    "a token that did not grow, of a run whose lease had ended": (
        "no job runs twice at once",
        [
            *put(9, 1.0), *run(9, 2.0, 3.0, how="Spoiled", token=8), *run(9, 4.0, 5.0, token=7), told(9, 6.0),
            fault("supervisor stopped", 2.5, 3.5, "lease", pids=(WORKER,)),
        ],
    ),
    "done, and run again before its worker was killed": (
        "no finished job runs again",
        [
            *put(9, 1.0), *run(9, 2.0, 3.0), *run(9, 4.0, 5.0, OTHER), told(9, 6.0),
            fault("worker killed", 5.5, 5.5, "kill", pids=(WORKER,)),
        ],
    ),
    "failed, and run again": (
        "no finished job runs again",
        [
            *put(9, 1.0, kind="raises"), *run(9, 2.0, 3.0, how="Spoiled"), told(9, 3.1, "failed"),
            *run(9, 3.2, 3.3, how="Spoiled"),
        ],
    ),
    "failed without retries, and run again": (
        "no finished job runs again",
        [
            *put(9, 1.0, kind="raises"), *run(9, 2.0, 3.0, how="Spoiled"), *run(9, 3.2, 3.3, how="Spoiled"),
            told(9, 3.4, "failed"),
        ],
    ),
    "cancelled, and run": (
        "no finished job runs again",
        [*put(9, 1.0), CancelAsked(1.5, "id9"), told(9, 2.0, "cancelled", ""), *run(9, 8.0, 9.0, how="Spoiled")],
    ),
    "urgent, and many others before it": (
        "first starts are in order",
        [
            *put(7, 1.6, ORDER, priority=3), *run(7, 20.0, 21.0), told(7, 22.0),
            *(one for nth in range(100, 170) for one in (*put(nth, 1.7, ORDER), *run(nth, nth / 10, nth / 10))),
            *(told(nth, nth / 10) for nth in range(100, 170)),
        ],
    ),
    "a start before an earlier job's": (
        "first starts are in order",
        [*put(7, 1.6, ORDER), *put(8, 1.7, ORDER), *run(8, 5.0, 6.0), *run(7, 7.0, 8.0), told(7, 9.0), told(8, 9.0)],
    ),
    "a start before an earlier job's of its priority": (
        "first starts are in order",
        [
            *put(7, 1.6, ORDER, priority=3), *put(8, 1.7, ORDER, priority=3), *run(8, 5.0, 6.0), *run(7, 7.0, 8.0),
            told(7, 9.0), told(8, 9.0),
        ],
    ),
    "a start before the delay is over": (
        "none starts before it is due", [*put(9, 1.0, delay=2.0), *run(9, 2.9, 3.5), told(9, 3.6)],
    ),
    "a retry before the delay is over": (
        "none starts before it is due",
        [*put(9, 1.0, delay=2.0), *run(9, 2.0, 2.5, how="Spoiled"), *run(9, 3.1, 3.5), told(9, 3.6)],
    ),
    "a killed job that started again late": (
        "nothing is stuck",
        [
            *put(9, 1.0), *run(9, 2.0, 3.0, how=""), *run(9, 99.0, 99.5, OTHER), told(9, 99.6),
            fault("worker killed", 2.5, 2.5, "kill", pids=(WORKER,)),
        ],
    ),
    "a retry that came late": (
        "nothing is stuck",
        [
            *put(9, 1.0, kind="retried"), *run(9, 2.0, 3.0, how="Spoiled"), *run(9, 64.0, 64.5), told(9, 64.6),
        ],
    ),
    "an outcome that was reported late": ("nothing is stuck", [*put(9, 1.0), *run(9, 2.0, 3.0), told(9, 64.0)]),
    "a job that started late": ("nothing is stuck", [*put(9, 1.0), *run(9, 62.0, 62.5), told(9, 62.6)]),
    "jobs left at the end": ("nothing is stuck", [Closed(9.0, EMPTY, 3, 0, 0, 0, 3.0, 0)]),
    "no end within the bound": ("nothing is stuck", [Closed(9.0, EMPTY, 0, 0, 0, 0, None, 0)]),
    "more than may wait": ("maxsize holds", [Depth(5.5, ITEMS, 14, 10)]),
    "more than may wait after a resize": ("maxsize holds", [Depth(3.0, ITEMS, 2, 2), Depth(8.0, ITEMS, 6, 2)]),
    "more each time after a resize": ("maxsize holds", [Depth(3.0, ITEMS, 9, 2), Depth(8.0, ITEMS, 13, 2)]),
    "more bulk jobs than may wait": ("maxsize holds", [Depth(3.0, ORDER, 300, 300), Depth(4.0, ORDER, 400, 300)]),
    "jobs not accounted for": ("the ledger balances", [Closed(9.0, EMPTY, 0, 5, 0, 0, 3.0, 0)]),
    "entries without their other half": ("the ledger balances", [Closed(9.0, EMPTY, 0, 0, 1, 0, 3.0, 0)]),
    "jobs not accounted for, after the server forgot": (
        "the ledger balances",
        [Closed(9.0, EMPTY, 0, 5, 0, 0, 3.0, 0), fault("server emptied", 0.1, 0.2, "loss")],
    ),
    "a job accepted twice": ("the ledger balances", [Closed(9.0, EMPTY, 0, 0, 0, 0, 3.0, 1)]),
    "a larger worker": (
        "memory and keys are flat",
        [Usage(-20.0, "worker 7", 5 << 20), Usage(5.0, "worker 7", 40 << 20), Usage(9.9, "worker 7", 100 << 20)],
    ),
    "a larger server": ("memory and keys are flat", [Usage(9.9, "server", 100 << 20)]),
    "keys left for good": ("memory and keys are flat", [Usage(9.9, "server", 10 << 20, ["strange"])]),
    "a consumer that gave up": ("no process ends by itself", [ProcessEnded(5.0, "consumer", 1, 1, wanted=False)]),
    "a consumer that found no server": (
        "no process ends by itself", [ProcessEnded(5.0, f"consumer {LANE} 1", 1, 69, wanted=False)],
    ),
    "a consumer that crashed as it left": (
        "no process ends by itself", [ProcessEnded(5.0, "consumer", 1, -11, wanted=True)],
    ),
    "a loss that no fault explains": ("levels of durability are kept", [LossSeen(4.0, LANE)]),
    "an item lost long before the server forgot": (
        "no accepted job is lost", [*put(9, 1.0, ITEMS, "item"), fault("server emptied", 99.0, 99.0, "loss")],
    ),
    "forgotten, and its producer lived on for long": (
        "no accepted job is lost",
        [
            *put(9, 1.0), fault("server emptied", 2.0, 3.0, "loss"), told(9, 40.0, "gone"),
            ProcessEnded(30.0, "producer", PRODUCER, -9, wanted=True),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_harm_breaks_exactly_its_promise(harm: str) -> None:
    promise, events = HARMS[harm]
    assert broken(*events) == [promise]


def test_each_promise_has_a_harm() -> None:
    assert {promise for promise, _ in HARMS.values()} == set(PROMISES)


LOSS = fault("server emptied", 2.0, 3.0, "loss")
EXCUSES: dict[str, list[Event]] = {
    "forgotten, and its producer stood still until it was killed": [
        *put(9, 1.0), LOSS, ProcessEnded(15.0, "producer", PRODUCER, -9, wanted=True), told(9, 16.0, "gone"),
        fault("producer stopped", 2.5, 15.0, pids=(PRODUCER,)),
    ],
    "forgotten, and its producer had ended": [
        *put(9, 1.0), LOSS, ProcessEnded(1.5, "producer", PRODUCER, -9, wanted=True), told(9, 4.0, "gone"),
    ],
    "a consumer that started during a failover": [
        ProcessEnded(30.0, f"consumer {LANE} 1", 1, 69, wanted=False), fault("failover", 12.0, 12.0, "refusal"),
    ],
    "an item that the server forgot": [*put(9, 1.0, ITEMS, "item"), LOSS],
    "a loss that a producer saw": [LossSeen(61.0, LANE), LOSS],
    "done, and its worker killed before that was settled": [
        *put(9, 1.0), *run(9, 2.0, 3.0, 203), *run(9, 4.0, 5.0, OTHER), told(9, 6.0),
        fault("worker killed", 3.01, 3.01, "kill", pids=(203,)),
    ],
    "lost after three kills": [
        *put(9, 1.0),
        *(one for number in (1, 2, 3) for one in run(9, number * 2.0, 9.0, 200 + number, how="")),
        *(fault("worker killed", number * 2.5, number * 2.5, "kill", pids=(200 + number,)) for number in (1, 2, 3)),
        told(9, 9.0, "lost", "died"),
    ],
    "an attempt that a roll-out ended before its start was noted": [
        *put(9, 1.0), Start(20.0, key(9), "id9", 200, WORKER, attempt=2), End(21.0, key(9), 200, WORKER, "done"),
        told(9, 21.1), fault("roll-out", 3.0, 4.0, "order"),
    ],
    "run by a worker that stood still while the server forgot its job": [
        *put(9, 1.0), *run(9, 4.0, 4.5, token=8), told(9, 4.6), *run(9, 6.0, 6.5, OTHER, token=7), LOSS,
    ],
    "run again after its outcome was reported, since the server forgot": [
        *put(9, 1.0), *run(9, 1.5, 1.8, how="Spoiled"), LOSS, told(9, 2.0), *run(9, 8.0, 9.0),
    ],
    "urgent, and overtaken by what a killed consumer held": [
        *put(7, 1.6, ORDER, priority=3), *run(7, 20.0, 21.0), told(7, 22.0),
        *(one for nth in range(100, 170) for one in (*put(nth, 1.7, ORDER), *run(nth, nth / 10, nth / 10))),
        *(told(nth, nth / 10) for nth in range(100, 170)),
        fault("supervisor killed", 4.0, 4.0, "order"),
    ],
    "two runs, the first by a supervisor that stood still": [
        *put(9, 1.0), *run(9, 2.0, 9.0), *run(9, 8.0, 8.5, OTHER), told(9, 9.0),
        fault("supervisor stopped", 2.5, 8.5, "lease", pids=(WORKER,)),
    ],
    "out of order, and the consumer was killed": [
        *put(7, 1.6, ORDER), *put(8, 1.7, ORDER), *run(8, 5.0, 6.0), *run(7, 7.0, 8.0), told(7, 9.0), told(8, 9.0),
        fault("supervisor killed", 4.0, 4.0, "order"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("harm", EXCUSES)
def test_fault_excuses_the_harm_it_may_cause(harm: str) -> None:
    verdicts = judge(Record(History([*QUIET, *EXCUSES[harm]])))
    assert [one.promise for one in verdicts if one.broken] == []
    assert any(one.excused for one in verdicts)


ELSEWHERE: dict[str, dict[str, Any]] = {
    "on another stage": {"stage": "watched"},
    "on another lane": {"lane": "torture-1-own-long"},
    "on other processes": {"pids": [1]},
    "over before": {"at": 0.1, "until": 0.2},
}


@pytest.mark.parametrize("how", ELSEWHERE)
@pytest.mark.parametrize("harm", EXCUSES)
def test_fault_elsewhere_excuses_no_harm(harm: str, how: str) -> None:
    faults = [one for one in EXCUSES[harm] if isinstance(one, Fault)]
    if how == "on other processes" and not any(one.pids for one in faults):
        return  # it is about the server
    moved = [msgspec.structs.replace(one, **ELSEWHERE[how]) for one in faults]
    assert broken(*moved, *(one for one in EXCUSES[harm] if not isinstance(one, Fault))) != []


def test_producer_with_a_forgotten_job_had_to_put_it_again() -> None:
    events = [*put(9, 1.0), LOSS, told(9, 4.0, "gone")]
    assert broken(*events) == ["no accepted job is lost"]


def test_accepted_count_is_excused_if_the_server_forgot_jobs() -> None:
    verdicts = judge(Record(History([*QUIET, Closed(9.0, EMPTY, 0, 0, 0, 0, 3.0, 1), LOSS])))
    assert [(one.promise, one.excused) for one in verdicts if one.excused] == [("the ledger balances", 1)]


def test_limit_may_have_been_larger_between_two_polls() -> None:
    looks = Depth(7.5, ITEMS, 10, 10), Depth(8.0, ITEMS, 40, 10)
    resized = fault("queue resized", 1.0, 7.8), fault("queue resized", 7.9, 12.0)
    assert broken(*looks) == ["maxsize holds"]
    assert broken(*looks, *resized) == []


def test_loss_of_a_replicated_job_in_a_takeover_is_a_breach() -> None:
    taken_over = fault("primary killed", 2.0, 3.0, "loss", "stale")
    asked, accepted = put(9, 1.0)
    replicated = msgspec.structs.replace(accepted, level="replicated:1")
    assert broken(asked, accepted, taken_over) == []
    assert broken(asked, replicated, taken_over) == ["no accepted job is lost"]
    let_go = msgspec.structs.replace(replicated, held=False)
    assert broken(asked, let_go, taken_over) == ["no accepted job is lost", "levels of durability are kept"]


@pytest.mark.parametrize(("lane", "verdict"), [(SHARED, []), (LANE, ["no healthy job is blamed"])])
def test_job_dies_of_its_neighbors_only_in_shared_processes(lane: str, verdict: list[str]) -> None:
    died = [*put(20, 1.0, lane), told(20, 9.0, "lost", "died")]
    for number, at in enumerate((2.0, 4.0, 6.0), 21):
        pid = 400 + number
        cause = [*put(number, 1.0, lane, "crashes"), *run(number, at + 1.0, 0.0, pid, how="")]
        ended = [CancelAsked(1.5, f"id{number}"), told(number, at + 1.1, "cancelled", "")]
        died += [*run(20, at, 0.0, pid, how=""), Usage(at + 1.0, f"worker {pid}", 1), *cause, *ended]
    assert broken(*died) == verdict


@pytest.mark.parametrize(
    ("lane", "verdict"), [(SHARED, []), (LANE, ["no healthy run is ended", "no finished job runs again"])]
)
def test_run_without_a_lease_ends_only_a_shared_process(lane: str, verdict: list[str]) -> None:
    late = [*put(20, 0.5, lane), *run(20, 1.0, 0.0, 250, how=""), LOSS, *run(20, 7.0, 8.0), told(20, 8.1)]
    other = [*put(21, 9.0, lane), *run(21, 9.5, 10.0, 250), *run(21, 12.0, 13.0), told(21, 13.1)]
    cut = [*put(22, 9.0, lane), *run(22, 9.5, 0.0, 250, how=""), *run(22, 12.0, 13.0), told(22, 13.1)]
    assert broken(*late, *other, *cut, Usage(11.0, "worker 250", 1)) == verdict


def test_follower_waits_as_long_as_the_jobs_before_it() -> None:
    late = [*put_in_flow(20, 1.0), *run(20, 2.0, 70.0), told(20, 70.1)]
    follower = [*put_in_flow(21, 1.0, before=[key(20)]), *run(21, 71.0, 72.0), told(21, 72.1)]
    assert broken(*late, *follower) == []
    assert broken(*late, *put_in_flow(21, 1.0), *follower[2:]) == ["nothing is stuck"]


def test_job_of_a_limit_waits_for_its_turn() -> None:
    late = [*put_in_flow(20, 1.0, limit="slow", running=1), *run(20, 70.0, 71.0), told(20, 71.1)]
    other = [*put_in_flow(21, 1.0, limit="slow", running=1), *run(21, 40.0, 41.0), told(21, 41.1)]
    assert broken(*late) == ["nothing is stuck"]
    assert broken(*late, *other) == []


def test_worker_may_start_a_job_claimed_before_a_loss() -> None:
    twice = [*run(20, 4.0, 5.0), *run(20, 6.0, 7.0, OTHER), told(20, 7.1)]
    assert broken(*put(20, 1.0), *twice, LOSS) == []
    assert broken(*put(20, 1.0), *twice) == ["no finished job runs again"]


def test_turned_clock_excuses_early_starts_and_tokens() -> None:
    early = [*put(9, 1.0, delay=2.0), *run(9, 2.9, 3.5), told(9, 3.6)]
    more = put_in_flow(20, 1.0, limit="rate", starts=1, per=0.5)
    more += [*run(20, 2.7, 2.8, token=2_600_000), told(20, 3.2)]
    assert broken(*early, *more) == ["rates hold", "none starts before it is due"]
    assert broken(*early, *more, fault("clock turned", 2.0, 2.5, "clock")) == []


def test_promise_with_only_excused_harms_was_not_tested() -> None:
    record = Record(History([LossSeen(61.0, LANE), LOSS]))
    said = [one for one in report.lines(record, judge(record), "", "") if "levels of durability" in one]
    assert said == ["not seen  levels of durability are kept (1 checked; 1 explained by a fault)"]


def test_stop_of_a_producer_excuses_a_late_outcome() -> None:
    events = [*put(9, 1.0), *run(9, 2.0, 3.0), told(9, 64.0)]
    stop = fault("producer stopped", 3.0, 63.0, pids=(PRODUCER,))
    assert broken(*events, stop) == []
    assert broken(*events, msgspec.structs.replace(stop, stage="watched")) == ["nothing is stuck"]


def test_early_growth_is_not_reported() -> None:
    sizes = [10, 10, 80, *[85] * 6]
    events = [Usage(10.0 * nth, "worker 7", size << 20) for nth, size in enumerate(sizes)]
    assert growth(History(events)) == {"worker 7": (0, [])}


def test_recovery_is_measured_from_the_end_of_the_fault() -> None:
    runs = [*run(9, 2.0, 3.0, 201, how=""), *run(9, 4.5, 5.0, 202)]
    events = [*put(9, 1.0), *runs, fault("worker killed", 2.5, 2.5, "kill", pids=(201,))]
    found = recovery_times(Record(History(events)))
    assert found == {"worker killed": [2.0]}


def test_truncated_line_of_a_history_is_skipped(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(history.FOLDER, str(tmp_path))
    history.note(Put(2.0, key(1), LANE, "works"))
    history.note(Accepted(3.0, key(1), "id1"), Put(1.0, key(2), LANE, "works"))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes() + b'["Put",4.0')
    found = history.read(tmp_path)
    assert [one.at for one in found.of(Put)] == [1.0, 2.0]
    assert [one.id for one in found.of(Accepted)] == ["id1"]
