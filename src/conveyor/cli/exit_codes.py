"""Exit codes, and the report of an error on standard error."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import sys
from typing import TYPE_CHECKING

import typer

from conveyor import errors, logs
from conveyor.errors import ConveyorError
from conveyor.wire.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Iterable

OK, FAILED, USAGE, NOT_FOUND, TIMED_OUT, WRONG_STATE = range(6)
UNREACHABLE, INTERRUPTED = 69, 130


class Usage(ConveyorError):
    """The command line is invalid."""


class NotFound(ConveyorError):
    """The target of the command does not exist."""


class WrongState(ConveyorError):
    """The state of the target does not allow the command."""


class Interrupted(ConveyorError):
    """The user left a prompt."""


_CODES: dict[int, tuple[type[BaseException], ...]] = {
    USAGE: (Usage, errors.BadCall, errors.BadInput, errors.TooLarge, errors.MissingExtra),
    NOT_FOUND: (NotFound, errors.UnknownTask, errors.JobGone),
    TIMED_OUT: (errors.WaitTimeout, errors.Full, errors.Empty, errors.DurabilityUnknown),
    WRONG_STATE: (WrongState, errors.DuplicateJob, errors.NotEmpty, errors.ShutDown),
    UNREACHABLE: (errors.StoreUnavailable,),
    INTERRUPTED: (Interrupted, KeyboardInterrupt, EOFError, typer.Abort),
}


def code_of(error: BaseException) -> int:
    """Return the exit code for an error."""
    if isinstance(error, errors.StoreRefused) and "invalid server URL" in str(error):
        return USAGE  # no server was asked
    return next((code for code, kinds in _CODES.items() if isinstance(error, kinds)), FAILED)


def report_error(error: BaseException, *, as_json: bool = False) -> int:
    """Write an error to standard error, as text or as a JSON object, and return its exit code."""
    if isinstance(error, ConveyorError):
        message, hint = str(error), error.hint
    elif isinstance(error, _CODES[INTERRUPTED]):
        message, hint = "interrupted", ""
    else:
        message = f"unexpected {type(error).__name__}: {error}"
        hint = (
            "this is a bug in Conveyor: please report it, with the traceback that CONVEYOR_TRACEBACK=1 shows"
        )
    return write_error(message, hint, code_of(error), as_json=as_json)


def report_usage(error: typer.TyperException, *, as_json: bool = False) -> int:
    """Write an error of the parser to standard error and return its exit code."""
    context = getattr(error, "ctx", None)
    path = "conveyor" if context is None else context.command_path
    message = error.format_message().rstrip(".").replace("Value error, ", "", 1) or "an argument is missing"
    return write_error(message, f"{path} --help", USAGE, as_json=as_json)


def write_error(message: str, hint: str, code: int, *, as_json: bool) -> int:
    """Write a message and its hint to standard error, without passwords of URLs, and return the exit code."""
    message, hint = redacted(message), redacted(hint)
    with contextlib.suppress(OSError):  # if that cannot be written either, the exit code has to do
        if as_json:
            error = {"code": code, "message": message, "hint": hint}
            print(json.dumps(error, ensure_ascii=False), file=sys.stderr)
        elif logs.is_json():
            print(logs.as_line(message, "ERROR", code=code, hint=hint), file=sys.stderr, flush=True)
        else:
            in_color = (
                sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
            )
            name = typer.style("conveyor:", fg="red", bold=True) if in_color else "conveyor:"
            hint_line = f"\n  Hint: {_printable(hint)}" if hint else ""
            print(f"{name} {_printable(message)}{hint_line}", file=sys.stderr, flush=True)
    return code


def _printable(text: str) -> str:
    """Return a text of any number of lines without characters that control the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "·" for letter in text)


def closest(name: str, known: Iterable[str]) -> str:
    """Return a hint with the known names most similar to `name`, or "" without any."""
    near = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else ""
