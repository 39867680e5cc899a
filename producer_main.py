"""The producer: asks which task to enqueue and with what, follows the jobs, prints the exact time they took."""

import sys

try:
    from conveyor.cli import front_doors
except ModuleNotFoundError as error:
    sys.exit(f"{error}. Install what is needed first: pip install -r requirements.txt")

if __name__ == "__main__":
    sys.exit(front_doors.produce())
