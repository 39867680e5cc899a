"""What several pages about jobs ask, so that nothing a visitor writes can be a fault."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from conveyor import ids
from conveyor.dashboard import known_tasks
from conveyor.errors import BadCall, ConveyorError
from conveyor.inspector import stories
from conveyor.store.query import Query, together
from conveyor.tasks import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.inspector.stories import JobStory
    from conveyor.redaction import Labels

#: Queues in which a job is looked for when nobody says in which it is.
MOST_QUEUES = 200


def careful(make: Callable[[], Query[Any]]) -> Query[Any]:
    """Give the question that `make` gives; where it refuses what the visitor wrote, one that answers why.

    So that a view can say it, and the questions of other viewers, asked in the same round trip, are not kept.
    """
    try:
        return make()
    except BadCall as error:
        refused = error
        return Query((), lambda _: refused)


def labels_of(task: str) -> Labels:
    """Give by which names the arguments of a task are known, so that those that are secret can be told."""
    _loaded()
    return registry.labels(task)


@functools.cache
def _loaded() -> bool:
    """Load the tasks that this process was told of; tried once, since what cannot be imported will not be later."""
    try:
        known_tasks.registry()
    except ConveyorError:
        return False
    return True


def story(queue: str, job_id: str) -> Query[JobStory | None]:
    """What is known of a job of one queue. Raises BadCall."""
    return stories.story(ids.checked_queue(queue), ids.checked_id(job_id), labels_of)


def story_anywhere(job_id: str, queues: Sequence[str]) -> Query[JobStory | None]:
    """What is known of a job in whatever queue; one that has it comes before one that remembers it. Raises BadCall."""
    ids.checked_id(job_id)
    asked = together([story(queue, job_id) for queue in queues[:MOST_QUEUES]])

    def read(answers: Sequence[Any]) -> JobStory | None:
        found: list[JobStory] = [one for one in asked.read(answers) if one is not None]
        return min(found, key=_rank, default=None)

    return Query(asked.commands, read)


def _rank(one: JobStory) -> int:
    return 0 if one.settled is None and one.state != "gone" else 1 if one.state != "gone" else 2


def href(path: str, **filters: str | int) -> str:
    """Give an address below the root, without what is empty."""
    given = {name: value for name, value in filters.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def job_path(queue: str, job_id: str) -> str:
    """Give the address of a job's page."""
    return f"/queues/{quote(queue, safe='')}/jobs/{quote(job_id, safe='')}"
