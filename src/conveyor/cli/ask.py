"""Asking a person: plain numbered lines, which work on any terminal, or menus to move in where the terminal can."""

from __future__ import annotations

import importlib
import shutil
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from conveyor.cli.exits import Interrupted, Usage
from conveyor.cli.output import clean, is_lively, is_terminal, note
from conveyor.errors import ConveyorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

_YES, _NO = {"y", "yes"}, {"n", "no"}


class Choice(NamedTuple):
    """An entry of a menu: what is chosen, and what is told about it."""

    name: str
    words: str = ""


class Asker(Protocol):
    """Somebody who can be asked. Every method raises Interrupted when that person leaves."""

    def choose(
        self, question: str, choices: Sequence[Choice], check: Callable[[str], T], *, others: bool = False
    ) -> T:
        """Ask for an entry of a menu, the first by default; with `others` any name that `check` accepts will do."""

    def line(self, question: str, default: str, check: Callable[[str], T]) -> T:
        """Ask for a line until `check` accepts it; what it raises is the reason that is told."""

    def agree(self, question: str, *, default: bool) -> bool:
        """Ask for yes or no."""


class PlainAsker:
    """Asks line by line."""

    def choose(
        self, question: str, choices: Sequence[Choice], check: Callable[[str], T], *, others: bool = False
    ) -> T:
        """Print the menu with numbers, then ask for a number or a name."""
        note(question)
        width, digits = max(len(one.name) for one in choices), len(str(len(choices) - 1))
        for number, one in enumerate(choices):
            line = f"  {number:>{digits}}  {clean(one.name).ljust(width)}  {clean(one.words)}".rstrip()
            note(line[: shutil.get_terminal_size().columns - 1])

        def chosen(text: str) -> T:
            if text.isdecimal():
                if int(text) >= len(choices):
                    raise Usage(f"{text} is not in the list: it goes from 0 to {len(choices) - 1}")
                text = choices[int(text)].name
            return check(text)

        return self.line("Number, or any name" if others else "Number or name", "0", chosen)

    def line(self, question: str, default: str, check: Callable[[str], T]) -> T:
        """Ask, and say what is wrong with an answer before asking again."""
        while True:
            answer = _typed(f"{question} [{default}]: " if default else f"{question}: ").strip()
            try:
                return check(answer or default)
            except (ConveyorError, ValueError) as error:
                note(f"  {error}")
                if getattr(error, "hint", ""):
                    note(f"  Hint: {getattr(error, 'hint', '')}")

    def agree(self, question: str, *, default: bool) -> bool:
        """Ask for y or n."""

        def meant(text: str) -> bool:
            word = text.lower()
            if word in _YES | _NO:
                return word in _YES
            raise Usage("please answer y or n")

        return self.line(f"{question} (y/n)", "y" if default else "n", meant)


def asker(*, plain: bool = False) -> Asker:
    """Give who asks on this terminal: line by line if `plain` or the terminal cannot move its cursor.

    Callers have made sure that there is a terminal.
    """
    if plain or not is_lively() or not sys.stdout.isatty():
        return PlainAsker()
    menus: Asker = importlib.import_module("conveyor.cli.ask_menus").MenuAsker()
    return menus


def terminal_or(missing: str, hint: str) -> None:
    """Raise Usage that names what is missing, unless there is a terminal to ask for it."""
    if not is_terminal():
        raise Usage(f"{missing}, and without a terminal nobody can be asked", hint=hint)


@contextmanager
def leaving() -> Iterator[None]:
    """Turn the end of input and Ctrl-C at a prompt into Interrupted."""
    try:
        yield
    except (EOFError, KeyboardInterrupt):
        note()
        raise Interrupted("left at a prompt; nothing was done") from None


def _typed(prompt: str) -> str:
    """Read a line, with the editing keys where input and output are a terminal."""
    with leaving():
        if sys.stdin.isatty() and sys.stdout.isatty():
            with suppress(ImportError):
                importlib.import_module("readline")
            return input(prompt)
        sys.stderr.write(prompt)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line and not sys.stdin.isatty():
            asked = prompt.strip().rstrip(":")
            raise Usage(f"no answer to “{asked}”: the input has ended", hint="run it on a terminal")
        if not line:
            raise EOFError
        return line.rstrip("\n")
