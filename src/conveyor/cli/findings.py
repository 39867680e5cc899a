"""What the doctor finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

OK, WARN, BAD = "ok", "warn", "bad"
#: Queues with the same finding that have a line each, and those that a shared line names.
MOST_ALONE = MOST_NAMED = 3


class Alike(NamedTuple):
    """The same finding for several queues."""

    text: str
    """What follows their number, such as "queues have dead jobs"."""
    hint: str


class Finding(NamedTuple):
    """One finding: what it is about, the verdict (ok, warn, bad), what was seen, and what to do."""

    about: str
    verdict: str
    text: str
    hint: str = ""
    alike: Alike | None = None
    """Set if many such findings may share a line."""


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings for a reader: more than a few alike are one, in place of the first."""
    groups: dict[object, list[Finding]] = {}
    for number, one in enumerate(findings):
        groups.setdefault(one.alike or number, []).append(one)
    found = []
    for some in groups.values():
        alike = some[0].alike
        if alike is None or len(some) <= MOST_ALONE:
            found += some
            continue
        named = ", ".join(one.about for one in some[:MOST_NAMED])
        text = f"{len(some):,} {alike.text}: {named} and {len(some) - MOST_NAMED:,} more"
        found.append(Finding("queues", some[0].verdict, text, alike.hint))
    return found
