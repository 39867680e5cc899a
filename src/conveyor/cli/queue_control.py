"""`conveyor pause`, `resume`, `purge` and `delete`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.cli import exits, worker_control
from conveyor.cli.ask import asker
from conveyor.cli.desk import existing_queue, open_actions, open_inspector
from conveyor.cli.exits import Usage
from conveyor.cli.long_work import long_work
from conveyor.cli.output import count_of, document, is_terminal, note
from conveyor.monitor import bulk, queues

if TYPE_CHECKING:
    from conveyor.cli.commands.act import Delete, Pause, Purge, Resume
    from conveyor.monitor import Inspector
    from conveyor.monitor.actions import Actions


def pause(asked: Pause) -> int:
    """Let a queue give out nothing, or workers take nothing."""
    inspector = open_inspector(quiet=asked.json)
    if worker_control.is_meant(inspector, asked.queue):
        return worker_control.pause(inspector, asked)
    queue, count, _, _ = _opened(inspector, asked).pause_queue(asked.queue, asked.reason)
    if asked.json:
        document("pause/v1", queue=queue, state="paused", was_paused=bool(count.paused))
        return exits.OK
    before = "was paused already" if count.paused else "is paused"
    print(f"{queue} {before}: {count.ready:,} waiting, {count.leased:,} running.")
    note(f"`conveyor resume {queue}` lets it go on.")
    return exits.OK


def resume(asked: Resume) -> int:
    """Let a queue, or workers, work again."""
    inspector = open_inspector(quiet=asked.json)
    if worker_control.is_meant(inspector, asked.queue):
        return worker_control.resume(inspector, asked)
    queue, count, _, _ = _opened(inspector, asked).resume_queue(asked.queue, asked.reason)
    if asked.json:
        document(
            "resume/v1",
            queue=queue,
            state="open",
            was_paused=bool(count.paused),
            was_shut=bool(count.shutdown),
        )
        return exits.OK
    before = "was neither paused nor shut down" if not (count.paused or count.shutdown) else "goes on"
    print(f"{queue} {before}: {count.ready:,} waiting, {count.leased:,} running.")
    return exits.OK


def purge(asked: Purge) -> int:
    """Cancel what waits."""
    actions, queue = _opened(open_inspector(quiet=asked.json), asked), asked.queue
    count = queues.counts([queue]).ask(actions.client)[queue]
    if not asked.yes and not is_terminal():
        raise Usage(
            f"purge cancels every job that waits in {asked.queue}, so it needs --yes where nobody can be asked"
        )
    if count.qsize and not asked.yes:
        question = f"Cancel {count_of(count.qsize, 'job')} waiting or not due yet in {queue}?"
        if not asker().agree(question, default=False):
            note("Nothing was cancelled.")
            return exits.OK
    cancelled = _cancel_all(actions, asked)
    if asked.json:
        document("purge/v1", queue=queue, cancelled=cancelled, running=count.leased)
    else:
        running = f"; {count.leased:,} running, not touched" if count.leased else ""
        print(f"{queue}: {count_of(cancelled, 'job')} cancelled{running}.")
    return exits.OK


def delete(asked: Delete) -> int:
    """Delete a queue."""
    actions, queue = _opened(open_inspector(quiet=asked.json), asked), asked.queue
    count = queues.counts([queue]).ask(actions.client)[queue]
    jobs = count.live + count.dead
    if asked.purge and jobs and not asked.yes:
        if not is_terminal():
            raise Usage(f"--purge drops every job of {queue}, so it needs --yes without a terminal")
        question = f"Delete {queue} and its {count_of(jobs, 'job')}?"
        if not asker().agree(question, default=False):
            note("Nothing was deleted.")
            return exits.OK
    actions.delete_queue(queue, asked.reason, purge=asked.purge)
    cancelled, discarded = (count.live, count.dead) if asked.purge else (0, 0)
    if asked.json:
        document("delete/v1", queue=queue, cancelled=cancelled, discarded=discarded)
        return exits.OK
    dropped = f" {count_of(cancelled, 'job')} cancelled, {discarded:,} discarded." if jobs else ""
    print(f"{queue} is deleted.{dropped}")
    return exits.OK


def _opened(inspector: Inspector, asked: Pause | Resume | Purge | Delete) -> Actions:
    existing_queue(inspector, asked.queue)
    return open_actions(inspector.client)


def _cancel_all(actions: Actions, asked: Purge) -> int:
    """Cancel slice by slice, so that the server is never kept busy for long; gives how many."""
    begun = actions.begin("purge", asked.queue, reason=asked.reason)
    cancelled = 0
    with long_work(f"cancelling in {asked.queue}", begun.total) as advance:
        for step in bulk.run(actions.client, begun, pause=0):
            advance(step.done - cancelled)
            cancelled = step.done
    return cancelled
