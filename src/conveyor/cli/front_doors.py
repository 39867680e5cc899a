"""What the scripts in the repository's root do: the conversations, line by line, on any terminal."""

from __future__ import annotations

from typing import NoReturn

from conveyor.cli import talk_consumer, talk_kill, talk_producer
from conveyor.cli.ask import PlainAsker
from conveyor.cli.commands.act import Kill
from conveyor.cli.commands.work import Consume
from conveyor.cli.consume import become_supervisor, settings_for
from conveyor.cli.kill import kill
from conveyor.cli.main import exit_code
from conveyor.cli.tasks import known_tasks


def produce() -> int:
    """Ask for a task and its parameters, put the jobs, follow them, print the exact time and the result."""
    return exit_code(lambda: talk_producer.talk(PlainAsker(), known_tasks()))


def consume() -> int:
    """Ask for a number of workers and a queue, then work until Ctrl-C."""

    def become() -> NoReturn:
        become_supervisor(talk_consumer.talk(PlainAsker(), settings_for(Consume())))

    return exit_code(become)


def stop_one() -> int:
    """List the workers, ask which one is to stop, and stop it."""
    return exit_code(lambda: talk_kill.talk(PlainAsker(), Kill()))


def stop_all(*, now: bool = False) -> int:
    """Stop all workers, after their current jobs unless `now`."""
    return exit_code(lambda: kill(Kill(every=True, now=now)))
