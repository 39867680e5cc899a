"""The benchmarks: the arithmetic of their reports, and a contest of a few hundred jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import contest, report, roster
from benchmarks.check import change
from benchmarks.roster import Contestant
from benchmarks.rows import ROWS, Row
from benchmarks.slots import SLOT, Run, Slots
from benchmarks.trials import rate

ROOT = Path(__file__).parents[2]
RATE = Row("drain", "drain", "/s", more_is_better=True)
TIME = Row("pick_up", "pick-up", "ms")


def test_advantage_is_above_one_if_better() -> None:
    assert report.advantage(RATE, [10, 30, 20], [5, 10, 90]) == 2
    assert report.advantage(TIME, [10, 30, 20], [5, 10, 90]) == 0.5


def test_best_peer_has_the_best_median_of_those_with_the_row() -> None:
    peers = {"a": {"drain": [1, 9, 9], "pick_up": [3]}, "b": {"drain": [8, 8, 99], "pick_up": [2]}, "c": {}}
    assert report.best_of(RATE, peers) == "a"
    assert report.best_of(TIME, peers) == "b"
    assert report.best_of(RATE, {"c": {}}) is None


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([0.9, 0.9, 0.9, 0.9, 1.2], "lost"),
        ([0.9, 0.9, 0.9, 0.96, 1.2], "same"),
        ([0.96] * 5, "same"),
        ([1.1, 1.1, 1.1, 1.1, 0.5], "gained"),
        ([0.5] * 3, "unsure"),
    ],
)
def test_verdict_is_that_of_three_quarters_of_the_rounds(ratios: list[float], verdict: str) -> None:
    assert change(RATE, [100 * one for one in ratios], [100] * len(ratios)).verdict == verdict
    assert change(TIME, [100 / one for one in ratios], [100] * len(ratios)).verdict == verdict


def test_rate_of_two_workers_counts_while_both_are_busy() -> None:
    early = [Run(second / 10, 0, 1, 1) for second in range(21)]  # alone for the first second
    late = [Run(1 + second / 10, 0, 2, 1) for second in range(21)]  # and the other for the last
    assert rate(early + late, 2) == pytest.approx(21)
    with pytest.raises(ValueError, match="1 of 2 workers"):
        rate(early, 2)


def test_slots_count_runs_and_read_logs(tmp_path: Path) -> None:
    slots = Slots(str(tmp_path / "slots"), 3)
    slots.start(0, 7)
    slots.start(0, 8)
    (tmp_path / "slots.log.9").write_bytes(SLOT.pack(1.0, 2.0, 9, 2))
    assert slots.count(0, 3) == 2
    assert [(run.worker, run.runs) for run in slots.runs(0, 3)] == [(8, 2), (0, 0), (9, 1)]
    slots.close()


def test_every_contestant_has_an_adapter_and_an_environment() -> None:
    environments, contestants = roster.load()
    folder = ROOT / "benchmarks" / "contestants"
    files = {path.name for path in folder.iterdir()}
    for one in contestants:
        assert one.environment in environments
        assert {one.adapter, f"{one.adapter}.py"} & files
        assert {*(one.trials or []), *one.quick} <= set(contest.TRIALS)
    assert len({one.name for one in contestants}) == len(contestants)


def test_worker_runs_once_for_each_process_unless_it_starts_them() -> None:
    fields = {"environment": "", "adapter": "", "ten": "", "results": "", "delivery": "", "jobs": 1}
    one = Contestant("a", worker="run -c {concurrency} -n {index}", concurrency=3, **fields)
    both = Contestant("b", worker="run -p {processes} {queues}", **fields)
    assert one.workers("", 2) == [["run", "-c", "3", "-n", "0"], ["run", "-c", "3", "-n", "1"]]
    assert both.workers("", 2) == [["run", "-p", "2", "bench"]]


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_contest_runs_every_job_and_reports(tmp_path: Path) -> None:
    setting = contest.settings()[0].name
    words = ["--rounds", "1", "--jobs", "0.005", "--only", "Conveyor", "--trial", "drain", "--trial", "idle"]
    command = [
        sys.executable,
        "-m",
        "benchmarks.contest",
        *words,
        "--setting",
        setting,
        "--output",
        tmp_path / "run",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run.json").read_text())
    figures = results["figures"][setting]
    assert {"put", "put_many", "drain", "round_trip", "pick_up", "consumer_pss"} <= figures["Conveyor"].keys()
    assert "evalsha" in figures["the bare server"]
    titles = [row.title for row in ROWS if row.key in figures["Conveyor"]]
    assert [title for title in titles if title not in done.stdout] == []
