"""Types that several resources of the API share. A field that is not here is refused, and every number has bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from conveyor.monitor.job_list import decode_cursor, invalid_cursor
from conveyor.wire import ids, objects
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from conveyor.wire import control_messages

#: Rows of one page at most, and those without `count`.
MAX_ROWS, ROWS = 200, 50

Queue = Annotated[str, Meta(pattern=f"^{ids.QUEUE_PATTERN}$", max_length=100)]
MaybeQueue = Annotated[str, Meta(pattern=f"^({ids.QUEUE_PATTERN})?$", max_length=100)]
JobId = Annotated[str, Meta(pattern=f"^{ids.ID_PATTERN}$", max_length=64)]
Short = Annotated[str, Meta(max_length=200)]
Cursor = Annotated[str, Meta(max_length=1000)]
Reason = Annotated[str, Meta(max_length=500)]
Rows = Annotated[int, Meta(ge=1, le=MAX_ROWS)]

S = TypeVar("S", bound=Struct)


def struct_from(wanted: type[S], given: object, /, **more: Any) -> S:
    """Return a Struct with the attributes of the same names of another value, except those that are named."""
    names = (name for name in wanted.__struct_fields__ if name not in more and hasattr(given, name))
    return wanted(**{name: getattr(given, name) for name in names}, **more)


def position_after(cursor: str) -> int:
    """Return the position in a list at which a page begins, 0 for the first. Raises BadCall for an invalid cursor."""
    text = decode_cursor(cursor) or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 8):  # noqa: PLR2004 - every list is shorter
        raise invalid_cursor(cursor)
    return int(text)


class Query(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class RowsQuery(Query, frozen=True):
    """A page of a list."""

    cursor: Cursor = ""
    """`next` of the page before."""
    count: Rows = ROWS
    fields: Short = ""
    """Wanted fields of each row, separated by commas; empty: all."""


class QueueRows(RowsQuery, frozen=True):
    """A page of a list, of one queue or of all."""

    queue: MaybeQueue = ""


class Why(Struct, frozen=True, forbid_unknown_fields=True):
    """Why something is done, for the audit trail."""

    reason: Reason = ""


class Done(Struct, frozen=True):
    """The result of an action."""

    message: str
    """For people."""
    state: str = ""
    """Of a job: where it is now."""
    changed: bool = True
    """False if all was so already, and nothing was done."""
    recorded: bool = True
    """Whether the audit trail has it; it has happened either way."""


class Order(Struct, frozen=True):
    """A control command to workers; `orders/{order}` has their acknowledgements."""

    order: str
    targets: list[str]
    recorded: bool


class Progress(Struct, frozen=True):
    """How far a running job is."""

    done: float
    total: float
    message: str
    fraction: float | None
    """0 to 1; null if unknown."""


def progress_of(given: control_messages.Progress | None) -> Progress | None:
    """Return a job's progress for a response."""
    return None if given is None else struct_from(Progress, given, message=redacted_text(given.message))


def as_json(value: Any, room: int = 100_000) -> Any:
    """Return a value as JSON has it, or as text if JSON has nothing like it or it is very long."""
    try:
        data = msgspec.json.encode(value, enc_hook=objects.plain)
        if len(data) <= room:
            return msgspec.json.decode(data)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        pass
    text = f"{value!r:.10000}"
    return text.encode(errors="backslashreplace").decode()
