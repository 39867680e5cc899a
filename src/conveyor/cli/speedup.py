"""`conveyor speedup`: the same order with 1, 2, … workers, as a table, a plot and two fitted laws."""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from msgspec import structs
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from conveyor import clock
from conveyor.cli import exit_codes, options
from conveyor.cli.connection import open_store
from conveyor.cli.exit_codes import Usage, closest
from conveyor.cli.options import Json, TaskModules, argument, arguments, option
from conveyor.cli.options import options as repeatable
from conveyor.cli.output import document, is_lively, margin, note, screen, table
from conveyor.cli.tasks import find_task
from conveyor.consumer import known_tasks
from conveyor.consumer.settings import MAX_WORKERS, cores
from conveyor.errors import ConveyorError, JobCancelled, JobFailed, MissingExtra, StoreError
from conveyor.monitor.format import count_of
from conveyor.monitor.typed_input import bind
from conveyor.speedup import Experiment, Run, encode, fit_amdahl, fit_scalability, measure, rounds, rows_of
from conveyor.store import records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from conveyor.speedup import Row
    from conveyor.store import Client
    from conveyor.tasks import Task

DEFAULT_WORKERS = "1,2,5,10"
MAX_REPEAT = 1000
#: Columns of the longest bar of the plot in the terminal.
PLOT_WIDTH = 50
#: Seconds that a reply of the preset's web site takes, as over a network.
LATENCY = 0.3
FORMATS = (".png", ".svg")


class Origin(NamedTuple):
    """The figures of the origin's report."""

    one_worker_seconds: float
    several_workers_seconds: tuple[float, float]
    """Shortest and longest."""
    workers: int | None
    """Number of these workers; None if the report does not state it."""


class Preset(NamedTuple):
    """An experiment of the origin: a course project with RQ workers, whose report measured three of its tasks."""

    task: str
    arguments: Callable[[], dict[str, Any]]
    """Makes the input and returns the arguments of the order."""
    origin: Origin
    workers: str = "1,2,3,5"


def _csv() -> dict[str, Any]:
    from conveyor.task_def.paths import sample_folder  # noqa: PLC0415 - inputs are made if they are used
    from conveyor.task_def.samples import make_csv_folder  # noqa: PLC0415

    folder = make_csv_folder(sample_folder() / "csv-2014", 12, 0.05, first_year=2010, years=10)
    return {"path": str(folder), "word": "2014"}


def _video() -> dict[str, Any]:
    from conveyor.task_def.video_split import sample_video  # noqa: PLC0415

    return {"video": str(sample_video()), "segments": 5}


def _scrape() -> dict[str, Any]:
    from conveyor.task_def.paths import sample_folder  # noqa: PLC0415
    from conveyor.task_def.samples import documentation_site  # noqa: PLC0415

    url = documentation_site(sample_folder() / "documentation", LATENCY)
    return {"url": url, "pages": 3, "allow_private": True}


PRESETS = {
    "csv": Preset("csv_search", _csv, Origin(0.0379, (0.0195, 0.0195), 3)),
    "video": Preset("video_split", _video, Origin(27.0, (10.0, 13.0), None)),
    "scrape": Preset("web_scrape", _scrape, Origin(1.347, (0.986, 0.986), None)),
}


def speedup(
    *,
    task: Annotated[str, argument("TASK", "Name of the task.", options.tasks)] = "",
    arguments: Annotated[list[str], arguments("ARG | name=value", "Arguments of the task.")],
    preset: Annotated[str, option("NAME", "Prepared experiment instead of TASK: csv, video or scrape.")] = "",
    workers: Annotated[
        str,
        option(
            "N,N,…",
            f"Numbers of workers, 1 among them; without it, {DEFAULT_WORKERS}, or 1,2,3,5 for a preset.",
            "--workers",
            "-n",
        ),
    ] = "",
    repeat: Annotated[
        int, option("N", "Runs with each number of workers.", "--repeat", "-r", min=1, max=MAX_REPEAT)
    ] = 3,
    plot: Annotated[list[str], repeatable("FILE", "File for the plot, .png or .svg; repeatable.", "--plot")],
    modules: TaskModules,
    as_json: Json = False,
) -> int:
    """Run the same work with 1, 2, … workers and show the speedup.

    The runs alternate and are repeated, after a warm-up. Workers are started for each run and are ready before its
    clock starts, which covers everything from the split to the joined result. All happens on a queue of its own, which
    is deleted at the end. Exit with code 1 if a job fails.
    """
    counts = read_counts(workers or (PRESETS[preset].workers if preset in PRESETS else DEFAULT_WORKERS))
    files = [_plot_file(name) for name in plot]
    if files:
        _figure()  # a missing extra is reported before the work, not after it
    fit_amdahl([])  # the same
    chosen, values = _order(task, arguments, preset, modules)
    client = open_store(quiet=as_json)
    # The first run makes sample inputs and fills caches, and is not counted; it has most workers, to be short.
    plan = [counts[-1], *rounds(counts, repeat)]
    runs: list[Run] = []
    jobs = 0
    try:
        with _progress(chosen.name, plan, quiet=as_json) as show:

            def on_progress(done: int, all_jobs: int) -> None:
                nonlocal jobs
                jobs = all_jobs
                show(len(runs), done / all_jobs if all_jobs else 1.0)

            measured = measure(chosen, values, plan, client=client, modules=modules, on_progress=on_progress)
            with contextlib.closing(measured):
                for run in measured:
                    runs.append(run)  # noqa: PERF402 - the progress counts them meanwhile
    except KeyboardInterrupt:
        done = f"{max(0, len(runs) - 1)} of {count_of(len(plan) - 1, 'run')}"
        note(f"\nconveyor: interrupted after {done}; the workers have exited")
    except (JobFailed, JobCancelled) as error:
        raise _failure(error, chosen.name, plan, len(runs)) from error
    complete = len(runs) == len(plan)
    if counted := runs[1:]:
        found = _experiment(chosen.name, jobs, counted, complete=complete, preset=preset)
        if complete:
            _keep(client, found)
        _show(found, files, as_json=as_json)
    return exit_codes.OK if complete else exit_codes.INTERRUPTED


def read_counts(text: str) -> list[int]:
    """Return the numbers of workers in `1,2,5`, sorted. Raises Usage unless they are several, and 1 is among them."""
    hint = f"for example --workers {DEFAULT_WORKERS}"
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch(r"\d{1,9}", word, re.ASCII) for word in words):
        raise Usage(f"--workers takes whole numbers with commas, got {text!r:.80}", hint=hint)
    counts = sorted({int(word) for word in words})
    if not 1 <= counts[0] <= counts[-1] <= MAX_WORKERS:
        raise Usage(f"numbers of workers must be between 1 and {MAX_WORKERS}, got {text!r:.80}", hint=hint)
    if counts[0] != 1 or len(counts) == 1:
        message = f"--workers needs 1 and at least one other number, got {text!r:.80}"
        raise Usage(message, hint=f"all are compared with one worker: {hint}")
    return counts


def _order(
    task: str, arguments: Sequence[str], preset: str, modules: Sequence[str]
) -> tuple[Task[..., Any], Mapping[str, Any]]:
    """Return the task and the arguments of the order. Raises Usage, NotFound or BadCall."""
    if bool(task) == bool(preset):
        message = (
            "either TASK or --preset is required" if not task else "TASK and --preset exclude each other"
        )
        hint = f"conveyor speedup TASK [ARG…] [name=value…], or --preset {', '.join(PRESETS)}"
        raise Usage(message, hint=hint)
    registry = known_tasks(modules)
    if not preset:
        found = find_task(registry, task)
        return found, bind(found, arguments)
    if preset not in PRESETS:
        hint = closest(preset, PRESETS) or f"use one of {', '.join(PRESETS)}"
        raise Usage(f"unknown preset {preset!r:.80}", hint=hint)
    found = find_task(registry, PRESETS[preset].task)
    if is_lively():
        with margin().status(f"{preset}: preparing the input"):
            return found, PRESETS[preset].arguments()
    return found, PRESETS[preset].arguments()


def _plot_file(name: str) -> Path:
    path = Path(name)
    if path.suffix.lower() not in FORMATS:
        raise Usage(f"--plot writes .png or .svg, got {name!r:.200}", hint="for example --plot speedup.png")
    if not path.absolute().parent.is_dir():
        raise Usage(f"the folder of {name!r:.200} does not exist", hint="make it first, or name another file")
    return path


@contextlib.contextmanager
def _progress(title: str, plan: Sequence[int], *, quiet: bool) -> Iterator[Callable[[int, float], object]]:
    """Show a bar on a terminal; yield a function to call with the finished runs and the done part of the next."""
    if quiet or not is_lively():
        yield lambda _finished, _part: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[step]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=margin(), transient=True) as bars:
        bar = bars.add_task(title, total=len(plan), step="")

        def show(finished: int, part: float) -> None:
            step = _place(plan, finished)
            bars.update(bar, completed=finished + part, step=step)

        show(0, 0.0)
        yield show


def _failure(error: ConveyorError, task: str, plan: Sequence[int], finished: int) -> ConveyorError:
    hint = f"try the order once: conveyor produce {task} … --wait"
    return ConveyorError(f"{task} failed in {_place(plan, finished)}: {error}", hint=hint)


def _place(plan: Sequence[int], finished: int) -> str:
    """Return which run follows the finished ones."""
    name = f"run {finished} of {len(plan) - 1}" if finished else "the warm-up"
    return f"{name}, with {count_of(plan[finished], 'worker')}"


def _experiment(task: str, jobs: int, runs: list[Run], *, complete: bool, preset: str) -> Experiment:
    return Experiment(
        task=task,
        jobs=jobs,
        cores=cores(),
        at=clock.wall(),
        complete=complete,
        runs=runs,
        rows=rows_of(runs),
        amdahl=fit_amdahl(runs),
        scalability=fit_scalability(runs),
        preset=preset,
    )


def _keep(client: Client, found: Experiment) -> None:
    """Keep the experiment at the server, for the dashboard, without the single runs."""
    try:
        client.run(records.keep_speedup(encode(structs.replace(found, runs=[]))))
    except StoreError as error:
        note(f"conveyor: the dashboard will not show this experiment: {error}")


def _show(found: Experiment, files: Sequence[Path], *, as_json: bool) -> None:
    origin = PRESETS[found.preset].origin if found.preset else None
    if as_json:
        body = {name: getattr(found, name) for name in found.__struct_fields__}
        document("speedup/v1", **body, origin=origin and origin._asdict())
    else:
        _print(found, origin)
    for file in files:
        draw(found, file)
        if not as_json:
            note(f"The plot is in {file}")


def _print(found: Experiment, origin: Origin | None) -> None:
    show = screen()
    show.print(f"{found.task}: {count_of(found.jobs, 'job')}, {count_of(found.cores, 'core')}\n")
    rows = [_cells(row) for row in found.rows]
    table(rows, numbers=rows[0].keys())
    show.print()
    for line in (*found.laws, "", *terminal_plot(found)):
        show.print(line)
    if origin is not None:
        show.print()
        compared = list(_comparison(found, origin))
        table(compared, numbers=[title for title in compared[0] if title])


def _cells(row: Row) -> dict[str, str]:
    jobs = "-"
    if row.fewest_jobs is not None:
        jobs = (
            str(row.fewest_jobs) if row.fewest_jobs == row.most_jobs else f"{row.fewest_jobs}-{row.most_jobs}"
        )
    return {
        "WORKERS": str(row.workers),
        "RUNS": str(row.runs),
        "WALL TIME": f"{row.wall_seconds:.6f} s",
        "SHORTEST": f"{row.shortest_seconds:.6f} s",
        "LONGEST": f"{row.longest_seconds:.6f} s",
        "SPEEDUP": "-" if row.speedup is None else f"{row.speedup:.2f}",
        "EFFICIENCY": "-" if row.efficiency is None else f"{row.efficiency:.0%}",
        "QUEUEING": "-" if row.queueing_seconds is None else f"{row.queueing_seconds:.6f} s",
        "JOBS PER WORKER": jobs,
    }


def terminal_plot(found: Experiment) -> Iterator[str]:
    """Yield the lines of a bar chart of the speedups, with marks at the ideal."""
    rows = [(row.workers, row.speedup) for row in found.rows if row.speedup is not None]
    if not rows:
        return
    longest = max(max(workers, speedup) for workers, speedup in rows)
    yield "Speedup: █ measured, │ ideal"
    for workers, speedup in rows:
        line = list("█" * round(PLOT_WIDTH * speedup / longest))
        ideal = round(PLOT_WIDTH * workers / longest)
        line += " " * (ideal + 1 - len(line))
        line[ideal] = "│"
        yield f"{workers:>5}  {''.join(line)}  {speedup:.2f}"


def _comparison(found: Experiment, origin: Origin) -> Iterator[dict[str, str]]:
    """Yield the rows that compare the origin's figures with these: the same number of workers, or the fastest."""
    low, high = origin.several_workers_seconds
    several = f"{low:g} s" if low == high else f"{low:g}-{high:g} s"
    gains = sorted({f"{origin.one_worker_seconds / seconds:.2f}" for seconds in (low, high)})
    yield _compared("origin", origin.one_worker_seconds, several, origin.workers, "-".join(gains))
    others = [row for row in found.rows if row.workers > 1]
    same = [row for row in others if row.workers == origin.workers]
    ones = [row for row in found.rows if row.workers == 1]
    if ones and others:
        best = min(same or others, key=lambda row: row.wall_seconds)
        gain = f"{ones[0].wall_seconds / best.wall_seconds:.2f}"
        yield _compared("here", ones[0].wall_seconds, f"{best.wall_seconds:.4g} s", best.workers, gain)


def _compared(name: str, one: float, several: str, workers: int | None, gain: str) -> dict[str, str]:
    return {
        "": name,
        "ONE WORKER": f"{one:.4g} s",
        "SEVERAL": several,
        "WORKERS": "-" if workers is None else str(workers),
        "SPEEDUP": gain,
    }


def _figure() -> Any:
    """Return an empty figure. Raises MissingExtra without matplotlib."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra, slow to import
    except ModuleNotFoundError as error:
        raise MissingExtra("--plot", "plots", error.name) from error
    return Figure(figsize=(6.4, 4.4), dpi=150, layout="constrained")


def draw(found: Experiment, file: Path) -> None:
    """Draw the speedups with their spread, the ideal line and the fitted laws to a .png or .svg file.

    Raises ConveyorError if the file cannot be written.
    """
    import matplotlib as mpl  # noqa: PLC0415

    figure = _figure()
    axes = figure.add_subplot()
    rows = [row for row in found.rows if row.speedup is not None]
    counts = [row.workers for row in rows]
    one = rows[0].wall_seconds
    most = counts[-1]
    curve = [1 + (most - 1) * step / 200 for step in range(201)]
    axes.plot(curve, curve, "--", color="0.6", label="ideal")
    if found.cores < most:
        axes.axvline(found.cores, color="0.8", linewidth=1)
        axes.annotate(
            f" {count_of(found.cores, 'core')}", (found.cores, 0.98), xycoords=("data", "axes fraction"),
            va="top", color="0.4",
        )  # fmt: skip
    if (amdahl := found.amdahl) is not None:
        label = f"Amdahl: {amdahl.serial_fraction:.1%} ± {amdahl.error:.1%} serial"
        axes.plot(curve, [amdahl.speedup(n) for n in curve], color="tab:orange", label=label)
    if (law := found.scalability) is not None:
        label = f"USL: contention {law.contention:.3f}, coherency {law.coherency:.4f}"
        axes.plot(curve, [law.speedup(n) for n in curve], color="tab:green", label=label)
    speedups = [one / row.wall_seconds for row in rows]
    spread = [
        [speedup - one / row.longest_seconds for speedup, row in zip(speedups, rows, strict=True)],
        [one / row.shortest_seconds - speedup for speedup, row in zip(speedups, rows, strict=True)],
    ]
    label = f"measured, median and extremes of {max(row.runs for row in rows)}"
    axes.errorbar(counts, speedups, yerr=spread, fmt="o", capsize=3, color="tab:blue", label=label, zorder=3)
    highest = max(*speedups, *(one / row.shortest_seconds for row in rows))
    axes.set(
        title=f"{found.task}, {count_of(found.jobs, 'job')}",
        xlabel="workers", ylabel="speedup", xlim=(1 - most / 30, most * 1.03),
        ylim=(0, min(float(most), math.ceil(2 * highest) / 2 + 0.5) * 1.03), xticks=counts,
    )  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize="small")
    # Neither date nor random ids, so the same experiment makes the same file.
    metadata = {"Date": None} if file.suffix.lower() == ".svg" else None
    try:
        with mpl.rc_context({"svg.hashsalt": "conveyor"}):
            figure.savefig(file, metadata=metadata)
    except OSError as error:
        raise ConveyorError(f"cannot write {file}: {error.strerror}", hint="name another file") from error
