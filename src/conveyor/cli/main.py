"""The entry point: reads the command line, runs the command, and turns what went wrong into words and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from conveyor.cli import exits
from conveyor.cli.parser import build
from conveyor.errors import ConveyorError

if TYPE_CHECKING:
    from collections.abc import Callable

#: What the system says when output cannot be written: disk full, over the quota, closed, broken.
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EIO}


def main() -> NoReturn:
    """Run the command that this process was called with, and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and give its exit code."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments

    def parsed() -> int:
        return int(build()(url_first(arguments), prog_name="conveyor", standalone_mode=False) or 0)

    return exit_code(parsed, as_json="--json" in own)


def exit_code(act: Callable[[], int], *, as_json: bool = False) -> int:
    """Do something and give its exit code; what goes wrong is told in words."""
    _fill_streams()
    try:
        status = act()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
        _drop_output()
        return exits.FAILED
    except typer.TyperException as error:
        return exits.tell_usage(error, as_json=as_json)
    except (ConveyorError, KeyboardInterrupt, EOFError, typer.Abort) as error:
        return exits.tell(error, as_json=as_json)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNWRITABLE and error.filename is None:
            _drop_output()
            exits.write(f"cannot write: {error.strerror}", "", exits.FAILED, as_json=as_json)
            return exits.FAILED
        if os.environ.get("CONVEYOR_TRACEBACK"):
            raise
        return exits.tell(error, as_json=as_json)
    return status


def _fill_streams() -> None:
    """Put the null device in the place of standard streams that this process was started without."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: that of the missing stream
            os.set_inheritable(number, True)  # noqa: FBT003 - positional only
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _drop_output() -> None:
    """Send what is still to be written nowhere, so that the interpreter does not stumble over it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def url_first(arguments: list[str]) -> list[str]:
    """Move `--url ADDRESS` to the front, so that it may stand after the command as well."""
    moved, rest = [], list(arguments)
    for place, word in enumerate(arguments):
        if word == "--":
            break
        if word.startswith("--url="):
            moved = [word]
            rest = arguments[:place] + arguments[place + 1 :]
        elif word in {"--url", "-u"} and place + 1 < len(arguments):
            moved = arguments[place : place + 2]
            rest = arguments[:place] + arguments[place + 2 :]
    return moved + rest
