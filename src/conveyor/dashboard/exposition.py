"""Metrics as values, and their text for Prometheus: format 0.0.4."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "conveyor_"

Labels = tuple[tuple[str, str], ...]


class Value(NamedTuple):
    """One line."""

    labels: Labels
    number: float
    suffix: str = ""


class Metric(NamedTuple):
    """One metric with all its lines."""

    name: str
    kind: str
    words: str
    values: Sequence[Value]


def exposition(metrics: Iterable[Metric]) -> str:
    """Give metrics as text; those without a line are left out."""
    return "".join(line for metric in metrics if metric.values for line in _lines(metric))


def histogram(
    labels: Labels, bounds: Sequence[float], counts: Sequence[int], seconds: float
) -> Iterator[Value]:
    """Give the lines of a histogram; `counts` has one for each bound, and one for what is beyond."""
    total = 0
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        total += count
        text = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield Value((*labels, ("le", text)), total, "_bucket")
    yield Value(labels, seconds, "_sum")
    yield Value(labels, total, "_count")


def _lines(metric: Metric) -> Iterator[str]:
    name = PREFIX + metric.name
    yield f"# HELP {name} {_escaped(metric.words)}\n# TYPE {name} {metric.kind}\n"
    for one in metric.values:
        labels = ",".join(f'{label}="{_quoted(value)}"' for label, value in one.labels)
        number = int(one.number) if float(one.number).is_integer() else repr(float(one.number))
        yield f"{name}{one.suffix}{'{' + labels + '}' if labels else ''} {number}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"").encode(errors="replace").decode()
