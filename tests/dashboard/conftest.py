"""Shared fixtures of all dashboard tests: separate consumers, and a browser."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "consumer" / "support"))

from consumer_kit import alone, consume, path, queue

if TYPE_CHECKING:
    from collections.abc import Iterator

expect.set_options(timeout=15_000)  # machines are busy; here, so that a file alone has it, too
__all__ = ["alone", "consume", "path", "queue"]
#: The first takes a quarter of the processor time that the others take for a window, which they draw around it.
PROGRAMS = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser_program() -> str:
    """Return the installed browser. Without one, tests are skipped, but fail if CI is `true`."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        reason = "no browser is installed (Debian's package is chromium-headless-shell)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return program


@pytest.fixture(scope="session")
def browser_flags() -> tuple[str, ...]:
    """Return the flags for a browser in a test."""
    return FLAGS


@pytest.fixture(scope="module")
def chromium(browser_program: str) -> Iterator[Browser]:
    """Return a browser of the test's file; it ends with it, since it leaves a running event loop in this thread."""
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=browser_program, args=list(FLAGS))
        yield running
        running.close()
