"""The scripts in the repository's root: the prompts of the commands, line by line, on any terminal."""

from __future__ import annotations

import argparse

from conveyor.cli.consume import become_supervisor, prompt_consume, settings_for
from conveyor.cli.kill import kill, prompt_kill
from conveyor.cli.main import exit_code
from conveyor.cli.produce import prompt_produce
from conveyor.cli.prompts import Prompt
from conveyor.consumer import known_tasks


def produce() -> int:
    """Ask for a task and its arguments, enqueue it, follow it and print the exact time and the result."""
    _parser("Ask for a task and its arguments, enqueue it and print the exact time it took.").parse_args()
    return exit_code(lambda: prompt_produce(Prompt(), known_tasks()))


def consume() -> int:
    """Ask for a number of workers and a queue, then run its jobs until Ctrl-C."""
    _parser("Ask for a number of workers and a queue, then run its jobs until Ctrl-C.").parse_args()
    return exit_code(lambda: become_supervisor(prompt_consume(Prompt(), settings_for())))


def stop_one() -> int:
    """List the workers, ask for one and stop it."""
    _parser("List the workers, ask for one and stop it.").parse_args()
    return exit_code(lambda: prompt_kill(Prompt()))


def stop_all() -> int:
    """Stop all workers, after their current jobs or with `--now` immediately."""
    parser = _parser("Stop all workers on all hosts after their current jobs.")
    parser.add_argument("--now", action="store_true", help="immediately; their jobs return to the queue")
    now: bool = parser.parse_args().now
    return exit_code(lambda: kill([], every=True, now=now, yes=True))


def _parser(description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=description, allow_abbrev=False)
