"""A server with an example of everything: the pages when there is much to see."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from browser_tasks import double, fail, hold, report

from conveyor import Limit, Queue, Schedule, Schedules, Task
from conveyor.monitor import bulk
from conveyor.monitor.actions import Actions, Actor
from conveyor.speedup import Amdahl, Experiment, Run, Scalability, encode, rows_of
from conveyor.store import commands, control_channel, keys, records
from conveyor.store.command import Command
from conveyor.wire import control_messages
from conveyor.wire.audit_entry import Matching
from conveyor.wire.call import PutOptions, RunOptions
from conveyor.wire.control_messages import ConsumerReport, WorkerReport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor.store import Client


#: Seconds, longer than any test.
LONG = 600


class Scene(NamedTuple):
    """The paths of the pages of the scene."""

    pages: dict[str, str]


def _at_work(queue: str, number: int) -> dict[str, Any]:
    """Return a worker's report of the job that it runs."""
    job = {
        "job": f"far{number}",
        "task": "video_split",
        "queue": queue,
        "attempt": 1,
        "busy_for": 40.0 + 9 * number,
    }
    return {**job, "done": 20.0 + 11 * number, "total": 100.0}


def far_away(client: Client, queues: list[str], *, host: str = "far-1", workers: int = 6) -> None:
    """Report a consumer on another host, which does not fall silent however long a test takes."""
    now = time.time()
    name = f"{host}-Ab3x"
    crew = [
        WorkerReport(
            f"{name}/{number}",
            4000 + number,
            ("busy", "idle", "busy", "paused", "busy", "leaving")[number % 6],
            jobs_done=120 + 7 * number,
            cpu=(0.93, 0.0, 0.41, 0.0, 0.88, 0.02)[number % 6],
            memory=(61 + 5 * number) << 20,
            paused=number % 6 == 3,
            **(_at_work(queues[0], number) if number % 2 == 0 else {}),
        )
        for number in range(workers)
    ]
    report = ConsumerReport(
        name, host, 3999, queues, "process", now - 86_000, crew, "0.1.0", 8, "3.13.1", now
    )
    client.run(control_channel.report(name, control_messages.encode(report), now + LONG))
    client.run(Command(("EXPIRE", keys.consumer_key(name), LONG)))


def _somebody_acted(client: Client, queue: str) -> None:
    """Pause a queue and run bulk operations on its jobs as another user: one is done, one was stopped."""
    actions = Actions(client, Actor("ann", "cli@build-3"))
    actions.pause_queue(queue, "the database moves to another host")
    for _ in bulk.run(client, actions.begin("cancel", queue, Matching(task="report"), "put twice")):
        pass
    actions.stop_operation(actions.begin("purge", queue).id, "too early")


def _graph(queue: Queue) -> str:
    """Put jobs before and after others, and of a limit, on a queue that rests; return the id of the middle one."""
    step = Task(double, "step", PutOptions(), RunOptions())
    first = queue.submit_many(step, [(number,) for number in range(3)])
    middle = queue.submit(step.options(after=first), 1)
    queue.submit(step.options(after=[middle]), 2)
    queue.submit_many(step.options(limit=Limit(running=1, by="number")), [(7,), (7,), (7,)])
    queue.limit(running=5, starts=100)
    batch = queue.client.run(commands.claim(queue.name, "far-1-Ab3x/1", "nonce.1", 1, LONG))
    queue.client.run(commands.throttle(queue.name, batch.token, batch.jobs[0].id, LONG, whole_queue=True))
    return middle.id


def _somebody_scheduled(busy: Queue, failed: Queue) -> None:
    """Add three schedules, of which one is paused."""
    nightly = {"cron": "30 4 * * mon-fri", "timezone": "Europe/Berlin", "missed": "all", "overlap": "queue"}
    Schedules(busy).add(double, Schedule(**nightly, name="nightly", args=(1,)))
    Schedules(busy).add(double, Schedule(every=3600, name="hourly", args=(1,), jitter=30))
    Schedules(failed).add(fail, Schedule(every=86_400, name="backup", args=("never",), missed="skip"))
    Schedules(failed).pause("backup")


def build(
    client: Client, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any], name: str
) -> Scene:
    """Build the scene; `path` releases the running jobs."""
    busy, full, paused, failed, graph = (
        Queue(f"{name}{part}", store=client) for part in ("work", "full", "calm", "sour", "flow")
    )
    middle = _graph(graph)
    full.resize(4)
    full.put_many(range(4))
    paused.put_many(range(3))
    _somebody_acted(client, paused.name)
    _somebody_scheduled(busy, failed)
    consume(busy.name, failed.name, workers=2)
    dead = failed.submit_many(fail, [(f"{path.name}.none",), (f"{path.name}.never",), ("no such disk",)])
    done = busy.submit(double, 21)
    done.result(30)
    eventually(lambda: failed.count().dead == 3)  # the two jobs that stay may take both workers
    path.write_text("reading\nhalf of it\nnearly there\n")
    running = busy.submit(report, path.name)
    busy.submit(hold, path.name + ".go")
    waiting = busy.submit(double, 1)
    eventually(lambda: busy.count().leased == 2)
    far_away(client, [full.name, "elsewhere"])
    runs = [Run(count, 6.0 / count + 0.4, 6.0, 0.5, []) for count in (1, 2, 4, 8)]
    law = Scalability(0.05, 0.01, 0.002, 0.001)
    speedup = Experiment("video_split", 8, 4, time.time(), True, [], rows_of(runs), Amdahl(0.06, 0.01), law)  # noqa: FBT003
    client.run(records.keep_speedup(encode(speedup)))
    job = f"/queues/{busy.name}/jobs/"
    return Scene(
        {
            **_of_queues(busy.name, full.name, failed.name),
            "waiting job": job + waiting.id,
            "running job": job + running.id,
            "done job": job + done.id,
            "dead job": f"/queues/{failed.name}/jobs/{dead[0].id}",
            "graph": f"/queues/{graph.name}/jobs/{middle}",
            "limited queue": f"/queues/{graph.name}",
            "deferred jobs": f"/jobs?queue={graph.name}&state=deferred",
            **PLAIN,
        }
    )


PLAIN = {
    "workers": "/workers",
    "worker": "/workers/far-1-Ab3x/2",
    "failures": "/failures",
    "enqueue": "/enqueue",
    "form": "/enqueue?task=double",
    "schedules": "/schedules",
    "operations": "/operations",
    "audit": "/audit",
    "system": "/system",
    "no such page": "/nowhere",
}


def _of_queues(busy: str, full: str, failed: str) -> dict[str, str]:
    return {
        "overview": "/",
        "queues": "/queues",
        "queue": f"/queues/{busy}",
        "full queue": f"/queues/{full}",
        "jobs of all queues": "/jobs?state=waiting",
        "running jobs": f"/jobs?queue={busy}&state=running",
        "dead jobs": f"/jobs?queue={failed}&state=dead",
        "ended jobs": f"/jobs?queue={busy}&state=ended",
    }
