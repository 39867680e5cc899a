"""Who runs what when several processes share the tests: a file at a time, the longest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    import pytest
    from xdist.workermanage import WorkerController

#: What begins first, so that no process is left alone with a long file in the end: first of all the minute of torture.
FIRST = (
    "tests/faults/test_bench.py",
    "tests/dashboard/browser/test_reading.py",
    "tests/dashboard/browser/test_tabs.py",
    "tests/dashboard/browser/",
    "tests/faults/",
    "tests/cli/",
    "tests/consumer/",
    "tests/executor/",
    "tests/task_def/",
    "tests/front_doors/",
    "tests/dashboard/",
    "tests/security/",
    "tests/queue/",
)
TORTURE = FIRST[0]
BROWSER = "tests/dashboard/browser/"
#: The processes that have the files of the browser first, since each process starts a browser for them. Two use both
#: cores while the others mostly wait.
WITH_BROWSER = ("gw0", "gw1")


def rank(item: pytest.Item) -> int:
    """Return the place of a test's file; a key to sort by."""
    places = (place for place, start in enumerate(FIRST) if item.nodeid.startswith(start))
    return next(places, len(FIRST))


class Schedule(LoadFileScheduling):  # type: ignore[misc]
    """Hand out the files in the order of collection, those of the browser to two processes."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return nodeid if file == TORTURE else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        wanted = node.gateway.id in WITH_BROWSER
        fitting = (scope for scope in self.workqueue if scope.startswith(BROWSER) == wanted)
        if first := next(fitting, ""):
            self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)

    def remove_node(self, node: WorkerController) -> str | None:
        """Take the tests of a process that has ended back. Return the one that ended it, which does not run again."""
        units = self.assigned_work[node].values()
        left = ((unit, test) for unit in units for test, is_over in unit.items() if not is_over)
        unit, test = next(left, ({}, None))
        if test is not None:
            unit[test] = True
        super().remove_node(node)
        return test
