"""What a process has counted of its runs and not yet told: it costs no round trip of its own, and counts once."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from conveyor import clock
from conveyor.store import commands, keys
from conveyor.wire import ids
from conveyor.wire.statistics import BOUNDS, LETTERS, OTHER, write_figures

if TYPE_CHECKING:
    from conveyor.store.commands import Command

#: Seconds between two tallies of a busy worker.
EVERY = 1.0
#: Characters of a task's name.
NAME_ROOM = 200
#: Tasks of one command, which bounds its work; tasks that are counted apart at a time.
MOST_AT_ONCE, MOST_TASKS = 20, 200

_BUCKETS = len(BOUNDS) + 1
_PLACES = {outcome: place for place, outcome in enumerate(LETTERS)}
_RUN_SUM = len(LETTERS)
_RUNS = _RUN_SUM + 1
_WAIT_SUM = _RUNS + _BUCKETS
_WAITS = _WAIT_SUM + 1
_LONGEST_RUN = _WAITS + _BUCKETS
_LONGEST_WAIT = _LONGEST_RUN + 1
_NAMES = (
    *LETTERS.values(),
    *("R", *(f"R{place}" for place in range(_BUCKETS))),
    *("W", *(f"W{place}" for place in range(_BUCKETS))),
    *"MX",
)


class Tally:
    """Counts runs by queue and task, and of all queues together. Not for several threads at once.

    What was told stays here until `confirm`; until then it is told again, under the same number, which the server
    counts once. A process that is killed loses what it has not told: at most the last second.
    """

    def __init__(self, owner: str) -> None:
        self.owner = f"{owner}:{ids.unique(4)}"  # a replacement has the same name, and counts from the start
        self._number = 0
        self._counts: dict[str, dict[str, list[int]]] = {}
        self._told: dict[Command, None] = {}
        self._last = clock.monotonic()

    def add(self, queue: str, task: str, outcome: str, elapsed: float, wait: float | None = None) -> None:
        """Count a run that ended: its outcome (a key of LETTERS), its seconds, those it waited for its first run."""
        try:
            counts = self._counts[queue][task]
        except KeyError:
            counts = self._counts_of(queue, task)
        counts[_PLACES[outcome]] += 1
        took = int(elapsed * 1e6)
        counts[_RUN_SUM] += took
        counts[_LONGEST_RUN] = max(counts[_LONGEST_RUN], took)
        counts[_RUNS + bisect_left(BOUNDS, elapsed)] += 1
        if wait is not None:
            wait = max(0.0, wait)  # the producer's clock may be ahead
            took = int(wait * 1e6)
            counts[_WAIT_SUM] += took
            counts[_LONGEST_WAIT] = max(counts[_LONGEST_WAIT], took)
            counts[_WAITS + bisect_left(BOUNDS, wait)] += 1

    def died(self, queue: str, task: str) -> None:
        """Count a worker that died while it ran a job; what became of the job is for `add`."""
        try:
            counts = self._counts[queue][task]
        except KeyError:
            counts = self._counts_of(queue, task)
        counts[_PLACES["died"]] += 1

    def commands(self, *, resting: bool = False) -> list[Command]:
        """Give what is to be told now: nothing before a second has passed, unless the process is about to rest."""
        if not (self._counts or self._told) or (not resting and clock.monotonic() - self._last < EVERY):
            return []
        self._last = clock.monotonic()
        for queue, tasks in self._counts.items():
            every = [(task, _text(counts)) for task, counts in tasks.items()]
            for first in range(0, len(every), MOST_AT_ONCE):
                self._number += 1
                some = every[first : first + MOST_AT_ONCE]
                self._told[commands.tally(queue, self.owner, self._number, None, some)] = None
        if self._counts:
            self._number += 1
            of_all = [("*", self._everything())]
            self._told[commands.tally(keys.ALL_QUEUES, self.owner, self._number, None, of_all)] = None
        self._counts = {}
        return list(self._told)

    def confirm(self, command: Command) -> None:
        """Forget what the server has answered."""
        self._told.pop(command, None)

    def _everything(self) -> str:
        """Return the figures of all queues together: a surface reads them at once, however many queues there are."""
        every = [counts for tasks in self._counts.values() for counts in tasks.values()]
        columns = list(zip(*every, strict=True))
        sums = [sum(column) for column in columns]
        for place in (_LONGEST_RUN, _LONGEST_WAIT):
            sums[place] = max(columns[place])
        return _text(sums)

    def _counts_of(self, queue: str, task: str) -> list[int]:
        tasks = self._counts.setdefault(queue, {})
        task = task[:NAME_ROOM]
        if task not in tasks and len(tasks) >= MOST_TASKS:
            task = OTHER
        return tasks.setdefault(task, [0] * len(_NAMES))


def _text(counts: list[int]) -> str:
    found = dict(zip(_NAMES, counts, strict=True))
    return write_figures({"b": sum(counts[_RUNS:_WAIT_SUM]), **found})
