"""A file that all processes of a measurement map, with a slot for each job: start, end, worker and number of runs.

Writing a slot takes half a microsecond and is the same for every contestant. It proves that each job ran once. Needs
the standard library only, since adapters import it in their own environments. A program that cannot map files appends
its records to a log next to the file: the slot's number follows the slot.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path
from typing import NamedTuple

#: Start and end in seconds of the monotonic clock, the worker's process id, number of runs.
SLOT = struct.Struct("<ddii")
_LOGGED = struct.Struct("<ddii")
_RUNS = SLOT.size - 4
#: Environment variable with the path.
SLOTS = "BENCH_SLOTS"


class Run(NamedTuple):
    """What a job wrote into its slot."""

    start: float
    end: float
    worker: int
    runs: int


class Slots:
    """The slots of a measurement, all zero in a new file."""

    def __init__(self, path: str, count: int = 0) -> None:
        if count:
            with Path(path).open("wb") as made:
                made.truncate(count * SLOT.size)
        with Path(path).open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 0)
        self._path = Path(path)
        self._read: dict[Path, int] = {}

    def start(self, number: int, worker: int) -> None:
        """Note that a job starts now."""
        now = time.monotonic()
        runs = self._map[number * SLOT.size + _RUNS]
        SLOT.pack_into(self._map, number * SLOT.size, now, now, worker, runs + 1)

    def end(self, number: int) -> None:
        """Note that a job ends now."""
        struct.pack_into("<d", self._map, number * SLOT.size + 8, time.monotonic())

    def ran(self, number: int) -> bool:
        """Return True if the job has started."""
        return self._map[number * SLOT.size + _RUNS] > 0

    def count(self, first: int, jobs: int) -> int:
        """Return how many of the jobs from `first` on have started."""
        self._absorb_logs()
        return jobs - self._map[first * SLOT.size + _RUNS : (first + jobs) * SLOT.size : SLOT.size].count(0)

    def runs(self, first: int, jobs: int) -> list[Run]:
        """Return the slots of the jobs from `first` on, those of jobs that never ran included."""
        self._absorb_logs()
        taken = self._map[first * SLOT.size : (first + jobs) * SLOT.size]
        return [Run(*one) for one in SLOT.iter_unpack(taken)]

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()

    def _absorb_logs(self) -> None:
        """Copy new records of the logs into the slots."""
        for log in self._path.parent.glob(f"{self._path.name}.log.*"):
            with log.open("rb") as opened:
                opened.seek(self._read.get(log, 0))
                data = opened.read()
            whole = len(data) - len(data) % _LOGGED.size
            self._read[log] = self._read.get(log, 0) + whole
            for start, end, worker, number in _LOGGED.iter_unpack(data[:whole]):
                runs = self._map[number * SLOT.size + _RUNS]
                SLOT.pack_into(self._map, number * SLOT.size, start, end, worker, runs + 1)
