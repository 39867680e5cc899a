"""From views to HTML: the templates, their filters, and small SVG. All text is escaped."""

from __future__ import annotations

import functools
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from conveyor import clock
from conveyor.monitor.format import date_time, duration, elapsed, number, rate, shorten, size, utc
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = "conveyor.dashboard"
#: Moments that can be written as a date: until the year 9000.
_LATEST = 7000 * 365 * 86400
_JUST = 2
#: Controls but for line ends and tabs, marks of direction, and what has no width; as in escape.js. Joiners are letters.
_UNSEEN = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\xad\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]"
)
#: The moment that is rendered, by the server's clock; zero where a page shows none.
_now: ContextVar[float] = ContextVar("now", default=0.0)


def moment(at: float | None, kind: str = "ago") -> Markup:
    """Return a moment, seconds since 1970, as an element that the browser keeps current, with its text at rendering.

    kind is ago ("3 min ago"), for ("3 min", how long it has lasted), in ("in 3 min"), or clock (the time, which the
    browser shows in its own zone; the others show it in UTC as their title).
    """
    if not at or not 0 < at < _LATEST:
        return Markup("–")
    time = date_time(at)
    stamp = utc(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")
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
    """Return a number for a script, in few characters."""
    return f"{value:.4g}" if value < 9_999.5 else f"{value:.0f}"  # noqa: PLR2004 - where %g turns to exponents


def minute(at: float) -> str:
    """Return the time of day, UTC."""
    return f"{utc(at):%H:%M}"


def day(at: float) -> str:
    """Return the day of a moment, UTC."""
    return f"{utc(at):%Y-%m-%d}"


def path_part(text: str) -> str:
    """Return a name as one part of an address."""
    return quote(text, safe="")


def visible(text: str) -> str:
    """Return a text with escapes for invisible characters, which may reverse or hide the text next to them."""
    return text if text.isprintable() else _UNSEEN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - what two digits can say


def _finalized(value: Any) -> Any:
    """Return what a template writes; what must stay as it is, such as the value of a field, is escaped by `|e`."""
    return visible(value) if type(value) is str else value


def sentences(*parts: str) -> str:
    """Join messages about one matter into sentences: each ends with one mark."""
    said = [part.strip() for part in parts if part.strip()]
    return " ".join(part if part[-1] in "?!…:" else f"{part.rstrip('. ')}." for part in said)


def prose(text: str) -> Markup:
    """Return an error message or hint as a sentence; text between backticks becomes a command."""
    text = visible(text)
    parts = (text[:1].upper() + text[1:]).split("`")
    if len(parts) % 2 == 0:
        return escape("`".join(parts))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts)
    )


def icon(name: str, label: str = "") -> Markup:
    """Return an icon of the sprite; without a label it decorates the text next to it."""
    if label:
        return Markup('<svg class="icon" role="img" aria-label="{}"><use href="#i-{}"/></svg>').format(
            label, name
        )
    return Markup('<svg class="icon" aria-hidden="true"><use href="#i-{}"/></svg>').format(name)


_WIDTH, _HEIGHT = 120, 28
_BAR = Markup(
    '<rect class="bar {}" x="{:.1f}" y="{}" width="{:.1f}" height="14" rx="3"><title>{}</title></rect>'
)


class Bar(NamedTuple):
    """One attempt in a Gantt strip; times in seconds since 1970."""

    label: str
    start: float
    end: float
    state: str


def steps(values: Sequence[int], words: str) -> Markup:
    """Return whole numbers from left to right as an area of steps, small enough for every row of a table."""
    most = max(values, default=0) or 1
    step = _WIDTH // max(len(values), 1)
    heights = [_HEIGHT - round(value / most * (_HEIGHT - 2)) if value else _HEIGHT for value in values]
    path = "".join(f"V{height}h{step}" for height in heights)
    return Markup(
        '<svg class="steps" viewBox="0 0 {} {}" role="img" aria-label="{}"><path d="M0 {}{}V{}z"/></svg>'
    ).format(_WIDTH, _HEIGHT, words, _HEIGHT, path, _HEIGHT)


def gantt(bars: Sequence[Bar], begin: float, end: float) -> Markup:
    """Return a strip of attempts between two moments, one row each; a table next to it has the same as text."""
    span = max(end - begin, 1e-6)
    rows = []
    for place, bar in enumerate(bars):
        left = min((bar.start - begin) / span * 1000, 997.0)
        width = max((bar.end - bar.start) / span * 1000, 3)
        state = bar.state.replace(" ", "-")
        rows.append(_BAR.format(state, left, place * 20 + 3, min(width, 1003 - left), bar.label))
    height = max(len(bars) * 20, 20)
    return Markup(
        '<svg class="gantt" viewBox="0 0 1000 {}" width="100%" height="{}" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}</svg>'
    ).format(height, height, f"{len(bars)} attempts on a time line", Markup("").join(rows))


@functools.cache
def environment() -> jinja2.Environment:
    """Return the templates; missing names are errors."""
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
        "short": shorten,
        "worker_short": control_messages.short_name,
    }
    env.globals |= {
        "icon": icon,
        "steps": steps,
        "gantt": gantt,
    }
    return env


def render(name: str, /, **what: Any) -> str:
    """Return the HTML of a template; with a `snapshot`, times in it have run until then."""
    token = _now.set(what["snapshot"].at if "snapshot" in what else 0.0)
    try:
        return environment().get_template(name).render(**what)
    finally:
        _now.reset(token)
