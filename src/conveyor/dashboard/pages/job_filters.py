"""What a visitor of the list of jobs chose, as the address has it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.api.inputs import OUTCOMES
from conveyor.dashboard.pages.asked import href
from conveyor.errors import BadCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.dashboard.page import Wanted
    from conveyor.inspector.snapshot import Snapshot

STATES = ("waiting", "delayed", "running", "dead", "ended")
#: Characters of a filter; of the names of queues to which an address is limited.
_LONGEST, _NAMES = 200, 1000


class Filters(NamedTuple):
    """What the visitor chose; what is empty does not narrow."""

    queue: str = ""
    state: str = "running"
    task: str = ""
    worker: str = ""
    text: str = ""
    outcome: str = ""
    id: str = ""
    cursor: str = ""
    among: str = ""
    """Names of queues, with commas between: what a visitor who may not see all is shown. A comma alone: none."""

    @property
    def narrowed(self) -> bool:
        """Whether jobs must be looked at to tell which are wanted."""
        return bool(self.task or self.worker or self.text or (self.outcome and self.state == "ended"))

    def at(self, **changes: str) -> str:
        """Give the address of the same list with some filters changed; it begins at the front."""
        return href("/jobs", **{**self._asdict(), "among": "", "cursor": "", **changes})

    def names(self, snapshot: Snapshot) -> list[str]:
        """Give the queues whose jobs are listed."""
        if self.queue:
            return [self.queue] if self.queue in snapshot.queues else []
        among = set(self.among.split(",")) if self.among else snapshot.queues
        return [name for name in snapshot.queues if name in among]


def filters_of(wanted: Wanted) -> Filters:
    """Give what was chosen; raises BadCall for what cannot be."""
    given: dict[str, Any] = {name: wanted.filters.get(name, "").strip() for name in Filters._fields}
    given["state"] = given["state"] or "running"
    if given["state"] not in STATES:
        message = f"{given['state']!r:.80} is no state of jobs"
        raise BadCall(message, hint=f"it is one of {', '.join(STATES)}")
    if given["outcome"] and given["outcome"] not in OUTCOMES:
        message = f"{given['outcome']!r:.80} is no outcome"
        raise BadCall(message, hint=f"it is one of {', '.join(OUTCOMES)}")
    for name in ("task", "worker", "text"):
        if len(given[name]) > _LONGEST:
            message = f"{name} is too long"
            raise BadCall(message, hint=f"{_LONGEST} characters at most")
    return Filters()._replace(**given)


def limited(wanted: Wanted, snapshot: Snapshot, may: Callable[[Any, str], bool]) -> Wanted:
    """Give what is asked for those who may not see all queues: the same, among the queues that they may see.

    Where many have long names, those with the most jobs that are not over.
    """
    searches = bool(wanted.filters.get("text", "").strip())
    seen = {
        name: count.ready + count.delayed + count.leased + count.dead
        for name, count in snapshot.queues.items()
        if may("look", name) and (may("inspect", name) or not searches)
    }
    names: list[str] = []
    for name in sorted(seen, key=lambda name: (-seen[name], name)):
        if len(",".join((*names, name))) <= _NAMES:
            names.append(name)
    return replace(wanted, filters={**wanted.filters, "among": ",".join(sorted(names)) or ","})
