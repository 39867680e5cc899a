"""The tables of the manual of the API."""

from __future__ import annotations

from pathlib import Path

MANUAL = (Path(__file__).parents[3] / "docs" / "api.md").read_text()


def rows(name: str) -> list[list[str]]:
    """Return the rows of a table of the manual without its head."""
    part = MANUAL.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    return [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")][2:]
