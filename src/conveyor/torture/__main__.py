"""`python -m conveyor.torture`: the bench with its own servers and all faults; for `make torture`."""

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
    """Run the bench and print the report; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m conveyor.torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of faults")
    parser.add_argument("--seed", default="1", help="seed of all random choices")
    parser.add_argument(
        "--server", default="", help="program of the server; default: that of the embedded server"
    )
    parser.add_argument("--rate", type=float, default=900.0, help="max jobs per second")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=FAULTS,
        metavar="FAULT",
        help="inject only this fault; repeatable",
    )
    parser.add_argument(
        "--lane", action="append", default=[], choices=bench.LANES, help="run only this lane; repeatable"
    )
    parser.add_argument("--keep", type=Path, help="folder that the history and all logs are copied to")
    args = parser.parse_args()
    binary = shutil.which(args.server or str(find_binary()))
    if binary is None:
        parser.error(f"unknown server {args.server}")
    plan = bench.Plan(args.seconds, args.seed, binary, rate=args.rate, keep=args.keep)
    plan = plan._replace(only=tuple(args.only), lanes=tuple(args.lane))
    return bench.report_on(plan, replay())


def replay() -> str:
    """Return the command that repeats this run in the current folder."""
    python = min(os.path.relpath(sys.executable), sys.executable, key=len)
    return shlex.join([python, "-m", "conveyor.torture", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
