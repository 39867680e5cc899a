"""Lines on standard error, as text or as JSON, and a formatter of JSON for the loggers of users.

The lines about events are the only messages about what happens in a consumer.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import select
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import structs

from conveyor import clock, events
from conveyor.context import running
from conveyor.wire.redaction import escaped, redacted_text

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The environment variable that chooses the format, text or json, for this process and its children.
FORMAT = "CONVEYOR_LOG_FORMAT"
#: Max characters of a line.
MAX_LENGTH = 4000
#: What a record has without `extra`, and what others must not overwrite.
_OF_RECORDS = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
_USUAL = (
    *(events.ServerLevels, events.ConsumerStarted, events.ConsumerLeaving, events.ConsumerLeft),
    *(events.ConsumerScaled, events.WorkerRecycled),
)


class JsonFormatter(logging.Formatter):
    """Formats each record as a JSON object in one line, for handlers of your own.

    Its fields are `time` (RFC 3339, UTC), `level`, `logger` and `message`; in a job also `queue`, `job`, `task`,
    `worker` and `attempt`; in a span of OpenTelemetry `trace_id` and `span_id`; with an exception its traceback as
    `exception`; and those of `extra`, unless they have one of these names. Values that JSON cannot hold are strings.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        fields = _fields(record.levelname, _message(record), record.name, record.created)
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            fields["exception"] = record.exc_text
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        known = _OF_RECORDS | fields.keys()
        return _encoded(fields | {name: value for name, value in vars(record).items() if name not in known})


def is_json() -> bool:
    """Return True if lines on standard error are to be JSON."""
    return os.environ.get(FORMAT, "").lower() == "json"


def as_line(message: str, level: str = "INFO", **fields: object) -> str:
    """Return a message as a line of standard error: as it is or, if that is chosen, with the fields as JSON."""
    if not is_json():
        return message
    return _encoded({**_fields(level, message.removeprefix("conveyor: ").strip()), **fields})


def format_others() -> None:
    """If JSON is chosen, format so what loggers without a handler and uncaught exceptions write to standard error."""
    if is_json() and logging.lastResort is not None:
        logging.lastResort.setFormatter(JsonFormatter())
        sys.excepthook = _report


def _message(record: logging.LogRecord) -> str:
    """Return the message of a record, and why its arguments do not fit if they do not: a line must be JSON."""
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - a method of users, such as __str__
        return f"{record.msg} [{type(error).__name__}: {error}]"


def _report(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    record = logging.makeLogRecord(
        {"name": "conveyor", "levelname": "CRITICAL", "msg": f"{kind.__name__}: {error}"}
    )
    record.exc_info = (kind, error, traceback)
    sys.stderr.write(JsonFormatter().format(record) + "\n")


def _fields(level: str, message: str, logger: str = "conveyor", at: float | None = None) -> dict[str, Any]:
    """Return the fields of each line, with those of the current job and span if there are any."""
    time = datetime.fromtimestamp(clock.wall() if at is None else at, UTC)
    fields: dict[str, Any] = {
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level,
        "logger": logger,
        "message": message,
    }
    job = running.get()
    if job.id:
        fields |= {
            "queue": job.queue,
            "job": job.id,
            "task": job.task,
            "worker": job.worker,
            "attempt": job.attempt,
        }
    if (api := sys.modules.get("opentelemetry.trace")) is not None:
        span = api.get_current_span().get_span_context()
        if span.is_valid:
            fields |= {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
    return fields


def _encoded(fields: Mapping[str, object]) -> str:
    """Return fields as JSON in ASCII, which every encoding of a stream can carry."""
    import json  # noqa: PLC0415 - most processes write text, and workers are many

    try:
        return json.dumps(fields, default=str, allow_nan=False)
    except Exception:  # noqa: BLE001 - keys, numbers or texts of users that JSON cannot hold
        return json.dumps(
            {
                str(name): value if isinstance(value, str | int) else _text(value)
                for name, value in fields.items()
            }
        )


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a method of users
        return f"({type(value).__name__} without a text: {type(error).__name__})"


def to_standard_error(*, usual: bool = True) -> None:
    """Write a line for each event of this process; without `usual`, only for those that need attention.

    Never blocks: the caller renews leases. Drops lines while nothing reads them, and reports their number in the next.
    """
    dropped = 0

    def write(event: events.Event) -> None:
        nonlocal dropped
        if isinstance(event, events.WorkerRecycled) and event.usual:
            return
        if usual or not _is_usual(event):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # nothing reads it
                if dropped and _write(f"{dropped:,} lines were dropped, since nothing read them", "WARNING"):
                    dropped = 0
                level = "INFO" if _is_usual(event) else "WARNING"
                dropped += not _write(line_for(event), level, event)

    events.subscribe(write)


@functools.cache
def to_logger() -> None:
    """Log each event of this process with the logger "conveyor" from now on: as information, unless it needs attention.

    Called again, it does nothing.
    """
    logger = logging.getLogger("conveyor")

    def write(event: events.Event) -> None:
        logger.log(logging.INFO if _is_usual(event) else logging.WARNING, line_for(event))

    events.subscribe(write)


def _is_usual(event: events.Event) -> bool:
    return isinstance(event, _USUAL) or (isinstance(event, events.WorkerStopped) and not event.reason)


def _write(message: str, level: str, event: events.Event | None = None) -> bool:
    """Write a line to standard error. Return False if that would block, as a pipe that nothing reads does."""
    with contextlib.suppress(OSError, ValueError):  # it has no file descriptor
        if not select.select([], [sys.stderr.fileno()], [], 0)[1]:
            return False
    line = _fitting_json(message, level, event) if is_json() else f"conveyor: {_fitting(message)}"
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    return True


def _fitting(line: str) -> str:
    """Return a line cut to the bytes that a pipe accepts without blocking."""
    encoding, room = sys.stderr.encoding or "utf-8", select.PIPE_BUF - len("conveyor: \n")
    data = line.encode(encoding, "backslashreplace")
    if len(data) <= room:
        return line
    end = "…".encode(encoding, "backslashreplace")
    return (data[: room - len(end)] + end).decode(encoding, "ignore")


def _fitting_json(message: str, level: str, event: events.Event | None) -> str:
    """Return a line of at most that many bytes: if it is too long, without the fields of the event, and cut."""
    fields = {} if event is None else {"event": type(event).__name__, **_fields_of(event)}
    line = _encoded({**_fields(level, message), **fields})
    while len(line) >= select.PIPE_BUF:
        line = _encoded(_fields(level, f"{message}…"))
        message = message[: len(message) // 2]
    return line


def _fields_of(event: events.Event) -> dict[str, Any]:
    fields = structs.asdict(event)
    return {name: _shown(value) if isinstance(value, str) else value for name, value in fields.items()}


def line_for(event: events.Event) -> str:
    """Return the line for an event, printable whatever names jobs and people chose, without secrets, and cut."""
    return _shown(str(event))


def _shown(text: str) -> str:
    line = escaped(redacted_text(text))
    return line if len(line) <= MAX_LENGTH else line[: MAX_LENGTH - 1] + "…"
