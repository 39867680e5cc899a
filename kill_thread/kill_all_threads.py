"""Stop all workers after their current jobs, or immediately with --now; then their jobs return to the queue."""  # noqa: INP001 - a script, no package

import sys

try:
    from conveyor.cli import scripts
except ModuleNotFoundError as error:
    sys.exit(f"{error}. Install the requirements first: pip install -r requirements.txt")

if __name__ == "__main__":
    sys.exit(scripts.stop_all())
