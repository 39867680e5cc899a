"""The measurements of a contestant, each on a stage of its own. They return figures by the key of their row."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import psutil

from benchmarks.stage import Stage, cpu, memory, until

if TYPE_CHECKING:
    from benchmarks.roster import Contestant
    from benchmarks.slots import Run
    from benchmarks.stage import Producer, Setting

#: Jobs put one by one, and seconds that the server's figures take to settle after a drain.
PUTS, SETTLE = 2000, 0.15
#: Range of the random gaps before the jobs of a round trip, in seconds.
SHORT_GAPS, LONG_GAPS = (0.004, 0.012), (10.0, 10.5)
PAUSES, QUIET = 2, 12.0
#: Jobs put at each depth and how many are drained there, and queues of the measurement with many.
DEPTHS = {"10k": 10_000, "100k": 100_000, "1m": 1_000_000}
AT_DEPTH, PIECE, MANY_QUEUES, MANY_SECONDS = 20_000, 100_000, 1000, 15.0
#: Level of durability and the server's appendfsync.
LEVELS = {
    "memory": ("memory", "everysec"),
    "written": ("written", "everysec"),
    "fsync": ("fsync", "always"),
    "replicated": ("replicated:1", "everysec"),
}
COMPUTING, WAITING, WAITING_SECONDS, TEN = 40, 200, 0.05, 10
#: Most jobs put until each worker has run one.
WARM_UPS = 500


class Effort(msgspec.Struct, frozen=True):
    """How long the measurements take: seconds, or a share of the usual number of jobs."""

    jobs: float = 1.0
    round_trips: float = 4.0

    @property
    def seconds(self) -> float:
        """Seconds of round trips, fewer if there are fewer jobs than usual."""
        return self.round_trips * min(1.0, self.jobs)


class WrongRuns(Exception):
    """Jobs that did not run exactly once."""


def drain(setting: Setting, contestant: Contestant, effort: Effort, processes: int = 1) -> dict[str, float]:
    """Put jobs one by one and in bulk; then start workers and wait until each job has run exactly once."""
    puts = max(50, int(PUTS * min(1.0, effort.jobs)))
    jobs = max(100, int(contestant.jobs * effort.jobs * processes))
    with Stage(setting, puts + jobs) as stage:
        producer = stage.producer(contestant)
        producer.ask("put", task="echo", first=0, count=1)  # what is done once: scripts, names, connections
        before = stage.usage()
        one = producer.ask("put", task="echo", first=1, count=puts - 1)["seconds"]
        between = stage.usage()
        bare = producer.ask("bare_calls", count=puts)["seconds"]
        unfilled = stage.usage()
        many = producer.ask("put_many", task="echo", first=puts, count=jobs)["seconds"]
        filled = stage.usage()
        stage.workers(contestant, processes)
        stage.wait(0, puts + jobs)
        time.sleep(SETTLE)
        done = stage.usage()
        runs = stage.slots.runs(0, puts + jobs)
    _check(runs)
    share = 100 * (done.cpu - filled.cpu) / _span(runs)
    client = {"put_of_client": 100 * bare / one} if bare else {}
    return client | {
        "put": (puts - 1) / one,
        "put_many": jobs / many,
        "drain": rate(runs, processes),
        "job_bytes": (filled.memory - unfilled.memory) / jobs,
        **between.since(before, puts - 1, "put"),
        **done.since(filled, puts + jobs, "run"),
        "server_share": share,
    }


def drain_two(setting: Setting, contestant: Contestant, effort: Effort) -> dict[str, float]:
    """Drain with two worker processes."""
    figures = drain(setting, contestant, effort, 2)
    return {"drain_two": figures["drain"], "server_share_two": figures["server_share"]}


def idle(setting: Setting, contestant: Contestant, effort: Effort) -> dict[str, float]:
    """Run a consumer with one worker: memory, and round trips with short gaps."""
    most = 1000
    with Stage(setting, most + 1) as stage:
        producer = stage.producer(contestant, results=True)
        started = stage.workers(contestant, 1, results=True)
        warm = {"first": most, "count": 1, "seconds": 30.0, "gaps": (0.0, 0.0)}
        producer.ask("round_trips", **warm)
        stage.wait(most, 1)
        worker = stage.slots.runs(most, 1)[0].worker
        time.sleep(1)
        consumer_pss, consumer_rss = memory(started)
        worker_pss, worker_rss = memory([psutil.Process(worker)])
        short = producer.ask("round_trips", first=0, count=most, seconds=effort.seconds, gaps=SHORT_GAPS)
        picked = _pick_ups(stage, 0, short["puts"])
        backs = [1000 * (back - put) for put, back in zip(short["puts"], short["backs"], strict=True)]
        figures = {
            "pick_up": quantile(picked, 0.5),
            "pick_up_p99": quantile(picked, 0.99),
            "consumer_pss": consumer_pss,
            "consumer_rss": consumer_rss,
            "worker_pss": worker_pss,
            "worker_rss": worker_rss,
        }
        if short["results"]:
            figures |= {"round_trip": quantile(backs, 0.5), "round_trip_p99": quantile(backs, 0.99)}
    return figures


def after_pause(setting: Setting, contestant: Contestant, effort: Effort) -> dict[str, float]:
    """Leave a consumer idle; then put single jobs after pauses of 10 seconds."""
    with Stage(setting, 1 + PAUSES) as stage:
        producer = stage.producer(contestant, results=True)
        started = stage.workers(contestant, 1, results=True)
        producer.ask("round_trips", first=PAUSES, count=1, seconds=30.0, gaps=(0.0, 0.0))
        time.sleep(1)
        quiet, busy = stage.usage(), cpu(started)
        time.sleep(QUIET * min(1.0, effort.jobs))
        over, later = stage.usage(), cpu(started)
        gaps = [gap * min(1.0, effort.jobs) for gap in LONG_GAPS]
        trips = producer.ask("round_trips", first=0, count=PAUSES, seconds=600.0, gaps=gaps)
        backs = [1000 * (back - put) for put, back in zip(trips["puts"], trips["backs"], strict=True)]
        figures = {"round_trip_after_10": statistics.median(backs)} if trips["results"] else {}
        return figures | {
            "pick_up_after_10": statistics.median(_pick_ups(stage, 0, trips["puts"])),
            "idle_cpu": 100 * (later - busy) / (over.at - quiet.at),
            "idle_commands": (over.commands - quiet.commands - 1) / (over.at - quiet.at),
        }


def compute(setting: Setting, contestant: Contestant, effort: Effort) -> dict[str, float]:
    """Run CPU-bound jobs on two workers, before and after it in two bare processes. Return the share of their time."""
    jobs = max(4, int(COMPUTING * min(1.0, effort.jobs)))
    with Stage(setting, 3 * jobs + WARM_UPS) as stage:
        before = _bare(stage, jobs, jobs)
        producer = stage.producer(contestant)
        stage.workers(contestant, 2, 1)
        _warm_up(stage, producer, 3 * jobs, 2)
        producer.ask("put", task="compute", first=0, count=jobs)
        until(lambda: all(run.end > run.start for run in stage.slots.runs(0, jobs)), "the jobs to end")
        runs = stage.slots.runs(0, jobs)
        after = _bare(stage, 2 * jobs, jobs)
    _check(runs)
    return {"compute": 100 * (before + after) / 2 / _busy(runs)}


def wait(setting: Setting, contestant: Contestant, effort: Effort) -> dict[str, float]:
    """Run jobs that wait, ten at a time; return the ideal share of the time from the first put to the last end."""
    jobs = max(20, int(WAITING * min(1.0, effort.jobs)))
    processes = TEN if contestant.ten == "processes" else 1
    with Stage(setting, jobs + WARM_UPS) as stage:
        producer = stage.producer(contestant)
        stage.workers(contestant, processes, TEN if processes == 1 else 1)
        _warm_up(stage, producer, jobs, processes)
        start = time.monotonic()
        producer.ask("put", task="nap", first=0, count=jobs)
        until(lambda: all(run.end > run.start for run in stage.slots.runs(0, jobs)), "the jobs to end")
        runs = stage.slots.runs(0, jobs)
    _check(runs)
    ideal = jobs * WAITING_SECONDS / TEN
    return {"wait": 100 * ideal / (max(run.end for run in runs) - start)}


def several_producers(setting: Setting, contestant: Contestant, effort: Effort) -> dict[str, float]:
    """Put jobs from 8 threads and from 100 coroutines of one process."""
    figures = {}
    jobs = max(100, int(5 * PUTS * min(1.0, effort.jobs)))
    for ways in ("threads", "coroutines"):
        with Stage(setting, 100 + jobs) as stage:
            producer = stage.producer(contestant)
            producer.ask("put_from", task="echo", first=jobs, count=100, ways=ways)
            took = producer.ask("put_from", task="echo", first=0, count=jobs, ways=ways)["seconds"]
            figures[f"put_{ways}"] = jobs / took
    return figures


def depth(setting: Setting, contestant: Contestant, effort: Effort) -> dict[str, float]:
    """Put in bulk, put one by one and drain while so many jobs are waiting."""
    figures = {}
    more, puts = (max(100, int(count * min(1.0, effort.jobs))) for count in (AT_DEPTH, PUTS))
    for name, waiting in DEPTHS.items():
        filled = max(100, int(waiting * min(1.0, effort.jobs)))
        total = filled + more + puts
        with Stage(setting, total) as stage:
            producer = stage.producer(contestant)
            for first in range(0, filled, PIECE):
                producer.ask("put_many", task="echo", first=first, count=min(PIECE, filled - first))
            many = producer.ask("put_many", task="echo", first=filled, count=more)["seconds"]
            one = producer.ask("put", task="echo", first=filled + more, count=puts)["seconds"]
            stage.workers(contestant)
            drained = min(total, PIECE)
            stage.wait(0, drained)
            runs = [run for run in stage.slots.runs(0, drained) if run.runs]
        figures |= {
            f"put_many_at_{name}": more / many,
            f"put_at_{name}": puts / one,
            f"drain_at_{name}": rate(runs, 1),
        }
    return figures


def queues(setting: Setting, contestant: Contestant, effort: Effort) -> dict[str, float]:
    """Put and drain jobs on many queues in turn and on one; and on one beside many others with waiting jobs.

    A drain of many is given up after a while; its rate is that of the jobs that ran by then.
    """
    figures = {}
    jobs = max(1000, int(PIECE * min(1.0, effort.jobs)))
    for label, count in (("one", 1), ("many", MANY_QUEUES)):
        names = tuple(f"bench_{number}" for number in range(count))
        with Stage(setting, jobs) as stage:
            producer = stage.producer(contestant)
            took = producer.ask("put_spread", task="echo", first=0, count=jobs, queues=count)["seconds"]
            stage.workers(contestant, queues=names)
            stage.wait(0, 1)
            with contextlib.suppress(TimeoutError):
                stage.wait(0, jobs, MANY_SECONDS)
            runs = [run for run in stage.slots.runs(0, jobs) if run.runs]
        figures |= {f"put_on_{label}": jobs / took, f"drain_of_{label}": rate(runs, 1)}
    others = max(100, jobs // 10)
    with Stage(setting, others + jobs) as stage:
        producer = stage.producer(contestant)
        producer.ask("put_spread", task="echo", first=0, count=others, queues=MANY_QUEUES)
        took = producer.ask("put_many", task="echo", first=others, count=jobs)["seconds"]
        stage.workers(contestant)
        stage.wait(others, jobs)
        runs = stage.slots.runs(others, jobs)
    _check(runs)
    return figures | {"put_many_beside": jobs / took, "drain_beside": rate(runs, 1)}


def durability(setting: Setting, contestant: Contestant, effort: Effort) -> dict[str, float]:
    """Put one by one and in bulk at each level, with an append-only file."""
    figures = {}
    puts, jobs = (max(20, int(count * min(1.0, effort.jobs))) for count in (PUTS // 2, AT_DEPTH))
    for name, (level, synced) in LEVELS.items():
        kept = msgspec.structs.replace(setting, options=("--appendonly", "yes", "--appendfsync", synced))
        with Stage(kept, puts + jobs) as stage:
            if name == "replicated":
                stage.follow()
            producer = stage.producer(contestant, durability=level)
            producer.ask("put", task="echo", first=0, count=1)
            one = producer.ask("put", task="echo", first=1, count=puts - 1)["seconds"]
            many = producer.ask("put_many", task="echo", first=puts, count=jobs)["seconds"]
        figures |= {f"put_{name}": (puts - 1) / one, f"put_many_{name}": jobs / many}
    return figures


def pushed(setting: Setting, contestant: Contestant, effort: Effort) -> dict[str, float]:
    """Drain while the producer waits for all results; return the results per second that it gets."""
    jobs = max(100, int(contestant.jobs * effort.jobs))
    with Stage(setting, jobs) as stage:
        producer = stage.producer(contestant)
        producer.send("collect", task="echo", first=0, count=jobs)
        stage.workers(contestant)
        took = producer.read()["seconds"]
        _check(stage.slots.runs(0, jobs))
    return {"drain_pushed": (jobs - 1) / took}


def records(setting: Setting, contestant: Contestant, effort: Effort) -> dict[str, float]:
    """Drain without histories, counts and previews, and with them; return the share of the time that they take."""
    without = msgspec.structs.replace(contestant, settings={**contestant.settings, "records": False})
    bare, kept = (drain(setting, one, effort)["drain"] for one in (without, contestant))
    return {"records": 100 * (1 - kept / bare)}


def imports(_: Setting, contestant: Contestant, __: Effort) -> dict[str, float]:
    """Return the time that the import takes, beyond that of a bare interpreter."""
    python = str(contestant.home / "bin" / "python")
    times = []
    for code in ("pass", "from conveyor import Queue"):
        start = time.perf_counter()
        subprocess.run([python, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return {"import": 1000 * (times[1] - times[0])}


def rate(runs: list[Run], processes: int) -> float:
    """Return the jobs per second while all worker processes are busy.

    From the first to the last start; with several workers, from the latest first start of a worker to the earliest last
    one. Raises ValueError if fewer workers than that took part.
    """
    starts = sorted(run.start for run in runs)
    first, last = starts[0], starts[-1]
    if processes > 1:
        by_worker: dict[int, list[float]] = {}
        for run in runs:
            by_worker.setdefault(run.worker, []).append(run.start)
        if len(by_worker) < processes:
            raise ValueError(f"{len(by_worker)} of {processes} workers took part")
        first, last = max(map(min, by_worker.values())), min(map(max, by_worker.values()))
    inside = sum(first <= start <= last for start in starts)
    if inside <= 1:
        raise ValueError("the workers were never busy at the same time")
    return (inside - 1) / (last - first)


def quantile(values: list[float], part: float) -> float:
    """Return the value below which `part` of the values are."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def _check(runs: list[Run]) -> None:
    lost, repeated = sum(not run.runs for run in runs), sum(run.runs > 1 for run in runs)
    if lost or repeated:
        raise WrongRuns(f"of {len(runs)} jobs, {lost} never ran, {repeated} ran more than once")


def _span(runs: list[Run]) -> float:
    return max(run.start for run in runs) - min(run.start for run in runs)


def _pick_ups(stage: Stage, first: int, puts: list[float]) -> list[float]:
    stage.wait(first, len(puts), 5)
    runs = stage.slots.runs(first, len(puts))
    return [1000 * (run.start - put) for run, put in zip(runs, puts, strict=True)]


def _warm_up(stage: Stage, producer: Producer, first: int, workers: int) -> None:
    """Put waiting jobs until each worker has run one."""
    seen: set[int] = set()
    for start in range(first, first + WARM_UPS, workers):
        producer.ask("put", task="nap", first=start, count=workers)
        stage.wait(start, workers)
        seen |= {run.worker for run in stage.slots.runs(start, workers)}
        if len(seen) == workers:
            break
    time.sleep(0.5)


def _bare(stage: Stage, first: int, jobs: int) -> float:
    """Run the same jobs in two bare processes, and return the seconds from the first start to the last end."""
    code = (
        "import sys; from benchmarks.contestants.jobs import compute; [*map(compute, map(int, sys.argv[1:]))]"
    )
    halves = range(first, first + jobs, 2), range(first + 1, first + jobs, 2)
    both = [
        subprocess.Popen([sys.executable, "-c", code, *map(str, half)], env=stage.variables())
        for half in halves
    ]
    for one in both:
        one.wait()
    return _busy(stage.slots.runs(first, jobs))


def _busy(runs: list[Run]) -> float:
    return max(run.end for run in runs) - min(run.start for run in runs)
