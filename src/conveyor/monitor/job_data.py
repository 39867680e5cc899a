"""What a job's stored data says: its call, lease, attempt counts and progress, and a preview of its arguments.

None of it can be relied on: another version or program may have written it, and lists read only the first bytes of a
large job. Unreadable parts are empty, and nothing shown holds a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conveyor.wire import redaction
from conveyor.wire.call import Call, decode_call
from conveyor.wire.codec import try_decode
from conveyor.wire.outcome import UNCOUNTED, decode_settled
from conveyor.wire.redaction import is_secret, no_labels, redacted_text
from conveyor.wire.statistics import read_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.commands import State
    from conveyor.wire.outcome import Attempt
    from conveyor.wire.redaction import LabelsOf

#: The index of a queue that holds the jobs in a state, which is also the field of `Count` with their number.
INDEXES = {
    "waiting": "ready",
    "deferred": "deferred",
    "delayed": "delayed",
    "running": "leased",
    "dead": "dead",
}
STATES = {index: state for state, index in INDEXES.items()}
#: States of the `state` script in which a job has an outcome.
SETTLED = ("over", "dead")
#: Characters of a preview.
PREVIEW_LENGTH = 80
#: How a job begins in msgpack, as an array of four to seven fields; one of six or seven carries labels.
_HEADS = {b"\x94", b"\x95", b"\x96", b"\x97"}
_WITH_LABELS = {b"\x96", b"\x97"}
#: How a string begins in msgpack: the byte, and the number of bytes of its length that follow.
_LENGTHS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_UNPRINTABLE = re.compile(r"[^\w!-~]+")
_NAME = re.compile(r"[\w-]+")


class Lease(NamedTuple):
    """The worker that runs a job."""

    since: float | None = None
    """When it claimed the job, seconds since 1970 by the server's clock."""
    owner: str = ""
    cancelling: bool = False


class AttemptCounts(NamedTuple):
    """How often a job was tried."""

    retries: int
    crashes: int
    """Workers that crashed while they ran it."""
    attempt: int
    """The attempt that it is at, waits for or ended with, from 1."""


class Preview(NamedTuple):
    """A job in one line."""

    task: str
    arguments: str
    put_at: float | None
    """None if only the first bytes of the job are known, or if they are not a job."""


def read_call(data: bytes | None) -> Call | None:
    """Return the call of a job's bytes, or None if they are missing or not a call."""
    return try_decode(decode_call, data)


def read_lease(data: bytes) -> Lease:
    """Return the lease of its bytes: a token, the owner, and `C` if a cancellation was requested.

    A token is the time of the claim in microseconds.
    """
    token, owner, how, *_ = (*data.decode(errors="replace").split(" "), "", "", "")
    claimed = read_figure(token)
    return Lease(None if claimed is None else claimed / 1e6, owner, how == "C")


def lease_of(state: State) -> Lease:
    """Return the lease of a job in this state, empty if no worker runs it."""
    if state.state != "leased" or not isinstance(state.detail, bytes):
        return Lease()
    return read_lease(state.detail)


def read_attempt_counts(text: str, ended: str = "") -> AttemptCounts:
    """Return the server's counts for a live or dead job; `ended` is how a dead one ended: failed or lost."""
    figures = [read_figure(word) or 0 for word in text.split()]
    retries, crashes, _, lapses, *_ = (*figures, 0, 0, 0, 0)
    crashes += lapses
    return AttemptCounts(retries, crashes, max(1, retries + crashes + (ended != "lost")))


def count_attempts(attempts: Sequence[Attempt]) -> AttemptCounts:
    """Return the counts of a finished job, from its remembered runs, oldest first."""
    life: list[Attempt] = []
    for one in reversed([one for one in attempts if one.state not in UNCOUNTED]):
        if life and one.attempt >= life[-1].attempt:
            break  # it was dead, and a retry reset its counts
        life.append(one)
    if not life:
        return AttemptCounts(0, 0, 1)
    crashes = sum(one.state == "lost" for one in life)
    before = life[0].attempt - (life[0].state != "lost")
    return AttemptCounts(max(0, before - crashes), crashes, max(1, life[0].attempt))


def preview(data: bytes, size: int, labels_of: LabelsOf = no_labels, room: int = PREVIEW_LENGTH) -> Preview:
    """Return the preview of a job of `size` bytes, given all or the first of them, with `room` characters at most.

    The names of a truncated job's values are unknown. So if any of them may be a secret, none is shown. `labels_of` as
    in `job_record.record`.
    """
    if len(data) >= size:
        call = read_call(data)
        if call is None:
            return Preview("?", f"undecodable, {size:,} bytes" if size else "", None)
        return Preview(call.task, redaction.preview(call, labels_of(call.task), room), call.put_at)
    if not data:
        return Preview("?", f"… ({size:,} bytes)", None)
    task, rest = _task(data)
    if task is None:
        return Preview("?", f"undecodable, {size:,} bytes", None)
    text = _UNPRINTABLE.sub(
        " ", rest.decode(errors="replace").replace("\N{REPLACEMENT CHARACTER}", " ")
    ).strip()
    if labels_of(task).may_hide or may_hide(data):
        text = ""
    return Preview(task, f"{redacted_text(text, cut=True)[:room]}… ({size:,} bytes)", None)


def may_hide(data: bytes) -> bool:
    """Return True if these first bytes of a job may hold a secret: a label or a name in them says so."""
    if data[:1] in _WITH_LABELS:
        return True
    task, rest = _task(data)
    text = (data if task is None else rest).decode(errors="replace")
    return any(map(is_secret, _NAME.findall(text)))


def read_ending(reason: bytes) -> str:
    """Return how a dead job ended, failed or lost, from the first bytes of its outcome; empty if unreadable."""
    return _string(reason[1:])[0] or ""


def read_error(reason: bytes) -> tuple[str, str]:
    """Return type and message, without secrets, of a dead job's error, from the first bytes of its outcome."""
    try:
        failed = decode_settled(reason).error()
    except (msgspec.MsgspecError, ValueError, TypeError):
        return _truncated_error(reason)
    return getattr(failed, "kind", ""), redacted_text(getattr(failed, "reason", ""))


def _task(data: bytes) -> tuple[str | None, bytes]:
    """Return the task's name and the bytes after it, or None if the bytes are not a job's."""
    if data[:1] not in _HEADS:
        return None, b""
    return _string(data[1:])


def _string(data: bytes) -> tuple[str | None, bytes]:
    """Return the leading string, as much of it as there is, and the bytes after it, or None if there is none."""
    head = data[0] if data else 0
    if 0xA0 <= head <= 0xBF:  # noqa: PLR2004 - the range of msgpack's short strings
        first, length = 1, head - 0xA0
    elif head in _LENGTHS:
        first = 1 + _LENGTHS[head]
        length = int.from_bytes(data[1:first], "big")
    else:
        return None, b""
    return data[first : first + length].decode(errors="replace"), data[first + length :]


def _truncated_error(reason: bytes) -> tuple[str, str]:
    """Read state, type and message of a truncated outcome."""
    state, rest = _string(reason[1:])
    if state is None or not rest or rest[0] != 0x93:  # noqa: PLR2004 - an array of three
        return "", ""
    kind, rest = _string(rest[1:])
    message, _ = _string(rest)
    return kind or "", redacted_text(message or "")
