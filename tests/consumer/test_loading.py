"""The code a worker runs: the modules it has to load, and of these only their own functions."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from threading import Event, current_thread
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import msgspec
import pytest
from consumer_kit import make_worker

from conveyor import Consumer, ConveyorError, JobFailed, UnknownClass
from conveyor.monitor import Inspector
from conveyor.store import commands
from conveyor.tasks import Registry
from conveyor.wire.call import encode_calls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

TASKS = "def shout(text: str) -> str:\n    return text.upper()\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working folder, where modules are searched for first."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    return place


def put(queue: Queue, name: str, *args: Any) -> Any:
    """Put a call of a task that this process does not know."""
    client = queue.client
    job = queue.submit(jobs.nothing)  # brings id and inbox
    job.cancel()
    (data,) = encode_calls(lambda *args: None, name, [(args, {})])
    client.run(commands.put(queue.name, [(job.id + "x", data)], commands.PutParams(own_ids=True)))
    return type(job)(job.id + "x", queue.name, client=client)


def started(queue: Queue, consume: Callable[..., Any], **settings: Any) -> None:
    consumer = Consumer(queue.name, 1, store=queue.client)
    consume(modules=consumer.settings.modules, path=consumer.settings.path, **settings)


def test_tasks_py_of_the_working_folder_is_found(
    folder: Path, queue: Queue, consume: Callable[..., Any]
) -> None:
    (folder / "tasks.py").write_text(TASKS)
    started(queue, consume)
    assert put(queue, "tasks.shout", "hey").result(30) == "HEY"


def test_task_def_package_of_the_working_folder_is_found(
    folder: Path, queue: Queue, consume: Callable[..., Any]
) -> None:
    (folder / "task_def").mkdir()
    (folder / "task_def" / "__init__.py").write_text(TASKS)
    started(queue, consume)
    assert put(queue, "task_def.shout", "hey").result(30) == "HEY"


def test_named_modules_are_loaded_instead_of_found_ones(
    folder: Path, queue: Queue, consume: Callable[..., Any]
) -> None:
    (folder / "tasks.py").write_text(TASKS)
    (folder / "others.py").write_text(TASKS)
    consume(modules=("others",), path=(str(folder),))
    assert put(queue, "others.shout", "hey").result(30) == "HEY"
    with pytest.raises(JobFailed, match=r"unknown task 'tasks\.shout'"):
        put(queue, "tasks.shout", "hey").result(30)


THING = "import dataclasses\n\n@dataclasses.dataclass\nclass Thing:\n    number: int = 1\n"


def test_class_of_a_module_not_loaded_is_named_in_the_failure(
    folder: Path, queue: Queue, consume: Callable[..., Any]
) -> None:
    (folder / "only_producer.py").write_text(THING)
    consume(path=(*sys.path, str(folder)))
    thing = importlib.import_module("only_producer").Thing()
    with pytest.raises(JobFailed, match=r"unknown class only_producer\.Thing: .*not imported") as caught:
        queue.submit(jobs.same, [thing]).result(30)
    assert caught.value.kind == "UnknownClass"
    assert "import only_producer" in caught.value.reason


def test_result_of_an_unknown_class_is_readable_after_its_import(
    folder: Path, queue: Queue, consume: Callable[..., Any]
) -> None:
    (folder / "only_worker.py").write_text(f"{THING}\n\ndef make():\n    return Thing(2)\n")
    consume(modules=("only_worker",), path=(str(folder),))
    job = put(queue, "only_worker.make")
    with pytest.raises(UnknownClass, match=r"only_worker\.Thing"):
        job.result(30)
    assert "only_worker" not in sys.modules
    thing = importlib.import_module("only_worker").Thing(2)
    assert job.result(30) == thing
    assert job.exception() is None


def test_module_import_error_ends_the_consumer_with_the_reason(
    folder: Path, queue: Queue, consume: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "tasks.py").write_text("import not_there_at_all\n")
    reason = r"(?m)did not start \(exit code 1\): ModuleNotFoundError: No module named 'not_there_at_all'$"
    with pytest.raises(ConveyorError, match=reason):
        consume(modules=("tasks",), workers=2, path=(str(folder),))
    told = capfd.readouterr().err
    assert (
        told.count("the tasks cannot be loaded: ModuleNotFoundError: No module named 'not_there_at_all'") == 1
    )


def test_consumer_ends_with_the_hint_of_what_it_cannot_load(
    folder: Path, queue: Queue, consume: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "tasks.py").write_text(
        "from conveyor import from_worker, task\n"
        "@task\n"
        "def sell(item: str, pool: set = from_worker()) -> None: ...\n"
    )
    with pytest.raises(ConveyorError, match=r"no resource of the worker has the type set \(define one with"):
        consume(modules=("tasks",), workers=1, path=(str(folder),))


def test_start_fails_if_a_module_kills_its_process(
    folder: Path, queue: Queue, consume: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "tasks.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    with pytest.raises(ConveyorError, match=r"did not start \(exit code 1\)"):
        consume(modules=("tasks",), workers=3, path=(str(folder),))
    assert "cannot be loaded: 3 workers died while they loaded them (SIGKILL)" in capfd.readouterr().err


COUNTING = """
import itertools, os, time
for number in itertools.count():
    try:
        os.mkdir(f"import{number}")
        break
    except FileExistsError:
        pass
"""
CRASHING = (
    COUNTING
    + """
while number == 1 and not os.path.exists("import2"):
    time.sleep(0.005)
def crash():
    if not os.path.exists("import2"):
        os._exit(78)
"""
)
FAILING = (
    COUNTING
    + """
while number == 1 and not os.path.exists("ran"):
    time.sleep(0.005)
assert number != 1
def run():
    open("ran", "w").close()
    while True:
        time.sleep(0.005)
"""
)


def test_worker_is_not_replaced_if_another_cannot_load(
    folder: Path, queue: Queue, consume: Callable[..., Any]
) -> None:
    """The start does not wait for it either: the job that it runs already returns."""
    (folder / "tasks.py").write_text(FAILING)
    put(queue, "tasks.run")
    with pytest.raises(ConveyorError, match="did not start"):
        consume(modules=("tasks",), workers=2, path=(str(folder),))
    assert not (folder / "import2").exists()
    count = queue.count()
    assert (count.qsize, count.live) == (1, 1)


def test_exit_code_of_a_task_costs_no_worker_at_the_start(
    folder: Path, queue: Queue, consume: Callable[..., Any]
) -> None:
    """The second worker loads its tasks until the first has died in a job and is replaced."""
    (folder / "tasks.py").write_text(CRASHING)
    put(queue, "tasks.crash")
    running = consume(modules=("tasks",), workers=2, path=(str(folder),))
    queue.join(30)
    assert queue.count().finished == 1
    assert len(running.workers()) == 2


def test_temporarily_broken_module_costs_no_worker(
    folder: Path,
    queue: Queue,
    consume: Callable[..., Any],
    eventually: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    module = folder / "tasks.py"
    module.write_text(TASKS)
    running = consume(modules=("tasks",), workers=2, path=(str(folder),))
    module.write_text("import not_there_at_all\n")
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    dead, other = running.workers()
    dead.kill()
    told: list[str] = []
    eventually(lambda: "not_there_at_all" in (told.append(capfd.readouterr().err) or "".join(told)))
    module.write_text(TASKS)
    eventually(lambda: len({one.pid for one in running.workers()} - {dead.pid}) == 2)
    assert other.pid in {one.pid for one in running.workers()}
    assert put(queue, "tasks.shout", "hey").result(30) == "HEY"


def test_command_exits_with_1_if_a_module_cannot_be_loaded(
    folder: Path, alone: None, one_server: Any
) -> None:
    (folder / "tasks.py").write_text("1 / 0\n")
    command = [sys.executable, "-m", "conveyor", "--url", one_server.url, "consume", "work", "-n", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert re.search("division by zero", done.stderr)


def test_job_of_an_unknown_task_fails_and_is_dead(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    with pytest.raises(JobFailed, match=r"unknown task 'consumer_jobs\.gone'") as caught:
        put(queue, "consumer_jobs.gone").result(30)
    assert caught.value.kind == "UnknownTask"
    assert queue.count().dead == 1


@pytest.mark.parametrize("name", ["system", "os.system", "Path", "np.save", "__loader__.load_module"])
def test_imported_names_of_a_module_cannot_be_run_as_tasks(
    name: str, folder: Path, queue: Queue, consume: Callable[..., Any]
) -> None:
    (folder / "tasks.py").write_text("import os\nfrom os import system\nfrom pathlib import Path\n")
    consume(modules=("tasks",), path=(str(folder),))
    evidence = folder / "evidence"
    for full in (f"tasks.{name}", name, "os.system", "posix.system"):
        with pytest.raises(JobFailed, match="unknown task"):
            put(queue, full, f"touch {evidence}").result(30)
    assert not evidence.exists()


def test_plain_item_fails_with_a_reason(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    queue.put({"any": "value"})
    consume()
    eventually(lambda: queue.count().dead == 1)
    inspector = Inspector(queue.client)
    (line,) = inspector.jobs(queue.name, "dead")
    details = inspector.job(line.id, queue.name)
    assert details
    assert details.settled
    assert "Queue.put names no task" in str(details.settled.error())


@pytest.mark.parametrize("data", [b"", b"\xc1", b"not msgpack", msgspec.msgpack.encode(["a"])])
def test_undecodable_jobs_are_dead_and_stay_unchanged(
    data: bytes, queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any], one_server: Any
) -> None:
    running = consume()
    before = running.workers()
    queue.client.run(commands.put(queue.name, [("strange", data)], commands.PutParams(own_ids=True)))
    eventually(lambda: queue.count().dead == 1)
    assert one_server.raw.hget(f"conveyor:{{{queue.name}}}:jobs", "strange") == data
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    assert running.workers() == before


def test_import_at_the_first_run_is_part_of_the_run(
    folder: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "slow_to_load.py").write_text(
        "from conveyor import task\n@task(name='slow')\ndef slow(text): return SEEN()\n"
    )
    slow = jobs.task(name="slow", timeout=60.0, soft_timeout=30.0)(lambda text: text)
    registry, seen = Registry(), []
    monkeypatch.setattr("conveyor.tasks.registry", registry)
    registry.promise({"slow": "slow_to_load"})
    worker = make_worker(queue, queue.client, registry, 1)
    load = importlib.import_module

    def look_and_load(name: str, *rest: Any) -> Any:
        module: Any = load(name, *rest)
        if name == "slow_to_load":
            seen.append(worker.status.read())
            module.SEEN = lambda: seen.append(worker.status.read()) or worker.status.arguments(job.id)
        return module

    monkeypatch.setattr(importlib, "import_module", look_and_load)
    job = queue.submit(slow, "hey")
    try:
        worker._run_batch(*worker._claim())
    finally:
        sys.modules.pop("slow_to_load", None)
    queue.client.run_all(worker.settler.commands())
    assert job.result(30) == "text='hey'"
    assert [(one.position, one.limit, one.soft_limit) for one in seen] == [(0, 0.0, 0.0), (0, 60.0, 30.0)]
    assert seen[0].since < seen[1].since, "the import takes none of its time"


class Gate:
    """A client that knows whether its monitor has sent something."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.sent = Event()

    def run_all(self, told: Any, **options: Any) -> list[Any]:
        if current_thread().name == "conveyor-batch-monitor":
            self.sent.set()
        answers: list[Any] = self.client.run_all(told, **options)
        return answers


def test_monitor_does_not_read_the_script_of_a_running_job(
    folder: Path, queue: Queue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, registry = Gate(queue.client), Registry()
    monkeypatch.setattr(jobs, "gate", gate, raising=False)
    script = folder / "a_script.py"
    script.write_text(
        "from consumer_jobs import gate, mark\n"
        f"mark({str(path)!r}, 'read')\n"
        "gate.sent.wait(30)\n"
        "def shout(text): return text.upper()\n"
    )
    registry.load("consumer_jobs")
    registry.promise_script(str(script), "a_script")
    worker = make_worker(queue, gate, registry, 3)
    handles = [put(queue, "consumer_jobs.text_of", 1), put(queue, "a_script.shout", "hey")]
    handles.append(put(queue, "consumer_jobs.text_of", 2))
    try:
        while worker.jobs_done < len(handles):
            worker._run_batch(*worker._claim())
    finally:
        sys.modules.pop("a_script", None)
        worker.monitor.rest()
    queue.client.run_all([*worker.monitor.take_unconfirmed(), *worker.settler.commands()])
    assert [job.result(30) for job in handles] == ["x", "HEY", "xx"]
    assert path.read_text() == "read\n"
    assert gate.sent.is_set()
