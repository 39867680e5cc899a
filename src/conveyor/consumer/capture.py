"""Capture of what tasks log through `logging` and, by choice, print: it is kept with the job of the context.

It is not a handler: one at the root would keep `logging.basicConfig` and the handler of last resort from working, and a
`dictConfig` would remove it. Records pass it on their way to the handlers of their logger.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

from conveyor.consumer.execution import RunningJob
from conveyor.consumer.interruption import shield
from conveyor.context import running
from conveyor.errors import JobCancelled, SoftTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.consumer.settings import LogLevel

#: Lines within each other: what formats a line may log, too, and that may have to be formatted by the same code.
MAX_NESTED = 3
#: What is raised in a task from outside, wherever it is at that moment: code that catches everything must let it pass.
_INTERRUPTIONS: tuple[type[BaseException], ...] = (JobCancelled,)
_formatter = logging.Formatter()


class _State(threading.local):
    nested = 0
    """Number of lines that this thread is about to keep."""
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
            shield(call_handlers, logger, record)
        finally:
            _state.is_handling = before

    logging.Logger.callHandlers = keep_and_call_handlers  # type: ignore[method-assign, assignment]
    make_record = logging.Logger.makeRecord

    def make_whole_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        return shield(make_record, *args, **kwargs)

    logging.Logger.makeRecord = make_whole_record  # type: ignore[method-assign]
    handle_error = logging.Handler.handleError

    def pass_interruption(handler: logging.Handler, record: logging.LogRecord) -> None:
        if _is_interruption(sys.exc_info()[1]):
            raise  # noqa: PLE0704 - called where a handler has caught everything
        handle_error(handler, record)

    logging.Handler.handleError = pass_interruption  # type: ignore[method-assign, assignment]


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

    def close(self) -> None:
        """Only flush it: a task that closes it must not keep the lines of later jobs from being kept."""
        if not self.closed:
            self.flush()

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
            current.keep(record.levelname, _message(record), _trace(record))


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
    except Exception as error:  # a method of the user's, such as __str__; handlers report it
        if _is_interruption(error):
            raise
    finally:
        _state.nested = before  # a cancellation may be raised between any two steps here


def _is_interruption(error: BaseException | None) -> bool:
    """Return True if an exception is an interruption of the task, or has come in its place.

    In the place of SoftTimeout nothing counts: a task that has caught it may log meanwhile, and that may go wrong.
    """
    if isinstance(error, SoftTimeout):
        return True
    while error is not None and not isinstance(error, _INTERRUPTIONS):
        error = error.__context__
    return error is not None


def _message(record: logging.LogRecord) -> str:
    """Return the message of a record, and why its arguments do not fit if they do not."""
    try:
        return record.getMessage()
    except Exception as error:
        if _is_interruption(error):
            raise
        return f"{record.msg} [{type(error).__name__}: {error}]"


def _trace(record: logging.LogRecord) -> str:
    """Return the traceback and the stack of a record, or an empty string without them."""
    trace = record.exc_text or ""
    if record.exc_info and not trace:
        trace = _formatter.formatException(record.exc_info)
    return "\n".join(filter(None, (trace, record.stack_info)))
