"""Roles, the rights that they grant, and what one client may do."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from conveyor.errors import ConveyorError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: look: queues, jobs and workers in numbers and names. inspect: arguments, results, tracebacks, logs. act: pause and
#: resume a queue, cancel, retry, enqueue, stop or pause a worker. kill: end a worker's process now. purge: empty a
#: queue, and every operation over many jobs.
Right = Literal["look", "inspect", "act", "kill", "purge"]

ALL_RIGHTS: frozenset[Right] = frozenset(get_args(Right))


class BadPolicy(ConveyorError, ValueError):
    """The security settings are invalid or unsafe; the dashboard must not start with them."""


class Role(enum.IntEnum):
    """Role of a client; a greater one grants all that a lesser one does."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """The role as files and pages write it."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Role:
        """Return the role of this name. Raises BadPolicy for an unknown one."""
        for role in cls:
            if role.word == word:
                return role
        raise BadPolicy(f"unknown role {word!r}", hint="use viewer, operator or admin")


RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({"look"}),
    Role.OPERATOR: frozenset({"look", "inspect", "act"}),
    Role.ADMIN: ALL_RIGHTS,
}


@dataclass(frozen=True, slots=True)
class Access:
    """The access of one client.

    `source` is how the client was recognized: session, basic, token, proxy, hook or local.
    """

    who: str
    role: Role
    rights: frozenset[Right]
    source: str = "hook"

    @classmethod
    def of(cls, who: str, role: Role, source: str = "hook") -> Access:
        """Return the access that a role grants."""
        return cls(who, role, RIGHTS[role], source)

    def may(self, right: Right) -> bool:
        """Return True if the right is granted."""
        return right in self.rights

    def without(self, denied: frozenset[Right]) -> Access:
        """Return the same access without some rights."""
        return replace(self, rights=self.rights - denied) if denied else self


#: The client of a dashboard that no other machine can reach and that has no login.
LOCAL = Access.of("local", Role.ADMIN, "local")
