"""The `conveyor` command, also `python -m conveyor`."""

import sys
from typing import NoReturn

from conveyor.errors import MissingExtra

_USAGE = 2


def main() -> NoReturn:
    """Run the command line, or exit with code 2 if its libraries are not installed."""
    try:
        from conveyor.cli.main import main as run  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        missing = MissingExtra("the command line", "cli", error.name)
        print(f"conveyor: {missing}\n  Hint: {missing.hint}", file=sys.stderr)  # noqa: T201 - a command
        sys.exit(_USAGE)
    run()


if __name__ == "__main__":
    main()
