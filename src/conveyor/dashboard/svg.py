"""Small pictures made on the server: sparklines in steps, Gantt strips. Sizes are attributes: no style is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """Give whole numbers from left to right as an area of steps: short enough to stand in every row of a table."""
    most = max(values, default=0) or 1
    step = _WIDTH // max(len(values), 1)
    heights = [_HEIGHT - round(value / most * (_HEIGHT - 2)) if value else _HEIGHT for value in values]
    path = "".join(f"V{height}h{step}" for height in heights)
    return Markup(
        '<svg class="steps" viewBox="0 0 {} {}" role="img" aria-label="{}"><path d="M0 {}{}V{}z"/></svg>'
    ).format(_WIDTH, _HEIGHT, words, _HEIGHT, path, _HEIGHT)


def gantt(bars: Sequence[Bar], begin: float, end: float) -> Markup:
    """Give a strip of attempts between two moments, one row each; text for readers stands in a table beside it."""
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
