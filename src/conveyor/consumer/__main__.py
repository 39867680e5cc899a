"""The supervisor's process: `python -m conveyor.consumer SETTINGS...`, started by Consumer and by the command line."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from conveyor import events, logs, schedules, task_def
from conveyor.consumer import auto_instrumentation, capture
from conveyor.consumer.crew import Crew
from conveyor.consumer.settings import ConsumerSettings, consumer_name
from conveyor.consumer.supervisor import UNLOADABLE, WITHOUT_RESOURCES, Supervisor
from conveyor.consumer.worker_process import WorkerProcess
from conveyor.errors import ConveyorError, ResourceUnavailable, StoreUnavailable
from conveyor.resources import check_needs
from conveyor.store import commands, connect, fitness, scripts
from conveyor.task_loading import ExecutorFolder
from conveyor.tasks import registry
from conveyor.wire import call
from conveyor.wire.signature import signature_of

if TYPE_CHECKING:
    from conveyor.consumer.worker_handle import ChildProcess
    from conveyor.store import Client


#: Max characters of the reason why a consumer did not start.
MAX_REASON = 1000


def main(arguments: list[str]) -> int:
    """Supervise until the consumer stops, and return the exit code."""
    auto_instrumentation.leave_to_workers(arguments)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller may ignore it, and no child could be waited for
    settings = msgspec.json.decode("".join(arguments), type=ConsumerSettings)
    sys.path[:0] = [one for one in settings.path if one not in sys.path]
    logs.format_others()
    logs.to_standard_error(usual=not settings.lifeline)
    try:
        client = connect(settings.url or None)
        if risk := client.perform(fitness.risk_of(client)):
            events.emit(events.ServerUnfit(risk))
        if levels := client.perform(fitness.levels_of()):
            events.emit(events.ServerLevels(tuple(map(str, levels))))
        scripts.load_all()
        client.run_all(commands.load_scripts())
        start = client.run(commands.server_time())
    except ConveyorError as error:
        text = f"conveyor: {error}\n  {error.hint}"
        line = logs.as_line(str(error), "ERROR", hint=error.hint) if logs.is_json() else text
        sys.stderr.write(f"{line}\n")
        return 69

    def report(message: bytes) -> None:
        if settings.lifeline:
            with contextlib.suppress(OSError):  # the caller is gone, as reading will show
                os.write(0, message)

    supervisor = Supervisor(consumer_name(), settings, client, partial(work, settings, client, start))
    status = supervisor.run(lambda: report(b"ready\n"))
    shutil.rmtree(settings.executor, ignore_errors=True)  # if there is one; the caller may have been killed
    if status == 0:  # the caller may not learn the exit code
        done = (str(supervisor.jobs_done[name]) for name in supervisor.scaling.names)
        report(f"left {' '.join(done)}\n".encode())
    elif supervisor.unloadable:
        reason = " ".join(supervisor.unloadable.split())[:MAX_REASON]
        report(f"failed {reason}\n".encode(errors="backslashreplace"))
    return status


def work(settings: ConsumerSettings, client: Client, start: float, process: ChildProcess) -> int:
    """Run the workers of a child process, and return its exit status. `start` is when the consumer has started."""
    client.close()
    first = process.workers[0]
    capture.keep_logged(settings.log_level)
    if settings.prints:
        capture.keep_printed()
    try:
        auto_instrumentation.begin()
        load_tasks(settings)
        if settings.kind != "process":
            registry.read_script()  # now, while this process has one thread
        check_needs(registry.tasks.values())
        if first.name.endswith("/1"):
            declare_schedules(settings, client, start)
    except BaseException as error:  # noqa: BLE001 - user code may raise anything while it is imported
        hint = f" ({error.hint})" if isinstance(error, ConveyorError) and error.hint else ""
        first.status.error = f"{type(error).__name__}: {error}{hint}"
        return UNLOADABLE
    try:
        if settings.kind == "process":
            WorkerProcess(first.name, settings, first.status, client, registry).work()
        else:
            Crew({one.name: one.status for one in process.workers}, settings, client, registry).work()
    except ResourceUnavailable as error:
        first.status.error = error.message
        return WITHOUT_RESOURCES
    return 0


def declare_schedules(settings: ConsumerSettings, client: Client, start: float) -> None:
    """Set the schedules of the loaded tasks, as soon as the server replies. Raises BadCall for an invalid one."""
    while not settings.until_empty:
        with contextlib.suppress(StoreUnavailable):
            schedules.declare(client, settings.queues, registry, start)
            return


def load_tasks(settings: ConsumerSettings) -> None:
    """Register the tasks of the settings, and import their modules. Run what the caller's executor runs first.

    Raises whatever that user code raises.
    """
    registry.promise(task_def.TASKS)
    if settings.script:
        sys.argv = list(settings.script_arguments)
        registry.promise_script(settings.script, settings.script_name)
    for module in settings.modules:
        if module != settings.script_name:
            registry.load(module)
    if settings.executor:
        folder = ExecutorFolder(settings.executor)
        registry.allow(folder.find)
        if data := folder.first_call():
            first = call.decode_call(data)
            task = registry.find(first.task)
            args, kwargs = signature_of(task).decode(first.args, first.kwargs, first.task)
            task(*args, **kwargs)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
