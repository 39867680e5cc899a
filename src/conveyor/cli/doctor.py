"""`conveyor doctor`: check the server and the queues and suggest fixes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from conveyor.cli import exit_codes
from conveyor.cli.checks import BAD, OK, WARN, Finding, check_queues, check_server
from conveyor.cli.connection import open_inspector
from conveyor.cli.options import Json
from conveyor.cli.output import document, note, screen
from conveyor.monitor.format import count_of
from conveyor.store.address import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

_COLORS = {OK: "green", WARN: "yellow", BAD: "bold red"}
#: Queues with the same finding that have a line each, and those that a shared line names.
MAX_ALONE = MAX_NAMED = 3


def doctor(*, as_json: Json = False) -> int:
    """Check the server and the queues and suggest fixes.

    Exit with code 1 if a check fails.
    """
    inspector = open_inspector(quiet=as_json)
    findings = [*check_server(inspector.client), *check_queues(inspector)]
    if as_json:
        found = [
            {"about": one.about, "verdict": one.verdict, "message": one.text, "hint": one.hint}
            for one in findings
        ]
        document("doctor/v1", server=shown(inspector.client.url), findings=found)
    else:
        _print(merged(findings))
    return exit_codes.FAILED if any(one.verdict == BAD for one in findings) else exit_codes.OK


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with those that many queues share grouped into one, in place of the first."""
    groups: dict[object, list[Finding]] = {}
    for number, one in enumerate(findings):
        groups.setdefault(one.shared or number, []).append(one)
    found = []
    for group in groups.values():
        shared = group[0].shared
        if shared is None or len(group) <= MAX_ALONE:
            found += group
            continue
        named = ", ".join(one.about for one in group[:MAX_NAMED])
        text = f"{len(group):,} {shared.text}: {named} and {len(group) - MAX_NAMED:,} more"
        found.append(Finding("queues", group[0].verdict, text, shared.hint))
    return found


def _print(findings: list[Finding]) -> None:
    show = screen()
    width = max(len(one.about) for one in findings)
    for one in findings:
        verdict = (one.verdict.ljust(6), _COLORS[one.verdict])
        show.print(Text.assemble(verdict, one.about.ljust(width + 2), one.text), soft_wrap=True)
        if one.hint:
            show.print(Text(" " * (width + 8) + "Try: " + one.hint, style="dim"), soft_wrap=True)
    counts = Counter(one.verdict for one in findings)
    parts = [
        count_of(counts[verdict], noun)
        for verdict, noun in ((BAD, "problem"), (WARN, "warning"))
        if counts[verdict]
    ]
    note(f"\n{' and '.join(parts) or 'All checks passed'}.")
