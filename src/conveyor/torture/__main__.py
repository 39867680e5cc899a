"""`python -m conveyor.torture`: the bench against servers of its own, with all faults; for `make torture`."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

from conveyor.store.embedded import find_binary
from conveyor.torture import bench
from conveyor.torture.faults import FAULTS


def main() -> int:
    """Run it and print the report; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m conveyor.torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of faults")
    parser.add_argument("--seed", default="1", help="what all chance comes from")
    parser.add_argument(
        "--server", default="", help="program of the server; default: that of the embedded one"
    )
    parser.add_argument("--rate", type=float, default=900.0, help="jobs per second, at most")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=FAULTS,
        metavar="FAULT",
        help="do this fault; repeatable",
    )
    parser.add_argument(
        "--lane", action="append", default=[], choices=bench.LANES, help="this lane; repeatable"
    )
    parser.add_argument("--keep", type=Path, help="folder that the history and all logs are copied to")
    asked = parser.parse_args()
    binary = shutil.which(asked.server or str(find_binary()))
    if binary is None:
        parser.error(f"unknown server {asked.server}")
    plan = bench.Plan(asked.seconds, asked.seed, binary, rate=asked.rate, keep=asked.keep)
    plan = plan._replace(only=tuple(asked.only), lanes=tuple(asked.lane))
    return bench.report_on(plan, replay())


def replay() -> str:
    """Return the command that repeats this run in the current folder."""
    python = min(os.path.relpath(sys.executable), sys.executable, key=len)
    return shlex.join([python, "-m", "conveyor.torture", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
