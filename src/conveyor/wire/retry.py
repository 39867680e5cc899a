"""How long to wait before a job that raised is tried again."""

from __future__ import annotations

import random

#: Seconds before the first retry, unless the task says otherwise.
FIRST_DELAY = 1.0
#: No wait grows beyond this many seconds.
LONGEST_DELAY = 3600.0


def delay_before(retry: int, first: float = FIRST_DELAY) -> float:
    """Give the seconds to wait before the `retry`th retry (1, 2, …): doubling, with up to 25 % of jitter added.

    Jitter keeps jobs that failed together from coming back together. It leaves the program's own random numbers alone.
    """
    longest = min(LONGEST_DELAY, first * 2.0 ** min(retry - 1, 32))
    return longest * (1.0 + random.SystemRandom().random() / 4)
