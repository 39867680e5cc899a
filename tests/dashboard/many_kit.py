"""A server with very many queues, made by the real scripts, and the same numbers counted from its keys alone."""

from __future__ import annotations

import time
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.consumer.settlement import Settler
from conveyor.store import commands, control_channel
from conveyor.store.commands import PutParams
from conveyor.wire import control_messages, ids
from conveyor.wire.call import decode_call, encode_calls
from conveyor.wire.control_messages import ConsumerReport, WorkerReport
from conveyor.wire.outcome import Done, Fail, describe_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import redis

    from conveyor.store import Client
    from conveyor.store.command import Command

QUEUES, LEAVING, IDLE = 300, 40, 9
#: The queue on which the exiting workers run their last jobs; it has no other job.
RUNNING = "shop-250"
#: How many dead jobs of each kind there are; they are spread over some queues.
KINDS = {"ValueError": 120, "OSError": 60, "TimeoutError": 26}
DEAD_QUEUES = 17
_nonces = count(1)


def sell() -> None:
    """Stand for a task."""


class Filled(NamedTuple):
    """The content that was made."""

    queues: Sequence[str]
    dead: Sequence[str]
    """Queues with dead jobs."""
    reports: Sequence[ConsumerReport]


def fill(client: Client, ended: int) -> Filled:
    """Make queues of which most have a backlog, many finished jobs, dead ones, and workers."""
    queues = [f"shop-{number:03}" for number in range(QUEUES)]
    dead = queues[3 : 3 + 5 * DEAD_QUEUES : 5]
    client.run_all([commands.note_queue(name) for name in queues])
    share = -(-ended // QUEUES)
    for place, name in enumerate(queues):
        _end(client, name, min(share, ended - place * share))
    for place, (queue, kind) in enumerate(_spread(dead)):
        kill(client, queue, kind, f"order {place} is wrong")
    backlog = [name for name in queues if name != RUNNING]
    client.run_all([_put(name, 3 + place % 5) for place, name in enumerate(backlog)])
    client.run_all([_put(name, 1, delay=600.0) for name in backlog[::3]])
    client.run(_put(RUNNING, LEAVING))
    crews = [_crew(f"rack-{number:04}", 10, client) for number in range(LEAVING // 10)]
    idle = [WorkerReport(f"rack-0009/{number}", 1, "idle") for number in range(1, IDLE + 1)]
    filled = Filled(queues, dead, [*crews, _report("rack-0009", idle)])
    report(client, filled)
    return filled


def report(client: Client, filled: Filled) -> None:
    """Report all consumers in the future, so that none is silent while the reports are kept."""
    for one in filled.reports:
        client.run(control_channel.report(one.name, control_messages.encode(one), one.at))


def _spread(queues: Sequence[str]) -> Iterable[tuple[str, str]]:
    kinds = [kind for kind, number in KINDS.items() for _ in range(number)]
    return [(queues[place % len(queues)], kind) for place, kind in enumerate(kinds)]


def _put(queue: str, jobs: int, delay: float = 0.0) -> Command:
    calls = encode_calls(sell, "shop.sell", [((), {})] * jobs)
    return commands.put(queue, list(zip(ids.new_ids(jobs), calls, strict=True)), PutParams(delay=delay))


def _claim(client: Client, queue: str, worker: str, jobs: int) -> Any:
    return client.run(commands.claim(queue, worker, f"n{next(_nonces)}", jobs, 600.0))


def _end(client: Client, queue: str, jobs: int) -> None:
    """Put, claim and finish jobs, and count them, as a worker does."""
    settler = Settler(f"rack-0001/{queue}")
    while jobs > 0:
        client.run(_put(queue, min(500, jobs)))
        batch = _claim(client, queue, settler.worker, 500)
        settler.begin(queue, batch.token, count=2)
        call = decode_call(batch.jobs[0].data)
        for job in batch.jobs:
            settler.add(job.id, call, Done(b"\xc0"), 0.02, 0)
        client.run_all(settler.commands(counted=False))
        jobs -= len(batch.jobs)
    client.run_all(settler.tallies())


def kill(client: Client, queue: str, kind: str, message: str) -> None:
    """Make a job fail for the last time."""
    settler = Settler("rack-0001/1")
    client.run_all([commands.note_queue(queue), _put(queue, 1)])
    batch = _claim(client, queue, settler.worker, 1)
    settler.begin(queue, batch.token, count=1)
    settler.add(batch.jobs[0].id, decode_call(batch.jobs[0].data), Fail(describe_text(kind, message)), 0.1, 0)
    client.run_all([*settler.commands(counted=False), *settler.tallies()])


def _crew(name: str, workers: int, client: Client) -> ConsumerReport:
    """Return a consumer whose workers are all asked to exit, and run their last jobs."""
    crew = []
    for number in range(1, workers + 1):
        (job,) = _claim(client, RUNNING, f"{name}/{number}", 1).jobs
        crew.append(
            WorkerReport(f"{name}/{number}", 1, "leaving", job=job.id, task="shop.sell", queue=RUNNING)
        )
    return _report(name, crew)


def _report(name: str, crew: list[WorkerReport]) -> ConsumerReport:
    now = time.time()
    return ConsumerReport(name, "rack", 9, [RUNNING], "process", now - 60, crew, at=now + 600)


class Counted(NamedTuple):
    """The numbers as the server's keys have them, read without Conveyor."""

    queues: int
    waiting: int
    delayed: int
    running: int
    dead: int
    ended: int
    succeeded: int
    failed: int
    ended_by_minute: dict[int, int]
    workers: int
    busy: int


def counted(server: redis.Redis) -> Counted:
    """Count with plain commands."""
    names = [name.decode() for name in server.smembers("conveyor:queues")]
    sizes: Counter[str] = Counter()
    minutes: Counter[int] = Counter()
    for name in names:
        base = f"conveyor:{{{name}}}:"
        for index in ("ready", "delayed", "leased", "dead"):
            sizes[index] += server.zcard(base + index)
        sizes["finished"] += int(server.hget(base + "meta", "finished") or 0)
    for key in server.scan_iter(match="conveyor:{*}:minute:*", count=10_000):
        if key.startswith(b"conveyor:{*}"):  # Conveyor's own counts of all queues
            continue
        figures = dict(word.split("=") for word in (server.hget(key, "*") or b"").decode().split())
        sizes["s"] += int(figures.get("s", 0))
        sizes["f"] += int(figures.get("f", 0))
        minutes[int(key.rpartition(b":")[2])] += int(figures.get("s", 0)) + int(figures.get("f", 0))
    workers = []
    for consumer in server.zrange("conveyor:consumers", 0, -1):
        workers += control_messages.decode_report(server.get(b"conveyor:consumer:" + consumer)).workers
    return Counted(
        len(names),
        *(sizes[index] for index in ("ready", "delayed", "leased", "dead")),
        sizes["finished"] + sizes["dead"],
        sizes["s"],
        sizes["f"],
        dict(minutes),
        len(workers),
        sum(bool(worker.job) for worker in workers),
    )
