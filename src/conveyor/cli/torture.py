"""`conveyor torture`: the bench against the server in use."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.cli.desk import open_store
from conveyor.errors import BadCall
from conveyor.store.address import shown
from conveyor.torture import bench

if TYPE_CHECKING:
    from conveyor.cli.commands.work import Torture

_SEEDS = 1_000_000
_WORKERS_SEEN_IN = "/proc/self/task"


def run(asked: Torture) -> int:
    """Run it and print the report; 1 if a promise was broken."""
    if not Path(_WORKERS_SEEN_IN).exists():
        message = "torture needs Linux: it finds the processes of workers in /proc"
        raise BadCall(message, hint=f"run it on another machine, not on {sys.platform}")
    seed = asked.seed or str(secrets.randbelow(_SEEDS))
    client = open_store()
    plan = bench.Plan(asked.seconds, seed, url=client.url, keep=Path(asked.keep) if asked.keep else None)
    again = f"conveyor torture --url {shown(client.url)} --seconds {asked.seconds:g} --seed {seed}"
    return bench.report_on(plan, again)
