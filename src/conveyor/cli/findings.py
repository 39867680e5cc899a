"""What the doctor finds."""

from __future__ import annotations

from typing import NamedTuple

OK, WARN, BAD = "ok", "warn", "bad"


class Finding(NamedTuple):
    """One finding: what it is about, the verdict (ok, warn, bad), what was seen, and what to do."""

    about: str
    verdict: str
    text: str
    hint: str = ""
