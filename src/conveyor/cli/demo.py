"""`conveyor demo`: real work on real input, run by one worker per core, with its results and the speedup."""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from conveyor import clock
from conveyor.cli import exit_codes
from conveyor.cli.connection import open_store
from conveyor.cli.output import margin, note
from conveyor.consumer import Consumer
from conveyor.errors import ConveyorError
from conveyor.monitor import Inspector
from conveyor.monitor.follow import WorkerMonitor
from conveyor.order import Order
from conveyor.queue import Queue
from conveyor.task_def.csv_search import csv_search, sample_files
from conveyor.task_def.heavy_math import heavy_math
from conveyor.task_def.video_split import sample_video, video_split
from conveyor.task_def.web_scrape import sample_site, web_scrape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from conveyor.store import Client
    from conveyor.tasks import Task


#: A queue of the demo's own: jobs in other queues, or a pause of these, do not affect it.
QUEUE = "demo"
#: Seconds without workers after which the demo gives up.
MAX_ABSENCE = 3.0


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of work."""

    title: str
    task: Task[..., Any]
    arguments: Mapping[str, Any]
    describe: Callable[[Any], tuple[str, str]]
    """Returns the result as text, and the path of the output."""
    prepare: Callable[[], object] = lambda: None
    """Makes the sample input before the clock starts."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one family."""

    title: str
    result: str
    output: str = ""
    jobs: int = 0
    seconds: float = 0.0
    job_seconds: float = 0.0
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
        sample_files,
    ),
    Family(
        "Web scrape",
        web_scrape,
        {"pages": 120},
        lambda site: (f"{site.pages} pages, {site.words:,} words", str(site.output)),
        sample_site,
    ),
    Family(
        "Video split",
        video_split,
        {"segments": 8},
        lambda video: (
            f"{len(video.segments)} segments, {video.frames} frames, {video.seconds:.2f} s",
            str(video.segments[0].path.parent),
        ),
        sample_video,
    ),
    Family("Primes", heavy_math, {"kind": "primes"}, lambda math: (math.result, "")),
    Family("Mandelbrot", heavy_math, {"kind": "mandelbrot"}, lambda math: (math.result, str(math.output))),
)


class WorkersLeft(ConveyorError):
    """The demo's queue has no workers any more."""


def demo() -> int:
    """Run real jobs of five kinds and show their results and the speedup.

    Start what that needs: the server, one worker per core and the dashboard. On a terminal, workers and dashboard stay
    up until Ctrl-C. The output is in `conveyor-out/`. Exit with code 1 if any of the work fails.
    """
    client = open_store()
    queue = Queue(QUEUE, store=client)
    queue.resume()
    try:
        with dashboard_beside(client) as url, Consumer(QUEUE) as consumer:
            note(f"{consumer.settings.worker_count} workers, one per core, on {QUEUE}")
            return _run_all(queue, url)
    except KeyboardInterrupt:
        queue.clear()  # jobs that the workers released
        note("conveyor: interrupted; jobs that had not started were cleared")
        return exit_codes.INTERRUPTED


def _run_all(queue: Queue, url: str) -> int:
    start = clock.monotonic()
    try:
        reports = list(_reports(Inspector(queue.client)))
    except KeyboardInterrupt:
        queue.clear()  # so that the workers start no more of them
        raise
    failed = any(one.failed for one in reports)
    if failed:
        queue.clear()  # the other jobs of the failed orders
    Console(soft_wrap=not sys.stdout.isatty()).print(_table(reports, clock.monotonic() - start))
    for one in reports:
        if one.output:
            sys.stdout.write(f"{one.title}: {one.output}\n")
    sys.stdout.flush()
    if url and sys.stdin.isatty() and sys.stdout.isatty():
        note(f"The dashboard and the workers stay up until Ctrl-C: {url}")
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return exit_codes.FAILED if failed else exit_codes.OK


def _reports(inspector: Inspector) -> Iterator[Report]:
    """Run one family after the other; without workers, the rest fails without a start."""
    error: ConveyorError | None = None
    for family in FAMILIES:
        if not isinstance(error, WorkersLeft):
            try:
                yield _run(family, WorkerMonitor(lambda: len(inspector.workers(QUEUE))))
            except ConveyorError as raised:
                error = raised
                margin().print(f"{family.title}: {error}\n  Hint: {error.hint}", style="red")
            else:
                continue
        yield Report(family.title, f"failed: {error}", failed=True)


def _run(family: Family, monitor: WorkerMonitor) -> Report:
    """Place one order and follow it to its result. Raises ConveyorError, WorkersLeft included."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    console = margin()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task(family.title, total=1.0, note="preparing its input")
        family.prepare()
        order = Order.place(family.task, family.arguments, queue=QUEUE)
        for step in order.watch():
            if step.over < step.jobs and monitor.check() > MAX_ABSENCE:
                message = "the demo's workers exited before the work was done"
                raise WorkersLeft(message, hint="were they killed? run `conveyor demo` again")
            text = f"{step.over}/{step.jobs} jobs {step.message}"[:48]
            bars.update(bar, completed=step.fraction, note=text)
        bars.update(bar, note="joining the parts")
        result, output = family.describe(order.result())
        bars.update(bar, completed=1.0, note=f"{len(order.jobs)} jobs")
    if not console.is_terminal:
        note(f"{family.title}: {len(order.jobs)} jobs in {order.seconds:.2f} s")
    return Report(family.title, result, output, len(order.jobs), order.seconds, order.job_seconds)


def _table(reports: list[Report], seconds: float) -> Table:
    table = Table(
        title="Results", title_justify="left", caption=f"{seconds:.1f} s in total, preparation included"
    )
    for title in ("Work", "Jobs", "Result", "Wall s", "Jobs' s", "Speedup"):
        is_text = title in {"Work", "Result"}
        table.add_column(title, justify="left" if is_text else "right", overflow="fold")
    for one in reports:
        table.add_row(
            one.title,
            str(one.jobs),
            one.result,
            f"{one.seconds:.2f}",
            f"{one.job_seconds:.2f}",
            f"{one.job_seconds / one.seconds:.2f}" if one.seconds else "-",
            style="red" if one.failed else None,
        )
    return table


@contextlib.contextmanager
def dashboard_beside(client: Client) -> Iterator[str]:
    """Serve the dashboard during the block, on its usual port or any other; yield its URL, or "" if it cannot start."""
    with contextlib.ExitStack() as stack:
        url = ""
        try:
            url = stack.enter_context(_served(client))
            note(f"Watch it at {url}")
        except ConveyorError as error:
            note(f"conveyor: no dashboard: {error}\n  Hint: {error.hint}")
        yield url


def _served(client: Client) -> contextlib.AbstractContextManager[str]:
    dashboard: Any = importlib.import_module("conveyor.dashboard")  # an optional extra
    serving: Any = importlib.import_module("conveyor.dashboard.serve")
    host = "127.0.0.1"
    try:
        listening = serving.listen(host, serving.PORT)
    except serving.CannotListen:
        listening = serving.listen(host, 0)
    app = dashboard.create_dashboard(client.url)
    served: contextlib.AbstractContextManager[str] = serving.served(app, listening)
    return served
