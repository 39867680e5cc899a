"""Hidden content of jobs is nowhere on the screen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pexpect
import secret_jobs

from conveyor.tasks import registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor import Queue

SECRET = "sk-9f3e7711"
#: The terminal view with an error, while a variable holds a secret.
BROKEN = f"""
import sys
from conveyor.monitor.actions import Actor
from conveyor.store import connect
from conveyor.top.app import Top

def refresh_screens(self):
    password = "{SECRET[:3]}" + "{SECRET[3:]}"
    raise RuntimeError("it broke")

Top.refresh_screens = refresh_screens
app = Top(connect(sys.argv[1]), Actor("ann", "cli@there"))
app.run()
sys.exit(app.return_code)
"""


def test_positional_secret_is_in_no_list_and_no_job_record(
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


def test_secret_of_an_unknown_task_is_not_on_the_screen(
    seated: Callable[..., None], queue: Queue, alone: None
) -> None:
    queue.submit(secret_jobs.log_in, "ann", SECRET)

    async def story(seat: Any) -> None:
        await seat.press("2")
        assert SECRET not in await seat.sees("user='ann'", "password=•••")
        await seat.press("enter")
        await seat.sees("password = '•••'")
        await seat.misses(SECRET)

    seated(story, size=(120, 30))


def test_secret_in_an_error_is_not_on_the_screen(
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


def test_crash_report_shows_its_location_and_no_values(queue: Queue) -> None:
    child = pexpect.spawn(sys.executable, ["-c", BROKEN, queue.client.url], timeout=20, dimensions=(30, 100))
    child.expect(pexpect.EOF)
    child.close()
    said = child.before.decode()
    assert child.exitstatus == 1
    assert "RuntimeError" in said
    assert "it broke" in said
    assert SECRET not in said
