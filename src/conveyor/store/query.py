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
    """Gets the answers, as each command's own `read` gives them, in the order of `commands`.

    May return another query, which needs these answers: the one who asks asks that one, too, for the value.
    """

    def ask(self, client: Client, *, patience: float | None = None, within: float | None = None) -> T:
        """Ask in one round trip, or none for nothing; limits and errors are those of `Client.run_all`."""
        answers = client.run_all(self.commands, patience=patience, within=within) if self.commands else []
        value = self.read(answers)
        return value.ask(client, patience=patience, within=within) if isinstance(value, Query) else value

    def map(self, make: Callable[[Any], Any]) -> Query[Any]:
        """Return the query whose value is made of this one's."""

        def read(answers: Sequence[Any]) -> Any:
            value = self.read(answers)
            return value.map(make) if isinstance(value, Query) else make(value)

        return Query(self.commands, read)


def known(value: T) -> Query[T]:
    """Return the query that asks nothing and has this value."""
    return Query((), lambda _: value)


def together(queries: Sequence[Query[Any]]) -> Query[list[Any]]:
    """Give the question that asks all of these in one round trip; its value lists theirs.

    The second queries that some of them have share a second round trip.
    """
    commands = tuple(command for query in queries for command in query.commands)

    def read(answers: Sequence[Any]) -> Any:
        values: list[Any] = []
        first = 0
        for query in queries:
            last = first + len(query.commands)
            values.append(query.read(answers[first:last]))
            first = last
        if any(isinstance(value, Query) for value in values):
            return together([value if isinstance(value, Query) else known(value) for value in values])
        return values

    return Query(commands, read)
