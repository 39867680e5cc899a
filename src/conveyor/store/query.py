"""A question as a value: the commands that ask it, and how to read their answers.

Questions of many askers can so travel in one round trip, and whoever asks decides when.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.store.client import Client
    from conveyor.store.commands import Command

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Query(Generic[T]):
    """What to ask a server, and how to make one value of the answers; changes nothing there."""

    commands: tuple[Command, ...]
    read: Callable[[Sequence[Any]], T]
    """Gets the answers, as each command's own `read` gives them, in the order of `commands`."""

    def ask(self, client: Client, *, patience: float | None = None, within: float | None = None) -> T:
        """Ask in one round trip, or none for nothing; limits and errors are those of `Client.run_all`."""
        answers = client.run_all(self.commands, patience=patience, within=within) if self.commands else []
        return self.read(answers)


def together(queries: Sequence[Query[Any]]) -> Query[list[Any]]:
    """Give the question that asks all of these in one round trip; its value lists theirs."""
    commands = tuple(command for query in queries for command in query.commands)

    def read(answers: Sequence[Any]) -> list[Any]:
        values, first = [], 0
        for query in queries:
            last = first + len(query.commands)
            values.append(query.read(answers[first:last]))
            first = last
        return values

    return Query(commands, read)
