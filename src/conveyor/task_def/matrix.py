"""The product of two large matrices of whole numbers, in blocks of rows.

Whole numbers, because then the result is exact and the same however it is split, and because numpy multiplies them in
one thread: the workers are what runs in parallel.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: Rows between two checks for a cancellation.
STEP = 16

Matrix = NDArray[np.int64]


def left_rows(start: int, stop: int, size: int) -> Matrix:
    """Return rows of the left matrix: numbers from -48 to 48, computed from row and column."""
    row, column = np.arange(start, stop)[:, None], np.arange(size)[None, :]
    return ((row * 31 + column * 17 + row * column) % 97 - 48).astype(np.int64)


def right_matrix(size: int) -> Matrix:
    """Return the whole right matrix: numbers from -50 to 50."""
    row, column = np.arange(size)[:, None], np.arange(size)[None, :]
    return ((row * 13 + column * 29 + row * column * 3) % 101 - 50).astype(np.int64)


def multiply_rows(
    start: int, stop: int, size: int, report: Callable[[int], None] = lambda _: None
) -> tuple[int, int]:
    """Multiply rows of the left matrix by the right one; return their part of the trace and the sum of entries."""
    right = right_matrix(size)
    trace = total = 0
    for first in range(start, stop, STEP):
        report(first - start)
        after = min(first + STEP, stop)
        product = left_rows(first, after, size) @ right
        trace += int(product[:, first:after].trace())
        total += int(product.sum())
    return trace, total


def expected_total(size: int) -> int:
    """Return the sum of all entries of the product, computed from column sums and row sums."""
    columns = sum(left_rows(first, min(first + 256, size), size).sum(axis=0) for first in range(0, size, 256))
    return int(np.dot(columns, right_matrix(size).sum(axis=1)))
