"""`python -m conveyor.torture`: the bench against servers of its own, for `make torture`."""

from __future__ import annotations

import argparse
import shutil
import sys

from conveyor.store.server_process import find_binary
from conveyor.torture import bench, report
from conveyor.torture.judge import judge


def main() -> int:
    """Run it and print the report; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m conveyor.torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--server", default="")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--keep", default="")
    asked = parser.parse_args()
    binary = shutil.which(asked.server) if asked.server else str(find_binary())
    with bench.temporary_folder() as folder:
        plan = bench.Plan(asked.seconds, asked.seed, folder, binary or "", only=tuple(asked.only))
        history = bench.run(plan)
        if asked.keep:
            shutil.copytree(folder / "history", asked.keep)
            for log in folder.glob("*/*.log"):
                shutil.copy(log, asked.keep + "/" + log.parent.name + log.name)
    verdicts = judge(history)
    title = f"seed {asked.seed}, {asked.seconds:.0f} s, {binary}"
    replay = f"make torture SECONDS={asked.seconds:.0f} SEED={asked.seed}"
    for line in report.lines(history, verdicts, title, replay):
        print(line)
    return any(one.broken for one in verdicts)


if __name__ == "__main__":
    sys.exit(main())
