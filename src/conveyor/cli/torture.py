"""`conveyor torture`: the torture bench against the server in use."""

from __future__ import annotations

import secrets
import shlex
import sys
from pathlib import Path
from typing import Annotated

from conveyor.cli.connection import open_store
from conveyor.cli.options import option
from conveyor.errors import BadCall
from conveyor.store import fitness
from conveyor.store.address import shown
from conveyor.torture import bench
from conveyor.wire.durability import read_durability

_SEEDS = 1_000_000
_WORKERS_SEEN_IN = "/proc/self/task"


def torture(
    *,
    seconds: Annotated[float, option("SECONDS", "Duration of the faults in seconds.", min=1)] = 60.0,
    seed: Annotated[str, option("SEED", "Seed of the random faults; without it, a new one.")] = "",
    durability: Annotated[
        str, option("LEVEL", "Durability of the jobs: memory, written, fsync or replicated:N.")
    ] = "memory",
    keep: Annotated[str, option("FOLDER", "Folder for a copy of the history and all logs.")] = "",
) -> int:
    """Test the queues of a server with load and random faults.

    It starts its own producers and consumers on queues of its own, which it deletes at the end, and checks every
    guarantee. The faults are those of processes, operators and the network; the server itself is left alone. Exit with
    code 1 if a guarantee is broken. The last line of the output repeats the run.
    """
    if not Path(_WORKERS_SEEN_IN).exists():
        message = f"torture needs Linux, where /proc lists the processes of workers, got {sys.platform}"
        raise BadCall(message, hint="run it on Linux")
    seed = seed or str(secrets.randbelow(_SEEDS))
    client, level = open_store(), read_durability(durability)
    client.perform(fitness.vet(client, durability=level))
    plan = bench.Plan(seconds, seed, url=client.url, keep=Path(keep) if keep else None, durability=str(level))
    again = ["conveyor", "torture", "--url", shown(client.url), "--seconds", f"{seconds:g}"]
    again += ["--seed", seed, "--durability", plan.durability]
    return bench.report_on(plan, shlex.join(again))
