"""Consumers declare the schedules of their tasks, and fire them: each instant once, however many they are."""

from __future__ import annotations

import os
import signal
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import ConveyorError, Job, Queue, Schedule, Schedules
from conveyor.consumer import scheduler
from conveyor.consumer.scheduler import LOOK_EVERY, Scheduler
from conveyor.store import commands
from conveyor.task_def.sleep import sleep
from conveyor.wire.schedule import job_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor.schedules import ScheduleInfo

TICKING = "ticking"


def info(queue: Queue, name: str, of: str = TICKING) -> ScheduleInfo:
    return Schedules(of, store=queue.client).get(name)


def ticks(queue: Queue, name: str = "tick") -> int:
    """Return how many instants were fired, 0 while the schedule is unknown."""
    found = {one.name: one.fired for one in Schedules(TICKING, store=queue.client).list()}
    return found.get(name, 0)


def test_declared_schedules_are_fired_and_run(
    consume: Callable[..., Any], kind: str, queue: Queue, eventually: Callable[..., Any]
) -> None:
    consume(TICKING, 2, kind=kind, modules=("schedule_jobs",))
    for name in ("tick", "tick_async"):
        eventually(lambda name=name: ticks(queue, name) >= 3)
        last = info(queue, name)
        assert last.module == "schedule_jobs"
        assert Job(last.last_job, TICKING, client=queue.client).result(30) == last.last_job
        assert last.last_job == job_id(name, last.last_at.timestamp())


def test_any_number_of_consumers_fires_each_instant_once(
    consume: Callable[..., Any], queue: Queue, eventually: Callable[..., Any]
) -> None:
    started = [consume(TICKING, 1, kind="thread", modules=("schedule_jobs",)) for _ in range(3)]
    eventually(lambda: ticks(queue) >= 2)
    started[0].kill()
    os.kill(started[1].pid, signal.SIGSTOP)
    before = ticks(queue)
    eventually(lambda: ticks(queue) >= before + 3)
    os.kill(started[1].pid, signal.SIGCONT)
    before = ticks(queue)
    eventually(lambda: ticks(queue) >= before + 3)
    for name in ("tick", "tick_async"):
        Schedules(TICKING, store=queue.client).pause(name)
    target = Queue(TICKING, store=queue.client)
    count = target.count()
    assert count.accepted == sum(info(queue, name).fired for name in ("tick", "tick_async"))
    assert (count.imbalance, info(queue, "tick").missed) == (0, 0)
    target.join(60)


def test_instant_waits_for_the_job_of_the_one_before(
    consume: Callable[..., Any], queue: Queue, eventually: Callable[..., Any]
) -> None:
    consume("slow", 3, modules=("schedule_jobs",))

    def fired() -> int:
        assert Queue("slow", store=queue.client).count().live <= 1
        return sum(one.fired for one in Schedules("slow", store=queue.client).list())

    eventually(lambda: fired() >= 3)
    assert info(queue, "nap", "slow").skipped >= 1


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that writes the module `changing`, which consumers can import."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(code: str) -> None:
        (tmp_path / "changing.py").write_text("from conveyor import Schedule, task\n" + textwrap.dedent(code))

    return write


BOTH = """
    @task(name="daily", queue="reports", cron="0 3 * * *", timezone="Europe/Berlin")
    def daily(): ...
    @task(name="weekly", queue="reports", cron="0 3 * * 1")
    def weekly(): ...
"""
ONE = """
    @task(name="daily", queue="reports", cron="0 4 * * *", timezone="Europe/Berlin")
    def daily(): ...
    @task(name="weekly", queue="reports")
    def weekly(): ...
"""


def named(queue: Queue) -> list[tuple[str, str]]:
    return [(one.name, one.schedule.cron) for one in Schedules("reports", store=queue.client).list()]


def test_later_code_replaces_the_schedules_of_its_module(
    consume: Callable[..., Any],
    queue: Queue,
    module: Callable[[str], None],
    eventually: Callable[..., Any],
) -> None:
    module(BOTH)
    older = consume("reports", modules=("changing",))
    reports = Schedules("reports", store=queue.client)
    reports.add(sleep, Schedule(every=3600, name="manual", args=(0,)))
    reports.pause("daily")
    assert named(queue) == [("daily", "0 3 * * *"), ("manual", ""), ("weekly", "0 3 * * 1")]
    module(ONE)
    newer = consume("reports", modules=("changing",))
    assert named(queue) == [("daily", "0 4 * * *"), ("manual", "")]
    assert reports.get("daily").paused, "a pause outlives the code"
    module(BOTH)
    (worker,) = older.workers()
    worker.kill()
    eventually(lambda: [one.state for one in older.report().workers if one.pid != worker.pid] == ["idle"])
    assert named(queue)[0] == ("daily", "0 4 * * *"), "a new worker of an old consumer changes nothing"
    newer.end()


def test_schedule_with_invalid_arguments_ends_the_start(
    consume: Callable[..., Any], queue: Queue, module: Callable[[str], None]
) -> None:
    module("""
        @task(queue="reports", schedule=Schedule(every=60, args=("many",)))
        def count(number: int): ...
    """)
    with pytest.raises(ConveyorError, match="number"):
        consume("reports", modules=("changing",))
    module("""
        @task(queue="reports", schedule=[Schedule(every=60), Schedule(every=50)])
        def count(): ...
    """)
    with pytest.raises(ConveyorError, match=r"two schedules in changing are called changing\.count"):
        consume("reports", modules=("changing",))
    module("""
        from conveyor import Limit
        @task(queue="reports", schedule=Schedule(every=60), limit=Limit(running=1), expires=5)
        def count(): ...
    """)
    with pytest.raises(ConveyorError, match=r"cannot have limit or expires, which changing\.count has"):
        consume("reports", modules=("changing",))


def test_consumer_that_exits_once_empty_fires_nothing(consume: Callable[..., Any], queue: Queue) -> None:
    Schedules(TICKING, store=queue.client).add(sleep, Schedule(every=1, name="often", args=(0,)))
    consume(TICKING, modules=("schedule_jobs",), until_empty=True).popen.wait(30)
    assert Queue(TICKING, store=queue.client).count().accepted == 0
    assert [one.name for one in Schedules(TICKING, store=queue.client).list()] == ["often"]


def test_emptied_server_gets_the_declared_schedules_again(
    consume: Callable[..., Any], queue: Queue, one_server: Any, eventually: Callable[..., Any]
) -> None:
    consume(TICKING, 1, modules=("schedule_jobs",))
    eventually(lambda: ticks(queue) >= 2)
    one_server.raw.flushall()
    eventually(lambda: ticks(queue) >= 2)


def test_schedules_of_the_callers_script_work_in_process(
    alone: None, queue: Queue, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import schedule_jobs  # noqa: F401, PLC0415

    from conveyor import Consumer, resources  # noqa: PLC0415

    monkeypatch.setattr(
        resources, "registered", resources.Registered()
    )  # those that other tests have imported
    with Consumer(TICKING, 2, "thread", in_process=True, tasks=["schedule_jobs"], store=queue.client):
        eventually(lambda: ticks(queue) >= 2)


# --- what it costs


@pytest.fixture
def sent(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what the queue's client has sent since."""
    found: list[Any] = []
    for name in ("run", "run_all"):
        real = getattr(type(queue.client), name)

        def noted(self: Any, given: Any, *args: Any, real: Any = real, **options: Any) -> Any:
            found.extend(given if isinstance(given, list | tuple) else [given])
            return real(self, given, *args, **options)

        monkeypatch.setattr(type(queue.client), name, noted)
    return found


def test_idle_scheduler_asks_one_question_every_five_seconds(
    queue: Queue, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(scheduler.clock, "monotonic", lambda: now)
    one = Scheduler(queue.client, [queue.name, "other"])
    for _ in range(100):
        one.run()
    assert len(sent) == 1
    assert one.due_at == now + LOOK_EVERY
    now = one.due_at
    one.run()
    assert len(sent) == 2


def test_scheduler_sleeps_until_the_next_instant(
    queue: Queue, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Schedules(queue).add(sleep, Schedule(every=2, name="often", args=(0,)))
    now = 1000.0
    monkeypatch.setattr(scheduler.clock, "monotonic", lambda: now)
    one = Scheduler(queue.client, [queue.name])
    one.run()
    assert now < one.due_at <= now + 2
    sent.clear()
    one.run()
    assert sent == []


def test_refused_firing_is_reported_once_and_tried_again(
    queue: Queue, one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedules = Schedules(queue)
    schedules.add(sleep, Schedule(every=3600, name="first", args=(0,)))
    one_server.raw.hset(f"conveyor:{{{queue.name}}}:schedules", "broken", "\nevery 60\nno definition")
    due = queue.client.run(commands.server_time()) - 1
    instants = f"conveyor:{{{queue.name}}}:instants"
    one_server.raw.zadd(instants, {"broken": int(due * 1000) - 5000, "first": int(due // 3600 * 3600000)})
    reported: list[Any] = []
    monkeypatch.setattr(scheduler.events, "emit", reported.append)
    now = 1000.0
    monkeypatch.setattr(scheduler.clock, "monotonic", lambda: now)
    one = Scheduler(queue.client, [queue.name])
    for _ in range(3):
        one.run()
        assert one.due_at == now + scheduler.RETRY_EVERY
        now = one.due_at
    assert [(event.schedule, event.queue) for event in reported] == [("broken", queue.name)]
    assert queue.count().accepted == 1, "one that cannot be fired does not keep the others"
