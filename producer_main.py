"""The producer: ask which task to enqueue and with what, follow the jobs and print the exact time they took."""

import sys

try:
    from conveyor.cli import scripts
except ModuleNotFoundError as error:
    sys.exit(f"{error}. Install the requirements first: pip install -r requirements.txt")

if __name__ == "__main__":
    sys.exit(scripts.produce())
