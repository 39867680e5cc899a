"""Digits of pi by Chudnovsky's series, whose terms can be summed in ranges and the ranges joined."""

import math
from collections.abc import Callable
from functools import reduce

#: Digits that one term adds.
DIGITS_PER_TERM = 14.181647
_CUBE = 640320**3 // 24
#: Digits that Python converts in one step; below its limit.
_CHUNK = 4000
#: Extra digits that absorb the rounding errors.
_GUARD = 10

#: Three integers P, Q, T of a range of terms; see `join`.
Sums = tuple[int, int, int]


def terms_for(digits: int) -> int:
    """Return the number of terms for `digits` digits."""
    return int((digits + _GUARD) / DIGITS_PER_TERM) + 2


def sum_between(start: int, stop: int, report: Callable[[int], None] = lambda _: None) -> Sums:
    """Sum the terms from `start` to before `stop` by halves; calls `report` with the finished terms."""
    if stop - start == 1:
        report(stop)
        if start == 0:
            return 1, 1, 13591409
        p = (6 * start - 5) * (2 * start - 1) * (6 * start - 1)
        t = p * (13591409 + 545140134 * start)
        return p, start**3 * _CUBE, -t if start % 2 else t
    middle = (start + stop) // 2
    return join(sum_between(start, middle, report), sum_between(middle, stop, report))


def join(first: Sums, second: Sums) -> Sums:
    """Join the sums of two ranges that follow each other."""
    p1, q1, t1 = first
    p2, q2, t2 = second
    return p1 * p2, q1 * q2, t1 * q2 + p1 * t2


def digits_of(ranges: list[Sums], digits: int) -> str:
    """Return pi truncated to `digits` digits after the point, from the sums of all ranges in order."""
    _, q, t = reduce(join, ranges)
    one = 10 ** (digits + _GUARD)
    root = math.isqrt(10005 * one * one)
    text = _decimal(q * 426880 * root // t, digits + _GUARD + 1)
    return f"{text[0]}.{text[1 : digits + 1]}" if digits else text[0]


def to_bytes(sums: Sums) -> list[bytes]:
    """Return the sums as bytes, which travel at any size."""
    return [number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True) for number in sums]


def from_bytes(data: list[bytes]) -> Sums:
    """Return the sums that `to_bytes` encoded."""
    p, q, t = (int.from_bytes(number, "little", signed=True) for number in data)
    return p, q, t


def _decimal(number: int, width: int) -> str:
    """Return `width` decimal digits of a number, by halves: Python refuses to convert large integers in one step."""
    if width <= _CHUNK:
        return f"{number:0{width}}"
    low = width // 2
    upper, lower = divmod(number, 10**low)
    return _decimal(upper, width - low) + _decimal(lower, low)
