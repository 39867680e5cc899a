"""How numbers, times and foreign texts look in the few columns of a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from conveyor.wire.control_messages import fraction_of
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from rich.style import StyleType

#: The colour of each state; the word stands beside it always. These are the terminal's own colours.
COLOURS = {
    "busy": "green",
    "running": "green",
    "done": "green",
    "leaving": "yellow",
    "starting": "cyan",
    "paused": "yellow",
    "silent": "red",
    "delayed": "cyan",
    "retried": "yellow",
    "cancelled": "yellow",
    "failed": "red",
    "timed out": "red",
    "lost": "red",
    "dead": "red",
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_ROOM_FOR_WORDS = 6
_SMALL, _THOUSAND = 10, 1000
_GROUPED_UP_TO = 1_000_000


def clean(text: str) -> str:
    """Give a foreign text in one line: nothing in it steers a terminal, and it has no secrets."""
    return "".join(letter if letter.isprintable() else "·" for letter in redacted_text(text))


def shown(text: str) -> str:
    """Give a foreign text of several lines likewise."""
    return "\n".join(map(clean, text.expandtabs(4).split("\n")))


def right(text: str, style: StyleType = "") -> Text:
    """Give a number's cell."""
    return Text(text, style=style, justify="right")


def number(value: float, style: StyleType = "") -> Text:
    """Give a whole number; a zero is dim, so that what there is stands out."""
    text = f"{value:,.0f}" if value < _GROUPED_UP_TO else f"{value / _GROUPED_UP_TO:.1f}M"
    return right(text, style if value else "dim")


def rate(value: float) -> Text:
    """Give jobs per second."""
    text = f"{value:.1f}" if value < _THOUSAND else f"{value:,.0f}"
    return right(text, "" if value else "dim")


def elapsed(seconds: float) -> str:
    """Give a span that goes on, as clocks show it: 0:07, 12:34, 1:02:03, 3d 04h."""
    whole = max(0, int(seconds))
    if whole < _HOUR:
        return f"{whole // _MINUTE}:{whole % _MINUTE:02}"
    if whole < _DAY:
        return f"{whole // _HOUR}:{whole % _HOUR // _MINUTE:02}:{whole % _MINUTE:02}"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR:02}h"


def took(seconds: float) -> str:
    """Give a span that is over: 3 ms, 1.25 s, 12:34."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return (
        f"{seconds:.2f} s"
        if seconds < _SMALL
        else f"{seconds:.0f} s"
        if seconds < _MINUTE
        else elapsed(seconds)
    )


def memory(size: int) -> str:
    """Give bytes in two to four characters and a unit."""
    value = float(size)
    for unit in ("B", "K", "M", "G"):
        if value < _THOUSAND:
            return f"{value:.0f}{unit}" if value >= _SMALL or unit == "B" else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}T"


def progress(done: float, total: float, message: str, width: int) -> Text:
    """Give how far a job is: a bar and a share where the whole is known, then what it says."""
    text = Text()
    share = fraction_of(done, total)
    if share is not None:
        cells = min(8, max(3, width - 5))
        text.append("━" * round(share * cells), "green").append("─" * (cells - round(share * cells)), "dim")
        text.append(f" {share:4.0%}")
    elif done:
        text.append(f"{done:,.6g}")
    if message and width - text.cell_len >= _ROOM_FOR_WORDS:
        text.append(f"{' ' if text else ''}{clean(message)}")
    return text
