"""What tasks log through Python's `logging` and, by choice, print: kept with the job that runs in the context.

Nothing is added to the handlers and levels that a program sees: `logging.basicConfig`, `dictConfig` and the handler of
last resort work as without it, and none of them can take it away. So it is not a handler. Records pass it on their way
to the handlers of their logger.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
from typing import TYPE_CHECKING

from conveyor.consumer.execution import RunningJob
from conveyor.context import running
from conveyor.errors import JobCancelled
from conveyor.store.records import MAX_LINE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.consumer.settings import LogLevel

#: Characters of a traceback that are kept with a line, the last ones.
MAX_TRACEBACK = 4000
#: Lines within each other: what formats a line may log, too, and that may have to be formatted by the same code.
MAX_NESTED = 3
_formatter = logging.Formatter()


class _State(threading.local):
    nested = 0
    """How many lines this thread is about to keep."""
    is_handling = False
    """True while handlers write a record, which is kept by itself."""


_state = _State()


class _DefaultLevel(int):
    """A level of the root logger that was not set by the program."""


def keep_logged(name: LogLevel) -> None:
    """Keep what is logged in this process while a job runs, from a level on.

    If the program leaves the root logger at its default, records below a warning are created as well, and kept. They
    reach no handler, as before. A level that the program sets is respected.
    """
    level = logging.getLevelNamesMapping()[name.upper()]
    default = _DefaultLevel(level)
    root = logging.getLogger()
    if level < root.level == logging.WARNING:
        root.setLevel(default)
    call_handlers = logging.Logger.callHandlers

    def keep_and_call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
        if record.levelno >= level:
            _keep(record)
        if record.levelno < logging.WARNING and logger.getEffectiveLevel() is default:
            return
        before = _state.is_handling
        try:
            _state.is_handling = True
            call_handlers(logger, record)
        finally:
            _state.is_handling = before

    logging.Logger.callHandlers = keep_and_call_handlers  # type: ignore[method-assign, assignment]
    handle_error = logging.Handler.handleError

    def pass_cancellation(handler: logging.Handler, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], JobCancelled):
            raise  # noqa: PLE0704 - called where a handler has caught everything
        handle_error(handler, record)

    logging.Handler.handleError = pass_cancellation  # type: ignore[method-assign, assignment]


def keep_printed() -> None:
    """Keep also the lines that are written to `sys.stdout` and `sys.stderr` while a job runs."""
    for name, label in (("stdout", "out"), ("stderr", "err")):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # otherwise it was closed
            stream.flush()
            setattr(sys, name, _PrintedStream(stream, label))


class _PrintedStream(io.TextIOWrapper):
    """Standard output or error, of which jobs keep the lines."""

    def __init__(self, stream: io.TextIOWrapper, label: str) -> None:
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self.mode = stream.mode  # type: ignore[misc]
        self._label = label
        self._stream = stream  # if it were deleted, it would close the file

    def write(self, text: str) -> int:
        """Write a string, and keep it with the job."""
        written = super().write(text)
        if not _state.is_handling:
            with _within_job() as current:
                if current is not None:
                    current.keep_printed(self._label, text)
        return written


def _keep(record: logging.LogRecord) -> None:
    with _within_job() as current:
        if current is not None:
            current.keep(record.levelname, _text(record))


@contextlib.contextmanager
def _within_job() -> Iterator[RunningJob | None]:
    """Yield the job of the context, or None; what fails meanwhile must not fail the task."""
    current = running.get()
    if not isinstance(current, RunningJob) or _state.nested >= MAX_NESTED:
        yield None
        return
    before = _state.nested
    try:
        _state.nested = before + 1
        yield current
    except JobCancelled:
        raise
    except Exception:  # noqa: BLE001, S110 - a method of the user's, such as __str__; handlers report it
        pass
    finally:
        _state.nested = before  # a cancellation may be raised between any two steps here


def _text(record: logging.LogRecord) -> str:
    """Return the message of a record with its traceback and stack."""
    try:
        text = record.getMessage()
    except JobCancelled:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the arguments do
        text = f"{record.msg} [{type(error).__name__}: {error}]"
    trace = ""
    if record.exc_info:
        trace += "\n" + (record.exc_text or _formatter.formatException(record.exc_info))
    if record.stack_info:
        trace += "\n" + record.stack_info
    if not trace:
        return text
    if len(trace) > MAX_TRACEBACK:
        trace = "\n…" + trace[-MAX_TRACEBACK:]
    return text[: MAX_LINE - len(trace)] + trace
