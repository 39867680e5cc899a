"""What can be said of a job of which only the first bytes are there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conveyor.monitor.jobs import arguments_text, read_call
from conveyor.wire.outcome import decode_settled
from conveyor.wire.redaction import is_secret, no_labels, redacted_text

if TYPE_CHECKING:
    from conveyor.wire.redaction import LabelsOf

#: Characters of a preview.
ROOM = 80
#: How a job begins in msgpack, as an array of four to seven fields; one of six or seven carries labels.
_HEADS = {b"\x94", b"\x95", b"\x96", b"\x97"}
_WITH_LABELS = {b"\x96", b"\x97"}
#: How a text begins in msgpack: the byte, and in how many bytes its length follows.
_LENGTHS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_UNSEEN = re.compile(r"[^\w!-~]+")
_NAME = re.compile(r"[\w-]+")


class Preview(NamedTuple):
    """A job in a line; `put_at` is None where only the first bytes of the job are known, or they are no job."""

    task: str
    arguments: str
    put_at: float | None


def preview(data: bytes, size: int, labels_of: LabelsOf = no_labels, room: int = ROOM) -> Preview:
    """Give the preview of a job of `size` bytes, of which `data` are the first, or all; `labels_of` as in `stories`.

    Of its arguments `room` characters are shown at most.

    Which value is whose cannot be told of a part. So where a secret may be in it, nothing of it is shown.
    """
    if len(data) >= size:
        call = read_call(data)
        if call is None:
            return Preview("?", f"undecodable, {size:,} bytes" if size else "", None)
        return Preview(call.task, arguments_text(call, labels_of, room), call.put_at)
    if not data:
        return Preview("?", f"… ({size:,} bytes)", None)
    task, rest = _task(data)
    if task is None:
        return Preview("?", f"undecodable, {size:,} bytes", None)
    text = _UNSEEN.sub(" ", rest.decode(errors="replace").replace("\N{REPLACEMENT CHARACTER}", " ")).strip()
    if labels_of(task).may_hide or may_hide(data):
        text = ""
    return Preview(task, f"{redacted_text(text, cut=True)[:room]}… ({size:,} bytes)", None)


def may_hide(data: bytes) -> bool:
    """Return True if a secret may be in these first bytes of a job: its producer says so, or a name in it does."""
    if data[:1] in _WITH_LABELS:
        return True
    task, rest = _task(data)
    text = (data if task is None else rest).decode(errors="replace")
    return any(map(is_secret, _NAME.findall(text)))


def state(reason: bytes) -> str:
    """Give how a dead job ended, failed or lost, as far as its first bytes tell."""
    return _text(reason[1:])[0] or ""


def error(reason: bytes) -> tuple[str, str]:
    """Give kind and message, without secrets, of what a dead job ended with, as far as its first bytes tell."""
    try:
        failed = decode_settled(reason).error()
    except (msgspec.MsgspecError, ValueError, TypeError):
        return _cut_error(reason)
    return getattr(failed, "kind", ""), redacted_text(getattr(failed, "reason", ""))


def _task(data: bytes) -> tuple[str | None, bytes]:
    """Give the task's name and what follows it; None where the bytes are no job's."""
    if data[:1] not in _HEADS:
        return None, b""
    return _text(data[1:])


def _text(data: bytes) -> tuple[str | None, bytes]:
    """Give the text at the beginning, as far as it goes, and what follows it; None where there is no text."""
    head = data[0] if data else 0
    if 0xA0 <= head <= 0xBF:  # noqa: PLR2004 - the two ends of msgpack's short texts
        first, length = 1, head - 0xA0
    elif head in _LENGTHS:
        first = 1 + _LENGTHS[head]
        length = int.from_bytes(data[1:first], "big")
    else:
        return None, b""
    return data[first : first + length].decode(errors="replace"), data[first + length :]


def _cut_error(reason: bytes) -> tuple[str, str]:
    """Read state, then kind and message, of an outcome that was cut."""
    state, rest = _text(reason[1:])
    if state is None or not rest or rest[0] != 0x93:  # noqa: PLR2004 - an array of three
        return "", ""
    kind, rest = _text(rest[1:])
    message, _ = _text(rest)
    return kind or "", redacted_text(message or "")
