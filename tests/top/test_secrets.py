"""What jobs hold that nobody may see is nowhere on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import secret_jobs

from conveyor.tasks import registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor import Queue

SECRET = "sk-9f3e7711"


def test_a_secret_that_was_given_by_position_is_in_no_list_and_no_story(
    seated: Callable[..., None], queue: Queue, alone: None
) -> None:
    registry.load("secret_jobs")
    queue.submit(secret_jobs.log_in, "ann", SECRET)

    async def story(seat: Any) -> None:
        await seat.press("2")
        assert SECRET not in await seat.sees("user='ann'", "password=•••")
        await seat.press("enter")
        await seat.sees("user = 'ann'")
        await seat.sees("password = '•••'")
        await seat.misses(SECRET)

    seated(story, size=(120, 30))


def test_a_secret_in_an_error_is_not_on_the_screen(
    seated: Callable[..., None], queue: Queue, consume: Callable[..., Any], alone: None
) -> None:
    registry.load("secret_jobs")
    consume(workers=1, modules=("secret_jobs",))
    queue.submit(secret_jobs.blurt, SECRET)

    async def story(seat: Any) -> None:
        await seat.press("4")
        assert SECRET not in await seat.sees("ValueError", "token=•••")
        await seat.press("enter")
        await seat.sees("Error")
        await seat.sees("ValueError: token=•••")
        await seat.misses(SECRET)

    seated(story, size=(120, 40))
