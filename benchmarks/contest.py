"""Conveyor and its peers on the same work, in turn, each measurement on a server of its own.

Writes all raw values as JSON, and a report in Markdown. Peers are installed under .bench/ on first use.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import random
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from benchmarks import place, raw, roster, trials
from benchmarks.report import OURS, SERVER, Results, markdown
from benchmarks.roster import CACHE, ROOT, Contestant, Missing
from benchmarks.stage import Setting
from benchmarks.trials import Effort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Measurements of all contestants, and of Conveyor alone.
TRIALS = {"drain": trials.drain, "drain_two": trials.drain_two, "idle": trials.idle}
_console = Console(stderr=True, highlight=False)


def main() -> int:
    """Run the contest."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the best peers only, in under 4 minutes")
    parser.add_argument("--rounds", type=int, help="rounds (3)")
    parser.add_argument(
        "--only", metavar="TEXT", action="append", help="contestants with TEXT in their names"
    )
    parser.add_argument("--trial", choices=TRIALS, action="append", help="measurements (all)")
    parser.add_argument("--jobs", type=float, default=1.0, help="share of the usual number of jobs (1.0)")
    parser.add_argument("--brief", action="store_true", help="short trials of idle workers, without gaps of 10 s")
    parser.add_argument("--output", type=Path, default=CACHE / "bench", help="path without suffix")
    chosen = parser.parse_args()
    environments, contestants = roster.load()
    taking_part = [
        one
        for one in contestants
        if (not chosen.quick or one.quick)
        and (not chosen.only or any(text.lower() in one.name.lower() for text in chosen.only))
    ]
    effort = Effort(jobs=chosen.jobs)
    if chosen.quick or chosen.brief:
        effort = msgspec.structs.replace(effort, round_trips=1.5, idle=2.0, long_gaps=0)
    setting = Setting("Redis", place.binaries()["redis-server"])
    results = start(chosen.rounds or 3)
    taking_part = prepare(taking_part, environments, results)
    chosen_trials = [TRIALS[name] for name in chosen.trial or TRIALS]
    run(results, setting, taking_part, chosen_trials, effort)
    write(results, chosen.output)
    return bool(results.failures)


def start(rounds: int) -> Results:
    """Return results without figures: day, commit and machine."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return Results(
        day=dt.datetime.now(dt.UTC).date().isoformat(),
        commit=commit.stdout.strip() or "an unknown commit",
        machine=f"{os.cpu_count()} cores ({_processor()}), {platform.system()} {platform.release()}",
        versions={"Python": platform.python_version()},
        rounds=rounds,
    )


def prepare(
    contestants: Iterable[Contestant], environments: dict[str, roster.Environment], results: Results
) -> list[Contestant]:
    """Install what contestants need, and return those that can take part."""
    ready = []
    for one in contestants:
        try:
            roster.prepare(one.environment, environments[one.environment])
        except Missing as error:
            results.left_out[one.name] = str(error)
            _console.print(f"{one.name} is left out: {error}")
            continue
        needed = environments[one.environment]
        version = ", ".join(needed.python or needed.npm) or needed.package
        results.contestants[one.name] = {
            "results": one.results,
            "delivery": one.delivery,
            "version": version or results.commit,
        }
        ready.append(one)
    return ready


def run(
    results: Results,
    setting: Setting,
    contestants: list[Contestant],
    chosen: Iterable[Callable[[Setting, Contestant, Effort], dict[str, float]]],
    effort: Effort,
) -> None:
    """Run the rounds, each in a random order, and add their figures."""
    results.settings[setting.name] = setting.server
    for turn in range(results.rounds):
        planned: list[tuple[str, str, Callable[[], dict[str, float]]]] = [
            (one.name, trial.__name__, partial(trial, setting, one, effort))
            for trial in chosen
            for one in contestants
            if one.trials is None or trial.__name__ in one.trials
        ]
        planned.append((SERVER, "raw", partial(raw.measure, setting, effort)))
        random.Random(turn).shuffle(planned)
        for name, trial, measure in planned:
            try:
                figures = measure()
            except Exception as error:  # noqa: BLE001 - a peer's failure ends its row, not the contest
                results.failures.append(f"{name}, {trial}, round {turn + 1}: {error!r:.400}")
                _console.print(results.failures[-1], style="red", soft_wrap=True)
                continue
            results.add(setting.name, name, figures)
            words = ", ".join(f"{key} {value:,.4g}" for key, value in list(figures.items())[:6])
            _console.print(f"[dim]{turn + 1}/{results.rounds}[/dim] {name}, {trial}: {words}", soft_wrap=True)


def write(results: Results, output: Path) -> None:
    """Write JSON and Markdown, and print where."""
    order = [SERVER, OURS]
    for setting, figures in results.figures.items():
        first = {name: figures[name] for name in order if name in figures}
        results.figures[setting] = first | figures
    output.parent.mkdir(parents=True, exist_ok=True)
    report = markdown(results)
    output.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    output.with_suffix(".md").write_text(report)
    sys.stdout.write(report)
    _console.print(f"written: {output.with_suffix('.json')}, {output.with_suffix('.md')}")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
