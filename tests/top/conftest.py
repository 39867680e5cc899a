"""Tests of the terminal view: the real program, driven by key presses, against a real server and real consumers."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.monitor.actions import Actor
from conveyor.top.app import Top

sys.path.insert(0, str(Path(__file__).parents[1] / "consumer" / "support"))

from consumer_kit import alone, consume, path, queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from textual.pilot import Pilot

    from conveyor import Queue

__all__ = ["alone", "consume", "path", "queue"]


class Seat:
    """A user at the program: presses keys, and reads the screen."""

    def __init__(self, pilot: Pilot[None]) -> None:
        self.pilot = pilot

    @property
    def screen(self) -> list[str]:
        """The lines on the terminal now."""
        return [
            "".join(segment.text for segment in strip).rstrip()
            for strip in self.pilot.app.screen._compositor.render_strips()
        ]

    @property
    def colors(self) -> set[str]:
        """The current colors of the terminal."""
        app = self.pilot.app
        strips = self.pilot.app.screen._compositor.render_strips()
        for one in app._filters:
            strips = [
                strip.apply_filter(one, app.styles.background) for strip in strips if one.enabled
            ] or strips
        styles = [segment.style for strip in strips for segment in strip if segment.style]
        return {one.name for style in styles for one in (style.color, style.bgcolor) if one is not None}

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def sees(self, *words: str, seconds: float = 15.0) -> str:
        """Wait until a line has all of these words, and return it."""
        return await self._until(
            lambda: next((line for line in self.screen if all(word in line for word in words)), ""),
            seconds,
            words,
        )

    async def misses(self, *words: str, seconds: float = 15.0) -> None:
        """Wait until no line has all of these words."""
        await self._until(
            lambda: not any(all(word in line for word in words) for line in self.screen), seconds, words
        )

    async def has(self, *colors: str) -> None:
        """Wait until the terminal has these colors and no others."""
        await self._until(lambda: self.colors == set(colors), 15.0, colors)

    async def _until(self, fact: Callable[[], Any], seconds: float, words: tuple[str, ...]) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := fact()):
            if time.monotonic() > deadline:
                pytest.fail(f"{words}: not so within {seconds} s; there is\n" + "\n".join(self.screen))
            await self.pilot.pause(0.02)
        return found


@pytest.fixture
def seated(queue: Queue) -> Callable[..., None]:
    """Return a function that runs a story: the input of a user of the program."""

    @asynccontextmanager
    async def opened(size: tuple[int, int], *, read_only: bool) -> AsyncIterator[Seat]:
        app = Top(queue.client, Actor("ann", "cli@there"), read_only=read_only)
        async with app.run_test(size=size) as pilot:
            yield Seat(pilot)

    def run(
        story: Callable[[Seat], Coroutine[Any, Any, None]],
        size: tuple[int, int] = (80, 24),
        *,
        read_only: bool = False,
    ) -> None:
        async def told() -> None:
            async with opened(size, read_only=read_only) as seat:
                await story(seat)

        asyncio.run(told())

    return run
