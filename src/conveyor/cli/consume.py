"""`conveyor consume`: becomes the supervisor of a consumer."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from conveyor import task_loading
from conveyor.cli import talk_consumer
from conveyor.cli.ask import asker, terminal_or
from conveyor.cli.desk import open_store
from conveyor.cli.tasks import known_tasks
from conveyor.consumer import command_line
from conveyor.consumer.settings import ConsumerSettings

if TYPE_CHECKING:
    from conveyor.cli.commands.work import Consume


def consume(asked: Consume) -> int:
    """Work until told to stop; asks for what is missing where there is a terminal."""
    settings = settings_for(asked)
    if not asked.queues:
        terminal_or("QUEUE is missing", "conveyor consume QUEUE -n WORKERS")
        settings = talk_consumer.talk(asker(), settings)
    else:
        open_store()
    become_supervisor(settings)


def settings_for(asked: Consume) -> ConsumerSettings:
    """Give the settings of the consumer that was asked for; raises BadCall where they cannot work."""
    known_tasks(asked.tasks)  # what cannot be imported is told here, not by every worker
    return ConsumerSettings(
        queues=tuple(asked.queues) or ("default",),
        workers=asked.workers or 0,
        kind=asked.kind,
        modules=tuple(asked.tasks) or tuple(task_loading.found_modules()),
        path=tuple(sys.path),
        until_empty=asked.until_empty,
        leave_grace=asked.grace,
    )


def become_supervisor(settings: ConsumerSettings) -> NoReturn:
    """Put the supervisor in this process's place, so that signals, exit code and process id are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    words = command_line(settings)
    # Blocked stays blocked: a Ctrl-C from here on waits until the supervisor is ready to obey it.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    os.execv(words[0], words)  # noqa: S606 - our own interpreter and module
