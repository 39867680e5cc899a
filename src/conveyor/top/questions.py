"""What is asked of the server for each thing that is open, as values, so that all of it travels in one round trip."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.monitor import INDEXES, failures, history, job_list
from conveyor.store.query import Query
from conveyor.tasks import registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.monitor.job_list import JobRow

#: Jobs that are listed, and those that are looked at for a filter.
MOST_ROWS, SEARCHED = 100, 1000
#: The lists of a queue's jobs, in the order in which they are leafed through.
STATES = ("waiting", "running", "delayed", "dead", "ended")


class Wish(NamedTuple):
    """What is looked at, beside queues and workers, which always are."""

    queue: str = ""
    """The queue whose jobs are listed; empty: none are."""
    state: str = "waiting"
    text: str = ""
    """What the jobs must contain."""
    failures: bool = False
    story: tuple[str, str] = ("", "")
    """Queue and id of the job that is open."""


NO_WISH = Wish()


def jobs(wish: Wish) -> Query[list[JobRow]]:
    """Which jobs the list has: those at its front, of dead ones those that died last."""
    if not wish.queue or wish.state not in INDEXES:
        return Query((), lambda _: [])
    if wish.text:
        wanted = job_list.Wanted(text=wish.text)
        limits = job_list.Limits(SEARCHED, MOST_ROWS)
        found = job_list.search(wish.queue, wish.state, wanted, "", limits, registry.labels)
        return Query(found.commands, lambda answers: found.read(answers).rows)
    page = job_list.page(wish.queue, wish.state, count=MOST_ROWS, labels_of=registry.labels)
    return Query(page.commands, lambda answers: page.read(answers).rows)


def ended(wish: Wish) -> Query[list[history.Finish]]:
    """Which runs of the queue ended last."""
    if not wish.queue or wish.state != "ended":
        return Query((), lambda _: [])
    asked = history.finishes(wish.queue, count=MOST_ROWS, matching=history.Matching(text=wish.text))
    return Query(asked.commands, lambda answers: asked.read(answers).finishes)


def groups(wish: Wish, dead: Mapping[str, int]) -> Query[list[failures.GroupCount]]:
    """Ask which failures the dead letters form, given how many each queue has."""
    return failures.groups(failures.looked_at(dead)) if wish.failures else Query((), lambda _: [])
