"""Asking with menus to move in and lines that are checked while they are typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import questionary

from conveyor.cli.ask import Choice, leaving
from conveyor.errors import ConveyorError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

#: Columns that a menu's line may take.
_WIDEST = 100


class MenuAsker:
    """Asks with questionary."""

    def choose(
        self, question: str, choices: Sequence[Choice], check: Callable[[str], T], *, others: bool = False
    ) -> T:
        """Show a menu; the first entry is where the cursor starts."""
        width = max(len(one.name) for one in choices)
        entries = [
            questionary.Choice(f"{one.name.ljust(width)}  {one.words}"[:_WIDEST], value=one.name)
            for one in choices
        ]
        if others:
            entries.append(questionary.Choice("another name …", value=""))
        with leaving():
            name = questionary.select(
                question, entries, use_search_filter=True, use_jk_keys=False
            ).unsafe_ask()
        return check(name) if name else self.line("Name", "", check)

    def line(self, question: str, default: str, check: Callable[[str], T]) -> T:
        """Ask for a line; the reason why it is refused stands below it."""
        with leaving():
            text = questionary.text(
                question.strip(), default=default, validate=_judge(check, default)
            ).unsafe_ask()
        return check(text.strip() or default)

    def agree(self, question: str, *, default: bool) -> bool:
        """Ask for yes or no."""
        with leaving():
            return bool(questionary.confirm(question, default=default).unsafe_ask())


def _judge(check: Callable[[str], Any], default: str) -> Callable[[str], bool | str]:
    def judge(text: str) -> bool | str:
        try:
            check(text.strip() or default)
        except (ConveyorError, ValueError) as error:
            return str(error)
        return True

    return judge
