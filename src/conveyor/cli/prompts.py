"""Prompts: numbered lines, which work on any terminal, or menus if the terminal can move its cursor."""

from __future__ import annotations

import importlib
import shutil
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from conveyor.cli.exit_codes import Interrupted, Usage
from conveyor.cli.output import is_lively, is_terminal, note
from conveyor.errors import ConveyorError, MissingExtra
from conveyor.monitor.format import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

_YES, _NO = {"y", "yes"}, {"n", "no"}
#: Columns of a line in a menu.
_MENU_WIDTH = 100


class Choice(NamedTuple):
    """An entry of a menu: what is chosen, and a description."""

    name: str
    description: str = ""


class BuiltinTask(NamedTuple):
    """A built-in task as the menus show it."""

    queue: str
    name: str
    description: str


#: In the order of the menus, whose numbers are 0 to 4.
BUILTIN_TASKS = (
    BuiltinTask("queue_zero", "sleep", "sleep for some seconds"),
    BuiltinTask("queue_one", "csv_search", "search for a word in CSV files"),
    BuiltinTask("queue_two", "video_split", "cut a video into segments"),
    BuiltinTask("queue_three", "web_scrape", "read the pages of a web site"),
    BuiltinTask("queue_four", "heavy_math", "primes, pi, Mandelbrot, matrices"),
)


class Prompt:
    """Prompts line by line. Every method raises Interrupted if the user leaves."""

    def choose(
        self, question: str, choices: Sequence[Choice], check: Callable[[str], T], *, others: bool = False
    ) -> T:
        """Ask for an entry of a menu, the first by default; with `others`, accept any name that `check` accepts."""
        note(question)
        width, digits = max(len(one.name) for one in choices), len(str(len(choices) - 1))
        for number, one in enumerate(choices):
            line = f"  {number:>{digits}}  {printable(one.name).ljust(width)}  {printable(one.description)}".rstrip()
            note(line[: shutil.get_terminal_size().columns - 1])

        def chosen(text: str) -> T:
            if text.isdecimal():
                if int(text) >= len(choices):
                    raise Usage(f"the number must be between 0 and {len(choices) - 1}, got {text}")
                text = choices[int(text)].name
            return check(text)

        return self.line("Number, or any name" if others else "Number or name", "0", chosen)

    def line(self, question: str, default: str, check: Callable[[str], T]) -> T:
        """Ask for a line until `check` accepts it, and show the error that it raises."""
        while True:
            answer = _typed(f"{question} [{default}]: " if default else f"{question}: ").strip()
            try:
                return check(answer or default)
            except (ConveyorError, ValueError) as error:
                note(f"  {error}")
                if hint := getattr(error, "hint", ""):
                    note(f"  Hint: {hint}")

    def confirm(self, question: str, *, default: bool) -> bool:
        """Ask for yes or no."""

        def is_yes(text: str) -> bool:
            if text.lower() in _YES | _NO:
                return text.lower() in _YES
            raise Usage("type y or n")

        return self.line(f"{question} (y/n)", "y" if default else "n", is_yes)


class MenuPrompt(Prompt):
    """Prompts with menus to move in and lines that are checked while they are typed, by questionary.

    Raises MissingExtra if that is not installed.
    """

    def __init__(self) -> None:
        try:
            self._library: Any = importlib.import_module("questionary")  # slow to import
        except ModuleNotFoundError as error:
            raise MissingExtra("the command line", "cli", error.name) from error

    def choose(
        self, question: str, choices: Sequence[Choice], check: Callable[[str], T], *, others: bool = False
    ) -> T:
        """Show a menu with the cursor on the first entry."""
        width, entry = max(len(one.name) for one in choices), self._library.Choice
        entries = [
            entry(f"{one.name.ljust(width)}  {one.description}"[:_MENU_WIDTH], value=one.name)
            for one in choices
        ]
        if others:
            entries.append(entry("another name …", value=""))
        with interruptible():
            menu = self._library.select(question, entries, use_search_filter=True, use_jk_keys=False)
            name = menu.unsafe_ask()
        return check(name) if name else self.line("Name", "", check)

    def line(self, question: str, default: str, check: Callable[[str], T]) -> T:
        """Ask for a line and show the error below it."""

        def true_or_error(text: str) -> bool | str:
            try:
                check(text.strip() or default)
            except (ConveyorError, ValueError) as error:
                return str(error)
            return True

        with interruptible():
            field = self._library.text(question.strip(), default=default, validate=true_or_error)
            text = field.unsafe_ask()
        return check(text.strip() or default)

    def confirm(self, question: str, *, default: bool) -> bool:
        """Ask for yes or no."""
        with interruptible():
            return bool(self._library.confirm(question, default=default).unsafe_ask())


def open_prompt() -> Prompt:
    """Return the best prompt for this terminal; callers have checked that there is one."""
    return MenuPrompt() if is_lively() and sys.stdout.isatty() else Prompt()


def require_terminal(missing: str, hint: str) -> None:
    """Raise Usage unless there is a terminal to ask for what is missing."""
    if not is_terminal():
        raise Usage(f"{missing}, and without a terminal it cannot be asked for", hint=hint)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the end of input and Ctrl-C at a prompt into Interrupted."""
    try:
        yield
    except (EOFError, KeyboardInterrupt):
        note()
        raise Interrupted("left at a prompt; nothing was done") from None


def _typed(prompt: str) -> str:
    """Read a line, with editing keys if input and output are a terminal."""
    with interruptible():
        if sys.stdin.isatty() and sys.stdout.isatty():
            with suppress(ImportError):
                importlib.import_module("readline")
            return input(prompt)
        sys.stderr.write(prompt)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line and not sys.stdin.isatty():
            question = prompt.strip().rstrip(":")
            raise Usage(f"no answer to “{question}”: end of input", hint="run it on a terminal")
        if not line:
            raise EOFError
        return line.rstrip("\n")
