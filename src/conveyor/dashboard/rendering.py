"""From views to HTML: templates with their filters, small SVG, values as text, and the URLs of static files.

All text is escaped. The URL of a static file changes when any of them does.
"""

from __future__ import annotations

import functools
import hashlib
import math
import mimetypes
import re
from contextvars import ContextVar
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape
from starlette.responses import PlainTextResponse, Response

from conveyor import clock
from conveyor.monitor import waits
from conveyor.monitor.format import date_time, duration, elapsed, number, rate, shorten, size, utc
from conveyor.wire import control_messages
from conveyor.wire.objects import ObjectData, label_of
from conveyor.wire.redaction import MORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from starlette.requests import Request

    from conveyor.speedup import Experiment


_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".LICENSE": "text/plain"}


@functools.cache
def files() -> dict[str, bytes]:
    """Return all assets by their path below `static`."""
    found: dict[str, bytes] = {}
    root = resources.files("conveyor.dashboard").joinpath("static")
    for entry in root.iterdir():
        if entry.is_file():
            found[entry.name] = entry.read_bytes()
        elif entry.is_dir():
            found |= {
                f"{entry.name}/{one.name}": one.read_bytes() for one in entry.iterdir() if one.is_file()
            }
    return found


@functools.cache
def version() -> str:
    """Return a string that changes when any asset does; it is part of their URL, so browsers may keep them forever."""
    digest = hashlib.blake2b(digest_size=6)
    for name, data in sorted(files().items()):
        digest.update(name.encode() + b"\0" + data)
    return digest.hexdigest()


async def asset(request: Request) -> Response:
    """Return one asset; only names that are in the package exist."""
    data = files().get(request.path_params["name"])
    if data is None:
        return PlainTextResponse("there is no such asset\n", status_code=404)
    name = request.path_params["name"]
    kind = _KINDS.get(name[name.rfind(".") :]) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = _FOREVER if request.path_params["version"] == version() else {"cache-control": "no-cache"}
    return Response(data, media_type=kind, headers=headers)


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
    title = Markup("") if kind == "clock" else Markup(' title="{}"').format(time)
    text = time if kind == "clock" else _relative(at, kind)
    return Markup('<time datetime="{}" data-time="{}"{}>{}</time>').format(stamp(at), kind, title, text)


def _relative(at: float, kind: str) -> str:
    now = _now.get() or clock.wall()
    if kind == "for":
        return elapsed(now - at)
    if kind == "in":
        return f"in {elapsed(at - now)}" if at > now else "now"
    return "just now" if now - at < _JUST else f"{elapsed(now - at)} ago"


def stamp(at: float) -> str:
    """Return a moment as HTML has it, in UTC."""
    return utc(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def compact(value: float) -> str:
    """Return a number for a script, in few characters."""
    return f"{value:.4g}" if value < 9_999.5 else f"{value:.0f}"  # noqa: PLR2004 - where %g turns to exponents


def utc_text(at: float, form: str) -> str:
    """Return a moment in UTC, in a form as of `strftime`."""
    return f"{utc(at):{form}}"


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


#: Size and margins of the plot of an experiment, and points of a curve in it.
_PLOT = (360.0, 220.0)
_LEFT, _RIGHT, _TOP, _BOTTOM, _CURVE = 30.0, 12.0, 10.0, 24.0, 60
#: The least distance of two labels below it.
_APART = 18.0


def speedup_plot(experiment: Experiment) -> Markup:
    """Return the speedups with their spread, the ideal and the laws; a table next to it has the same as text."""
    rows = [(row, row.speedup * row.wall_seconds) for row in experiment.rows if row.speedup]
    most = max((row.workers for row, _ in rows), default=1)
    best = max((row.speedup or 0.0 for row, _ in rows), default=1.0)
    top = max(1.5, min(float(most), 1.25 * best))

    def at(workers: float, speedup: float) -> tuple[float, float]:
        across = (workers - 1) / max(most - 1, 1) * (_PLOT[0] - _LEFT - _RIGHT)
        return _LEFT + across, _PLOT[1] - _BOTTOM - min(speedup, top) / top * (_PLOT[1] - _TOP - _BOTTOM)

    def curve(kind: str, law: Callable[[float], float]) -> Markup:
        counts = [1 + (most - 1) * step / _CURVE for step in range(_CURVE + 1)]
        points = [at(count, law(count)) for count in counts if law(count) <= top]
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
        return Markup('<polyline class="{}" points="{}"/>').format(kind, path)

    laws: dict[str, Callable[[float], float]] = {"ideal": float}
    if experiment.amdahl is not None:
        laws["amdahl"] = experiment.amdahl.speedup
    if experiment.scalability is not None:
        laws["scalability"] = experiment.scalability.speedup
    parts = [*_axes(at, [row.workers for row, _ in rows], top), *(curve(*law) for law in laws.items())]
    for row, one in rows:
        across, low = at(row.workers, one / (row.longest_seconds or one))
        _, high = at(row.workers, one / (row.shortest_seconds or one))
        _, middle = at(row.workers, row.speedup or 0.0)
        parts.append(_MEASURED.format(across, low, high, across, middle, row.workers, row.speedup))
    words = ", ".join(f"{row.speedup:.2f} with {row.workers}" for row, _ in rows)
    return Markup('<svg class="speedup" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">{}</svg>').format(
        *_PLOT, f"Speedup by number of workers: {words}", Markup("").join(parts)
    )


_MEASURED = Markup(
    '<path class="spread" d="M{:.1f} {:.1f}V{:.1f}"/>'
    '<circle cx="{:.1f}" cy="{:.1f}" r="4"><title>{} workers: {:.2f}</title></circle>'
)


def _axes(
    at: Callable[[float, float], tuple[float, float]], counts: Sequence[int], top: float
) -> Iterator[Markup]:
    """Yield lines and labels: a speedup at each line, and the measured numbers of workers as far as there is room."""
    step = max(1, math.ceil(top / 6)) if top > 2 else 0.5  # noqa: PLR2004
    for place in range(int(top / step) + 1):
        _, down = at(1, place * step)
        yield Markup(
            '<path class="grid" d="M{:g} {:.1f}H{:g}"/><text x="{:g}" y="{:.1f}">{:g}</text>'
        ).format(_LEFT, down, _PLOT[0] - _RIGHT, _LEFT - 6, down + 4, place * step)
    last = -_APART
    for count in counts:
        across, _ = at(count, 0)
        if across - last >= _APART:
            last = across
            yield Markup('<text class="count" x="{:.1f}" y="{:g}">{}</text>').format(
                across, _PLOT[1] - 6, count
            )


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
        "stamp": stamp,
        "utc": utc_text,
        "compact": compact,
        "part": path_part,
        "prose": prose,
        "sentences": sentences,
        "short": shorten,
        "worker_short": control_messages.short_name,
    }
    env.globals |= {
        "icon": icon,
        "limit_text": waits.limit_text,
        "limit_reason": waits.reason,
        "key_text": waits.key_text,
        "key_digest": waits.key_digest,
        "is_resting": waits.is_resting,
        "steps": steps,
        "gantt": gantt,
        "speedup_plot": speedup_plot,
    }
    return env


def render(name: str, /, **what: Any) -> str:
    """Return the HTML of a template; with a `snapshot`, times in it have run until then."""
    token = _now.set(what["snapshot"].at if "snapshot" in what else 0.0)
    try:
        return environment().get_template(name).render(**what)
    finally:
        _now.reset(token)


#: Characters of a line up to which a container stays on it.
LINE = 72
#: Nesting that is shown.
DEEPEST = 20
#: Characters of one text that are shown before the rest is left out.
TEXT = 2000
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def pretty(value: Any, room: int = 4000) -> str:
    """Return a value as Python would write it, indented, in at most about `room` characters. Never raises."""
    text = ""
    for piece in _pieces(value, "", room):
        text += piece
        if len(text) > room:
            return f"{text[:room]}{MORE}"
    return text


def _pieces(value: Any, indent: str, room: int) -> Iterator[str]:
    kind = type(value)
    parts = value.parts if kind is ObjectData else None
    if kind is not dict and kind not in _BRACKETS and parts is None:
        yield _plain(value)
        return
    if len(indent) > 2 * DEEPEST:
        yield MORE
        return
    first, last = ("{", "}") if kind is dict else _BRACKETS.get(kind) or (f"{value.title}(", ")")
    content = value if parts is None else [item for _, item in parts]
    if not content:
        yield "set()" if kind is set else first + last
        return
    if len(content) <= LINE and all(len(item) <= LINE for item in _texts(content)):
        flat = _plain(value)
        if len(flat) <= LINE:
            yield flat
            return
    inner = f"{indent}  "
    yield first
    for label, item in _labelled(value, parts):
        yield f"\n{inner}{label}"
        yield from _pieces(item, inner, room)
        yield ","
    yield f"\n{indent}{last}"


def _labelled(value: Any, parts: list[tuple[str | None, Any]] | None) -> Iterator[tuple[str, Any]]:
    """Yield each item of a container or object and what precedes it."""
    if parts is not None:
        yield from ((label_of(name), item) for name, item in parts)
    elif type(value) is dict:
        yield from ((f"{_plain(key)}: ", item) for key, item in value.items())
    else:
        yield from (("", item) for item in value)


def _texts(value: Any) -> Iterator[Any]:
    """Return the items of a container that may be long."""
    items = [*value, *value.values()] if type(value) is dict else value
    return (item for item in items if hasattr(item, "__len__"))


def _plain(value: Any) -> str:
    if isinstance(value, str | bytes) and len(value) > TEXT:
        return f"{value[:TEXT]!r}{MORE} ({len(value):,})"
    if hasattr(value, "dtype") and getattr(value, "shape", None):
        return f"array({value.dtype}, {'x'.join(map(str, value.shape))})"
    try:
        return repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits
        return f"<{type(value).__name__}>"
