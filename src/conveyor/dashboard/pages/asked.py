"""What several pages about jobs ask, so that nothing a visitor writes can be a fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from conveyor.dashboard import known_tasks
from conveyor.errors import BadCall
from conveyor.monitor import job_record
from conveyor.store.query import Query, together
from conveyor.wire import ids

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.monitor.job_record import JobStory


def careful(make: Callable[[], Query[Any]]) -> Query[Any]:
    """Give the question that `make` gives; where it refuses what the visitor wrote, one that answers why.

    So that a view can say it, and the questions of other viewers, asked in the same round trip, are not kept.
    """
    try:
        return make()
    except BadCall as error:
        refused = error
        return Query((), lambda _: refused)


def story(queue: str, job_id: str) -> Query[JobStory | None]:
    """What is known of a job of one queue. Raises BadCall."""
    return job_record.story(ids.checked_queue(queue), ids.checked_id(job_id), known_tasks.labels)


def story_anywhere(job_id: str, queues: Sequence[str]) -> Query[JobStory | None]:
    """What is known of a job in whatever queue; one that has it comes before one that remembers it. Raises BadCall.

    It is looked for in as many as `stories.MOST_LOOKED_IN`, which is much work.
    """
    ids.checked_id(job_id)
    asked = together([story(queue, job_id) for queue in queues[: job_record.MOST_LOOKED_IN]])

    def read(answers: Sequence[Any]) -> JobStory | None:
        found: list[JobStory] = [one for one in asked.read(answers) if one is not None]
        return min(found, key=_rank, default=None)

    return Query(asked.commands, read)


def _rank(one: JobStory) -> int:
    return 0 if one.settled is None and one.state != "gone" else 1 if one.state != "gone" else 2


def href(path: str, **filters: str | int) -> str:
    """Give an address below the root, without what is empty; in the one order by which a page is remembered."""
    given = {name: value for name, value in sorted(filters.items()) if value}
    return f"{path}?{urlencode(given)}" if given else path


def job_path(queue: str, job_id: str) -> str:
    """Give the address of a job's page."""
    return f"/queues/{quote(queue)}/jobs/{quote(job_id, safe=':')}"
