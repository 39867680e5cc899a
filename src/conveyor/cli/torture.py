"""`conveyor torture`: the bench against the server in use."""

from __future__ import annotations

import secrets
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.cli.desk import open_store
from conveyor.errors import BadCall
from conveyor.store import fitness
from conveyor.store.address import shown
from conveyor.torture import bench
from conveyor.wire.durability import read_durability

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
    client, durability = open_store(), read_durability(asked.durability)
    fitness.vet(client, durability=durability)
    keep = Path(asked.keep) if asked.keep else None
    plan = bench.Plan(asked.seconds, seed, url=client.url, keep=keep, durability=str(durability))
    again = ["conveyor", "torture", "--url", shown(client.url), "--seconds", f"{asked.seconds:g}"]
    again += ["--seed", seed, "--durability", plan.durability]
    return bench.report_on(plan, shlex.join(again))
