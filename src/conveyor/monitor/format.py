"""Numbers, times, sizes and untrusted strings as text: the same on every surface. Times are UTC."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from conveyor.wire.control_messages import Progress, WorkerReport

#: The terminal color of each state of a queue, worker, job or run. The state is always written out, too.
STATE_COLORS = {
    "open": "green",
    "busy": "green",
    "running": "green",
    "done": "green",
    "starting": "cyan",
    "delayed": "cyan",
    "deferred": "cyan",
    "full": "yellow",
    "leaving": "yellow",
    "paused": "yellow",
    "retried": "yellow",
    "throttled": "yellow",
    "cancelled": "yellow",
    "expired": "yellow",
    "shut": "red",
    "silent": "red",
    "failed": "red",
    "timed out": "red",
    "lost": "red",
    "dead": "red",
}
#: The terminal color of each level of a log line that stands out.
LEVEL_COLORS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
#: A shorter time would be written as nothing; a larger number is written with an exponent.
_SHORTEST, _LARGEST = 0.0005, 1e15
_KIBI, _THOUSAND, _MILLION = 1024, 1000, 1_000_000


def printable(text: str) -> str:
    """Return a string in one line, with a dot for each unprintable character, so that it cannot steer a terminal."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "·" for one in text)


def safe(text: str) -> str:
    """Return a string in one line, printable and without secrets."""
    return printable(redacted_text(text))


def safe_lines(text: str) -> str:
    """Return a string of several lines, printable and without secrets."""
    return "\n".join(map(safe, text.expandtabs(4).split("\n")))


def shorten(text: str, room: int = 60) -> str:
    """Return a string cut to `room` characters, the last one an ellipsis if it was longer."""
    return text if len(text) <= room else text[: room - 1] + "…"


def count_of(number: int, one: str, many: str = "") -> str:
    """Return a number and its noun: `1 job`, `1,000 jobs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def number(value: float, digits: int = 0) -> str:
    """Return a number with thousands separators: 12,345; a huge one with an exponent: 1e+300."""
    return f"{value:,.{digits}f}" if abs(value) < _LARGEST else f"{value:.3g}"


def short_number(value: float) -> str:
    """Return a whole number for a narrow column: 12,345 or 1.2M."""
    return number(value) if value < _MILLION else f"{value / _MILLION:,.1f}M"


def rate(value: float) -> str:
    """Return jobs per second with three significant digits."""
    if value == 0:
        return "0"
    return number(value, 0 if value >= 100 else 1 if value >= 10 else 2)  # noqa: PLR2004 - powers of ten


def duration(seconds: float | None) -> str:
    """Return a time span in its two largest units: 1 h 12 min, 3.25 s, 18 ms; a dash if it is unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "\N{EN DASH}"
    seconds = max(seconds, 0.0)  # two clocks may differ a little
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= _SHORTEST else "< 1 ms"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.1f} s"  # noqa: PLR2004 - three digits
    whole = int(seconds + 0.05)
    for unit, name, part, part_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name}" + (f" {rest} {part_name}" if rest else "")
    return f"{whole} s"


def elapsed(seconds: float) -> str:
    """Return a growing time span in its two largest units, whole seconds at least: 0 s, 12 s, 1 h 12 min."""
    whole = max(0, int(seconds))
    return f"{whole} s" if whole < _MINUTE else duration(whole)


def timer(seconds: float) -> str:
    """Return a growing time span as a clock shows it: 0:07, 12:34, 1:02:03, 3d 04h."""
    whole = max(0, int(seconds))
    if whole < _HOUR:
        return f"{whole // _MINUTE}:{whole % _MINUTE:02}"
    if whole < _DAY:
        return f"{whole // _HOUR}:{whole % _HOUR // _MINUTE:02}:{whole % _MINUTE:02}"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR:02}h"


def short_duration(seconds: float) -> str:
    """Return a time span for a narrow column: 3 ms, 1.25 s, 12:34."""
    return duration(seconds) if seconds < _MINUTE else timer(seconds)


def size(count: float) -> str:
    """Return bytes in the largest fitting unit: 512 B, 1.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(count) < _KIBI or unit == "GiB":
            return f"{count:,.0f} {unit}" if unit == "B" or round(count, 1) >= 100 else f"{count:,.1f} {unit}"  # noqa: PLR2004 - three digits
        count /= _KIBI
    return ""


def short_size(count: float) -> str:
    """Return bytes for a narrow column: 512B, 1.5M."""
    for unit in ("B", "K", "M", "G"):
        if count < _THOUSAND:
            return f"{count:.0f}{unit}" if count >= 10 or unit == "B" else f"{count:.1f}{unit}"  # noqa: PLR2004 - two digits
        count /= _KIBI
    return f"{count:.1f}T"


def together(worker: WorkerReport) -> str:
    """Return the id of a worker's job, and how many more it runs with it."""
    return f"{worker.job} +{worker.batch - 1}" if worker.batch > 1 else worker.job


def progress(of: Progress | WorkerReport) -> str:
    """Return how far a job is, and its message: `45% frame 12`."""
    share = "" if of.fraction is None else f"{of.fraction:.0%}"
    return " ".join(filter(None, (share, safe(of.message))))


def utc(at: float) -> dt.datetime:
    """Return a moment, seconds since 1970, as a UTC time; JSON writes it as RFC 3339."""
    return dt.datetime.fromtimestamp(round(at, 3), dt.UTC)


def date_time(at: float) -> str:
    """Return date and time of a moment: 2026-11-30 08:15:00 UTC."""
    return f"{utc(at):%Y-%m-%d %H:%M:%S} UTC"
