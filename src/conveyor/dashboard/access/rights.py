"""Roles, the rights they bring, and what one person may do."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
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

    `rights` hold on all queues, or on those in `queues` alone. `on` gives single queues rights of their own, in place
    of `rights`. Who lacks a right on some queue may not use it on what concerns no queue in particular, except to look.
    `source` says how the person was recognised: session, basic, token, proxy, hook or local.
    """

    who: str
    role: Role
    rights: frozenset[Right]
    queues: frozenset[str] | None = None
    on: Mapping[str, frozenset[Right]] = field(default_factory=dict)
    source: str = "hook"

    @classmethod
    def of(cls, who: str, role: Role, source: str = "hook") -> Access:
        """Give the access that a role brings, on all queues."""
        return cls(who, role, RIGHTS[role], source=source)

    @property
    def is_limited(self) -> bool:
        """Whether there may be queues that this one must not see."""
        return self.queues is not None or bool(self.on)

    def may(self, right: Right, queue: str | None = None) -> bool:
        """Tell whether a right is there, on a queue or on what belongs to none (workers, the overview)."""
        if queue is None:
            everywhere = self.queues is None and all(right in rights for rights in self.on.values())
            return right in self.rights and (right == "look" or everywhere)
        if queue in self.on:
            return right in self.on[queue]
        return right in self.rights and (self.queues is None or queue in self.queues)

    def may_somewhere(self, right: Right) -> bool:
        """Tell whether a right is there on at least one queue that there may be."""
        if any(right in rights for rights in self.on.values()):
            return True
        return right in self.rights and (self.queues is None or bool(self.queues - self.on.keys()))

    def without(self, taken: frozenset[Right]) -> Access:
        """Give the same access with some rights taken away everywhere."""
        if not taken:
            return self
        on = {queue: rights - taken for queue, rights in self.on.items()}
        return replace(self, rights=self.rights - taken, on=on)


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
