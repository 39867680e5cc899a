"""The tasks of heavy mathematics.

`count_primes`, `digits_of_pi`, `mandelbrot` and `matrix_product` are one job each; `heavy_math` splits any of them into
jobs and joins their results.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from conveyor.context import current_job
from conveyor.errors import BadInput, ConveyorError, MissingExtra
from conveyor.task_def import pi
from conveyor.task_def.paths import output_file, replacing
from conveyor.tasks import task

try:
    import numpy as np

    from conveyor.task_def import kernels
except ModuleNotFoundError as error:
    raise MissingExtra("the task heavy_math", "tasks", error.name) from error

Kind = Literal["primes", "pi", "mandelbrot", "matrix"]

#: Meaning of `size` for each kind; minimum, default and maximum.
SIZES: dict[Kind, tuple[str, int, int, int]] = {
    "primes": ("the limit up to which primes are counted", 0, 2_000_000_000, 10**12),
    "pi": ("the number of digits", 0, 100_000, 1_000_000),
    "mandelbrot": ("the width in points", 1, 2_400, 16_000),
    "matrix": ("the number of rows", 1, 1_200, 10_000),
}
ITERATIONS = 300
MAX_ITERATIONS = 100_000
MAX_PARTS = 10_000
#: Longest text of pi that is shown whole.
MAX_RESULT_LENGTH = 60
#: Bytes of one part's result at most, below the limit of a result.
_MAX_BYTES = 700_000
#: Bytes that one term of the series adds to the three sums.
_BYTES_PER_TERM = 40


@dataclass(frozen=True, slots=True)
class Picture:
    """A rendered picture."""

    path: Path
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Product:
    """The product of two matrices, represented by two numbers."""

    size: int
    trace: int
    total: int
    """Sum of all entries."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The result of one part; the kind determines which fields are used."""

    numbers: list[int] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MathSummary:
    """The result of an order."""

    kind: str
    size: int
    parts: int
    result: str
    """The result as text."""
    numbers: list[int] = field(default_factory=list)
    """primes: the count. matrix: trace and sum of entries. Otherwise empty."""
    output: Path | None = None
    """pi: a text file with the digits. mandelbrot: a PNG. Otherwise None."""


@task(name="count_primes", queue="queue_four")
def count_primes(limit: Annotated[int, "count primes up to this number"] = 2_000_000_000) -> int:
    """Count the primes up to a limit, the limit included."""
    _check_size("primes", limit, "limit")
    return kernels.count_primes(0, limit + 1, _report(limit + 1, "numbers"))


@count_primes.checks
def check_limit(limit: int = 2_000_000_000) -> None:
    """Refuse a limit that is negative or too large."""
    _check_size("primes", limit, "limit")


@task(name="digits_of_pi", queue="queue_four")
def digits_of_pi(digits: Annotated[int, "digits after the point"] = 100_000) -> str:
    """Compute pi to some digits after the point, cut and not rounded."""
    _check_size("pi", digits, "digits")
    terms = pi.terms_for(digits)
    return pi.digits_of([pi.sum_between(0, terms, _report(terms, "terms"))], digits)


@digits_of_pi.checks
def check_digits(digits: int = 100_000) -> None:
    """Refuse a number of digits that is negative or too large."""
    _check_size("pi", digits, "digits")


@task(name="mandelbrot", queue="queue_four")
def mandelbrot(
    width: Annotated[int, "points from left to right; the height is two thirds of it"] = 2_400,
    iterations: Annotated[int, "steps after which a point counts as inside"] = ITERATIONS,
    output: Annotated[str, "PNG file; empty: conveyor-out/mandelbrot/mandelbrot.png"] = "",
) -> Picture:
    """Draw the Mandelbrot set to a PNG."""
    check_picture(width, iterations, output)
    path = output_file(output, "mandelbrot", "mandelbrot.png")
    height = kernels.height_of(width)
    kernels.write_png(path, kernels.draw_rows(width, 0, height, iterations, _report(height, "rows")))
    return Picture(path, width, height)


@mandelbrot.checks
def check_picture(width: int = 2_400, iterations: int = ITERATIONS, output: str = "") -> None:
    """Refuse a size or a number of steps that makes no picture, and an output that cannot be written."""
    _check_size("mandelbrot", width, "width")
    if not 1 <= iterations <= MAX_ITERATIONS:
        message = f"iterations={iterations}: 1 to {MAX_ITERATIONS:,} steps are made"
        raise BadInput(message, hint=f"try iterations={ITERATIONS}")
    if output:
        output_file(output, "mandelbrot", "mandelbrot.png")


@task(name="matrix_product", queue="queue_four")
def matrix_product(n: Annotated[int, "rows and columns of both matrices"] = 1_200) -> Product:
    """Multiply two matrices of whole numbers, n rows by n columns."""
    _check_size("matrix", n, "n")
    trace, total = kernels.multiply_rows(0, n, n, _report(n, "rows"))
    return Product(n, trace, total)


@matrix_product.checks
def check_rows(n: int = 1_200) -> None:
    """Refuse a number of rows that is negative or too large."""
    _check_size("matrix", n, "n")


@task(name="heavy_math", queue="queue_four")
def heavy_math(kind: Kind, size: int, start: int, stop: int) -> Piece:
    """Work out one part of a heavy computation.

    The part is `start` to before `stop`, of the numbers, terms or rows that the kind counts.
    """
    _check_size(kind, size, "size")
    report = _report(stop - start, f"of {kind}")
    if kind == "primes":
        return Piece(numbers=[kernels.count_primes(start, stop, report)])
    if kind == "pi":
        return Piece(data=pi.to_bytes(pi.sum_between(start, stop, lambda term: report(term - start))))
    if kind == "matrix":
        return Piece(numbers=list(kernels.multiply_rows(start, stop, size, report)))
    return Piece(data=[zlib.compress(kernels.draw_rows(size, start, stop, ITERATIONS, report).tobytes())])


@heavy_math.splits
def split(
    kind: Annotated[Kind, "what to compute"] = "primes",
    size: Annotated[int | None, "limit, digits, width or rows; empty: what takes some seconds"] = None,
    parts: Annotated[int, "number of jobs; more where one could not carry its result"] = 8,
    output: Annotated[str, "file for digits or picture; empty: in conveyor-out/heavy_math"] = "",
) -> list[dict[str, object]]:
    """Return jobs for ranges of numbers, terms or rows."""
    size = _size_of(kind, size)
    _check_size(kind, size, "size")
    if not 1 <= parts <= MAX_PARTS:
        raise BadInput(f"parts must be between 1 and {MAX_PARTS:,}, got {parts}", hint="try parts=8")
    _output(kind, output)
    units, weight = {
        "primes": (size + 1, 0),
        "pi": (pi.terms_for(size), _BYTES_PER_TERM),
        "mandelbrot": (kernels.height_of(size), size),
        "matrix": (size, 0),
    }[kind]
    parts = min(units, max(parts, -(-units * weight // _MAX_BYTES)))
    bounds = [number * units // parts for number in range(parts + 1)]
    return [{"kind": kind, "size": size, "start": start, "stop": stop} for start, stop in pairwise(bounds)]


@heavy_math.joins
def join(
    parts: list[Piece], /, kind: Kind = "primes", size: int | None = None, output: str = "", **_: object
) -> MathSummary:
    """Add up, join or write the results of the parts."""
    size = _size_of(kind, size)
    made = _output(kind, output)
    numbers = [sum(column) for column in zip(*(part.numbers for part in parts), strict=True)]
    if kind == "primes":
        result = f"{numbers[0]:,} primes up to {size:,}"
    elif kind == "matrix":
        if numbers[1] != kernels.expected_total(size):
            message = (
                f"the parts of the product add up to {numbers[1]} instead of {kernels.expected_total(size)}"
            )
            raise ConveyorError(message, hint="a worker computes wrong results: check its machine")
        result = f"{size:,} x {size:,}: trace {numbers[0]:,}, sum of all entries {numbers[1]:,}"
    elif kind == "pi":
        digits = pi.digits_of([pi.from_bytes(part.data) for part in parts], size)
        with replacing(made) as making:
            making.write_text(digits + "\n", encoding="utf-8")
        result = digits if len(digits) <= MAX_RESULT_LENGTH else f"{digits[:40]}…{digits[-10:]}"
    else:
        bands = b"".join(zlib.decompress(part.data[0]) for part in parts)
        pixels = np.frombuffer(bands, dtype=np.uint8).reshape(kernels.height_of(size), size)
        kernels.write_png(made, pixels)
        result = f"a picture of {size:,} x {kernels.height_of(size):,} points"
    return MathSummary(
        kind, size, len(parts), result, numbers, made if kind in {"pi", "mandelbrot"} else None
    )


def _size_of(kind: Kind, size: int | None) -> int:
    if kind not in SIZES:
        raise BadInput(f"unknown kind {kind!r}", hint=f"the kinds are {', '.join(SIZES)}")
    return SIZES[kind][2] if size is None else size


def _check_size(kind: Kind, size: int, name: str) -> None:
    meaning, least, usual, most = SIZES[kind]
    if not least <= size <= most:
        message = f"{name} must be between {least:,} and {most:,}, got {size:,}: it is {meaning}"
        raise BadInput(message, hint=f"try {name}={usual}")


def _output(kind: Kind, output: str) -> Path:
    names = {"pi": "pi.txt", "mandelbrot": "mandelbrot.png"}
    return output_file(output, "heavy_math", names[kind]) if kind in names else Path()


def _report(total: int, units: str) -> Callable[[int], None]:
    """Return a function that reports progress and raises JobCancelled once the job is cancelled."""
    job = current_job()

    def report(done: int) -> None:
        job.check()
        job.progress(done, total, units)

    return report
