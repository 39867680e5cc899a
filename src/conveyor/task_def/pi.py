"""Digits of pi by Chudnovsky's series, whose terms can be summed in ranges and the ranges joined."""

import math
from collections.abc import Callable
from functools import reduce

#: Digits that one term adds.
DIGITS_PER_TERM = 14.181647
_CUBE = 640320**3 // 24
#: Digits that Python turns into text at once: below its own limit on that.
_CHUNK = 4000
#: Digits that are computed and thrown away, since the last ones are rounded.
_GUARD = 10

#: Three integers P, Q, T of a range of terms; see `join`.
Sums = tuple[int, int, int]


def terms_for(digits: int) -> int:
    """Give how many terms `digits` digits take."""
    return int((digits + _GUARD) / DIGITS_PER_TERM) + 2


def sum_between(start: int, stop: int, look: Callable[[int], None] = lambda _: None) -> Sums:
    """Sum the terms from `start` to before `stop`, halving the range; `look` is called with the terms passed."""
    if stop - start == 1:
        look(stop)
        if start == 0:
            return 1, 1, 13591409
        p = (6 * start - 5) * (2 * start - 1) * (6 * start - 1)
        t = p * (13591409 + 545140134 * start)
        return p, start**3 * _CUBE, -t if start % 2 else t
    middle = (start + stop) // 2
    return join(sum_between(start, middle, look), sum_between(middle, stop, look))


def join(first: Sums, second: Sums) -> Sums:
    """Join the sums of two ranges that follow each other."""
    p1, q1, t1 = first
    p2, q2, t2 = second
    return p1 * p2, q1 * q2, t1 * q2 + p1 * t2


def digits_of(ranges: list[Sums], digits: int) -> str:
    """Give pi with `digits` digits after the point, cut and not rounded, from the sums of all ranges in order."""
    _, q, t = reduce(join, ranges)
    one = 10 ** (digits + _GUARD)
    root = math.isqrt(10005 * one * one)
    text = _decimal(q * 426880 * root // t, digits + _GUARD + 1)
    return f"{text[0]}.{text[1 : digits + 1]}" if digits else text[0]


def to_bytes(sums: Sums) -> list[bytes]:
    """Give the sums in a form that travels: integers of any size do not."""
    return [number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True) for number in sums]


def from_bytes(data: list[bytes]) -> Sums:
    """Give the sums back that `to_bytes` was given."""
    p, q, t = (int.from_bytes(number, "little", signed=True) for number in data)
    return p, q, t


def _decimal(number: int, width: int) -> str:
    """Give a number's decimal digits, `width` of them, in halves: Python refuses to do it for large ones at once."""
    if width <= _CHUNK:
        return f"{number:0{width}}"
    low = width // 2
    upper, lower = divmod(number, 10**low)
    return _decimal(upper, width - low) + _decimal(lower, low)
