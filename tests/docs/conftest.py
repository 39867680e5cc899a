"""Shared fixtures of the page tests: the pages themselves, and a separate server for their examples."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conveyor.store import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def pages() -> dict[str, str]:
    """Return the text of every documentation page by its path in the repository."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return {str(page.relative_to(ROOT)): page.read_text() for page in sorted(found)}


@pytest.fixture
def private_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Provide an environment with a separate embedded server; stop it afterwards."""
    monkeypatch.setenv("CONVEYOR_HOME", str(tmp_path / "home"))
    for name in ("CONVEYOR_URL", "CONVEYOR_ANNOUNCED"):
        monkeypatch.delenv(name, raising=False)
    yield dict(os.environ)
    embedded.stop()
