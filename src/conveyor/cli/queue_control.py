"""`conveyor pause`, `resume` and `purge`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.call import KEEP
from conveyor.cli import exits, worker_control
from conveyor.cli.ask import asker
from conveyor.cli.desk import existing_queue, open_inspector
from conveyor.cli.exits import Usage
from conveyor.cli.long_work import long_work
from conveyor.cli.output import count_of, document, is_terminal, note
from conveyor.outcome import encode_settled
from conveyor.queue import PURGE_SLICE, Queue
from conveyor.store import commands

if TYPE_CHECKING:
    from conveyor.cli.commands.act import Pause, Purge, Resume
    from conveyor.inspector import Inspector


def pause(asked: Pause) -> int:
    """Let a queue give out nothing, or workers take nothing."""
    inspector = open_inspector(quiet=asked.json)
    if worker_control.is_meant(inspector, asked.queue):
        return worker_control.pause(inspector, asked)
    queue, count = _counted(inspector, asked)
    queue.pause()
    if asked.json:
        document("pause/v1", queue=queue.name, state="paused", was_paused=bool(count.paused))
        return exits.OK
    before = "was paused already" if count.paused else "is paused"
    print(f"{queue.name} {before}: {count.waiting:,} waiting, {count.leased:,} running.")
    note(f"`conveyor resume {queue.name}` lets it go on.")
    return exits.OK


def resume(asked: Resume) -> int:
    """Let a queue, or workers, work again."""
    inspector = open_inspector(quiet=asked.json)
    if worker_control.is_meant(inspector, asked.queue):
        return worker_control.resume(inspector, asked)
    queue, count = _counted(inspector, asked)
    queue.resume()
    if asked.json:
        document(
            "resume/v1",
            queue=queue.name,
            state="open",
            was_paused=bool(count.paused),
            was_shut=bool(count.shutdown),
        )
        return exits.OK
    before = "was neither paused nor shut down" if not (count.paused or count.shutdown) else "goes on"
    print(f"{queue.name} {before}: {count.waiting:,} waiting, {count.leased:,} running.")
    return exits.OK


def purge(asked: Purge) -> int:
    """Cancel what waits."""
    queue, count = _counted(open_inspector(quiet=asked.json), asked)
    if not asked.yes and not is_terminal():
        raise Usage(
            f"purge cancels every job that waits in {asked.queue}, so it needs --yes where nobody can be asked"
        )
    if count.waiting and not asked.yes:
        question = f"Cancel {count_of(count.waiting, 'job')} waiting in {queue.name}?"
        if not asker().agree(question, default=False):
            note("Nothing was cancelled.")
            return exits.OK
    cancelled = _cancel_all(queue, count.waiting)
    if asked.json:
        document("purge/v1", queue=queue.name, cancelled=cancelled, running=count.leased)
    else:
        running = f"; {count.leased:,} running, not touched" if count.leased else ""
        print(f"{queue.name}: {count_of(cancelled, 'job')} cancelled{running}.")
    return exits.OK


def _counted(inspector: Inspector, asked: Pause | Resume | Purge) -> tuple[Queue, commands.Count]:
    queue = Queue(existing_queue(inspector, asked.queue), store=inspector.client)
    return queue, queue.count()


def _cancel_all(queue: Queue, expected: int) -> int:
    """Cancel slice by slice, so that the server is never kept busy for long; gives how many."""
    cancelled = 0
    outcome = encode_settled("cancelled")
    with long_work(f"cancelling in {queue.name}", expected) as advance:
        while moved := queue.client.run(commands.purge(queue.name, PURGE_SLICE, outcome, KEEP)):
            cancelled += moved
            advance(moved)
    return cancelled
