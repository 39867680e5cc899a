"""What the scripts in the repository's root do: the conversations, line by line, on any terminal."""

from __future__ import annotations

import argparse
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
    _words(
        "Asks which task to enqueue and with what, follows the jobs, prints the exact time they took."
    ).parse_args()
    return exit_code(lambda: talk_producer.talk(PlainAsker(), known_tasks()))


def consume() -> int:
    """Ask for a number of workers and a queue, then work until Ctrl-C."""
    _words("Asks how many workers are to work on which queue, and works until Ctrl-C.").parse_args()

    def become() -> NoReturn:
        become_supervisor(talk_consumer.talk(PlainAsker(), settings_for(Consume())))

    return exit_code(become)


def stop_one() -> int:
    """List the workers, ask which one is to stop, and stop it."""
    _words("Lists the workers, asks which one is to stop, and stops it.").parse_args()
    return exit_code(lambda: talk_kill.talk(PlainAsker(), Kill()))


def stop_all() -> int:
    """Stop all workers, after their current jobs unless there is `--now`."""
    words = _words("Stops all workers, everywhere, after their current jobs.")
    words.add_argument(
        "--now", action="store_true", help="at once; what they run goes back to its place on the queue"
    )
    now: bool = words.parse_args().now
    return exit_code(lambda: kill(Kill(every=True, now=now, yes=True)))


def _words(description: str) -> argparse.ArgumentParser:
    """Give what reads the words after a script's name: nothing is done before all of them are understood."""
    return argparse.ArgumentParser(description=description, allow_abbrev=False)
