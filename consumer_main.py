"""The consumer: asks how many workers are to work on which queue, and works until Ctrl-C."""

import sys

try:
    from conveyor.cli import front_doors
except ModuleNotFoundError as error:
    sys.exit(f"{error}. Install what is needed first: pip install -r requirements.txt")

if __name__ == "__main__":
    sys.exit(front_doors.consume())
