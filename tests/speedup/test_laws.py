"""The fits recover the laws that made the wall times, and their errors are those of the measurement."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.speedup import (
    Amdahl,
    Experiment,
    Run,
    Scalability,
    decode,
    encode,
    fit_amdahl,
    fit_scalability,
    rounds,
    rows_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FRACTIONS = st.floats(0, 1)
SECONDS = st.floats(1e-3, 1e4)
COUNTS = st.lists(st.integers(1, 64), min_size=4, max_size=8, unique=True)


def runs_of(
    law: Callable[[float], float], counts: Sequence[int], one: float = 1.0, noise: Sequence[float] = (1.0,)
) -> list[Run]:
    """Return runs with the wall times of a law; `noise` has a factor for each repetition."""
    factors = noise if len(noise) > 1 else [noise[0]] * len(counts)
    return [
        Run(count, one / law(count) * factor, 0.0, None, [])
        for count, factor in zip(counts, factors, strict=True)
    ]


@given(FRACTIONS, SECONDS, COUNTS)
def test_serial_fraction_of_exact_times_is_recovered(serial: float, one: float, counts: list[int]) -> None:
    found = fit_amdahl(runs_of(Amdahl(serial, 0).speedup, counts, one))
    assert found is not None
    assert found.serial_fraction == pytest.approx(serial, abs=1e-6)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert found.speedup(7) == pytest.approx(Amdahl(serial, 0).speedup(7), rel=1e-4)


@given(st.floats(0, 1), st.floats(0, 0.2), SECONDS, COUNTS)
def test_scalability_of_exact_times_is_recovered(
    contention: float, coherency: float, one: float, counts: list[int]
) -> None:
    wanted = Scalability(contention, 0, coherency, 0)
    found = fit_scalability(runs_of(wanted.speedup, counts, one))
    assert found is not None
    for count in counts:
        assert found.speedup(count) == pytest.approx(wanted.speedup(count), rel=1e-6)
    if 1 in counts:
        assert found.contention == pytest.approx(contention, abs=1e-6)
        assert found.coherency == pytest.approx(coherency, abs=1e-6)


@given(st.lists(st.tuples(st.integers(1, 30), SECONDS), min_size=4, max_size=20))
def test_fits_of_any_times_are_finite_and_in_range(times: list[tuple[int, float]]) -> None:
    runs = [Run(count, wall, 0.0, None, []) for count, wall in times]
    amdahl, law = fit_amdahl(runs), fit_scalability(runs)
    kinds = len({count for count, _ in times})
    assert (amdahl is None) == (kinds < 3)
    if amdahl is not None:
        assert 0 <= amdahl.serial_fraction <= 1
        assert amdahl.error >= 0
    if law is not None:
        assert kinds >= 4
        assert min(law.contention, law.coherency, law.contention_error, law.coherency_error) >= 0
        assert law.peak >= 1


@pytest.mark.parametrize("counts", [[1], [1, 2], [1, 1, 2, 2, 2]])
def test_two_numbers_of_workers_are_not_enough_points(counts: list[int]) -> None:
    runs = runs_of(lambda n: n, counts)
    assert (fit_amdahl(runs), fit_scalability(runs)) == (None, None)


def test_three_numbers_of_workers_are_enough_for_amdahl_only() -> None:
    runs = runs_of(Amdahl(0.1, 0).speedup, [1, 2, 4])
    assert fit_amdahl(runs) is not None
    assert fit_scalability(runs) is None


def test_standard_errors_are_those_of_repeated_experiments() -> None:
    """The true value is within two standard errors in about 19 of 20 experiments."""
    chance = random.Random(7)
    counts = [count for count in (1, 2, 5, 10, 20) for _ in range(4)]
    law = Scalability(0.1, 0, 0.004, 0)
    hits: Counter[str] = Counter()
    for _ in range(200):
        noise = [chance.gauss(1, 0.02) for _ in counts]
        amdahl = fit_amdahl(runs_of(Amdahl(0.2, 0).speedup, counts, noise=noise))
        found = fit_scalability(runs_of(law.speedup, counts, noise=noise))
        assert amdahl is not None
        assert found is not None
        hits["serial"] += abs(amdahl.serial_fraction - 0.2) < 2 * amdahl.error
        hits["contention"] += abs(found.contention - 0.1) < 2 * found.contention_error
        hits["coherency"] += abs(found.coherency - 0.004) < 2 * found.coherency_error
    assert {name: 175 <= number <= 199 for name, number in hits.items()} == dict.fromkeys(hits, True)


def test_superlinear_times_have_no_serial_fraction() -> None:
    found = fit_amdahl(runs_of(lambda n: n**1.2, [1, 2, 4, 8]))
    assert found is not None
    assert (found.serial_fraction, found.limit) == (0, math.inf)


def test_peak_is_where_more_workers_begin_to_harm() -> None:
    law = Scalability(0.1, 0, 0.009, 0)
    assert law.peak == pytest.approx(10)
    assert max(range(1, 30), key=law.speedup) == 10
    assert Scalability(0.1, 0, 0.0, 0).peak == math.inf


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6, unique=True), st.integers(1, 8))
def test_every_round_has_every_number_in_another_order(counts: list[int], repeat: int) -> None:
    plan = rounds(counts, repeat)
    every = [plan[first : first + len(counts)] for first in range(0, len(plan), len(counts))]
    assert [sorted(one) for one in every] == [sorted(counts)] * repeat
    assert every[0] == counts
    if len(counts) > 2 and repeat > 1:
        assert every[1] != every[0]


def test_rows_have_medians_extremes_and_speedup() -> None:
    runs = [
        Run(2, 0.6, 1.0, 0.2, [1, 3]),
        Run(1, 1.0, 1.0, 0.4, [4]),
        Run(2, 0.5, 1.0, None, [2, 2]),
        Run(2, 0.8, 1.0, 0.1, []),
    ]
    one, two = rows_of(runs)
    assert (one.workers, one.runs, one.speedup, one.efficiency, one.fewest_jobs) == (1, 1, 1.0, 1.0, 4)
    assert (two.wall_seconds, two.shortest_seconds, two.longest_seconds) == (0.6, 0.5, 0.8)
    assert (two.speedup, two.efficiency) == (pytest.approx(1 / 0.6), pytest.approx(0.5 / 0.6))
    assert two.queueing_seconds == pytest.approx(0.15)
    assert (two.fewest_jobs, two.most_jobs) == (1, 3)


def test_speedup_is_unknown_without_a_run_of_one_worker() -> None:
    (row,) = rows_of([Run(2, 0.6, 1.0, None, [])])
    assert (row.speedup, row.efficiency, row.queueing_seconds, row.most_jobs) == (None, None, None, None)


def experiment(amdahl: Amdahl | None, scalability: Scalability | None) -> Experiment:
    runs = runs_of(lambda n: n, [1, 2])
    return Experiment("nap", 4, 2, 0.0, True, runs, rows_of(runs), amdahl, scalability)  # noqa: FBT003


def test_laws_are_stated_with_their_errors_and_limits() -> None:
    laws = experiment(Amdahl(0.05, 0.002), Scalability(0.03, 0.007, 0.0015, 7e-4)).laws
    assert laws == [
        "Amdahl's law: 5.0% ± 0.2% is serial; at most 20.0 times as fast",
        (
            "Universal Scalability Law: contention 0.0300 ± 0.0070, coherency 0.0015 ± 0.0007; "
            "fastest with about 25 workers"
        ),
    ]
    free = experiment(Amdahl(0.0, 0.01), Scalability(0.0, 0.01, 0.0, 0.01)).laws
    assert [line.partition("; ")[2] for line in free] == [
        "no limit in sight",
        "more workers never harm",
    ]
    assert [line.partition(": ")[2][:17] for line in experiment(None, None).laws] == ["not enough points"] * 2


def test_experiment_is_kept_as_json() -> None:
    found = experiment(Amdahl(0.05, 0.002), None)
    assert decode(encode(found)) == found


@pytest.mark.parametrize(
    ("wrong", "instead"),
    [
        (b'"serial_fraction":0.05', b'"serial_fraction":-1'),
        (b'"wall_seconds":1.0', b'"wall_seconds":1e99'),
        (b'"workers":1', b'"workers":0'),
        (b'"cores":2', b'"cores":"2"'),
    ],
)
def test_kept_experiment_with_impossible_values_is_refused(wrong: bytes, instead: bytes) -> None:
    data = encode(experiment(Amdahl(0.05, 0.002), None))
    with pytest.raises(msgspec.ValidationError):
        decode(data.replace(wrong, instead))
