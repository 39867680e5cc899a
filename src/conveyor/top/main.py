"""The main screen: totals, four tabs, the last action, and the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import ContentSwitcher, DataTable, Input

from conveyor.top import actions, jobs_tab
from conveyor.top.poller import STATES, PollResult, View
from conveyor.top.table import Line, LiveTable, fitted
from conveyor.top.tabs import FAILURES, QUEUES, WORKERS

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from conveyor.top.actions import Intent
    from conveyor.top.tabs import Tab

TABS: tuple[Tab, ...] = (QUEUES, jobs_tab.JOBS, WORKERS, FAILURES)
#: The actions of each tab, and its other keys, in the order of the line of keys.
ACTIONS = {
    "queues": ("P pause",),
    "jobs": ("C cancel", "R retry", "P pause"),
    "workers": ("S stop", "K kill", "C cancel", "P pause", "+ - scale"),
    "failures": ("R retry",),
}
_KEYS = {"queues": "⏎ jobs", "jobs": "⏎ open  s state  o queue", "workers": "⏎ job", "failures": "⏎ newest"}


class Main(Screen[None]):
    """Four tabs, each a live table."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(at + 1), f"tab({at})", show=False) for at in range(len(TABS))),
        Binding("tab,right,l", "turn(1)", show=False, priority=True),
        Binding("shift+tab,left,h", "turn(-1)", show=False, priority=True),
        Binding("slash", "filter", show=False),
        Binding("escape", "no_filter", show=False),
        Binding("s", "state", show=False),
        Binding("o", "queue", show=False),
        Binding("q", "app.quit", show=False),
        *(Binding(key, f"app.act('{key}')", show=False) for key in "KSCRP"),
        Binding("plus", "app.act('+')", show=False),
        Binding("minus", "app.act('-')", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.at = 0
        """Position of the open tab."""
        self.queue, self.state = "", STATES[0]
        self.filters = [""] * len(TABS)
        self.read_only = False
        self._result = PollResult()

    def compose(self) -> ComposeResult:
        """Yield the widgets."""
        for name in ("head", "error", "tabs", "heading", "empty"):
            yield Line(name)
        with ContentSwitcher(initial=TABS[0].name):
            for tab in TABS:
                yield LiveTable(tab.name)
        yield Input(id="filter", placeholder="contains …", compact=True, max_length=100)
        yield Line("action")
        yield Line("keys")

    def on_mount(self) -> None:
        """Open the tab of queues."""
        self.action_tab(0)

    @property
    def tab(self) -> Tab:
        """The open tab."""
        return TABS[self.at]

    @property
    def table(self) -> LiveTable:
        """The table of the open tab."""
        return self.query_one(f"#{self.tab.name}", LiveTable)

    @property
    def view(self) -> View:
        """What to poll for the open tab."""
        if self.tab is jobs_tab.JOBS:
            return View(self.queue, self.state, self.filters[self.at])
        return View(failures=self.tab is FAILURES)

    def show(self, result: PollResult, *, read_only: bool) -> None:
        """Show a poll result."""
        self._result, self.read_only = result, read_only
        self.queue = self.queue or next(iter(result.snapshot.queues), "")
        self.draw()

    def draw(self) -> None:
        """Draw the open tab, unless its result has not arrived yet."""
        self._draw_lines()
        result, tab, text = self._result, self.tab, self.filters[self.at]
        if result.view._replace(job=("", "")) != self.view:
            return
        columns = tab.columns(result)
        widths = fitted(columns, self.size.width)
        rows = tab.rows(result, text, widths)
        self.table.show(columns, widths, rows)
        empty = self.query_one("#empty", Line)
        empty.display, self.table.show_header = not rows, bool(rows)
        text = tab.empty(result, text) if result.polled_at else "Connecting …"
        empty.show("" if result.is_partial else text)

    def _draw_lines(self) -> None:
        tabs, name = Text(), self.tab.name
        for at, tab in enumerate(TABS):
            tabs.append(f" {at + 1} {tab.title} ", "bold reverse" if at == self.at else "").append(" ")
        if self.filters[self.at]:
            tabs.append(f"  /{self.filters[self.at]}", "yellow")
        self.query_one("#tabs", Line).show(tabs)
        heading = self.query_one("#heading", Line)
        heading.display = self.tab is jobs_tab.JOBS
        heading.show(jobs_tab.heading(self._result, self.queue, self.state))
        keys = [_KEYS[name], *([] if self.read_only else ACTIONS[name]), "/ filter", "? help", "q quit"]
        self.query_one("#keys", Line).show(" " + "  ".join(keys))

    def intent(self, key: str, result: PollResult) -> Intent | str:
        """Return the action of a key for the current row, or why there is none."""
        row = self.table.current
        if self.tab is QUEUES:
            return actions.queue_intent(key, result, row.key)
        if self.tab is WORKERS:
            return actions.worker_intent(key, result, row.key)
        if self.tab is FAILURES:
            return actions.failure_intent(key, result, row.key.partition(" ")[2] if row.key else None)
        if key == "P":
            return actions.queue_intent(key, result, self.queue)
        return actions.job_intent(key, *row.job, self.state)

    def open_jobs(self, queue: str, state: str = "waiting") -> None:
        """Open the tab of jobs."""
        self.queue, self.state = queue, state
        self.action_tab(1)

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        """Open what the current row is about."""
        row = self.table.current
        if row.job[1]:
            self.app.open_job(*row.job)  # type: ignore[attr-defined]
        elif row.key and self.tab is QUEUES:
            self.open_jobs(row.key)

    def on_input_changed(self, changed: Input.Changed) -> None:
        """Apply the filter while the user types."""
        self.filters[self.at] = changed.value
        self._update()

    def on_input_submitted(self) -> None:
        """Keep the filter, and focus the table."""
        self.query_one("#filter").display = False
        self.table.focus()

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        """Disable the keys that turn tabs while the user types a filter."""
        return not (action == "turn" and self.focused is self.query_one("#filter"))

    def action_tab(self, at: int) -> None:
        """Open a tab."""
        self.query_one("#filter").display = False
        self.at = at
        self.query_one(ContentSwitcher).current = self.tab.name
        self.table.focus()
        self._update()

    def action_turn(self, way: int) -> None:
        """Open the next tab, or the previous one."""
        self.action_tab((self.at + way) % len(TABS))

    def action_filter(self) -> None:
        """Open the input of the filter."""
        field = self.query_one("#filter", Input)
        field.value = self.filters[self.at]
        field.display = True
        field.focus()

    def action_no_filter(self) -> None:
        """Clear the filter."""
        self.filters[self.at] = ""
        self.query_one("#filter", Input).value = ""
        self.on_input_submitted()
        self._update()

    def action_state(self) -> None:
        """Show the jobs in the next state."""
        self.open_jobs(self.queue, STATES[(STATES.index(self.state) + 1) % len(STATES)])

    def action_queue(self) -> None:
        """Show the jobs of the next queue."""
        queues = list(self._result.snapshot.queues)
        if queues:
            at = queues.index(self.queue) if self.queue in queues else -1
            self.open_jobs(queues[(at + 1) % len(queues)], self.state)

    def _update(self) -> None:
        self.app.update_view()  # type: ignore[attr-defined]
        self.draw()
