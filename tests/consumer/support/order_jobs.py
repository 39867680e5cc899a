"""Tasks that orders are split into."""

from __future__ import annotations

import time

from consumer_jobs import hold, mark, mark_and_wait

from conveyor import BadInput, current_job, task


@task(name="piece", queue="work")
def piece(path: str, number: int) -> int:
    """Return one part of an order of parts."""
    current_job().progress(1, 2, f"piece {number}")
    return mark_and_wait(path, number)


@piece.splits
def pieces(path: str, count: int = 3) -> list[dict[str, object]]:
    """Split into `count` parts."""
    if count < 1:
        raise BadInput("an order has at least one piece")
    return [{"path": path, "number": number} for number in range(count)]


@piece.joins
def whole(results: list[int], **_: object) -> int:
    """Join to the sum."""
    return sum(results)


@task(name="fragile", queue="work")
def fragile(path: str, number: int) -> int:
    if number in {2, 4}:
        raise ValueError(f"part {number}")
    return mark(path, str(number))


@task(name="half_done", queue="work")
def half_done(path: str, number: int) -> str:
    current_job().progress(1, 2, "half")
    return hold(path, str(number))


fragile.splits(pieces)
half_done.splits(pieces)


@task(name="piece_of_time", queue="work")
def piece_of_time(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@piece_of_time.splits
def pieces_of_time(seconds: float, count: int) -> list[dict[str, float]]:
    return [{"seconds": seconds}] * count


@task(name="slow_ends", queue="work")
def slow_ends(seconds: float) -> float:
    return seconds


@slow_ends.splits
def split_slowly(seconds: float) -> list[dict[str, float]]:
    time.sleep(seconds)
    return [{"seconds": seconds}]


@slow_ends.joins
def join_slowly(results: list[float], **_: object) -> str:
    time.sleep(results[0])
    return "joined"
