"""The terminal program: the poller, the actions under way, and the screens."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from rich.traceback import Traceback
from textual.app import App
from textual.binding import Binding
from textual.css.query import NoMatches

from conveyor.errors import ConveyorError
from conveyor.monitor.actions import Actions
from conveyor.monitor.follow import ACKNOWLEDGED, DONE, NO_REPLY
from conveyor.monitor.format import rate, safe
from conveyor.monitor.poller import STEPS
from conveyor.store.address import shown as shown_address
from conveyor.top.actions import REFUSED, REQUESTED, perform
from conveyor.top.details import Details
from conveyor.top.dialogs import Confirm, Help
from conveyor.top.main import Main
from conveyor.top.poller import PollResult, ViewPoller
from conveyor.top.table import Line

if TYPE_CHECKING:
    from textual.screen import Screen

    from conveyor.monitor.actions import Actor
    from conveyor.store import Client
    from conveyor.top.actions import Intent, Step

#: Seconds between two redraws of running times.
TICK = 0.5
#: `return_code` after Ctrl-C.
INTERRUPTED = 130
_COLORS = {REQUESTED: "yellow", ACKNOWLEDGED: "cyan", DONE: "green", REFUSED: "red", NO_REPLY: "red"}


class Top(App[None]):
    """Shows one server, live, and carries out actions for one user."""

    CSS_PATH = "top.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar = [
        Binding("ctrl+c", "interrupt", show=False, priority=True),
        Binding("p", "pause_updates", show=False),
        Binding("question_mark", "help", show=False),
    ]

    def __init__(self, client: Client, actor: Actor, *, read_only: bool = False) -> None:
        # The terminal's own colors. Set here, since Textual then handles NO_COLOR accordingly.
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.client, self.read_only = client, read_only
        self.actions = Actions(client, actor)
        self.result = PollResult()
        self.action_line = Text()
        """How far the last action is, or why the last key had no effect."""
        self.main = Main()
        self.poller = ViewPoller(client, lambda result: self.call_later(self.show_result, result))

    def get_default_screen(self) -> Screen[None]:
        """Return the main screen."""
        return self.main

    def _fatal_error(self) -> None:
        """Exit with a traceback; Textual's own shows the values of variables, which may be secrets."""
        self.panic(Traceback(width=None, show_locals=False))

    def action_interrupt(self) -> None:
        """Exit at Ctrl-C, as other commands do."""
        self.exit(return_code=INTERRUPTED)

    def on_mount(self) -> None:
        """Start polling."""
        self.poller.refresh()
        self.set_interval(TICK, self.tick)

    def on_unmount(self) -> None:
        """Stop polling."""
        self.poller.stop()

    def show_result(self, result: PollResult) -> None:
        """Show a poll result."""
        self.result = result
        self.refresh_screens()
        self.update_view()

    def show_step(self, intent: Intent, step: Step) -> None:
        """Show how far an action is."""
        self.action_line = Text(f" {intent.title.rstrip('?')}: ", no_wrap=True, overflow="ellipsis")
        self.action_line.append(step.state, f"bold {_COLORS[step.state]}")
        self.action_line.append(f", {safe(step.detail)}" if step.detail else "")
        self.poller.refresh()
        self.refresh_screens()

    def tick(self) -> None:
        """Redraw running times, unless updates are paused."""
        if not self.poller.paused:
            self.refresh_screens()

    def refresh_screens(self) -> None:
        """Draw all screens; only changed cells are sent to the terminal."""
        for screen in self.screen_stack:
            if isinstance(screen, Main | Details) and screen.is_mounted:
                with contextlib.suppress(NoMatches):  # the program is exiting, and removes its widgets
                    self._draw(screen)

    def _draw(self, screen: Main | Details) -> None:
        screen.query_one("#head", Line).show(self.head())
        screen.query_one("#action", Line).show(self.action_line)
        line, error = screen.query_one("#error", Line), self.result.error
        line.display = error is not None
        if error is not None:
            text = str(error) if isinstance(error, ConveyorError) else f"{type(error).__name__}: {error}"
            line.show(Text(f"{safe(text)}\n{safe(getattr(error, 'hint', ''))}".strip(), "red"))
        screen.show(self.result, read_only=self.read_only)

    def update_view(self) -> None:
        """Poll for what the screens show."""
        view = self.main.view
        for screen in self.screen_stack:
            if isinstance(screen, Details):
                view = view._replace(job=(screen.queue, screen.job_id))
        self.poller.show(view)

    def open_job(self, queue: str, job_id: str) -> None:
        """Open the screen of a job."""
        self.push_screen(Details(queue, job_id))
        self.update_view()

    def head(self) -> Text:
        """Return the two lines at the top: the state of the connection, and the totals."""
        snapshot = self.result.snapshot
        counts, workers = snapshot.queues.values(), snapshot.worker_counts
        ended = sum(snapshot.rate_of(name).ended for name in snapshot.queues)
        dead, delayed, deferred = (
            sum(getattr(count, state) for count in counts) for state in ("dead", "delayed", "deferred")
        )
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(" conveyor top  ", "bold").append_text(self.connection()).append("\n ")
        for value, label, color in (
            (f"{sum(count.ready for count in counts):,}", "waiting", ""),
            *([(f"{deferred:,}", "deferred", "")] if deferred else []),
            *([(f"{delayed:,}", "delayed", "")] if delayed else []),
            (f"{sum(count.leased for count in counts):,}", "running", ""),
            (f"{workers.busy}/{workers.all}", "workers busy", ""),
            *([(f"{workers.leaving:,}", "leaving", "yellow")] if workers.leaving else []),
            (f"{rate(ended)}/s", "ended", ""),
            (f"{dead:,}", "dead", "red" if dead else ""),
        ):
            text.append(value, f"bold {color}").append(f" {label}   ")
        return text

    def connection(self) -> Text:
        """Return the state of the connection to the server."""
        result, text = self.result, Text()
        if self.poller.paused:
            text.append("⏸ updates are paused, p resumes", "bold yellow")
        elif result.unavailable:
            text.append("● no answer, trying again", "bold red")
        elif not result.polled_at:
            text.append("◌ connecting", "yellow")
        elif result.interval > STEPS[0]:
            text.append(f"● live, every {result.interval:.0f} s: the server is slow", "yellow")
        else:
            text.append("● live", "green")
        if self.read_only:
            text.append("  read-only", "yellow")
        return text.append(f"  {shown_address(self.client.url)}", "dim")

    def action_pause_updates(self) -> None:
        """Pause or resume updates."""
        self.poller.paused = not self.poller.paused
        self.poller.refresh()
        self.refresh_screens()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Help(read_only=self.read_only))

    def action_act(self, key: str) -> None:
        """Carry out the action of a key after confirmation."""
        screen = self.screen
        if not isinstance(screen, Main | Details):
            return
        intent = "this is read-only" if self.read_only else screen.intent(key, self.result)
        if isinstance(intent, str):
            self.action_line = Text(f" {intent}", "yellow")
            self.refresh_screens()
            return

        def confirmed(reason: str | None) -> None:
            if reason is not None:
                perform(intent, self.actions, reason, partial(self.call_later, self.show_step))

        self.push_screen(Confirm(intent), confirmed)
