"""The menu that the producer's and the consumer's conversation share: five families of work and their queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.cli.output import count_of
from conveyor.cli.queues import queue_lines

if TYPE_CHECKING:
    from conveyor.monitor import Inspector


class Family(NamedTuple):
    """One kind of work."""

    queue: str
    task: str
    words: str


#: In the order of the menu, whose numbers are 0 to 4.
FAMILIES = (
    Family("queue_zero", "sleep", "sleep for some seconds"),
    Family("queue_one", "csv_search", "look for a word in CSV files"),
    Family("queue_two", "video_split", "cut a video into segments"),
    Family("queue_three", "web_scrape", "read the pages of a web site"),
    Family("queue_four", "heavy_math", "primes, pi, Mandelbrot, matrices"),
)


def crowds(inspector: Inspector) -> dict[str, str]:
    """Give for each queue that exists what waits there and who listens, in words."""
    return {
        line.name: f"{line.count.ready:,} waiting, {count_of(line.workers, 'worker')}"
        for line in queue_lines(inspector)
    }


def listeners(inspector: Inspector, queue: str) -> str:
    """Give who listens to a queue, in words; for one that was never put to."""
    return f"0 waiting, {count_of(len(inspector.workers(queue)), 'worker')}"
