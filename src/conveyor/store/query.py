"""The query: a question as a value, so that many of them can share a round trip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.store.client import Client
    from conveyor.store.command import Command

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Query(Generic[T]):
    """What to ask a server, and how to turn the replies into one value. Changes nothing on the server."""

    commands: tuple[Command, ...]
    read: Callable[[Sequence[Any]], T]
    """Takes the replies in the order of `commands`, each as its own `read` returns it.

    May return another query if the value needs more replies; the caller then runs that one, too.
    """

    def ask(self, client: Client, *, patience: float | None = None, within: float | None = None) -> T:
        """Run the query in one round trip, or none if it is empty. Limits and errors are those of `Client.run_all`."""
        replies = client.run_all(self.commands, patience=patience, within=within) if self.commands else []
        value = self.read(replies)
        return value.ask(client, patience=patience, within=within) if isinstance(value, Query) else value

    def map(self, make: Callable[[Any], Any]) -> Query[Any]:
        """Return the query whose value is `make` of this one's."""

        def read(replies: Sequence[Any]) -> Any:
            value = self.read(replies)
            return value.map(make) if isinstance(value, Query) else make(value)

        return Query(self.commands, read)


def known(value: T) -> Query[T]:
    """Return the empty query with this value."""
    return Query((), lambda _: value)


def together(queries: Sequence[Query[Any]]) -> Query[list[Any]]:
    """Return the query for the list of all their values, in one round trip.

    Queries that they return in turn share a second round trip.
    """
    commands = tuple(command for query in queries for command in query.commands)

    def read(replies: Sequence[Any]) -> Any:
        left = iter(replies)
        values = [query.read([next(left) for _ in query.commands]) for query in queries]
        if any(isinstance(value, Query) for value in values):
            return together([value if isinstance(value, Query) else known(value) for value in values])
        return values

    return Query(commands, read)
