"""The consumer: ask for a number of workers and a queue, and run its jobs until Ctrl-C."""

import sys

try:
    from conveyor.cli import scripts
except ModuleNotFoundError as error:
    sys.exit(f"{error}. Install the requirements first: pip install -r requirements.txt")

if __name__ == "__main__":
    sys.exit(scripts.consume())
