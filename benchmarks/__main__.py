"""Run measurements of Conveyor alone, each on a server of its own, and print them as one table.

The contest with the peers is benchmarks.contest.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks import batches, durability, limits, page, place, recovery, sharing
from conveyor.store import Client, fitness

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.place import Row

MEASUREMENTS: dict[str, Callable[[Client], list[Row]]] = {
    "sharing": sharing.measure,
    "page": page.measure,
    "durability": durability.measure,
    "recovery": recovery.measure,
    "batches": batches.measure,
    "limits": limits.measure,
}


def main() -> int:
    """Measure what is named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"some of: {', '.join(MEASUREMENTS)}; none: all"
    )
    parser.add_argument("--servers", action="store_true", help="on every server that is here")
    parser.add_argument(
        "--server", choices=place.binaries(), default="embedded valkey", help="on this one (%(default)s)"
    )
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"no measurement is called {', '.join(sorted(unknown))}")
    console = Console(width=max(110, Console().width))
    for label, binary in place.binaries().items():
        if not chosen.servers and label != chosen.server:
            continue
        console.print(_measured(label, binary, chosen.names or list(MEASUREMENTS)))
    return 0


def _measured(label: str, binary: str, names: list[str]) -> Table:
    table = Table(title_justify="left")
    for column in ("What", "Measured", "Beside it", "Asked for"):
        table.add_column(column)
    version = ""
    for name in names:
        with place.server(binary) as client:
            facts = client.run(fitness.info("server"))
            version = facts.get("valkey_version") or facts["redis_version"]
            for row in MEASUREMENTS[name](client):
                table.add_row(row.what, row.value, row.beside, row.asked)
    table.title = (
        f"{label} {version}, Python {platform.python_version()}, {os.cpu_count()} cores, append-only file on"
    )
    return table


if __name__ == "__main__":
    sys.exit(main())
