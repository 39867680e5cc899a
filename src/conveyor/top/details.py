"""The screen of one job: its record, and its log as it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import Screen

from conveyor.monitor.format import LEVEL_COLORS, STATE_COLORS, safe, safe_lines, short_duration, shorten
from conveyor.monitor.job_record import facts, log_rows
from conveyor.monitor.workers import running_job
from conveyor.top.actions import job_intent
from conveyor.top.table import Line, progress

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from conveyor.monitor.job_record import JobRecord
    from conveyor.top.actions import Intent
    from conveyor.top.poller import PollResult

#: Characters of an argument's value.
MAX_VALUE = 1000


class Details(Screen[None]):
    """One job; `l` shows only its log, scrolled to the end."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,backspace,h", "dismiss", show=False),
        Binding("l", "log", show=False),
        Binding("j,down", "scroll('down')", show=False),
        Binding("k,up", "scroll('up')", show=False),
        *(Binding(key, f"app.act('{key}')", show=False) for key in "CR"),
    ]

    def __init__(self, queue: str, job_id: str) -> None:
        super().__init__()
        self.queue, self.job_id = queue, job_id
        self.log_only = False

    def compose(self) -> ComposeResult:
        """Yield the widgets."""
        yield Line("head")
        yield Line("error")
        with VerticalScroll(id="scroll"):
            yield Line("record", "…")
        yield Line("action")
        yield Line("keys")

    def on_mount(self) -> None:
        """Focus the record, so that arrow keys scroll it."""
        self.query_one("#scroll").focus()

    def show(self, result: PollResult, *, read_only: bool) -> None:
        """Show the job of a poll result."""
        actions = "" if read_only else "   C cancel   R retry"
        keys = f" Esc back   l {'everything' if self.log_only else 'log only'}{actions}   ? help"
        self.query_one("#keys", Line).show(keys)
        record = result.record
        if record is None or record.id != self.job_id:
            polled = result.view.job == (self.queue, self.job_id) and not result.is_partial
            text = Text(f"Job {self.job_id} is no longer known." if polled else "…")
        else:
            worker = running_job(result.snapshot.consumers, record.id, record.worker)
            batch = worker.batch if worker is not None and record.state == "running" else 0
            text = _log(record) if self.log_only else _text(record, batch)
        if self.query_one("#record", Line).show(text) and self.log_only:
            self.query_one("#scroll").scroll_end(animate=False)

    def intent(self, key: str, result: PollResult) -> Intent | str:
        """Return the action of a key for this job, or why there is none."""
        record = result.record
        if record is None or record.id != self.job_id:
            return "the job is no longer known"
        return job_intent(key, self.queue, self.job_id, record.state)

    def action_log(self) -> None:
        """Show only the log, or everything."""
        self.log_only = not self.log_only
        self.app.refresh_screens()  # type: ignore[attr-defined]
        scroll = self.query_one("#scroll")
        scroll.scroll_end(animate=False) if self.log_only else scroll.scroll_home(animate=False)

    def action_scroll(self, way: str) -> None:
        """Scroll a line."""
        scroll = self.query_one("#scroll")
        scroll.scroll_down(animate=False) if way == "down" else scroll.scroll_up(animate=False)


def _text(record: JobRecord, batch: int) -> Text:
    text = Text()
    for title, fact in _facts(record, batch).items():
        text.append(f"{title:<11}", "bold").append(fact).append("\n")
    if record.arguments or record.preview:
        text.append("\nArguments\n", "bold")
    for name, argument in record.arguments:
        text.append(f"  {safe(name)}{' = ' if name else ''}{safe(shorten(repr(argument), MAX_VALUE))}\n")
    if record.preview and not record.arguments:
        text.append(f"  {safe(record.preview)}\n")
    error = record.settled.error() if record.settled is not None else None
    if error is not None:
        text.append("\nError\n", "bold").append(f"  {safe_lines(str(error))}\n", "red")
        for line in safe_lines(getattr(error, "traceback", "")).rstrip().split("\n"):
            text.append(f"  {line}\n", "dim")
    if len(record.attempts) > 1:
        text.append("\nAttempts\n", "bold")
        for one in record.attempts:
            why = f"{one.kind} {one.message}".strip()
            text.append(f"  {one.attempt:>3} ").append(f"{one.state:<10}", STATE_COLORS.get(one.state, ""))
            text.append(f" {short_duration(one.elapsed):>8}  {safe(one.worker)}  {safe(why)}\n")
    return text.append("\n").append(_log(record)) if record.lines else text


def _facts(record: JobRecord, batch: int) -> dict[str, Text]:
    colors = {"State": STATE_COLORS.get(record.state, ""), "Bytes": "red"}
    found = {title: Text(fact, colors.get(title, "")) for title, fact in facts(record, batch)}
    found.pop("Arguments", None)  # each has a line below
    if record.progress is not None:
        found["Progress"] = progress(record.progress, 20)
    return found


def _log(record: JobRecord) -> Text:
    text = Text.assemble(("Log\n", "bold")) if record.lines else Text("No log lines.", "dim")
    for head, level, line in log_rows(record.lines):
        color = LEVEL_COLORS.get(level, "")
        text.append(f"  {head}", color or "dim").append(f"{line}\n", color)
    return text
