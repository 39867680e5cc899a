"""Exit codes, which error gives which, and how an error is told."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import sys
from typing import TYPE_CHECKING

import typer

from conveyor import errors
from conveyor.errors import ConveyorError
from conveyor.wire.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Sequence

OK, FAILED, USAGE, NOT_FOUND, TIMED_OUT, WRONG_STATE = range(6)
UNREACHABLE, INTERRUPTED = 69, 130


class Usage(ConveyorError):
    """The command was called in a way that makes no sense."""


class NotFound(ConveyorError):
    """What the command is about does not exist."""


class WrongState(ConveyorError):
    """It exists, and in its state the command means nothing."""


class Interrupted(ConveyorError):
    """Somebody left a prompt."""


_CODES: tuple[tuple[type[Exception], int], ...] = (
    (Usage, USAGE),
    (errors.BadCall, USAGE),
    (errors.BadInput, USAGE),
    (errors.TooLarge, USAGE),
    (errors.MissingExtra, USAGE),
    (NotFound, NOT_FOUND),
    (errors.UnknownTask, NOT_FOUND),
    (errors.JobGone, NOT_FOUND),
    (errors.WaitTimeout, TIMED_OUT),
    (errors.Full, TIMED_OUT),
    (errors.Empty, TIMED_OUT),
    (errors.DurabilityUnknown, TIMED_OUT),
    (WrongState, WRONG_STATE),
    (errors.DuplicateJob, WRONG_STATE),
    (errors.NotEmpty, WRONG_STATE),
    (errors.ShutDown, WRONG_STATE),
    (errors.StoreUnavailable, UNREACHABLE),
    (Interrupted, INTERRUPTED),
)


def code_of(error: BaseException) -> int:
    """Give the exit code that stands for an error."""
    if isinstance(error, errors.StoreRefused) and "invalid server URL" in str(error):
        return USAGE  # no server was asked
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def tell(error: BaseException, *, as_json: bool = False) -> int:
    """Write an error to standard error, for a person or as a JSON object, and give its exit code."""
    code = code_of(error)
    if isinstance(error, ConveyorError):
        write(str(error), error.hint, code, as_json=as_json)
    elif isinstance(error, KeyboardInterrupt | EOFError | typer.Abort):
        code = INTERRUPTED
        write("interrupted", "", code, as_json=as_json)
    else:
        hint = "this is a fault in Conveyor: please report it; with CONVEYOR_TRACEBACK=1 it shows where"
        write(f"unexpected {type(error).__name__}: {error}", hint, code, as_json=as_json)
    return code


def tell_usage(error: typer.TyperException, *, as_json: bool = False) -> int:
    """Write what the parser found wrong."""
    context = getattr(error, "ctx", None)
    path = "conveyor" if context is None else context.command_path
    text = error.format_message().rstrip(".") or "something is missing"
    write(text, f"{path} --help", USAGE, as_json=as_json)
    return USAGE


def write(message: str, hint: str, code: int, *, as_json: bool) -> None:
    """Write one error: what and why in the first line, what to try in the second; no password of an address."""
    message, hint = redacted(message), redacted(hint)
    with contextlib.suppress(OSError):  # where even that cannot be written, the exit code has to do
        _write(message, hint, code, as_json=as_json)


def _write(message: str, hint: str, code: int, *, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps({"code": code, "message": message, "hint": hint}, ensure_ascii=False), file=sys.stderr
        )
        return
    colourful = sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    name = typer.style("conveyor:", fg="red", bold=True) if colourful else "conveyor:"
    print(f"{name} {_clean(message)}", file=sys.stderr)
    if hint:
        print(f"  Hint: {_clean(hint)}", file=sys.stderr)
    sys.stderr.flush()


def _clean(text: str) -> str:
    """Give a text of one line or several in which nothing steers the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "·" for letter in text)


def closest(name: str, known: Sequence[str]) -> str:
    """Give the part of a hint that names what was probably meant, or lists what there is."""
    near = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else ""
