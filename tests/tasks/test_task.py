"""`@task` makes a task of a function: it can still be called, and knows the queue and options of its jobs."""

from __future__ import annotations

import datetime as dt
import doctest
import inspect
import subprocess
import sys
import types
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest

from conveyor import BadCall, Queue, Schedule, Task, task
from conveyor.monitor import Inspector
from conveyor.store import connect, records
from conveyor.tasks import registry
from conveyor.wire.call import PutOptions, RunOptions, decode_call
from conveyor.wire.redaction import Labels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def tidy_registry() -> Iterator[None]:
    before = dict(registry.tasks)
    yield
    registry.tasks.clear()
    registry.tasks.update(before)


def count_primes(limit: int) -> int:
    """Count the primes below a limit.

    By trial division.

    >>> count_primes(20)
    8
    """
    return sum(all(number % low for low in range(2, number)) for number in range(2, limit))


def test_task_can_be_called_like_its_function() -> None:
    made = task(count_primes)
    assert made(20) == 8
    assert (made.__name__, made.__doc__) == (count_primes.__name__, count_primes.__doc__)
    assert made.summary == "Count the primes below a limit."
    assert repr(made) == f"<Task {made.name} on default>"


def test_inspection_of_a_task_shows_its_function() -> None:
    made = task(count_primes)
    assert inspect.signature(made) == inspect.signature(count_primes)
    assert get_type_hints(made) == {"limit": int, "return": int}
    assert inspect.getsource(made) == inspect.getsource(count_primes)
    assert inspect.unwrap(made) is count_primes


def test_examples_in_the_docstring_of_a_task_are_tested() -> None:
    module = types.ModuleType(__name__)
    module.made = task(count_primes)
    (found,) = doctest.DocTestFinder().find(module, module=False, globs={"count_primes": module.made})
    assert doctest.DocTestRunner().run(found) == (0, 1)


def test_attributes_of_a_function_do_not_change_its_task() -> None:
    def function() -> None: ...

    function.name, function.put = "other", None
    made = task(name="own")(function)
    assert (made.name, made.put) == ("own", PutOptions())


def test_task_is_named_after_module_and_function_by_default() -> None:
    made = task(count_primes)
    assert made.name == f"{__name__}.count_primes"
    assert registry.find(made.name) is made


def test_decorator_options_apply_to_the_jobs() -> None:
    made = task(
        name="primes", queue="numbers", priority=7, retries=3, first_delay=0.5, timeout=9.0, keep=60.0
    )(count_primes)
    assert made.name == "primes"
    assert made.put == PutOptions(queue="numbers", priority=7)
    assert made.run == RunOptions(retries=3, first_delay=0.5, timeout=9.0, keep=60.0)


def test_durations_may_be_timedeltas() -> None:
    made = task(name="primes", keep=dt.timedelta(minutes=1), wait=dt.timedelta(0))(count_primes)
    other = made.options(
        timeout=dt.timedelta(seconds=9), first_delay=dt.timedelta(seconds=0.5), delay=dt.timedelta(days=1)
    )
    assert other.run == RunOptions(first_delay=0.5, timeout=9.0, keep=60.0)
    assert other.put == PutOptions(wait=0.0, delay=86_400.0)


def test_options_of_single_calls_are_refused_for_all() -> None:
    with pytest.raises(BadCall, match="delay and id cannot be set for all calls") as refusal:
        task(id="a", delay=5)
    assert "options(" in refusal.value.hint


def test_options_returns_a_new_task_and_keeps_the_original() -> None:
    made = task(name="primes")(count_primes)
    made.splits(lambda limit: [{"limit": limit}])
    other = made.options(queue="elsewhere", delay=5.0, retries=2)
    assert (other.put.queue, other.put.delay, other.run.retries) == ("elsewhere", 5.0, 2)
    assert (made.put.queue, made.put.delay, made.run.retries) == ("default", 0.0, 0)
    assert other.split is made.split
    assert registry.find("primes") is made


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"retires": 3}, "unknown options: retires"),
        ({"priority": 256}, "priority must be a whole number between 0 and 255, got 256"),
        ({"priority": -1}, "priority must be a whole number"),
        ({"delay": "x"}, "delay must be a number of seconds, got 'x'"),
        ({"keep": None}, "keep must be a number of seconds, got None"),
        ({"delay": -1.0}, "delay must be between 0 and 315360000 seconds, got -1.0"),
        ({"retries": -1}, "retries must be a whole number"),
        ({"retries": True}, "retries must be a whole number"),
        ({"timeout": 0.0}, "timeout must be more than 0 seconds"),
        ({"timeout": dt.timedelta(0)}, "timeout must be more than 0 seconds"),
        ({"wait": -1}, "wait must be between 0 and 315360000 seconds, got -1"),
        ({"keep": -1.0}, "keep must be between"),
    ],
)
def test_invalid_options_are_refused_immediately(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadCall, match=said):
        task(name="primes")(count_primes).options(**changes)


def test_schedule_without_the_arguments_of_its_task_is_refused() -> None:
    with pytest.raises(BadCall, match="missing a required argument: 'limit'") as refusal:
        task(every=60)(count_primes)
    assert refusal.value.hint == (
        "give the parameter a default, or pass its value: schedule=Schedule(every=60, kwargs={…})"
    )
    with pytest.raises(BadCall, match="unexpected keyword argument 'most'"):
        task(schedule=Schedule(every=60, args=(1,), kwargs={"most": 2}))(count_primes)
    with pytest.raises(BadCall, match="cannot have unique or expires"):
        task(every=60, unique=True, expires=5)(count_primes)
    timed = task(schedule=[Schedule(every=60, kwargs={"limit": 2})])(count_primes)
    assert len(timed.schedules) == 1


def test_function_that_workers_cannot_find_is_refused() -> None:
    def inner() -> None: ...

    for function in (inner, lambda: None):
        with pytest.raises(BadCall, match="not at module level"):
            task(function)
    assert isinstance(task(name="given")(inner), Task), "with a name of its own it can be registered"


PROGRAM = """
from conveyor import BadCall, Queue, task
def function(): ...

for call in (lambda: Queue("a").submit(function), lambda: task(function)):
    try: call()
    except BadCall as error: print(error, "/", error.hint)

"""


@pytest.mark.parametrize("options", [["-"], ["-i"], ["-c", PROGRAM]], ids=["stdin", "session", "-c"])
def test_function_of_a_program_without_a_file_is_refused(options: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *options], input=PROGRAM, capture_output=True, text=True, timeout=60, check=False
    )
    refusal = (
        "function belongs to a program without a file, such as an interactive session, so no worker finds it"
    )
    hint = 'save it in a module, such as tasks.py, and import it, or use a queue with serializer="pickle"'
    assert done.stdout.splitlines() == [f"{refusal} / {hint}"] * 2


SPAWNING = """
import multiprocessing
from conveyor.wire.signature import name_of
def function(): ...
def report(names): names.put(name_of(function))
if __name__ == "__main__":
    spawning = multiprocessing.get_context("spawn")
    names = spawning.SimpleQueue()
    child = spawning.Process(target=report, args=(names,))
    child.start()
    print(names.get(), name_of(function))
    child.join()
"""


def test_function_of_a_script_has_its_name_in_spawned_children(tmp_path: Path) -> None:
    (tmp_path / "letters.py").write_text(SPAWNING)
    words = [sys.executable, "letters.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "letters.function letters.function\n"


def test_job_runs_at_a_time_or_now_if_it_is_past(one_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVEYOR_URL", one_server.url)
    made = task(name="primes", queue="task-numbers")(count_primes)
    now = dt.datetime.now(dt.UTC)
    assert made.options(delay=now - dt.timedelta(days=1)).submit(1).status() == "waiting"
    job = made.options(delay=now + dt.timedelta(hours=1)).submit(2)
    assert job.status() == "delayed"
    due = one_server.raw.zscore("conveyor:{task-numbers}:delayed", job.id) / 1000
    assert due - one_server.raw.time()[0] == pytest.approx(3600, abs=60)


def test_submit_uses_the_queue_and_options_of_the_task(
    one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEYOR_URL", one_server.url)
    made = task(name="primes", queue="task-numbers", retries=3)(count_primes)
    job = made.options(delay=60.0).submit(100)
    others = made.submit_many([(n,) for n in range(5)])
    client = connect()
    assert job.status() == "delayed"
    queue = Queue("task-numbers", store=client)
    assert (queue.count().delayed, queue.count().ready) == (1, 5)
    details = Inspector(client).job(others[2].id, "task-numbers")
    assert details
    assert details.call
    assert (details.call.task, details.call.positional(), details.call.options.retries) == ("primes", [2], 3)
    (data,) = client.run(records.fields("task-numbers", "jobs", [job.id]))
    assert decode_call(data).positional() == [100]


def test_invalid_argument_is_refused_before_any_job_is_put(
    one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEYOR_URL", one_server.url)
    made = task(name="primes", queue="task-numbers")(count_primes)
    for args in (("many",), (), (1, 2)):
        with pytest.raises(BadCall):
            made.submit(*args)
    with pytest.raises(BadCall):
        made.submit_many([(1,), ("two",)])
    assert Queue("task-numbers", store=connect()).count().accepted == 0


def test_split_describes_the_order_if_present() -> None:
    made = task(name="primes")(count_primes)
    assert made.order_function is count_primes

    @made.splits
    def parts(limit: int) -> list[dict[str, Any]]:
        return [{"limit": limit}]

    @made.joins
    def join(results: list[int], **_: Any) -> int:
        return sum(results)

    assert made.order_function is parts
    assert made.join is join


def test_redacted_names_are_registered_with_the_task() -> None:
    def pay(card: str, *rest: str) -> None: ...

    made = task(name="pay", redact=["card"])(pay)
    assert registry.labels("pay") == Labels(("card", "*rest"), ("card",))
    assert made.options(priority=3).redact == ("card",)
    assert made.run == RunOptions()
    assert registry.labels("no such task") == Labels()
