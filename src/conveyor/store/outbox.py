"""What jobs of several queues tell each other: messages that a script leaves in its queue's outbox, carried over here.

A script touches the keys of one queue only, since queues may be on several nodes. So an end, a hook, or a job that
comes after one of another queue, becomes a message in the same atomic step. The producer carries them over behind its
put, and who cancels jobs behind that; and so does any worker whose claim says that there are some, or that leaves.
Each may arrive twice, which does no harm, and is removed only after it has arrived.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from conveyor import clock
from conveyor.errors import StoreError
from conveyor.store import commands
from conveyor.store.command import Exchange
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.command import Command, Operation
    from conveyor.store.commands import Message

#: Max seconds for one exchange; the next claim tries again.
WITHIN = 2.0
#: Max seconds that one call takes from its worker's jobs.
MOMENT = 0.25
#: Seconds for which other messages come before one that was refused.
POSTPONED = 60.0
#: Slices in one round trip.
AT_ONCE = 16
#: The outcome of a job that its queue does not know.
_GONE = encode_settled("gone")


def deliver(queue: str) -> Operation[int]:
    """Carry over the first messages of a queue's outbox. Return how many. Raises StoreError."""
    # Ends whose followers are still to be told become messages first, also in a queue without claims.
    _, messages = yield Exchange((commands.promote(queue), commands.outbox(queue)), WITHIN, 0.0)
    if not messages:
        return 0
    new = {one.queue for one in messages if one.verb == "hook"}
    try:
        replies = yield Exchange([*map(_command, messages), *map(commands.note_queue, new)], WITHIN, 0.0)
    except StoreError:
        messages, replies = yield from _deliver_each(queue, messages)
    over = [
        commands.go_on(queue, _ids(one.source), f"{one.queue} {one.id}", reply.outcome or _GONE)
        for one, reply in zip(messages, replies, strict=False)
        if one.verb == "follow" and not reply.waits
    ]
    if over:  # the job before has ended already
        yield Exchange(over, WITHIN, 0.0)
    if messages:
        yield Exchange((commands.delivered(queue, messages),), WITHIN, 0.0)
    return len(messages)


def _deliver_each(queue: str, messages: Sequence[Message]) -> Operation[tuple[list[Message], list[Any]]]:
    """Carry over messages one by one. Return those that have arrived, with the replies; the others come later.

    Raises StoreError if the server is unavailable.
    """
    arrived: list[Message] = []
    replies: list[Any] = []
    refused: list[Message] = []
    for one in messages:
        try:
            replies += yield Exchange((_command(one),), WITHIN, 0.0)
            arrived.append(one)
        except StoreError:
            if not (arrived or refused):  # the first: the server may have gone
                yield Exchange((commands.server_time(),), WITHIN, 0.0)
            refused.append(one)
    if refused:
        yield Exchange([commands.postpone(queue, one, POSTPONED) for one in refused], WITHIN, 0.0)
    return arrived, replies


def deliver_soon(queue: str) -> Operation[None]:
    """Carry over messages for a moment; after that, or on an error, the next claim does it."""
    moment = clock.Deadline(MOMENT)
    with contextlib.suppress(StoreError):
        while (yield from deliver(queue)) and not moment.passed():
            pass


def deliver_last(queues: Sequence[str]) -> Operation[None]:
    """Carry over messages of queues for a moment each, before their consumer leaves."""
    with contextlib.suppress(StoreError):
        found = yield Exchange([commands.outbox(queue, most=1) for queue in queues], WITHIN, 0.0)
        for queue, messages in zip(queues, found, strict=True):
            if messages:
                yield from deliver_soon(queue)


def note_soon(queue: str, many: Sequence[int]) -> Operation[None]:
    """Note the jobs that come before others, of which a put notes the first; on an error, a consumer does it."""
    slices = sum(-(-count // commands.MAX_NOTED) for count in many)
    with contextlib.suppress(StoreError):
        while slices > 0:
            yield Exchange([commands.promote(queue)] * min(slices, AT_ONCE), WITHIN, 0.0)
            slices -= AT_ONCE


def _command(message: Message) -> Command:
    if message.verb == "hook":
        return commands.hook(message.queue, message.id, message.source, message.outcome)
    if message.verb == "follow":
        of_queue = message.source.partition(" ")[0]
        return commands.follow(message.queue, message.id, of_queue, _ids(message.source), message.outcome)
    return commands.go_on(message.queue, _ids(message.id), message.source, message.outcome)


def _ids(text: str) -> list[str]:
    """Return the ids of a message, with or without their queue."""
    return text.rpartition(" ")[2].split(",")
