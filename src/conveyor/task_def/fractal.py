"""The Mandelbrot set, in bands of rows, and the picture of it."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conveyor.task_def.places import unfinished

#: The part of the plane that is drawn: the whole set, three parts wide and two high.
LEFT, RIGHT, TOP, BOTTOM = -2.4, 1.2, 1.2, -1.2

#: A point whose square of the distance from 0 is larger than this never comes back.
_FAR = 4.0

Pixels = NDArray[np.uint8]


def height_of(width: int) -> int:
    """Give the number of rows of a picture that is `width` points wide."""
    return max(1, width * 2 // 3)


def draw_rows(
    width: int, start: int, stop: int, iterations: int, look: Callable[[int], None] = lambda _: None
) -> Pixels:
    """Draw rows `start` to before `stop`: 0 inside the set, else 1 to 255 by how soon a point leaves it."""
    height = height_of(width)
    across = np.linspace(LEFT, RIGHT, width)
    picture = np.zeros((stop - start, width), dtype=np.uint8)
    for row in range(start, stop):
        look(row - start)
        up = TOP + (BOTTOM - TOP) * (row + 0.5) / height
        picture[row - start] = _draw_row((across + 1j * up).astype(np.complex128), iterations)
    return picture


def write_png(path: Path, pixels: Pixels) -> None:
    """Write pixels as a PNG of 256 colours; the file appears only when it is whole."""
    height, width = pixels.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # each row starts with its filter, 0 for none
    rows[:, 1:] = pixels
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    making = unfinished(path)
    try:
        with making.open("wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            for kind, data in (
                (b"IHDR", header),
                (b"PLTE", _palette()),
                (b"IDAT", zlib.compress(rows.tobytes())),
            ):
                file.write(
                    struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
                )
            file.write(struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND")))
        making.replace(path)
    finally:
        making.unlink(missing_ok=True)


def _draw_row(points: NDArray[np.complex128], iterations: int) -> Pixels:
    """Iterate all points of a row at once, leaving out those that have left."""
    colours = np.zeros(points.size, dtype=np.uint8)
    places = np.arange(points.size)
    value = np.zeros_like(points)
    for step in range(iterations):
        value = value * value + points
        gone = value.real * value.real + value.imag * value.imag > _FAR
        if gone.any():
            colours[places[gone]] = 1 + step % 255
            stays = ~gone
            places, points, value = places[stays], points[stays], value[stays]
            if not places.size:
                break
    return colours


def _palette() -> bytes:
    """Give black for the set and then 255 colours from night blue over white to orange."""
    place = np.linspace(0, 1, 255) ** 0.5
    stops = [0.0, 0.25, 0.5, 0.8, 1.0]
    channels = ([0, 32, 237, 255, 0], [7, 107, 255, 170, 2], [100, 203, 255, 0, 0])
    colours = np.stack([np.interp(place, stops, channel) for channel in channels], axis=1)
    return bytes(3) + colours.round().astype(np.uint8).tobytes()
