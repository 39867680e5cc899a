"""The Mandelbrot set in bands of rows, and its PNG."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conveyor.task_def.paths import replacing

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
