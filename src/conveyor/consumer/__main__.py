"""The supervisor's process: `python -m conveyor.consumer SETTINGS...`, started by Consumer and by the command line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

import msgspec

from conveyor import events, logs
from conveyor.consumer import loading_tasks
from conveyor.consumer.names import consumer_name
from conveyor.consumer.settings import ConsumerSettings
from conveyor.consumer.supervisor import UNLOADABLE, Supervisor
from conveyor.consumer.worker_process import CrewWorker
from conveyor.errors import ConveyorError
from conveyor.store import connect, fitness, plain, scripts

if TYPE_CHECKING:
    from conveyor.consumer.worker_handle import Worker


def main(arguments: list[str]) -> int:
    """Supervise until told to leave; gives the exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller may ignore it, and no child could be waited for
    settings = msgspec.json.decode("".join(arguments), type=ConsumerSettings)
    sys.path[:0] = [one for one in settings.path if one not in sys.path]
    logs.to_standard_error(usual=not settings.lifeline)
    try:
        client = connect(settings.url or None)
        if risk := fitness.risk_of(client):
            events.emit(events.ServerUnfit(risk))
        if levels := fitness.levels_of(client):
            events.emit(events.ServerLevels(tuple(map(str, levels))))
        scripts.load_all()
        client.run_all(plain.load_scripts())
    except ConveyorError as error:
        sys.stderr.write(f"conveyor: {error}\n  {error.hint}\n")
        return 69

    def live(worker: Worker) -> int:
        client.close()
        try:
            registry = loading_tasks.load(settings)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything while it is imported
            worker.slate.set_error(f"{type(error).__name__}: {error}")
            return UNLOADABLE
        CrewWorker(worker.name, settings, worker.slate, client, registry).work()
        return 0

    def tell_caller(what: bytes) -> None:
        if settings.lifeline:
            with contextlib.suppress(OSError):  # the caller is gone; reading will tell
                os.write(0, what)

    status = Supervisor(consumer_name(), settings, client, live).run(lambda: tell_caller(b"ready\n"))
    if status == 0:
        tell_caller(b"left\n")  # the caller may not get to know the exit code
    return status


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
