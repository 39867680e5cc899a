"""Stops all workers, after their current jobs; with --now at once, and what they ran goes back to its place."""  # noqa: INP001 - a script, no package

import sys

try:
    from conveyor.cli import front_doors
except ModuleNotFoundError as error:
    sys.exit(f"{error}. Install what is needed first: pip install -r requirements.txt")

if __name__ == "__main__":
    sys.exit(front_doors.stop_all())
