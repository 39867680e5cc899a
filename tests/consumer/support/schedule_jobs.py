"""Tasks that consumers run by schedules."""

from __future__ import annotations

import time

from conveyor import Schedule, current_job, task


@task(name="tick", queue="ticking", every=1)
def tick() -> str:
    return current_job().id


@task(name="tick_async", queue="ticking", every=1)
async def tick_async() -> str:
    return current_job().id


@task(queue="slow", schedule=Schedule(every=1, overlap="queue", name="nap", kwargs={"seconds": 1.5}))
def nap(seconds: float) -> None:
    time.sleep(seconds)
