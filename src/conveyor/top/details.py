"""All that is known of one job, and its log as it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import Screen

from conveyor.top import intents
from conveyor.top.table import Line
from conveyor.top.words import COLOURS, clean, elapsed, progress, shown, took

if TYPE_CHECKING:
    from collections.abc import Iterator

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from conveyor.monitor.job_record import JobStory
    from conveyor.top.acting import Intent
    from conveyor.top.watch import Sight

#: Characters of an argument's value.
VALUE_ROOM = 1000


class Details(Screen[None]):
    """One job; `l` shows its log alone, always at its end."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,backspace,h", "dismiss", show=False),
        Binding("l", "log", show=False),
        Binding("j,down", "scroll('down')", show=False),
        Binding("k,up", "scroll('up')", show=False),
        Binding("p", "app.pause_updates", show=False),
        Binding("question_mark", "app.help", show=False),
        *(Binding(key, f"app.act('{key}')", show=False) for key in "CR"),
    ]

    def __init__(self, queue: str, job_id: str) -> None:
        super().__init__()
        self.queue, self.job_id = queue, job_id
        self.log_alone = False

    def compose(self) -> ComposeResult:
        """Make the screen."""
        yield Line("head")
        yield Line("trouble")
        with VerticalScroll(id="story"):
            yield Line("told", "…")
        yield Line("deed")
        yield Line("keys")

    def on_mount(self) -> None:
        """Have arrows and pages scroll."""
        self.query_one("#story").focus()

    def show(self, sight: Sight, head: Text, deed: Text, *, read_only: bool) -> None:
        """Show the job as it was seen."""
        self.query_one("#head", Line).say(head)
        self.query_one("#deed", Line).say(deed)
        acts = "" if read_only else "   C cancel   R retry"
        keys = f" Esc back   l {'everything' if self.log_alone else 'log alone'}{acts}   ? help"
        self.query_one("#keys", Line).say(Text(keys))
        story = sight.story
        if story is None or story.id != self.job_id:
            known = sight.wish.story == (self.queue, self.job_id)
            text = Text(f"Nothing is known of job {self.job_id} any more." if known else "…")
        else:
            text = _log(story) if self.log_alone else _story(story)
        if self.query_one("#told", Line).say(text) and self.log_alone:
            self.query_one("#story").scroll_end(animate=False)

    def intent(self, key: str, sight: Sight) -> Intent | str:
        """Give what a key means for this job."""
        story = sight.story
        if story is None or story.id != self.job_id:
            return "nothing is known of it"
        return intents.about_job(key, self.queue, self.job_id, story.state)

    def action_log(self) -> None:
        """Show the log alone, or everything."""
        self.log_alone = not self.log_alone
        self.app.refresh_screen()  # type: ignore[attr-defined]
        story = self.query_one("#story")
        story.scroll_end(animate=False) if self.log_alone else story.scroll_home(animate=False)

    def action_scroll(self, way: str) -> None:
        """Scroll a line."""
        story = self.query_one("#story")
        story.scroll_down(animate=False) if way == "down" else story.scroll_up(animate=False)


def _story(story: JobStory) -> Text:
    text = Text()
    for title, value in _facts(story):
        text.append(f"{title:<11}", "bold").append(value).append("\n")
    if story.arguments:
        text.append("\nArguments\n", "bold")
        for name, argument in story.arguments:
            text.append(f"  {clean(name)}{' = ' if name else ''}").append(f"{clean(_value(argument))}\n")
    elif story.preview:
        text.append("\nArguments\n", "bold").append(f"  {clean(story.preview)}\n")
    error = story.settled.error() if story.settled is not None else None
    if error is not None:
        text.append("\nError\n", "bold").append(f"  {shown(str(error))}\n", "red")
        for line in shown(getattr(error, "traceback", "")).rstrip().split("\n"):
            text.append(f"  {line}\n", "dim")
    if len(story.attempts) > 1:
        text.append("\nAttempts\n", "bold")
        for one in story.attempts:
            why = f"{one.kind} {one.message}".strip()
            text.append(f"  {one.attempt:>3} ").append(f"{one.state:<10}", COLOURS.get(one.state, ""))
            text.append(f" {took(one.elapsed):>8}  {clean(one.worker)}  {clean(why)}\n")
    if story.lines:
        text.append("\n").append(_log(story))
    return text


def _facts(story: JobStory) -> Iterator[tuple[str, Text]]:
    yield "Job", Text(story.id)
    yield "Queue", Text(story.queue)
    yield "State", Text(_state(story), COLOURS.get(story.state, ""))
    yield "Task", Text(clean(story.task) or "none: an item for Queue.get")
    if story.worker or story.run is not None:
        yield "Worker", Text(clean(story.worker or (story.run.worker if story.run else "")))
    if story.cancelled_by or story.cancel_reason:
        who, reason = story.cancelled_by or "unknown", story.cancel_reason
        yield "Cancelled", Text(clean(f"by {who}{reason and f': {reason}'}"))
    if story.killed:
        yield "Killed", Text("its worker was killed: the task did not end in time")
    if story.progress is not None:
        yield "Progress", progress(*(story.progress.done, story.progress.total, story.progress.message), 20)
    if story.retries or story.crashes:
        yield "Tries", Text(f"{story.retries} retries, {story.crashes} lost workers")
    if story.settled is not None and story.settled.elapsed:
        yield "Took", Text(took(story.settled.elapsed))
    if story.undecodable:
        yield "Bytes", Text(f"{story.undecodable:,}, which are no job that can be read here", "red")


def _state(story: JobStory) -> str:
    if story.place is not None:
        return f"waiting, {story.place:,} before it"
    return f"delayed, due in {elapsed(story.due_in)}" if story.due_in is not None else story.state


def _value(argument: object) -> str:
    text = repr(argument)
    return text if len(text) <= VALUE_ROOM else text[: VALUE_ROOM - 1] + "…"


def _log(story: JobStory) -> Text:
    text = Text.assemble(("Log\n", "bold")) if story.lines else Text("It has logged nothing.", "dim")
    for line in story.lines:
        text.append(f"  {shown(line.text)}\n", "")
    return text
