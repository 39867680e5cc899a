"""CPU and memory usage of a worker, the limits of its process, and facts about its machine, for reports.

Usage is 0 on systems without /proc.
"""

from __future__ import annotations

import os
import pathlib
import platform
from typing import TYPE_CHECKING, NamedTuple

import conveyor
from conveyor import clock
from conveyor.consumer.settings import cores
from conveyor.consumer.shared_status import MAX_JOBS, MAX_MEMORY
from conveyor.wire.control_messages import ConsumerReport

if TYPE_CHECKING:
    from conveyor.consumer.settings import ConsumerSettings

#: Minimum of seconds over which CPU time is measured: the kernel counts in hundredths.
MIN_SPAN = 0.5
#: Seconds between two measurements of a process's own memory, each of which takes about as long as a tiny job.
MEASURE_EVERY = 0.005
MIB = 1 << 20
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Positions in /proc/<pid>/stat, counted after the program's name: time in user code, time in the kernel, pages.
_USER, _KERNEL, _PAGES = 11, 12, 21


class Reading(NamedTuple):
    """Usage of one process."""

    cpu: float
    """Share of one core, 1.0 for a whole one."""
    memory: int
    """Resident bytes."""


class ProcessUsage:
    """Measures one process from its start."""

    def __init__(self) -> None:
        self._since = clock.monotonic()
        self._ticks = 0
        self._cpu = 0.0

    def read(self, pid: int) -> Reading:
        """Return the memory used now and the CPU time since the last reading, or zeros if the process is gone."""
        try:
            text = pathlib.Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return Reading(0.0, 0)
        fields = text[text.rindex(b")") + 2 :].split()  # the name before it may contain anything
        now, ticks = clock.monotonic(), int(fields[_USER]) + int(fields[_KERNEL])
        passed = now - self._since
        if passed >= MIN_SPAN:
            self._cpu = max(0.0, (ticks - self._ticks) / _TICKS / passed)
            self._since, self._ticks = now, ticks
        return Reading(round(self._cpu, 3), int(fields[_PAGES]) * _PAGE)


class ProcessLimits:
    """The limits of a worker process, after which it is replaced: the jobs it has run, and the memory it uses."""

    def __init__(self, settings: ConsumerSettings) -> None:
        self.max_jobs = settings.max_jobs or float("inf")
        self.max_memory = settings.max_memory or 0
        self.are_set = bool(settings.max_jobs or settings.max_memory)
        self.reached = 0
        """The limit that the process has reached, as of `SharedStatus.spent`."""
        self._measure_at = 0.0

    def exceeded(self, jobs: int) -> str:
        """Return why the process is to be replaced after this number of jobs, or an empty string."""
        if jobs >= self.max_jobs:
            self.reached = MAX_JOBS
            return f"it has run {jobs:,} {'job' if jobs == 1 else 'jobs'}, its maximum"
        # Not before its first job, or with a limit that is too low for its own code it would never run one.
        if self.max_memory and jobs and (now := clock.monotonic()) >= self._measure_at:
            self._measure_at = now + MEASURE_EVERY
            if (used := own_memory()) > self.max_memory:
                self.reached = MAX_MEMORY
                return (
                    f"it uses {used / MIB:,.0f} MiB of memory, more than its {self.max_memory / MIB:,.0f} MiB"
                )
        return ""


def own_memory() -> int:
    """Return the resident bytes of this process."""
    try:
        return int(pathlib.Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
    except OSError:
        return 0


def first_report(name: str, settings: ConsumerSettings) -> ConsumerReport:
    """Return a consumer's report about itself and its machine, without workers."""
    return ConsumerReport(
        name,
        name.rpartition("-")[0],
        os.getpid(),
        list(settings.queues),
        settings.kind,
        clock.wall(),
        [],
        version=conveyor.__version__,
        cores=cores(),
        python=platform.python_version(),
    )
