"""The tasks of heavy mathematics."""

from __future__ import annotations

import math
import struct
import sys
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from conveyor.errors import BadInput, ConveyorError, JobCancelled
from conveyor.task_def import heavy_math, kernels, pi
from conveyor.task_def.heavy_math import (
    MathSummary,
    Piece,
    count_primes,
    digits_of_pi,
    join,
    mandelbrot,
    matrix_product,
    split,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RecordingJob

FIFTY_DIGITS = "3.14159265358979323846264338327950288419716939937510"


def order(**arguments: Any) -> MathSummary:
    """Do a whole order in this process."""
    return join([heavy_math.heavy_math(**part) for part in split(**arguments)], **arguments)  # type: ignore[arg-type]


def read_png(file: Path) -> np.ndarray[Any, Any]:
    """Return the points of a PNG with one byte each after a check of each checksum."""
    data = file.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert (
            zlib.crc32(kind + body) == struct.unpack(">I", data[place + 8 + length : place + 12 + length])[0]
        )
        chunks[kind] = body
        place += 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, width + 1)
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert len(chunks[b"PLTE"]) == 768
    assert not rows[:, 0].any()
    return rows[:, 1:]


class TestPrimes:
    @pytest.mark.parametrize(
        ("limit", "count"),
        [
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 2),
            (100, 25),
            (10_000, 1229),
            (1_000_003, 78_499),
            (10**7, 664_579),
        ],
    )
    def test_primes_are_counted_up_to_and_including_the_limit(self, limit: int, count: int) -> None:
        assert count_primes(limit) == count

    def test_primes_of_any_range_match_trial_division(self) -> None:
        known = [number for number in range(2, 400) if all(number % other for other in range(2, number))]
        for start in range(0, 130, 7):
            for stop in range(start, 400, 13):
                assert kernels.count_primes(start, stop) == sum(start <= number < stop for number in known)

    def test_primes_are_independent_of_the_split(self) -> None:
        assert {order(kind="primes", size=100_000, parts=parts).numbers[0] for parts in (1, 3, 16)} == {9592}

    def test_primes_are_counted_if_the_limit_is_below_the_parts(self) -> None:
        assert order(kind="primes", size=2, parts=8) == MathSummary("primes", 2, 3, "1 primes up to 2", [1])


class TestPi:
    @pytest.mark.parametrize("digits", [0, 1, 2, 13, 14, 15, 50])
    def test_pi_has_the_known_digits(self, digits: int) -> None:
        assert digits_of_pi(digits) == (FIFTY_DIGITS[: digits + 2] if digits else "3")

    def test_pi_with_many_digits_keeps_the_digit_limit_of_python(self) -> None:
        before = sys.get_int_max_str_digits()
        digits = digits_of_pi(20_000)
        assert digits.startswith(FIFTY_DIGITS[:-1])
        assert digits[762 + 1 : 762 + 7] == "999999"  # the first run of six equal digits
        assert sys.get_int_max_str_digits() == before

    def test_pi_is_independent_of_the_split(self) -> None:
        found = [order(kind="pi", size=2_000, parts=parts) for parts in (1, 5, 1000)]
        assert {one.output.read_text() for one in found if one.output} == {digits_of_pi(2_000) + "\n"}

    def test_pi_parts_are_within_the_size_limit(self) -> None:
        parts = split(kind="pi", size=1_000_000, parts=1)
        last = heavy_math.heavy_math(**parts[-1])  # type: ignore[arg-type]
        assert sum(map(len, last.data)) < 1_000_000

    def test_pi_sums_are_sent_as_bytes(self) -> None:
        sums = (0, -(2**255), 2**4096 + 1)
        assert pi.from_bytes(pi.to_bytes(sums)) == sums


class TestMandelbrot:
    def test_mandelbrot_is_drawn_to_a_png(self, own_folder: Path) -> None:
        picture = mandelbrot(90)
        assert picture.path == own_folder / "conveyor-out" / "mandelbrot" / "mandelbrot.png"
        points = read_png(picture.path)
        assert points.shape == (60, 90)
        assert points[30, 66] == 0  # the origin is inside
        assert points[0, 0] > 0  # a corner is not
        assert (points == points[::-1]).all()  # above and below are mirrored

    def test_mandelbrot_is_independent_of_the_split(self, tmp_path: Path) -> None:
        whole = mandelbrot(120, output=str(tmp_path / "whole.png"))
        made = order(kind="mandelbrot", size=120, parts=7, output=str(tmp_path / "parts.png"))
        assert made.output
        assert made.output.read_bytes() == whole.path.read_bytes()

    def test_mandelbrot_parts_are_within_the_size_limit(self) -> None:
        parts = split(kind="mandelbrot", size=4_000, parts=1)
        assert len(parts) == math.ceil(4_000 * kernels.height_of(4_000) / 700_000)


class TestMatrices:
    @pytest.mark.parametrize("size", [1, 2, 17, 100])
    def test_matrices_are_multiplied_as_in_numpy(self, size: int) -> None:
        product = kernels.left_rows(0, size, size) @ kernels.right_matrix(size)
        made = matrix_product(size)
        assert (made.trace, made.total) == (int(product.trace()), int(product.sum()))
        assert order(kind="matrix", size=size, parts=5).numbers == [made.trace, made.total]

    def test_wrong_matrix_parts_are_noticed(self) -> None:
        with pytest.raises(ConveyorError, match=r"add up to .* instead of"):
            join([Piece(numbers=[1, 2])], kind="matrix", size=10)


class TestRefusesAtOnce:
    def test_negative_limit_is_refused(self) -> None:
        with pytest.raises(
            BadInput,
            match=r"limit must be between 0 and .*, got -1: it is the limit up to which primes are counted",
        ):
            count_primes(-1)

    @pytest.mark.parametrize("kind", ["primes", "pi", "mandelbrot", "matrix"])
    @pytest.mark.parametrize("size", [-1, 10**15])
    def test_size_out_of_bounds_is_refused(self, kind: str, size: int) -> None:
        with pytest.raises(BadInput, match=f"size must be between [01] and .*, got {size:,}: "):
            split(kind=kind, size=size)  # type: ignore[arg-type]

    def test_single_tasks_refuse_invalid_sizes(self) -> None:
        for task in (digits_of_pi, mandelbrot, matrix_product):
            with pytest.raises(BadInput):
                task(-1)
        with pytest.raises(BadInput, match="iterations"):
            mandelbrot(10, 0)

    @pytest.mark.parametrize("parts", [0, -1, 10**6])
    def test_invalid_number_of_parts_is_refused(self, parts: int) -> None:
        with pytest.raises(BadInput, match="parts must be"):
            split(parts=parts)

    def test_unknown_kind_is_refused(self) -> None:
        with pytest.raises(BadInput, match="unknown kind"):
            split(kind="sums")  # type: ignore[arg-type]


def test_default_order_is_eight_jobs() -> None:
    assert len(split()) == 8


@pytest.mark.parametrize("kind", ["primes", "pi", "mandelbrot", "matrix"])
def test_every_kind_reports_progress_and_stops_when_cancelled(kind: str, job: RecordingJob) -> None:
    part = split(kind=kind, parts=1)[0]  # type: ignore[arg-type]
    job.cancel_after = 2
    with pytest.raises(JobCancelled):
        heavy_math.heavy_math(**part)  # type: ignore[arg-type]
    assert all(0 <= done <= total for done, total in job.reports)
