"""`conveyor speedup`: table, plots and document of a real experiment, its presets, and what ends it early."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import ConveyorError
from conveyor import speedup as experiments
from conveyor.cli import speedup
from conveyor.cli.exit_codes import Usage
from conveyor.speedup import Amdahl, Experiment, Run, Scalability, rows_of

if TYPE_CHECKING:
    from pathlib import Path


def experiment(walls: dict[int, float], **changes: Any) -> Experiment:
    """Return an experiment with one run of each number of workers."""
    runs = [Run(count, wall, 1.0, 0.01, [3] * count) for count, wall in walls.items()]
    facts: dict[str, Any] = {
        "task": "nap",
        "jobs": 12,
        "cores": 2,
        "at": 0.0,
        "complete": True,
        "runs": runs,
        "rows": rows_of(runs),
        "amdahl": None,
        "scalability": None,
    }
    return Experiment(**(facts | changes))


def test_table_plot_and_fits_of_a_small_experiment(at_server: Any, conveyor: Any) -> None:
    done = conveyor("speedup", "sleep", 0.02, "times=4", "-n", "1,2,4", "-r", 1)
    assert done.code == 0
    title, _, head, one, two, four, *rest = done.out.splitlines()
    assert title.startswith("sleep: 4 jobs, ")
    assert head.split("  ")[0] == "WORKERS"
    assert [line.split()[:2] for line in (one, two, four)] == [["1", "1"], ["2", "1"], ["4", "1"]]
    assert rest[1].startswith("Amdahl's law: ")
    assert "not enough points; measure at least four" in rest[2]
    assert rest[4] == "Speedup: █ measured, │ ideal"
    assert done.err.splitlines() == [f"conveyor: server at {at_server.url}"], "quiet off a terminal"
    assert at_server.raw.smembers("conveyor:queues") == set()
    kept = experiments.decode(at_server.raw.get("conveyor:speedup"))
    assert (kept.task, kept.jobs, [row.workers for row in kept.rows]) == ("sleep", 4, [1, 2, 4])
    ranges = [sorted({row.fewest_jobs, row.most_jobs}) for row in kept.rows]
    shown = [line.split()[-1] for line in (one, two, four)]
    assert shown == ["-".join(map(str, ends)) for ends in ranges], "which worker is faster is not known"
    assert shown[0] == "4"


def test_document_has_runs_rows_and_the_figures_of_the_origin(at_server: Any, conveyor: Any) -> None:
    done = conveyor("speedup", "--preset", "csv", "-n", "1,3", "-r", 1, "--json")
    found = done.document
    assert done.err == ""
    assert list(found) == [
        *("schema", "task", "jobs", "cores", "at", "complete", "runs", "rows", "amdahl", "scalability"),
        *("preset", "origin"),
    ]
    assert (found["schema"], found["task"], found["preset"], found["jobs"]) == (
        *("conveyor.speedup/v1", "csv_search", "csv"),
        12,
    )
    assert [run["workers"] for run in found["runs"]] == [1, 3]
    assert [sum(run["jobs_per_worker"]) for run in found["runs"]] == [12] * 2
    assert list(found["runs"][0]) == [
        *("workers", "wall_seconds", "job_seconds", "queueing_seconds", "jobs_per_worker")
    ]
    assert found["rows"][1]["speedup"] == pytest.approx(
        found["rows"][0]["wall_seconds"] / found["rows"][1]["wall_seconds"]
    )
    assert found["origin"] == {
        "one_worker_seconds": 0.0379,
        "several_workers_seconds": [0.0195, 0.0195],
        "workers": 3,
    }


def test_task_of_the_user_that_fails_ends_the_experiment(at_server: Any, conveyor: Any) -> None:
    done = conveyor("speedup", "fail", "word=broken")
    assert (done.code, done.out) == (1, "")
    assert "fail failed in the warm-up, with 10 workers: ValueError: broken" in done.err
    assert "conveyor produce fail" in done.err
    assert at_server.raw.smembers("conveyor:queues") == set()
    assert at_server.raw.exists("conveyor:speedup") == 0


def test_interrupt_shows_what_was_measured(
    at_server: Any, folder: Path, environment: dict[str, str], eventually: Any
) -> None:
    gate = folder / "gate"
    (folder / "tasks.py").write_text(
        "import pathlib, time\n"
        "from conveyor import current_job, task\n"
        "@task(name='gated')\n"
        "def gated(gate: str) -> None:\n"
        "    'End in the warm-up and the first run only.'\n"
        "    marks = [pathlib.Path(gate + str(number)) for number in range(3)]\n"
        "    mark = next(one for one in marks if not one.exists())\n"
        "    mark.touch()\n"
        "    while mark == marks[2]:\n"
        "        time.sleep(0.005)\n"
        "        current_job().check()\n"
    )
    command = [sys.executable, "-m", "conveyor", "speedup", "gated", str(gate), "-n", "1,2"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        eventually((folder / "gate2").exists)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert "interrupted after 1 of 6 runs; the workers have exited" in err
    assert [line.split()[0] for line in out.splitlines()[3:4]] == ["1"]
    assert at_server.raw.zcard("conveyor:consumers") == 0
    assert at_server.raw.smembers("conveyor:queues") == set()
    assert at_server.raw.exists("conveyor:speedup") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "either TASK or --preset is required"),
        (["sleep", "--preset", "csv"], "exclude each other"),
        (["--preset", "cvs"], "did you mean csv?"),
        (["sleep", "-n", "2,4"], "needs 1 and at least one other"),
        (["sleep", "-n", "1"], "needs 1 and at least one other"),
        (["sleep", "-n", "1,x"], "whole numbers with commas"),
        (["sleep", "-n", "0,1"], "between 1 and 1000"),
        (["sleep", "-r", "0"], "--repeat"),
        (["sleep", "--plot", "x.pdf"], ".png or .svg"),
        (["sleep", "--plot", "no/x.png"], "folder"),
        (["sleep", "x=1"], "has no parameter"),
    ],
)
def test_invalid_command_line_is_refused_before_the_work(
    conveyor: Any, words: list[str], message: str
) -> None:
    done = conveyor("speedup", *words, CONVEYOR_URL="redis://127.0.0.1:1")
    assert done.code == 2
    assert message in done.err


def test_numbers_of_workers_are_sorted_and_unique() -> None:
    assert speedup.read_counts("5, 1,2,2") == [1, 2, 5]
    with pytest.raises(Usage):
        speedup.read_counts("")


def test_bars_are_proportional_and_marks_are_at_the_ideal() -> None:
    lines = list(speedup.terminal_plot(experiment({1: 1.0, 2: 0.4, 5: 0.25})))
    assert lines == [
        "Speedup: █ measured, │ ideal",
        f"    1  {'█' * 10}│  1.00",
        f"    2  {'█' * 20}│{'█' * 4}  2.50",
        f"    5  {'█' * 40}{' ' * 10}│  4.00",
    ]
    assert list(speedup.terminal_plot(experiment({2: 1.0}))) == []


@pytest.mark.parametrize("preset", speedup.PRESETS)
def test_comparison_has_the_figures_of_the_origin(preset: str) -> None:
    origin = speedup.PRESETS[preset].origin
    rows = list(speedup._comparison(experiment({1: 1.0, 3: 0.6, 5: 0.5}), origin))
    assert [row[""] for row in rows] == ["origin", "here"]
    assert [row["WORKERS"] for row in rows] == (["3", "3"] if origin.workers else ["-", "5"])
    assert {row["SPEEDUP"] for row in rows} == {
        "csv": {"1.94", "1.67"},
        "video": {"2.08-2.70", "2.00"},
        "scrape": {"1.37", "2.00"},
    }[preset]


def test_plots_are_png_and_svg_and_reproducible(tmp_path: Path) -> None:
    laws = {"amdahl": Amdahl(0.05, 0.002), "scalability": Scalability(0.03, 0.007, 0.0015, 7e-4)}
    found = experiment({1: 1.0, 2: 0.6, 5: 0.3, 10: 0.31}, **laws)
    for name in ("one.svg", "two.svg", "one.PNG"):
        speedup.draw(found, tmp_path / name)
    assert (tmp_path / "one.PNG").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    assert "<svg" in text
    speedup.draw(experiment({1: 1.0}), tmp_path / "short.svg")
    assert (tmp_path / "short.svg").stat().st_size
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConveyorError, match="cannot write"):
        speedup.draw(found, tmp_path / "folder.png")
