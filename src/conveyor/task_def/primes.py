"""Counting primes with a segmented sieve."""

import math
from collections.abc import Callable

import numpy as np

#: Numbers of one segment; its odd half, a byte each, fits into the cache of a core.
SEGMENT = 1 << 20


def count_between(start: int, stop: int, report: Callable[[int], None] = lambda _: None) -> int:
    """Return the number of primes p with start <= p < stop; calls `report` once per segment."""
    first = max(start, 3) | 1
    total = int(start <= 2 < stop)  # noqa: PLR2004 (the only even prime)
    base = _small_primes(math.isqrt(max(stop - 1, 0)))
    for low in range(first, stop, SEGMENT):
        report(low - start)
        total += _count_segment(low, min(low + SEGMENT, stop), base)
    return total


def _count_segment(low: int, high: int, base: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> int:
    """Count the primes among the odd numbers from `low`, odd and at least 3, below `high`."""
    odd = np.ones((high - low + 1) // 2, dtype=np.bool_)
    for prime in base[: np.searchsorted(base, math.isqrt(high - 1), side="right")].tolist():
        multiple = max(prime * prime, -(-low // prime) * prime)
        multiple += prime * (multiple % 2 == 0)
        odd[(multiple - low) // 2 :: prime] = False
    return int(np.count_nonzero(odd))


def _small_primes(limit: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Return the odd primes up to `limit`."""
    sieve = np.ones(limit + 1, dtype=np.bool_)
    sieve[:3] = False
    sieve[4::2] = False
    for number in range(3, math.isqrt(limit) + 1, 2):
        if sieve[number]:
            sieve[number * number :: 2 * number] = False
    return np.flatnonzero(sieve).astype(np.int64)
