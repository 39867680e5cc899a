"""Parsing and formatting of levels of durability."""

from __future__ import annotations

from typing import Any

import pytest

from conveyor import BadCall, Queue, task
from conveyor.wire.durability import MEMORY, Durability, read_durability


@pytest.mark.parametrize("text", ["memory", "written", "fsync", "replicated:1", "replicated:999"])
def test_level_is_parsed_and_formatted_symmetrically(text: str) -> None:
    assert str(read_durability(text)) == text


def test_level_is_parsed_into_name_and_replicas() -> None:
    assert read_durability("memory") == MEMORY
    assert read_durability("replicated:2") == Durability("replicated", 2)


UNKNOWN = ["", "disk", "Fsync", "fsync ", "replicated", "replicated:", "replicated:0", "replicated:-1"]
UNKNOWN += ["replicated:1000", "replicated:1:1", "replicated:\u0661"]


@pytest.mark.parametrize("text", [*UNKNOWN, None, 1, ["fsync"]])
def test_unknown_level_is_refused(text: Any) -> None:
    with pytest.raises(BadCall, match="durability must be memory, written, fsync or replicated:N"):
        read_durability(text)


def double(number: int) -> int:
    return 2 * number


def test_unknown_level_is_refused_by_queue_and_task() -> None:
    with pytest.raises(BadCall, match="durability"):
        Queue("films", durability="disk")
    with pytest.raises(BadCall, match="durability"):
        task(durability="disk")(double)
    with pytest.raises(BadCall, match="durability"):
        task(double).options(durability="disk")
