"""`conveyor doctor`: looks at the server and the queues, and says what is wrong and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from conveyor.cli import exits
from conveyor.cli.desk import open_inspector
from conveyor.cli.findings import BAD, OK, WARN, Finding, merged
from conveyor.cli.findings_queues import queue_findings
from conveyor.cli.findings_server import server_findings
from conveyor.cli.output import count_of, document, note, screen
from conveyor.store.address import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.cli.commands.look import Doctor

_COLOURS = {OK: "green", WARN: "yellow", BAD: "bold red"}


def examine(asked: Doctor) -> int:
    """Look at everything and tell; gives 1 if something is bad."""
    inspector = open_inspector(quiet=asked.json)
    findings = [*server_findings(inspector.client), *queue_findings(inspector)]
    if asked.json:
        found = [
            {"about": one.about, "verdict": one.verdict, "message": one.text, "hint": one.hint}
            for one in findings
        ]
        document("doctor/v1", server=shown(inspector.client.url), findings=found)
    else:
        _print(findings)
    return exits.FAILED if any(one.verdict == BAD for one in findings) else exits.OK


def _print(findings: Iterable[Finding]) -> None:
    show = screen()
    findings = merged(findings)
    width = max(len(one.about) for one in findings)
    for one in findings:
        line = Text.assemble(
            (one.verdict.ljust(6), _COLOURS[one.verdict]), one.about.ljust(width + 2), one.text
        )
        show.print(line, soft_wrap=True)
        if one.hint:
            show.print(Text(" " * (width + 8) + "Try: " + one.hint, style="dim"), soft_wrap=True)
    bad, warn = (sum(1 for one in findings if one.verdict == verdict) for verdict in (BAD, WARN))
    words = [count_of(bad, "fault")] if bad else []
    words += [count_of(warn, "warning")] if warn else []
    note(f"\n{' and '.join(words) or 'All is well'}.")
