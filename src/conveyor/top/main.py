"""The screen that is there first: totals, four tabs, what was done last, and the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import Screen
from textual.widgets import ContentSwitcher, DataTable, Input

from conveyor.top import intents, jobs_pane
from conveyor.top.panes import FAILURES, QUEUES, WORKERS
from conveyor.top.questions import STATES, Wish
from conveyor.top.table import Line, LiveTable, fitted

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from conveyor.top.acting import Intent
    from conveyor.top.panes import Pane
    from conveyor.top.watch import Sight

PANES: tuple[Pane, ...] = (QUEUES, jobs_pane.JOBS, WORKERS, FAILURES)
#: What can be done on each tab, in the order of the keys' line.
ACTS = {
    "queues": ("P pause",),
    "jobs": ("C cancel", "R retry", "P pause"),
    "workers": ("S stop", "K kill", "C cancel", "P pause"),
    "failures": ("R retry",),
}
_MORE = {"queues": "⏎ jobs", "jobs": "⏎ open  s state  o queue", "workers": "⏎ job", "failures": "⏎ newest"}


class Main(Screen[None]):
    """Four tabs, each a table that is always up to date."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(place + 1), f"tab({place})", show=False) for place in range(len(PANES))),
        Binding("tab,right,l", "turn(1)", show=False, priority=True),
        Binding("shift+tab,left,h", "turn(-1)", show=False, priority=True),
        Binding("slash", "filter", show=False),
        Binding("escape", "no_filter", show=False),
        Binding("s", "state", show=False),
        Binding("o", "queue", show=False),
        Binding("p", "app.pause_updates", show=False),
        Binding("question_mark", "app.help", show=False),
        Binding("q", "app.quit", show=False),
        *(Binding(key, f"app.act('{key}')", show=False) for key in "KSCRP"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.pane = 0
        self.queue, self.state = "", STATES[0]
        self.texts = [""] * len(PANES)
        self.read_only = False
        self._sight: Sight | None = None

    def compose(self) -> ComposeResult:
        """Make the screen."""
        yield Line("head")
        yield Line("trouble")
        yield Line("tabs")
        yield Line("heading")
        yield Line("empty")
        with ContentSwitcher(initial=PANES[0].name):
            for pane in PANES:
                with Vertical(id=pane.name):
                    yield LiveTable(f"{pane.name}-table")
        yield Input(id="filter", placeholder="contains …", compact=True, max_length=100)
        yield Line("deed")
        yield Line("keys")

    def on_mount(self) -> None:
        """Begin with the queues."""
        self.query_one("#filter").display = False
        self.action_tab(0)

    @property
    def table(self) -> LiveTable:
        """The table of the tab that is open."""
        return self.query_one(f"#{PANES[self.pane].name}-table", LiveTable)

    @property
    def wish(self) -> Wish:
        """What must be asked for what is shown."""
        name = PANES[self.pane].name
        if name == "jobs":
            return Wish(self.queue, self.state, self.texts[self.pane])
        return Wish(failures=name == "failures")

    def show(self, sight: Sight, head: Text, deed: Text, *, read_only: bool) -> None:
        """Show what was seen."""
        self._sight, self.read_only = sight, read_only
        if not self.queue and sight.snapshot.queues:
            self.queue = next(iter(sight.snapshot.queues))
        self.query_one("#head", Line).say(head)
        self.query_one("#deed", Line).say(deed)
        self.draw()

    def draw(self) -> None:
        """Draw the tab that is open, of what was seen last."""
        self._draw_lines()
        sight, pane, text = self._sight, PANES[self.pane], self.texts[self.pane]
        if sight is None or not _is_of(sight, self.wish):
            return
        columns = pane.columns(sight)
        widths = fitted(columns, self.size.width)
        rows = pane.rows(sight, text, widths)
        self.table.show(columns, widths, rows)
        seen = bool(sight.seen_at)
        empty = self.query_one("#empty", Line)
        empty.display, self.table.show_header = not rows, bool(rows)
        empty.say(Text(pane.empty(sight, text) if seen else "Asking the server …"))

    def _draw_lines(self) -> None:
        tabs, name = Text(), PANES[self.pane].name
        for place, pane in enumerate(PANES):
            tabs.append(f" {place + 1} {pane.title} ", "bold reverse" if place == self.pane else "").append(
                " "
            )
        if self.texts[self.pane]:
            tabs.append(f"  /{self.texts[self.pane]}", "yellow")
        self.query_one("#tabs", Line).say(tabs)
        heading = self.query_one("#heading", Line)
        heading.display = name == "jobs"
        if self._sight is not None and name == "jobs":
            heading.say(jobs_pane.heading(self._sight, self.queue, self.state))
        acts = [] if self.read_only else list(ACTS[name])
        words = [_MORE[name], *acts, "/ filter", "? help", "q quit"]
        self.query_one("#keys", Line).say(Text(" " + "  ".join(words)))

    def intent(self, key: str, sight: Sight) -> Intent | str:
        """Give what a key means for the row under the cursor."""
        name, current = PANES[self.pane].name, self.table.current
        if name == "queues":
            return intents.about_queue(key, sight, current)
        if name == "workers":
            return intents.about_worker(key, sight, current)
        if name == "failures":
            return intents.about_failure(key, sight, current)
        if key == "P":
            return intents.about_queue(key, sight, self.queue)
        return intents.about_job(key, self.queue, current.partition(" ")[0], self.state)

    def open_jobs(self, queue: str, state: str = "waiting") -> None:
        """Show a queue's jobs."""
        self.queue, self.state = queue, state
        self.action_tab(1)

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        """Open the row under the cursor."""
        name, current = PANES[self.pane].name, self.table.current
        sight = self._sight
        if not current or sight is None:
            return
        if name == "queues":
            self.open_jobs(current)
        elif name == "jobs":
            self._open(self.queue, current.partition(" ")[0])
        elif name == "workers":
            worker = next((one for one in sight.snapshot.workers() if one.name == current), None)
            if worker is not None and worker.job:
                self._open(worker.queue, worker.job)
        else:
            for sample in sight.failures:
                if f"group {sample.group.fingerprint}" == current:
                    self._open(sample.group.queue, sample.group.newest)

    def _open(self, queue: str, job_id: str) -> None:
        self.app.open_job(queue, job_id)  # type: ignore[attr-defined]

    def on_input_changed(self, changed: Input.Changed) -> None:
        """Filter while somebody types."""
        self.texts[self.pane] = changed.value
        self._look()

    def on_input_submitted(self) -> None:
        """Keep the filter, and go back to the table."""
        self.query_one("#filter").display = False
        self.table.focus()

    def on_resize(self) -> None:
        """Use the room there is."""
        self.draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        """Leave keys to the field that is typed into."""
        return not (action == "turn" and self.focused is self.query_one("#filter"))

    def action_tab(self, place: int) -> None:
        """Open a tab."""
        self.query_one("#filter").display = False
        self.pane = place
        self.query_one(ContentSwitcher).current = PANES[place].name
        self.table.focus()
        self._look()

    def action_turn(self, way: int) -> None:
        """Open the next tab, or the one before."""
        self.action_tab((self.pane + way) % len(PANES))

    def action_filter(self) -> None:
        """Ask what rows must contain."""
        field = self.query_one("#filter", Input)
        field.value = self.texts[self.pane]
        field.display = True
        field.focus()

    def action_no_filter(self) -> None:
        """Show all rows again."""
        self.texts[self.pane] = ""
        self.query_one("#filter", Input).value = ""
        self.on_input_submitted()
        self._look()

    def action_state(self) -> None:
        """Show the jobs in the next state."""
        self.open_jobs(self.queue, STATES[(STATES.index(self.state) + 1) % len(STATES)])

    def action_queue(self) -> None:
        """Show the jobs of the next queue."""
        queues = list(self._sight.snapshot.queues) if self._sight is not None else []
        if queues:
            place = queues.index(self.queue) if self.queue in queues else -1
            self.open_jobs(queues[(place + 1) % len(queues)], self.state)

    def _look(self) -> None:
        self.app.look()  # type: ignore[attr-defined]
        self.draw()


def _is_of(sight: Sight, wish: Wish) -> bool:
    """Tell whether the sight has what is wished for; the job that is open on another screen does not matter."""
    return sight.wish._replace(story=("", "")) == wish
