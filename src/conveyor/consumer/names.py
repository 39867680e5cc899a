"""What consumers and their workers are called."""

from __future__ import annotations

from conveyor.wire import ids


def owner_name(consumer: str, number: int) -> str:
    """Give the name of a consumer's worker."""
    return f"{consumer}/{number}"


def consumer_name() -> str:
    """Give a new consumer its name: where it runs, and four letters that tell it from the others there."""
    return f"{ids.host_name()}-{ids.unique(4)}"
