"""What stands before the screen for a moment: a question with a reason, and the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from conveyor.top.belt import SIGNS

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from conveyor.top.acting import Intent

_KEYS = (
    ("1 2 3 4, Tab", "queues, jobs, workers, failures; ← → or h l as well"),
    ("↑ ↓, j k", "move; g and G: first and last"),
    ("Enter", "open: a queue's jobs, a job, a worker's job, a failure"),
    ("s  o", "jobs: the next state; the next queue"),
    ("/", "filter what is shown; Esc takes the filter away"),
    ("p", "pause updates, and go on"),
    ("l", "in a job: its log alone, live"),
    ("q", "leave"),
)
_ACTS = (
    ("P", "pause or resume the queue or worker"),
    ("S", "stop the worker after its current job"),
    ("K", "kill the worker now; its job goes back"),
    ("C", "cancel the job"),
    ("R", "retry the dead job, or all of a failure"),
)
#: Longest reason.
REASON_ROOM = 200


class Confirm(ModalScreen[str | None]):
    """Asks whether an act is meant, and why; gives the reason, None where it is not meant."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def __init__(self, intent: Intent) -> None:
        super().__init__()
        self.intent = intent

    def compose(self) -> ComposeResult:
        """Make the dialog."""
        with Vertical(classes="dialog"):
            yield Static(Text(self.intent.title, "bold"))
            yield Static(Text(self.intent.consequence))
            yield Input(placeholder="reason, for the audit trail", max_length=REASON_ROOM, compact=True)
            with Horizontal():
                yield Button(f"{self.intent.yes} ⏎", id="yes", variant="error", compact=True)
                yield Button(f"{self.intent.no} (Esc)", id="no", compact=True)

    def on_mount(self) -> None:
        """Begin with the reason."""
        self.query_one(Input).focus()

    def on_input_submitted(self) -> None:
        """Take Enter in the field for yes."""
        self.dismiss(self.query_one(Input).value.strip())

    def on_button_pressed(self, pressed: Button.Pressed) -> None:
        """Take the answer."""
        self.dismiss(self.query_one(Input).value.strip() if pressed.button.id == "yes" else None)

    def action_leave(self) -> None:
        """Do nothing."""
        self.dismiss(None)


class Help(ModalScreen[None]):
    """Tells the keys, and what the signs mean."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", show=False),
    ]

    def __init__(self, *, read_only: bool) -> None:
        super().__init__()
        self.read_only = read_only

    def compose(self) -> ComposeResult:
        """Make the dialog."""
        text = Text()
        for key, words in _KEYS:
            text.append(f"{key:<14}", "bold").append(f"{words}\n")
        if self.read_only:
            text.append("\nRead-only: nothing can be changed from here.\n", "yellow")
        else:
            text.append("\nThese ask first:\n")
            for key, words in _ACTS:
                text.append(f"{key:<14}", "bold").append(f"{words}\n")
        text.append("\n3»", "bold red").append(" producers blocked   ▮ job   ▯ free slot\n")
        meanings = {
            "busy": "at work",
            "idle": "waits for a job",
            "paused": "takes none",
            "silent": "not heard of",
        }
        for state, (sign, colour) in SIGNS.items():
            text.append(sign, colour).append(f" {meanings.get(state, state)}   ")
        with Vertical(classes="dialog"):
            yield Static(text)
