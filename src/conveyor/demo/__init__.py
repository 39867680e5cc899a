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
from conveyor.demo.page import page_beside, stay
from conveyor.errors import ConveyorError
from conveyor.monitor import Inspector
from conveyor.order import Order
from conveyor.queue import Queue
from conveyor.store import announce, commands, connect
from conveyor.task_def.csv_search import csv_search
from conveyor.task_def.heavy_math import heavy_math
from conveyor.task_def.video_split import video_split
from conveyor.task_def.web_scrape import web_scrape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conveyor.tasks import Task

#: The demo's own queue: what waits in others, or pauses them, is no concern of it.
QUEUE = "demo"
#: Seconds that the server has for its first answer.
FIRST_PATIENCE = 1.0
#: Seconds between two looks at the workers, and for how many of them nobody may be there.
LOOK_EVERY, ALONE = 0.5, 3.0
INTERRUPTED = 130


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


class WorkersLeft(ConveyorError):
    """Nobody takes from the demo's queue any more."""


class Lookout:
    """Notices that the demo's workers have left: killed from another terminal, say."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._looked = self._seen = clock.monotonic()

    def look(self) -> None:
        """Raise WorkersLeft if there have been no workers for some time."""
        now = clock.monotonic()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        if self._inspector.workers(QUEUE):
            self._seen = now
        elif now - self._seen > ALONE:
            message = "the demo's workers have left before the work was done"
            raise WorkersLeft(message, hint="were they killed? `conveyor demo` starts new ones")


def run() -> int:
    """Start everything, do the work, tell what came of it; gives 0, 1 if any of the work failed, 130 after Ctrl-C.

    The page shows it all. On a terminal it stays up, and the workers too, until Ctrl-C; elsewhere all ends by itself.
    """
    people = Console(stderr=True)
    client = connect()
    announce(client)
    client.run(commands.server_time(), patience=FIRST_PATIENCE)
    queue = Queue(QUEUE, store=client)
    queue.resume()
    try:
        with page_beside(client, people) as address, Consumer(QUEUE) as consumer:
            people.print(
                f"{consumer.settings.worker_count} workers, one per core, on {QUEUE}", highlight=False
            )
            return _show(people, queue, address)
    except KeyboardInterrupt:
        queue.clear()  # what workers held and gave back
        people.print("conveyor: interrupted; what the demo had not begun was cleared", highlight=False)
        return INTERRUPTED


def _show(people: Console, queue: Queue, address: str) -> int:
    began = clock.monotonic()
    try:
        finished = _do_all(people, Inspector(queue.client))
    except KeyboardInterrupt:
        queue.clear()  # so that the workers begin nothing more
        raise
    if any(one.failed for one in finished):
        queue.clear()  # what else the failed orders put
    _tell(finished, clock.monotonic() - began)
    if address and sys.stdin.isatty() and sys.stdout.isatty():
        stay(address, people)
    return 1 if any(one.failed for one in finished) else 0


def _tell(finished: list[Finished], seconds: float) -> None:
    Console(soft_wrap=not sys.stdout.isatty()).print(_table(finished, seconds))
    for one in finished:
        if one.artefact:
            sys.stdout.write(f"{one.title}: {one.artefact}\n")
    sys.stdout.flush()


def _do_all(people: Console, inspector: Inspector) -> list[Finished]:
    """Do one family after the other; when the workers have left, the rest fails without being begun."""
    finished: list[Finished] = []
    for family in FAMILIES:
        try:
            finished.append(_do(family, people, Lookout(inspector)))
        except WorkersLeft as error:
            people.print(f"{family.title}: {error}\n  Hint: {error.hint}", style="red", highlight=False)
            rest = FAMILIES[len(finished) :]
            return finished + [_failed(one, error) for one in rest]
    return finished


def _failed(family: Family, error: ConveyorError) -> Finished:
    return Finished(family.title, 0, f"failed: {error}", "", 0.0, 0.0, failed=True)


def _do(family: Family, people: Console, lookout: Lookout) -> Finished:
    """Place one order and follow it to its end; a failure is told and does not end the demo.

    Raises WorkersLeft.
    """
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=people, disable=not people.is_terminal) as bars:
            bar = bars.add_task(family.title, total=1.0, note="preparing its input")
            order = Order.place(family.task, family.arguments, queue=QUEUE)
            for step in order.watch():
                if step.over < step.jobs:
                    lookout.look()
                note = f"{step.over}/{step.jobs} jobs {step.message}"[:48]
                bars.update(bar, completed=step.fraction, note=note)
            bars.update(bar, note="joining the parts")
            result, artefact = family.tell(order.result())
            bars.update(bar, completed=1.0, note=f"{len(order.jobs)} jobs")
    except WorkersLeft:
        raise
    except ConveyorError as error:
        people.print(f"{family.title}: {error}\n  {error.hint}", style="red")
        return _failed(family, error)
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
