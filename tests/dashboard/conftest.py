"""Shared fixtures of all dashboard tests: separate consumers, and a browser."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "consumer" / "support"))

from consumer_kit import alone, consume, path, queue

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["alone", "consume", "path", "queue"]
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@pytest.fixture
def chromium() -> Iterator[Browser]:
    """Provide the installed browser; without one, skip the test, or fail it if CI is `true`."""
    found = shutil.which("chromium")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("chromium is not installed")
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=found, args=list(OPTIONS))
        yield running
        running.close()
