"""The cost of an idle consumer: commands to the server, and CPU time."""

from __future__ import annotations

import os
import pathlib
import subprocess
import time

from benchmarks import place
from benchmarks.place import Row
from conveyor.store import Client, fitness

SECONDS = 20.0


def measure(client: Client) -> list[Row]:
    """Return commands and CPU time per second, for one worker and for ten."""
    rows = []
    for workers in (1, 10):
        with place.consumer(client, "idle", workers) as running:
            time.sleep(3)
            commands, cpu = _commands(client), _cpu(running.pid)
            time.sleep(SECONDS)
            rate = (_commands(client) - commands - 1) / SECONDS / workers
            busy = (_cpu(running.pid) - cpu) / SECONDS
        rows.append(
            Row(
                f"idle consumer of {workers}: commands/s for each worker",
                f"{rate:.2f}",
                f"its processes use {busy * 100:.2f} % of a core together",
                "2",
            )
        )
    return rows


def _commands(client: Client) -> int:
    return int(client.run(fitness.info("stats"))["total_commands_processed"])


def _cpu(pid: int | None) -> float:
    """Return the CPU seconds of a process and its children so far."""
    children = subprocess.run(
        ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    ticks = 0
    for one in (str(pid), *children):
        fields = pathlib.Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
