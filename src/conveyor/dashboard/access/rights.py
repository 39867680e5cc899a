"""Roles, the rights they bring, and what one person may do."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

from conveyor.dashboard.access.faults import BadPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

#: look: queues, jobs and workers in numbers and names. inspect: arguments, results, tracebacks, logs. act: pause and
#: resume a queue, cancel, retry, enqueue, stop or pause a worker. kill: end a worker's process now. purge: empty a
#: queue, and everything that is done to many jobs at once.
Right = Literal["look", "inspect", "act", "kill", "purge"]

ALL_RIGHTS: frozenset[Right] = frozenset(get_args(Right))
_CHANGES: frozenset[Right] = frozenset({"act", "kill", "purge"})


class Role(enum.IntEnum):
    """What somebody is here; a greater one may do all that a lesser one may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """The role as files and pages write it."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Role:
        """Give the role that a word names; BadPolicy if it names none."""
        for role in cls:
            if role.word == word:
                return role
        message = f"{word!r} is no role"
        raise BadPolicy(message, hint="Roles are viewer, operator and admin.")


RIGHTS: Mapping[Role, frozenset[Right]] = MappingProxyType(
    {
        Role.VIEWER: frozenset({"look"}),
        Role.OPERATOR: frozenset({"look", "inspect", "act"}),
        Role.ADMIN: ALL_RIGHTS,
    }
)


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may do.

    `source` is how the person was recognized: session, basic, token, proxy, hook or local.
    """

    who: str
    role: Role
    rights: frozenset[Right]
    source: str = "hook"

    @classmethod
    def of(cls, who: str, role: Role, source: str = "hook") -> Access:
        """Return the access that a role brings."""
        return cls(who, role, RIGHTS[role], source=source)

    def may(self, right: Right) -> bool:
        """Return True if the right is granted."""
        return right in self.rights

    def without(self, taken: frozenset[Right]) -> Access:
        """Return the same access without some rights."""
        return replace(self, rights=self.rights - taken) if taken else self


def taken_away(*, read_only: bool, no_kill: bool) -> frozenset[Right]:
    """Give the rights that nobody has, whatever their role."""
    taken: frozenset[Right] = frozenset()
    if read_only:
        taken |= _CHANGES
    if no_kill:
        taken |= {"kill"}
    return taken


#: Who uses a page that no other machine can reach and that has no login.
LOCAL = Access.of("local", Role.ADMIN, "local")
