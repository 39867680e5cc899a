"""How many jobs a worker claims at once: more than one only while measured jobs are so short that it pays."""

from __future__ import annotations

#: Seconds that the jobs of one claim may take together.
BATCH_SECONDS = 0.010
#: Jobs of one claim at most.
MOST_JOBS = 500
#: A batch grows at most by this factor from one claim to the next.
GROWTH = 4


class Pace:
    """Learns from each batch how long a job takes."""

    def __init__(self) -> None:
        self.size = 1

    def learn(self, jobs: int, seconds: float) -> None:
        """Take in that a batch of `jobs` took `seconds`."""
        if jobs == 0:
            return
        fitting = int(BATCH_SECONDS * jobs / seconds) if seconds > 0 else MOST_JOBS
        self.size = max(1, min(fitting, self.size * GROWTH, MOST_JOBS))

    def reset(self) -> None:
        """Start from one job again: the queue was empty, or a job turned out long."""
        self.size = 1
