"""From raw figures to medians, ratios and a Markdown table."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.roster import ROOT
from benchmarks.rows import RAW, ROWS, Row

if TYPE_CHECKING:
    from collections.abc import Iterable

OURS = "Conveyor"
#: The peer whose ratios are kept in the repository, and where they are.
PEER, KEPT = "Huey", ROOT / "benchmarks" / "kept.json"
#: The name under which the figures of the raw server are kept.
SERVER = "the bare server"
#: Rows that README shows, and the marks around the figures of a page.
SHOWN = {"put", "put_many", "drain", "round_trip", "pick_up", "job_bytes", "consumer_pss"}
#: Rows in which the report shows all contestants.
MAIN = {
    *("put", "put_many", "drain", "drain_two", "round_trip", "round_trip_p99", "pick_up", "pick_up_p99"),
    *("pick_up_after_10", "compute", "wait", "job_bytes", "run_reads", "consumer_pss"),
}
_OPENING, _CLOSING = "<!-- figures -->", "<!-- /figures -->"
#: The values of the rounds, by contestant and row.
Figures = dict[str, dict[str, list[float]]]
_LEGEND = (
    "Measured on {day} at {commit}: {machine}. Medians of {rounds} rounds, with minimum and maximum in brackets."
    " The ratios are how many times better Conveyor is than the best peer of the row, and the share of the bare"
    " server's figure that it reaches."
)


class Results(msgspec.Struct):
    """A run of the contest: what `make bench` writes as JSON."""

    day: str
    commit: str
    machine: str
    versions: dict[str, str]
    rounds: int
    contestants: dict[str, dict[str, str]] = {}
    """Results and delivery of each contestant."""
    figures: dict[str, Figures] = {}
    """All raw values, in the order of the rounds, by setting, contestant and row."""
    failures: list[str] = []
    left_out: dict[str, str] = {}

    def add(self, setting: str, contestant: str, figures: dict[str, float]) -> None:
        """Add the figures of one measurement."""
        rows = self.figures.setdefault(setting, {}).setdefault(contestant, {})
        for row, value in figures.items():
            rows.setdefault(row, []).append(value)


class Kept(msgspec.Struct):
    """The ratios of a full run, as kept in the repository."""

    commit: str
    day: str
    machine: str
    server: dict[str, float]
    """The share of the raw server's figure that each row reaches."""
    peer: dict[str, float]
    """How many times better than `PEER` each row is."""


def kept_ratios(figures: Figures) -> tuple[dict[str, float], dict[str, float]]:
    """Return the ratios of Conveyor's medians to those of the bare server and of `PEER`, by row."""
    ours, server, peer = (figures.get(name, {}) for name in (OURS, SERVER, PEER))
    beside = [row for row in ROWS if row.key in ours]
    return (
        {row.key: advantage(row, ours[row.key], server[row.raw]) for row in beside if row.raw in server},
        {row.key: advantage(row, ours[row.key], peer[row.key]) for row in beside if row.key in peer},
    )


def rivals(figures: Figures, contestants: dict[str, dict[str, str]]) -> tuple[Figures, Figures, Figures]:
    """Return the figures of the peers: of all, of those in Python, and of those in Python that keep results."""
    peers = {name: rows for name, rows in figures.items() if name != SERVER and not name.startswith(OURS)}
    python = {name: rows for name, rows in peers.items() if contestants[name]["language"] == "Python"}
    kept = {name: rows for name, rows in python.items() if contestants[name]["results"] != "none"}
    return peers, python, kept


def best_of(row: Row, peers: Figures) -> str | None:
    """Return the name of the peer with the best median in a row, or None if no peer has the row or it is not ranked."""
    if not row.ranked:
        return None
    medians = {name: statistics.median(rows[row.key]) for name, rows in peers.items() if row.key in rows}
    return (max if row.more_is_better else min)(medians, key=medians.__getitem__, default=None)


def advantage(row: Row, ours: list[float], theirs: list[float]) -> float:
    """Return how many times better our median is: above 1 is better, whether more or less is better in the row."""
    one, other = statistics.median(ours), statistics.median(theirs)
    return ratio(one, other) if row.more_is_better else ratio(other, one)


def ratio(one: float, other: float) -> float:
    """Return a quotient: 1 if both are 0, or infinity if only the divisor is."""
    if one == other:
        return 1.0
    return one / other if other else float("inf")


def markdown(results: Results) -> str:
    """Return the whole report: for each setting the ratios, then the figures."""
    parts = [_LEGEND.format_map(msgspec.structs.asdict(results))]
    for setting, figures in results.figures.items():
        parts += [
            f"## {setting}",
            _ratios(figures, results.contestants),
            _figures(figures),
        ]
    facts = [
        (name, *(facts[key] for key in ("language", "results", "delivery", "version")))
        for name, facts in results.contestants.items()
    ]
    parts += [
        "## Contestants",
        table(("contestant", "language", "results", "job of a crashed worker", "version"), facts),
    ]
    parts += [f"{name} was left out: {why}." for name, why in results.left_out.items()]
    parts += [f"Failed: {failure}" for failure in results.failures]
    return "\n\n".join(part for part in parts if part) + "\n"


def _ratios(figures: Figures, contestants: dict[str, dict[str, str]]) -> str:
    """Return a row for each row of Conveyor: how many times better it is than each of the best, and by what."""
    server, ours = figures.get(SERVER, {}), figures.get(OURS, {})
    lines = []
    for row in ROWS:
        if row.key not in ours:
            continue
        cells = [row.title, shown(row, ours[row.key])]
        for some in rivals(figures, contestants):
            best = best_of(row, some)
            cells.append("" if best is None else _times(row, ours[row.key], some[best][row.key], best))
        raw = next((one for one in RAW if one.key == row.raw and row.raw in server), None)
        if raw is not None:
            share = advantage(row, ours[row.key], server[raw.key])
            cells.append(f"{share:.0%} of {shown(raw, [statistics.median(server[raw.key])])}")
        lines.append(cells)
    head = (
        "row",
        OURS,
        "times the best of any language",
        "of Python",
        "of Python with results",
        "of the bare server",
    )
    return table(head, [[*cells, *[""] * (len(head) - len(cells))] for cells in lines])


def _times(row: Row, ours: list[float], theirs: list[float], name: str) -> str:
    median = shown(row, [statistics.median(theirs)])
    return f"**{number(advantage(row, ours, theirs))}** ({name}: {median})"


def _figures(figures: Figures) -> str:
    """Return the main rows, as columns, of all contestants; and the bare server."""
    rows = [row for row in ROWS if row.key in MAIN and any(row.key in taken for taken in figures.values())]
    lines = [
        (name, *(shown(row, taken[row.key]) if row.key in taken else "" for row in rows))
        for name, taken in figures.items()
        if name != SERVER
    ]
    server = figures.get(SERVER, {})
    raw = [(row.title, shown(row, server[row.key])) for row in RAW if row.key in server]
    parts = [table(("contestant", *(row.title for row in rows)), lines)] if rows else []
    return "\n\n".join(parts + ([table(("bare server", ""), raw)] if raw else []))


def shown(row: Row, values: list[float]) -> str:
    """Return a median with its unit and, if there are several values, minimum and maximum."""
    median = number(statistics.median(values))
    unit = row.unit if row.unit in {"/s", "%"} else f" {row.unit}".rstrip()
    spread = f" ({number(min(values))} to {number(max(values))})" if len(values) > 1 else ""
    return f"{median}{unit}{spread}"


def number(value: float) -> str:
    """Return a number with three significant digits, or whole with commas."""
    if not value or math.isinf(value):
        return f"{value:.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def readme_table(results: Results) -> str:
    """Return the rows that README shows, of the main setting."""
    figures = next(iter(results.figures.values()))
    ours = figures[OURS]
    lines = []
    for row in ROWS:
        if row.key not in ours or row.key not in SHOWN:
            continue
        cells = [row.title]
        for some in rivals(figures, results.contestants)[:2]:
            best = best_of(row, some)
            cells.append("" if best is None else _times(row, ours[row.key], some[best][row.key], best))
        lines.append((*cells, shown(row, ours[row.key])))
    head = ("", "times the best peer of any language", "times the best of Python", OURS)
    machine = f"{results.machine}, {next(iter(results.figures))} over TCP, {results.day}; medians of {results.rounds}"
    return f"{table(head, lines)}\n\n{machine} rounds (minimum to maximum)."


def publish(results: Results) -> None:
    """Write the figures into README and docs, and keep the ratios of the main setting for `make bench-check`."""
    for name, text in (("README.md", readme_table(results)), ("docs/benchmarks.md", markdown(results))):
        page = ROOT / name
        before, opening, rest = page.read_text().partition(_OPENING)
        _, closing, after = rest.partition(_CLOSING)
        page.write_text(f"{before}{opening}\n\n{text.strip()}\n\n{closing}{after}")
    server, peer = kept_ratios(next(iter(results.figures.values())))
    kept = Kept(results.commit.removesuffix("-dirty"), results.day, results.machine, server, peer)
    KEPT.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")


def table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    head = list(head)
    rows = [head, ["---"] * len(head), *map(list, lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    """Print the report of a run that was saved as JSON, or publish it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=main.__doc__)
    parser.add_argument("file", type=Path, help="JSON of a run")
    parser.add_argument("--publish", action="store_true", help="write README, docs and the kept ratios")
    chosen = parser.parse_args()
    results = msgspec.json.decode(chosen.file.read_bytes(), type=Results)
    if chosen.publish:
        publish(results)
    else:
        sys.stdout.write(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
