"""From views to HTML: the templates, and how numbers, times and names are written in them. All text is escaped."""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from conveyor import clock
from conveyor.dashboard.svg import gantt, steps
from conveyor.wire import control_messages

_PACKAGE = "conveyor.dashboard"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_SHORTEST = 0.0005  # what is shorter would be written as nothing
#: Moments that can be written as a date: until the year 9000.
_LATEST = 7000 * 365 * _DAY
_UNREADABLE = 1e15
_JUST = 2
#: Controls but for line ends and tabs, marks of direction, and what has no width; as in unseen.js. Joiners are letters.
_UNSEEN = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\xad\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]"
)
#: The moment that is rendered, by the server's clock; zero where a page shows none.
_now: ContextVar[float] = ContextVar("now", default=0.0)


def number(value: float, digits: int = 0) -> str:
    """Give a number with thin groups: 12,345; one that nobody would read as 1e+300."""
    if abs(value) >= _UNREADABLE:
        return f"{value:.3g}"
    return f"{value:,.{digits}f}"


def rate(value: float) -> str:
    """Give jobs per second with as many digits as say something."""
    if value == 0:
        return "0"
    return number(value, 0 if value >= 100 else 1 if value >= 10 else 2)  # noqa: PLR2004 - powers of ten


def duration(seconds: float | None) -> str:
    """Give a span of time in its two largest units: 1 h 12 min, 3.25 s, 18 ms."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    seconds = max(seconds, 0.0)  # two clocks that differ a little
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= _SHORTEST else "< 1 ms"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.1f} s"  # noqa: PLR2004
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


def size(count: float) -> str:
    """Give bytes in the unit people would use."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(count) < 1024 or unit == "GiB":  # noqa: PLR2004
            return f"{count:,.0f} {unit}" if unit == "B" or round(count, 1) >= 100 else f"{count:,.1f} {unit}"  # noqa: PLR2004
        count /= 1024
    return ""


def elapsed(seconds: float) -> str:
    """Give a time that runs on in its two largest units, whole seconds at least; as `span` of times.js does."""
    if seconds < 1:
        return "0 s"
    whole = int(seconds)
    return f"{whole} s" if whole < _MINUTE else duration(whole)


def moment(at: float | None, kind: str = "ago") -> Markup:
    """Give a moment, seconds since 1970, as an element that the browser keeps current; it says what is so at rendering.

    kind is ago ("3 min ago"), for ("3 min", how long something has been so), in ("in 3 min"), or clock (the time, which
    the browser shows in its own zone; the others say it in UTC when somebody points at them).
    """
    if not at or not 0 < at < _LATEST:
        return Markup("–")
    when = dt.datetime.fromtimestamp(at, dt.UTC)
    time = when.strftime("%Y-%m-%d %H:%M:%S UTC")
    stamp = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    title = Markup("") if kind == "clock" else Markup(' title="{}"').format(time)
    text = time if kind == "clock" else _relative(at, kind)
    return Markup('<time datetime="{}" data-time="{}"{}>{}</time>').format(stamp, kind, title, text)


def _relative(at: float, kind: str) -> str:
    now = _now.get() or clock.wall()
    if kind == "for":
        return elapsed(now - at)
    if kind == "in":
        return f"in {elapsed(at - now)}" if at > now else "now"
    return "just now" if now - at < _JUST else f"{elapsed(now - at)} ago"


def compact(value: float) -> str:
    """Give a number for a script, in few characters."""
    return f"{value:.4g}" if value < 9_999.5 else f"{value:.0f}"  # noqa: PLR2004 - where %g turns to exponents


def minute(at: float) -> str:
    """Give the time of day, UTC."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%H:%M")


def day(at: float) -> str:
    """Give the day of a moment, UTC."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d")


def path_part(text: str) -> str:
    """Give a name as one part of an address."""
    return quote(text, safe="")


def visible(text: str) -> str:
    """Give a text in which characters that are not seen, and may turn round or hide what stands beside, are escapes."""
    return text if text.isprintable() else _UNSEEN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - what two digits can say


def _finalized(value: Any) -> Any:
    """Give what a template writes; what is to stay as it is, such as the value of a field, is escaped by `|e`."""
    return visible(value) if type(value) is str else value


def short(text: str, room: int = 60) -> str:
    """Give the beginning of a text."""
    return text if len(text) <= room else text[: room - 1] + "…"


def sentences(*parts: str) -> str:
    """Join what is said about one matter, whoever wrote the parts: each ends with one mark."""
    said = [part.strip() for part in parts if part.strip()]
    return " ".join(part if part[-1] in "?!…:" else f"{part.rstrip('. ')}." for part in said)


def prose(text: str) -> Markup:
    """Give the reason of an error, or what to try, as a sentence: what stands between backticks is a command."""
    text = visible(text)
    parts = (text[:1].upper() + text[1:]).split("`")
    if len(parts) % 2 == 0:
        return escape("`".join(parts))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts)
    )


def icon(name: str, label: str = "") -> Markup:
    """Give a sign of the sprite; without a label it is decoration for what stands beside it."""
    if label:
        return Markup('<svg class="icon" role="img" aria-label="{}"><use href="#i-{}"/></svg>').format(
            label, name
        )
    return Markup('<svg class="icon" aria-hidden="true"><use href="#i-{}"/></svg>').format(name)


@functools.cache
def environment() -> jinja2.Environment:
    """Give the templates; missing names are errors."""
    env = jinja2.Environment(
        loader=jinja2.PackageLoader(_PACKAGE),
        autoescape=True,
        finalize=_finalized,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "number": number,
        "rate": rate,
        "duration": duration,
        "size": size,
        "moment": moment,
        "minute": minute,
        "day": day,
        "compact": compact,
        "part": path_part,
        "prose": prose,
        "sentences": sentences,
        "short": short,
        "worker_short": control_messages.short_name,
    }
    env.globals |= {
        "icon": icon,
        "steps": steps,
        "gantt": gantt,
    }
    return env


def render(name: str, /, **what: Any) -> str:
    """Give the HTML of a template; where it shows a `snapshot`, times in it have run until then."""
    token = _now.set(what["snapshot"].at if "snapshot" in what else 0.0)
    try:
        return environment().get_template(name).render(**what)
    finally:
        _now.reset(token)
