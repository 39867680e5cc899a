"""Checks of what users pass: numbers of seconds, and whole numbers."""

from __future__ import annotations

from conveyor.errors import BadCall

#: Max seconds of a duration: ten years.
MAX_SECONDS = 315_360_000.0


def check_seconds(name: str, value: object) -> None:
    """Raise BadCall if an argument is not a finite number of seconds from 0 to MAX_SECONDS."""
    if not isinstance(value, int | float):
        raise BadCall(f"{name} must be a number of seconds, got {value!r:.80}")
    if not 0 <= value <= MAX_SECONDS:  # NaN compares False
        raise BadCall(f"{name} must be between 0 and {MAX_SECONDS:.0f} seconds, got {value!r:.80}")


def check_whole(name: str, value: object, most: int) -> None:
    """Raise BadCall if an argument is not a whole number from 0 to `most`."""
    if not (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most):
        raise BadCall(f"{name} must be a whole number between 0 and {most}, got {value!r:.80}")
