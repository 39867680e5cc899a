"""What a visitor of the list of jobs chose, as the address has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.api.inputs import LIVE, OUTCOMES
from conveyor.dashboard.pages.asked import href
from conveyor.errors import BadCall

if TYPE_CHECKING:
    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.snapshot import Snapshot

STATES = (*LIVE, "ended")
#: Characters of a filter.
_LONGEST = 200


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

    @property
    def narrowed(self) -> bool:
        """Whether jobs must be looked at to tell which are wanted."""
        return bool(self.task or self.worker or self.text or (self.outcome and self.state == "ended"))

    def at(self, **changes: str) -> str:
        """Give the address of the same list with some filters changed; it begins at the front."""
        return href("/jobs", **{**self._asdict(), "cursor": "", **changes})

    def names(self, snapshot: Snapshot) -> list[str]:
        """Give the queues whose jobs are listed."""
        if self.queue:
            return [self.queue] if self.queue in snapshot.queues else []
        return list(snapshot.queues)


def filters_of(wanted: PageRequest) -> Filters:
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
