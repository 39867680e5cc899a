"""Compare the speed with an older commit. Exits with 1 if a row lost more than 5 %, beyond its spread.

Both commits run in turn in each round. The ratio of a row is that of the two figures of a round; a row has lost if
three quarters of its ratios are below 0.95. What seems to have lost is measured again, as many rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import contest, raw, roster
from benchmarks.contest import Measurement
from benchmarks.report import KEPT, OURS, PEER, Kept, kept_ratios, ratio, shown
from benchmarks.roster import ROOT, Contestant
from benchmarks.rows import ROWS, Row
from benchmarks.stage import exit_on_termination
from benchmarks.trials import Effort

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.report import Results

#: A ratio below this is a loss.
FLOOR = 0.95
TRIALS = ("drain", "drain_two", "idle", "several_producers", "imports")
ROUNDS = 5
#: Rounds below which the quartiles say nothing.
FEWEST = 4
_EXTRA = re.compile(r"\[\w+\]")  # constraints have none


class Change(msgspec.Struct, frozen=True):
    """What a row gained or lost: ratios above 1 are better, whether more or less is better in the row."""

    median: float
    lower: float
    upper: float
    """Quartiles."""
    rounds: int

    @property
    def verdict(self) -> str:
        """Lost, gained, same or unsure."""
        if self.rounds < FEWEST:
            return "unsure"
        if self.upper < FLOOR:
            return "lost"
        return "gained" if self.lower > 1 / FLOOR else "same"


def change(row: Row, now: list[float], before: list[float]) -> Change:
    """Return the change of a row from the figures of the same rounds."""
    pairs = zip(now, before, strict=False)
    ratios = [ratio(new, old) if row.more_is_better else ratio(old, new) for new, old in pairs]
    lower, median, upper = statistics.quantiles(
        ratios * 2 if len(ratios) == 1 else ratios, n=4, method="inclusive"
    )
    return Change(median, lower, upper, len(ratios))


def main() -> int:
    """Compare, print a table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__)
    parser.add_argument("base", nargs="?", help="commit to compare with (that of the kept figures)")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"rounds (%(default)s); fewer than {FEWEST} judge nothing"
    )
    parser.add_argument("--trial", choices=TRIALS, action="append", help="measurements (all)")
    parser.add_argument("--jobs", type=float, default=1.0, help="share of the usual number of jobs (1.0)")
    parser.add_argument("--no-peer", action="store_true", help="without the bare server and the peer")
    chosen = parser.parse_args()
    exit_on_termination()
    kept = msgspec.json.decode(KEPT.read_bytes(), type=Kept) if KEPT.is_file() else None
    base = chosen.base or (kept and kept.commit)
    if not base:
        parser.error("no figures are kept yet: name a commit")
    base = _git("rev-parse", "--short", f"{base}^{{commit}}")
    setting = contest.settings()[0]
    effort = Effort(chosen.jobs, round_trips=1.5)
    results = contest.start(chosen.rounds)
    environments, contestants = roster.load()
    ours = next(one for one in contestants if one.name == OURS)
    others = [one for one in contestants if one.name == PEER and not chosen.no_peer]
    others = contest.prepare(others, environments, results)
    with installed(base) as (present, before):
        older = msgspec.structs.replace(ours, name=f"{OURS} at {base}", folder=str(before))
        ours = msgspec.structs.replace(ours, folder=str(present))
        plan = [
            Measurement(setting, one, contest.TRIALS[name])
            for one in (ours, older)
            for name in chosen.trial or TRIALS
        ]
        beside = [] if chosen.no_peer else [Measurement(setting, None, raw.measure)]
        beside += [
            Measurement(setting, one, contest.TRIALS[name]) for one in others for name in ("drain", "idle")
        ]
        rows = contest.run(results, plan + beside, effort, range(chosen.rounds))
        changes = compared(results, setting.name, older)
        suspects = {row.key for row, one in changes if row.judged and one.verdict == "lost"}
        if suspects:
            again = [one for one in plan if suspects & rows[one.trial.__name__]]
            contest.run(results, again, effort, range(chosen.rounds, 2 * chosen.rounds))
            changes = compared(results, setting.name, older)
    console = Console(width=max(150, Console().width))
    console.print(_table(results, setting.name, older, changes))
    if kept is not None and not chosen.no_peer:
        console.print(_kept_table(results, setting.name, kept))
    lost = [row.title for row, one in changes if row.judged and one.verdict == "lost"]
    for title in lost:
        console.print(f"lost more than 5 %: {title}", style="red")
    return bool(lost or results.failures)


@contextlib.contextmanager
def installed(base: str) -> Iterator[tuple[Path, Path]]:
    """Install the present tree and a commit, each into a virtual environment; remove both at the end of the block.

    Both are installed in the same way, since an editable install imports more slowly.
    """
    with tempfile.TemporaryDirectory(prefix="conveyor-check-") as folder:
        checkout, present, older = (Path(folder, name) for name in ("checkout", "present", "older"))
        _git("worktree", "add", "--quiet", "--detach", str(checkout), base)
        try:
            _install(ROOT, present)
            _install(checkout, older)
            yield present, older
        finally:
            _git("worktree", "remove", "--force", str(checkout))


def _install(source: Path, environment: Path) -> None:
    lines = (source / "requirements.txt").read_text().splitlines()
    exact = environment.with_suffix(".txt")
    exact.write_text("\n".join(_EXTRA.sub("", line) for line in lines if not line.startswith("-e")))
    roster.make_venv(environment, ["--constraint", str(exact), f"{source}[cli]"])


def compared(results: Results, setting: str, older: Contestant) -> list[tuple[Row, Change]]:
    """Return the change of each row that both commits have."""
    now, before = (results.figures[setting].get(name, {}) for name in (OURS, older.name))
    return [
        (row, change(row, now[row.key], before[row.key]))
        for row in ROWS
        if row.key in now and row.key in before
    ]


def _table(results: Results, setting: str, older: Contestant, changes: list[tuple[Row, Change]]) -> Table:
    table = Table(title=f"{OURS} at {results.commit}, beside {older.name}: {setting}", title_justify="left")
    for column in ("Row", "Times as good", "Quartiles", "Verdict", "Now", "Before"):
        table.add_column(column)
    for row, one in changes:
        now, before = (results.figures[setting][name][row.key] for name in (OURS, older.name))
        table.add_row(
            row.title,
            f"{one.median:.3f}",
            f"{one.lower:.3f} to {one.upper:.3f}",
            one.verdict if row.judged else f"{one.verdict} (not judged)",
            shown(row, now),
            shown(row, before),
        )
    return table


def _kept_table(results: Results, setting: str, kept: Kept) -> Table:
    """Return the ratios of now beside the kept ones, which another machine may have measured: for information."""
    table = Table(title=f"Kept at {kept.commit} on {kept.day}: {kept.machine}", title_justify="left")
    for column in ("Row", "Of the bare server", "Kept", f"Times as good as {PEER}", "Kept"):
        table.add_column(column)
    server, peer = kept_ratios(results.figures[setting])
    for row in ROWS:
        if row.key in server or row.key in peer:
            pairs = ((server, kept.server), (peer, kept.peer))
            cells = [
                f"{ratios[row.key]:.2f}" if row.key in ratios else "" for pair in pairs for ratios in pair
            ]
            table.add_row(row.title, *cells)
    return table


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
