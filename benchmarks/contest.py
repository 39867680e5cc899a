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
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from benchmarks import place, raw, roster, trials
from benchmarks.report import OURS, SERVER, Results, markdown, number
from benchmarks.roster import CACHE, ROOT, Contestant, Missing
from benchmarks.stage import Setting
from benchmarks.trials import Effort

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The measurements; those that peers take part in, and of these the ones of a quick run.
TRIALS: dict[str, Callable[..., dict[str, float]]] = {
    trial.__name__: trial
    for trial in (
        trials.drain,
        trials.drain_two,
        trials.idle,
        trials.compute,
        trials.wait,
        trials.several_producers,
        trials.imports,
    )
}
SHARED, MAIN = {"drain", "drain_two", "idle", "compute", "wait"}, {"drain", "idle"}
#: Those that a quick run leaves out.
FULL_ONLY: set[str] = set()
Plan = list[tuple[Contestant | None, Callable[..., dict[str, float]]]]
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
    parser.add_argument(
        "--brief", action="store_true", help="short trials of idle workers, without gaps of 10 s"
    )
    parser.add_argument("--output", type=Path, default=CACHE / "bench", help="path without suffix")
    chosen = parser.parse_args()
    environments, contestants = roster.load()
    taking_part = [
        one
        for one in contestants
        if (not chosen.quick or one.quick)
        and (not chosen.only or any(text.lower() in one.name.lower() for text in chosen.only))
    ]
    brief = Effort(jobs=chosen.jobs, round_trips=1.5, idle=1.5, long_gaps=0)
    effort = brief if chosen.quick or chosen.brief else Effort(jobs=chosen.jobs)
    rounds = chosen.rounds or 3
    setting = Setting("Redis", place.binaries()["redis-server"])
    results = start(rounds)
    taking_part = prepare(taking_part, environments, results)
    names = set(chosen.trial or TRIALS)
    if chosen.quick:
        names -= FULL_ONLY
    run(results, setting, plan_of(taking_part, names, all_rows=not chosen.quick), effort, range(rounds))
    write(results, chosen.output)
    return bool(results.failures)


def plan_of(contestants: Iterable[Contestant], names: set[str], *, all_rows: bool = True) -> Plan:
    """Return who runs which of the named measurements. Without `all_rows`, peers have the main ones only."""
    plan: Plan = [(None, raw.measure)]
    for one in contestants:
        ours = one.name.startswith(OURS)
        for name, trial in TRIALS.items():
            takes_part = one.trials is None or name in one.trials
            if name in names and takes_part and (ours or name in (SHARED if all_rows else MAIN)):
                plan.append((one, trial))
    return plan


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
    results: Results, setting: Setting, plan: Plan, effort: Effort, rounds: Iterable[int]
) -> dict[str, set[str]]:
    """Run the rounds and add their figures. Return the rows of each measurement.

    The measurements of a round come in random order, and the contestants of a measurement too, one after the other.
    """
    rows: dict[str, set[str]] = {}
    for turn in rounds:
        chance = random.Random(turn)
        order = {trial: chance.random() for _, trial in plan}
        for contestant, trial in sorted(plan, key=lambda one: (order[one[1]], chance.random())):
            name = SERVER if contestant is None else contestant.name
            try:
                figures = trial(setting, effort) if contestant is None else trial(setting, contestant, effort)
            except Exception as error:  # noqa: BLE001 - a failure ends a row, not the contest
                results.failures.append(f"{name}, {trial.__name__}, round {turn + 1}: {error!r:.400}")
                _console.print(results.failures[-1], style="red", soft_wrap=True)
                continue
            results.add(setting.name, name, figures)
            rows.setdefault(trial.__name__, set()).update(figures)
            words = ", ".join(f"{key} {number(value)}" for key, value in figures.items())
            _console.print(f"[dim]{turn + 1}[/dim] {name}, {trial.__name__}: {words}", soft_wrap=True)
    return rows


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
