"""The program in the terminal: holds the looking thread, the acts under way, and the screens."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from rich.traceback import Traceback
from textual.app import App
from textual.binding import Binding
from textual.css.query import NoMatches
from textual.message import Message

from conveyor.monitor import poll_interval
from conveyor.monitor.actions import Actions
from conveyor.monitor.snapshot import Rate
from conveyor.store.address import shown as shown_address
from conveyor.top import acting
from conveyor.top.details import Details
from conveyor.top.dialogs import Confirm, Help
from conveyor.top.main import Main
from conveyor.top.table import Line
from conveyor.top.watch import Sight, Watch
from conveyor.top.words import clean

if TYPE_CHECKING:
    from textual.screen import Screen

    from conveyor.monitor.actions import Actor
    from conveyor.store import Client
    from conveyor.top.acting import Intent, News

#: Seconds between two redraws of what ticks.
TICK = 0.5
_COLOURS = {
    acting.REQUESTED: "yellow",
    acting.ACKNOWLEDGED: "cyan",
    acting.DONE: "green",
    acting.REFUSED: "red",
    acting.SILENT: "red",
}


class Seen(Message):
    """The server has answered, or has not."""

    def __init__(self, sight: Sight) -> None:
        super().__init__()
        self.sight = sight


class Told(Message):
    """An act has come further."""

    def __init__(self, intent: Intent, news: News) -> None:
        super().__init__()
        self.intent, self.news = intent, news


#: What `return_code` is after Ctrl-C.
INTERRUPTED = 130


class Top(App[None]):
    """Shows one server, live, and acts on it for one person."""

    CSS_PATH = "top.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar = [Binding("ctrl+c", "interrupt", show=False, priority=True)]

    def __init__(self, client: Client, actor: Actor, *, read_only: bool = False) -> None:
        # The terminal's own colours, whatever they are. Said here, since NO_COLOR is heeded accordingly.
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.client, self.read_only = client, read_only
        self.actions = Actions(client, actor)
        self.sight = Sight()
        self.deed: tuple[Intent, News] | None = None
        self.remark = ""
        self.main = Main()
        self.watch_thread = Watch(client, lambda sight: self.post_message(Seen(sight)))

    def get_default_screen(self) -> Screen[None]:
        """Give the screen that is there first."""
        return self.main

    def _fatal_error(self) -> None:
        """Leave with a traceback; Textual's own shows the values of variables, and they may be secrets."""
        self.panic(Traceback(width=None, show_locals=False))

    def action_interrupt(self) -> None:
        """Leave at Ctrl-C, as other commands do."""
        self.exit(return_code=INTERRUPTED)

    def on_mount(self) -> None:
        """Begin to look."""
        self.watch_thread.start()
        self.set_interval(TICK, self.tick)

    def on_unmount(self) -> None:
        """Look no more."""
        self.watch_thread.stop()

    def on_seen(self, seen: Seen) -> None:
        """Show what was seen."""
        self.sight = seen.sight
        self.refresh_screen()
        self.look()

    def on_told(self, told: Told) -> None:
        """Show how far an act is."""
        self.deed, self.remark = (told.intent, told.news), ""
        self.watch_thread.look_now()
        self.refresh_screen()

    def tick(self) -> None:
        """Redraw what ticks, unless updates are paused."""
        if not self.watch_thread.paused:
            self.refresh_screen()

    def refresh_screen(self) -> None:
        """Draw all screens anew; only cells that changed are sent to the terminal."""
        for screen in self.screen_stack:
            if isinstance(screen, Main | Details) and screen.is_mounted:
                with contextlib.suppress(
                    NoMatches
                ):  # its parts are being removed: the program is about to leave
                    self._refresh(screen)

    def _refresh(self, screen: Main | Details) -> None:
        screen.show(self.sight, self.head(), self.last_deed(), read_only=self.read_only)
        trouble = screen.query_one("#trouble", Line)
        trouble.display = bool(self.sight.trouble)
        trouble.say(Text(f"{clean(self.sight.trouble)}\n{clean(self.sight.hint)}".strip(), "red"))

    def look(self) -> None:
        """Have the thread look at what the screens show."""
        wish = self.main.wish
        for screen in self.screen_stack:
            if isinstance(screen, Details):
                wish = wish._replace(story=(screen.queue, screen.job_id))
        self.watch_thread.look_at(wish)

    def open_job(self, queue: str, job_id: str) -> None:
        """Show all about a job."""
        self.push_screen(Details(queue, job_id))
        self.look()

    def head(self) -> Text:
        """Give the two lines at the top: the channel, and the totals."""
        snapshot = self.sight.snapshot
        counts, crew = snapshot.queues.values(), snapshot.worker_counts
        ended = sum(snapshot.rates.get(name, Rate()).ended for name in snapshot.queues)
        dead, delayed = sum(count.dead for count in counts), sum(count.delayed for count in counts)
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(" conveyor top  ", "bold").append_text(self.channel()).append("\n ")
        for value, word, colour in (
            (f"{sum(count.ready for count in counts):,}", "waiting", ""),
            *([(f"{delayed:,}", "delayed", "")] if delayed else []),
            (f"{sum(count.leased for count in counts):,}", "running", ""),
            (f"{crew.busy}/{crew.all}", "workers busy", ""),
            *([(f"{crew.leaving:,}", "leaving", "yellow")] if crew.leaving else []),
            (f"{ended:,.1f}/s", "ended", ""),
            (f"{dead:,}", "dead", "red" if dead else ""),
        ):
            text.append(value, f"bold {colour}").append(f" {word}   ")
        return text

    def channel(self) -> Text:
        """Tell how things stand between here and the server."""
        sight = self.sight
        text = Text()
        if self.watch_thread.paused:
            text.append("⏸ updates are paused, p goes on", "bold yellow")
        elif sight.trouble:
            text.append("● no answer, trying again", "bold red")
        elif not sight.seen_at:
            text.append("◌ asking", "yellow")
        elif sight.interval > poll_interval.STEPS[0]:
            text.append(f"● live, every {sight.interval:.0f} s: the server is slow", "yellow")
        else:
            text.append("● live", "green")
        if self.read_only:
            text.append("  read-only", "yellow")
        return text.append(f"  {shown_address(self.client.url)}", "dim")

    def last_deed(self) -> Text:
        """Tell how far the last act is, or why there was none."""
        if self.remark or self.deed is None:
            return Text(f" {self.remark}", "yellow")
        intent, news = self.deed
        text = Text(f" {intent.title.rstrip('?')}: ", no_wrap=True, overflow="ellipsis")
        text.append(news.state, f"bold {_COLOURS[news.state]}")
        return text.append(f", {clean(news.detail)}" if news.detail else "")

    def action_pause_updates(self) -> None:
        """Let everything stand still, or go on."""
        self.watch_thread.paused = not self.watch_thread.paused
        self.watch_thread.look_now()
        self.refresh_screen()

    def action_help(self) -> None:
        """Tell the keys."""
        self.push_screen(Help(read_only=self.read_only))

    def action_act(self, key: str) -> None:
        """Ask whether an act is meant, then do it."""
        screen = self.screen
        if not isinstance(screen, Main | Details):
            return
        found = "this is read-only" if self.read_only else screen.intent(key, self.sight)
        if isinstance(found, str):
            self.remark = found
            self.refresh_screen()
            return
        intent = found

        def confirmed(reason: str | None) -> None:
            if reason is not None:
                acting.carry_out(intent, self.actions, reason, self._tell)

        self.push_screen(Confirm(intent), confirmed)

    def _tell(self, intent: Intent, news: News) -> None:
        self.post_message(Told(intent, news))
