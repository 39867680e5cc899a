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
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from benchmarks import place, raw, roster, trials
from benchmarks.report import OURS, SERVER, Results, markdown, number, publish
from benchmarks.roster import CACHE, ROOT, Contestant, Missing
from benchmarks.stage import Setting, exit_on_termination
from benchmarks.trials import Effort

if TYPE_CHECKING:
    from collections.abc import Iterable

Trial = Callable[[Setting, Contestant, Effort], dict[str, float]]
#: Measurements of all contestants, of the best ones, and of Conveyor alone.
OF_ALL: tuple[Trial, ...] = (trials.drain, trials.drain_two, trials.idle, trials.compute, trials.wait)
OF_BEST: tuple[Trial, ...] = (trials.after_pause,)
OF_OURS: tuple[Trial, ...] = (
    trials.several_producers,
    trials.pushed,
    trials.records,
    trials.imports,
    trials.depth,
    trials.queues,
    trials.durability,
)
TRIALS = {trial.__name__: trial for trial in (*OF_ALL, *OF_BEST, *OF_OURS)}
#: Those in all settings but the main one.
IN_OTHER_SETTINGS = {"drain", "drain_two", "idle"}
APPEND_ONLY = ("--appendonly", "yes", "--appendfsync", "everysec")
_console = Console(stderr=True, highlight=False)


class Measurement(msgspec.Struct, frozen=True):
    """Who is measured where; without a contestant, the bare server."""

    setting: Setting
    contestant: Contestant | None
    trial: Callable[..., dict[str, float]]

    @property
    def name(self) -> str:
        """The name for its figures."""
        return SERVER if self.contestant is None else self.contestant.name

    def run(self, effort: Effort) -> dict[str, float]:
        """Return the figures by row."""
        whom = () if self.contestant is None else (self.contestant,)
        return self.trial(self.setting, *whom, effort)


def main() -> int:
    """Run the contest."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="main rows, best contestants, under 4 minutes")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (%(default)s)")
    parser.add_argument(
        "--only", metavar="TEXT", action="append", help="contestants with TEXT in their names"
    )
    parser.add_argument("--trial", choices=TRIALS, action="append", help="measurements (all)")
    parser.add_argument(
        "--setting", metavar="TEXT", action="append", help="settings with TEXT in their names"
    )
    parser.add_argument("--jobs", type=float, default=1.0, help="share of the usual number of jobs (1.0)")
    parser.add_argument("--brief", action="store_true", help="shorter measurements of idle workers")
    parser.add_argument(
        "--keep", action="store_true", help="publish: README, docs and the ratios for make bench-check"
    )
    parser.add_argument("--output", type=Path, default=CACHE / "bench", help="path without suffix")
    chosen = parser.parse_args()
    exit_on_termination()
    began = time.monotonic()
    brief = chosen.quick or chosen.brief
    effort = Effort(chosen.jobs, round_trips=1.5) if brief else Effort(chosen.jobs)
    results = start(chosen.rounds)
    environments, contestants = roster.load()
    contestants = prepare(
        [one for one in contestants if (one.quick or not chosen.quick) and _named(one.name, chosen.only)],
        environments,
        results,
    )
    plan = [
        one
        for one in plan_of(settings(), contestants, quick=chosen.quick)
        if _named(one.setting.name, chosen.setting)
        and (one.contestant is None or not chosen.trial or one.trial.__name__ in chosen.trial)
    ]
    for turn in range(chosen.rounds):
        run(results, plan, effort, [turn])
        save(results, chosen.output)
    sys.stdout.write(markdown(results))
    _console.print(f"took {time.monotonic() - began:.0f} s, installing included")
    if chosen.keep:
        publish(results)
    return bool(results.failures)


def settings() -> list[Setting]:
    """Return the settings, the main one first. Those of a server that is not here are left out."""
    servers = place.binaries()
    redis, valkey = (servers.get(f"{name}-server") for name in ("redis", "valkey"))
    valkey = valkey or servers["embedded valkey"]
    main_server, name = (redis, "Redis") if redis else (valkey, "Valkey")
    made = [
        Setting(name, main_server),
        Setting("append-only file", main_server, APPEND_ONLY),
        Setting("everything on one core", main_server, one_core=True),
    ]
    return [*made, Setting("Valkey", valkey)] if redis else made


def plan_of(
    places: Iterable[Setting], contestants: Iterable[Contestant], *, quick: bool = False
) -> list[Measurement]:
    """Return what is measured in each round."""
    plan = []
    for index, setting in enumerate(places):
        if index and quick:
            break
        plan.append(Measurement(setting, None, raw.measure))
        plan += [
            Measurement(setting, one, trial)
            for one in contestants
            for trial in _trials_of(one, quick=quick)
            if not index or (one.quick and trial.__name__ in IN_OTHER_SETTINGS)
        ]
    return plan


def _trials_of(contestant: Contestant, *, quick: bool) -> list[Trial]:
    some = (
        *OF_ALL,
        *(OF_BEST if contestant.quick else ()),
        *(OF_OURS if contestant.name == OURS else ()),
    )
    names = contestant.quick if quick else contestant.trials
    return [trial for trial in some if names is None or trial.__name__ in names]


def _named(name: str, texts: list[str] | None) -> bool:
    return not texts or any(text.lower() in name.lower() for text in texts)


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
        results.contestants[one.name] = {
            "results": one.results,
            "delivery": one.delivery,
            "language": one.language,
            "version": environments[one.environment].version or results.commit,
        }
        ready.append(one)
    return ready


def run(
    results: Results, plan: list[Measurement], effort: Effort, rounds: Iterable[int]
) -> dict[str, set[str]]:
    """Run the rounds and add their figures. Return the rows of each measurement's function.

    The measurements of a round come in random order, and the contestants of a measurement too, one after the other.
    """
    rows: dict[str, set[str]] = {}
    for turn in rounds:
        chance = random.Random(turn)
        order = {(one.setting, one.trial): chance.random() for one in plan}
        for one in sorted(plan, key=lambda one: (order[one.setting, one.trial], chance.random())):
            what = f"{one.setting.name}: {one.name}, {one.trial.__name__}"
            try:
                figures = one.run(effort)
            except Exception as error:  # noqa: BLE001 - a failure ends a row, not the contest
                results.failures.append(f"{what}, round {turn + 1}: {error!r:.400}")
                _console.print(results.failures[-1], style="red", soft_wrap=True)
                continue
            results.add(one.setting.name, one.name, figures)
            rows.setdefault(one.trial.__name__, set()).update(figures)
            words = ", ".join(f"{key} {number(value)}" for key, value in figures.items())
            _console.print(f"[dim]{turn + 1}[/dim] {what}: {words}", soft_wrap=True)
    return rows


def save(results: Results, output: Path) -> None:
    """Write JSON and Markdown, the contestants in their usual order."""
    order = [SERVER, *results.contestants]
    for setting, figures in results.figures.items():
        results.figures[setting] = {name: figures[name] for name in order if name in figures}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    output.with_suffix(".md").write_text(markdown(results))
    _console.print(f"written: {output.with_suffix('.json')}, {output.with_suffix('.md')}", soft_wrap=True)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
