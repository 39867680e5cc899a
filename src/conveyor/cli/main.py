"""The entry point: run one command and turn errors into messages and exit codes."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from conveyor.cli import exit_codes
from conveyor.cli.commands import parser
from conveyor.errors import ConveyorError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Errors of the system if output cannot be written: disk full, quota exceeded, closed, broken.
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EIO}


def main() -> NoReturn:
    """Run the command that this process was called with, and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments

    def command() -> int:
        return int(parser()(root_options_first(arguments), prog_name="conveyor", standalone_mode=False) or 0)

    return exit_code(command, as_json="--json" in own)


def exit_code(action: Callable[[], int], *, as_json: bool = False) -> int:
    """Run an action and return its exit code; if it raises, report the error."""
    _fill_streams()
    try:
        status = action()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader closed its end
        _drop_output()
        return exit_codes.FAILED
    except typer.TyperException as error:
        return exit_codes.report_usage(error, as_json=as_json)
    except (ConveyorError, KeyboardInterrupt, EOFError, typer.Abort) as error:
        return exit_codes.report_error(error, as_json=as_json)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNWRITABLE and error.filename is None:
            _drop_output()
            message = f"cannot write: {error.strerror}"
            return exit_codes.write_error(message, "", exit_codes.FAILED, as_json=as_json)
        if os.environ.get("CONVEYOR_TRACEBACK"):
            raise
        return exit_codes.report_error(error, as_json=as_json)
    return status


def _fill_streams() -> None:
    """Open the null device for standard streams that this process was started without."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest free one: that of the missing stream
            os.set_inheritable(number, True)  # noqa: FBT003 - positional only
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _drop_output() -> None:
    """Redirect standard output to the null device, so that the interpreter can flush it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


#: The options of `conveyor` that may also follow the command.
_MOVABLE = ("--url", "--log-format")


def root_options_first(arguments: list[str]) -> list[str]:
    """Move `--url ADDRESS` and `--log-format FORMAT` to the front: they may also follow the command."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments[:end])
    for word in words:
        if word.startswith(tuple(f"{name}=" for name in _MOVABLE)):
            front.append(word)
        elif word in {*_MOVABLE, "-u"} and (value := next(words, None)) is not None:
            front += [word, value]
        else:
            rest.append(word)
    return front + rest + arguments[end:]
