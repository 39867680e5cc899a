"""The computations of heavy mathematics on numpy arrays: counting primes, multiplying matrices, drawing a fractal.

The matrices hold integers, so that the result is exact however it is split, and because numpy multiplies them in one
thread: the workers provide the parallelism.
"""

import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conveyor.task_def.paths import replacing

#: Numbers of one segment; its odd half, a byte each, fits into the cache of a core.
SEGMENT = 1 << 20


def count_primes(start: int, stop: int, report: Callable[[int], None] = lambda _: None) -> int:
    """Return the number of primes p with start <= p < stop; calls `report` once per segment."""
    first = max(start, 3) | 1
    total = int(start <= 2 < stop)  # noqa: PLR2004 (the only even prime)
    base = _small_primes(math.isqrt(max(stop - 1, 0)))
    for low in range(first, stop, SEGMENT):
        report(low - start)
        total += _count_segment(low, min(low + SEGMENT, stop), base)
    return total


def _count_segment(low: int, high: int, base: NDArray[np.int64]) -> int:
    """Count the primes among the odd numbers from `low`, odd and at least 3, below `high`."""
    odd = np.ones((high - low + 1) // 2, dtype=np.bool_)
    for prime in base[: np.searchsorted(base, math.isqrt(high - 1), side="right")].tolist():
        multiple = max(prime * prime, -(-low // prime) * prime)
        multiple += prime * (multiple % 2 == 0)
        odd[(multiple - low) // 2 :: prime] = False
    return int(np.count_nonzero(odd))


def _small_primes(limit: int) -> NDArray[np.int64]:
    """Return the odd primes up to `limit`."""
    sieve = np.ones(limit + 1, dtype=np.bool_)
    sieve[:3] = False
    sieve[4::2] = False
    for number in range(3, math.isqrt(limit) + 1, 2):
        if sieve[number]:
            sieve[number * number :: 2 * number] = False
    return np.flatnonzero(sieve).astype(np.int64)


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


#: The drawn part of the plane: the whole set, in the format 3:2.
LEFT, RIGHT, TOP, BOTTOM = -2.4, 1.2, 1.2, -1.2

#: A point whose squared distance from 0 exceeds this escapes.
_FAR = 4.0

Pixels = NDArray[np.uint8]


def height_of(width: int) -> int:
    """Return the number of rows of a picture that is `width` points wide."""
    return max(1, width * 2 // 3)


def draw_rows(
    width: int, start: int, stop: int, iterations: int, report: Callable[[int], None] = lambda _: None
) -> Pixels:
    """Draw the rows from `start` to before `stop`: 0 inside the set, otherwise 1 to 255 by escape time."""
    height = height_of(width)
    across = np.linspace(LEFT, RIGHT, width)
    picture = np.zeros((stop - start, width), dtype=np.uint8)
    for row in range(start, stop):
        report(row - start)
        up = TOP + (BOTTOM - TOP) * (row + 0.5) / height
        picture[row - start] = _draw_row((across + 1j * up).astype(np.complex128), iterations)
    return picture


def write_png(path: Path, pixels: Pixels) -> None:
    """Write pixels as a PNG of 256 colors; the file appears only once it is complete."""
    height, width = pixels.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # each row starts with its filter, 0 for none
    rows[:, 1:] = pixels
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", _palette()),
        (b"IDAT", zlib.compress(rows.tobytes())),
        (b"IEND", b""),
    )
    with replacing(path) as making, making.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in chunks:
            file.write(
                struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            )


def _draw_row(points: NDArray[np.complex128], iterations: int) -> Pixels:
    """Iterate all points of a row together, dropping the escaped ones."""
    colors = np.zeros(points.size, dtype=np.uint8)
    places = np.arange(points.size)
    value = np.zeros_like(points)
    for step in range(iterations):
        value = value * value + points
        gone = value.real * value.real + value.imag * value.imag > _FAR
        if gone.any():
            colors[places[gone]] = 1 + step % 255
            stays = ~gone
            places, points, value = places[stays], points[stays], value[stays]
            if not places.size:
                break
    return colors


def _palette() -> bytes:
    """Return black for the set, then 255 colors from night blue over white to orange."""
    place = np.linspace(0, 1, 255) ** 0.5
    stops = [0.0, 0.25, 0.5, 0.8, 1.0]
    channels = ([0, 32, 237, 255, 0], [7, 107, 255, 170, 2], [100, 203, 255, 0, 0])
    colors = np.stack([np.interp(place, stops, channel) for channel in channels], axis=1)
    return bytes(3) + colors.round().astype(np.uint8).tobytes()
