"""Dialogs in front of the screen: a question with a reason, and the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from conveyor.top.tabs import ICONS

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from conveyor.top.actions import Intent

_KEYS = (
    ("1 2 3 4, Tab", "queues, jobs, workers, failures; also ← → and h l"),
    ("↑ ↓, j k", "move; g and G: first and last row"),
    ("Enter", "open: a queue's jobs, a job, a worker's job, a failure"),
    ("s  o", "jobs: next state, next queue"),
    ("/", "filter the rows; Esc clears the filter"),
    ("p", "pause or resume updates"),
    ("l", "in a job: show only its log"),
    ("q", "quit"),
)
_ACTIONS = (
    ("P", "pause or resume the queue or worker"),
    ("S", "stop the worker after its current job"),
    ("K", "kill the worker now; its job returns to the queue"),
    ("+ -", "add a worker to the consumer, or stop one after its current job"),
    ("C", "cancel the job"),
    ("R", "retry the dead job, or all of a failure"),
)
#: Characters of a reason.
MAX_REASON = 200


class Confirm(ModalScreen[str | None]):
    """Asks for confirmation and a reason; returns the reason, or None if the action is dismissed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", show=False)]

    def __init__(self, intent: Intent) -> None:
        super().__init__()
        self.intent = intent

    def compose(self) -> ComposeResult:
        """Yield the widgets."""
        with Vertical(classes="dialog"):
            yield Static(Text(self.intent.title, "bold"))
            yield Static(Text(self.intent.consequence))
            yield Input(placeholder="reason, for the audit trail", max_length=MAX_REASON, compact=True)
            with Horizontal():
                yield Button(f"{self.intent.yes} ⏎", id="yes", variant="error", compact=True)
                yield Button(f"{self.intent.no} (Esc)", id="no", compact=True)

    def on_mount(self) -> None:
        """Focus the reason."""
        self.query_one(Input).focus()

    def on_input_submitted(self) -> None:
        """Confirm with Enter in the reason."""
        self.dismiss(self.query_one(Input).value.strip())

    def on_button_pressed(self, pressed: Button.Pressed) -> None:
        """Confirm or dismiss."""
        self.dismiss(self.query_one(Input).value.strip() if pressed.button.id == "yes" else None)


class Help(ModalScreen[None]):
    """Shows the keys and the meaning of the icons."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", show=False),
    ]

    def __init__(self, *, read_only: bool) -> None:
        super().__init__()
        self.read_only = read_only

    def compose(self) -> ComposeResult:
        """Yield the widgets."""
        text = Text()
        for key, meaning in _KEYS:
            text.append(f"{key:<14}", "bold").append(f"{meaning}\n")
        if self.read_only:
            text.append("\nRead-only: actions are not available.\n", "yellow")
        else:
            text.append("\nThese ask first:\n")
            for key, meaning in _ACTIONS:
                text.append(f"{key:<14}", "bold").append(f"{meaning}\n")
        text.append("\n3»", "bold red").append(" blocked producers   ▮ job   ▯ free slot\n")
        for icon, color, meaning in ICONS.values():
            text.append(icon, color).append(f" {meaning}   ")
        with Vertical(classes="dialog"):
            yield Static(text)
