"""`conveyor demo`: real work on real input, run by one worker per core, and what came of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from conveyor import clock
from conveyor.consumer import Consumer
from conveyor.errors import ConveyorError
from conveyor.order import Order
from conveyor.store import announce, connect
from conveyor.task_def.csv_search import csv_search
from conveyor.task_def.heavy_math import heavy_math
from conveyor.task_def.video_split import video_split
from conveyor.task_def.web_scrape import web_scrape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conveyor.tasks import Task

QUEUES = ("queue_zero", "queue_one", "queue_two", "queue_three", "queue_four")


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of work that the demo does."""

    title: str
    task: Task[..., Any]
    arguments: Mapping[str, Any]
    tell: Callable[[Any], tuple[str, str]]
    """Gives result and artefact in words."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What came of one family."""

    title: str
    jobs: int
    result: str
    artefact: str
    seconds: float
    job_seconds: float
    failed: bool = False


FAMILIES = (
    Family(
        "CSV search",
        csv_search,
        {},
        lambda found: (
            f"{found.occurrences:,} times “{found.word}” in {found.rows:,} rows",
            str(found.output),
        ),
    ),
    Family(
        "Web scrape",
        web_scrape,
        {"pages": 120},
        lambda site: (f"{site.pages} pages, {site.words:,} words", str(site.output)),
    ),
    Family(
        "Video split",
        video_split,
        {"segments": 8},
        lambda video: (
            f"{len(video.segments)} segments, {video.frames} frames, {video.seconds:.2f} s",
            str(video.segments[0].path.parent),
        ),
    ),
    Family("Primes", heavy_math, {"kind": "primes"}, lambda math: (math.result, "")),
    Family("Mandelbrot", heavy_math, {"kind": "mandelbrot"}, lambda math: (math.result, str(math.output))),
)


def run() -> int:
    """Start everything, do the work, tell what came of it; gives 0, or 1 if any of the work failed."""
    people = Console(stderr=True)
    client = connect()
    announce(client)
    began = clock.monotonic()
    with Consumer(QUEUES) as consumer:
        people.print(
            f"{consumer.settings.crew_size} workers, one per core, on {', '.join(QUEUES)}", highlight=False
        )
        finished = [_do(family, people) for family in FAMILIES]
    Console(soft_wrap=not sys.stdout.isatty()).print(_table(finished, clock.monotonic() - began))
    for one in finished:
        if one.artefact:
            sys.stdout.write(f"{one.title}: {one.artefact}\n")
    return 1 if any(one.failed for one in finished) else 0


def _do(family: Family, people: Console) -> Finished:
    """Place one order and follow it to its end; a failure is told and does not end the demo."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=people, disable=not people.is_terminal) as bars:
            bar = bars.add_task(family.title, total=1.0, note="preparing its input")
            order = Order.place(family.task, family.arguments)
            for step in order.watch():
                note = f"{step.over}/{step.jobs} jobs {step.message}"[:48]
                bars.update(bar, completed=step.fraction, note=note)
            bars.update(bar, note="joining the parts")
            result, artefact = family.tell(order.result())
            bars.update(bar, completed=1.0, note=f"{len(order.jobs)} jobs")
    except ConveyorError as error:
        people.print(f"{family.title}: {error}\n  {error.hint}", style="red")
        return Finished(family.title, 0, f"failed: {error}", "", 0.0, 0.0, failed=True)
    if not people.is_terminal:
        people.print(f"{family.title}: {len(order.jobs)} jobs in {order.seconds:.2f} s", highlight=False)
    return Finished(family.title, len(order.jobs), result, artefact, order.seconds, order.job_seconds)


def _table(finished: list[Finished], seconds: float) -> Table:
    table = Table(
        title="What was done", title_justify="left", caption=f"{seconds:.1f} s in all, preparing included"
    )
    table.add_column("Work")
    table.add_column("Jobs", justify="right")
    table.add_column("Result", overflow="fold")
    table.add_column("Wall s", justify="right")
    table.add_column("Jobs' s", justify="right")
    table.add_column("Speedup", justify="right")
    for one in finished:
        speedup = f"{one.job_seconds / one.seconds:.2f}" if one.seconds else "-"
        table.add_row(
            one.title,
            str(one.jobs),
            one.result,
            f"{one.seconds:.2f}",
            f"{one.job_seconds:.2f}",
            speedup,
            style="red" if one.failed else None,
        )
    return table
