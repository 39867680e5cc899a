"""Commands for the control channel: what consumers report, and the control commands sent to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.store import keys, scripts
from conveyor.store.command import Command, block_on, push, readable

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds that a control command and its acknowledgements are kept.
CONTROL_KEEP = 60
#: Seconds that the last acknowledgement of each target is kept, and of how many targets and control commands.
LAST_KEEP, MAX_TARGETS, MAX_COMMANDS = 30 * 86400, 200, 1000
#: Seconds after its last report that a consumer counts as gone.
REPORT_KEEP = 20
#: Consumers that a reply names, those that reported last.
MAX_CONSUMERS = 1000


class LastSeen(NamedTuple):
    """When a consumer last reported: seconds since 1970, by its own host's clock."""

    name: str
    at: float


def report(consumer: str, data: bytes, at: float) -> Command:
    """Report what a consumer is doing; `at` is for sorting only."""
    words = (2, keys.consumer_key(consumer), keys.CONSUMERS, data, REPORT_KEEP, at, consumer)
    return Command(words, scripts.load_plain("report"))


def reports(names: Sequence[str]) -> Command:
    """Read the reports of consumers. Reply: bytes, or None for a consumer that is gone."""
    return Command(("MGET", *(keys.consumer_key(name) for name in names)))


def last_seen() -> Command:
    """List the consumers by the time of their last reports. Reply: `LastSeen`, the latest first; some may be gone."""

    def read(reply: Sequence[bytes]) -> list[LastSeen]:
        return [LastSeen(readable(name), float(at)) for name, at in zip(reply[::2], reply[1::2], strict=True)]

    return Command(("ZREVRANGE", keys.CONSUMERS, 0, MAX_CONSUMERS - 1, "WITHSCORES"), read=read)


def retire(consumer: str) -> list[Command]:
    """Remove a consumer that has exited or is gone from the list."""
    return [
        Command(("DEL", keys.consumer_key(consumer), keys.control_key(consumer))),
        Command(("ZREM", keys.CONSUMERS, consumer)),
    ]


def forget_silent(before: float) -> Command:
    """Remove consumers that last reported before `before`: killed ones do not do it themselves."""
    return Command(("ZREMRANGEBYSCORE", keys.CONSUMERS, "-inf", f"({before}"))


def send(consumer: str, data: bytes, *, optional: bool = False) -> Command:
    """Send a control command to a consumer's supervisor; if `optional`, only if it is permitted."""
    return push(keys.control_key(consumer), CONTROL_KEEP, data, optional=optional)


def await_command(consumer: str, seconds: float) -> Command:
    """Wait for a control command to this consumer. Reply: its bytes, or None."""
    return block_on([keys.control_key(consumer)], seconds)


def acknowledge(command: str, data: bytes, target: str, last_word: str) -> Command:
    """Acknowledge a control command for one target, and keep the last word for the audit trail."""
    names = (keys.reply_key(command), keys.answers_key(command), keys.ORDERS)
    kept = (target, last_word, LAST_KEEP, MAX_TARGETS, command, MAX_COMMANDS, keys.ANSWERS)
    return Command((3, *names, data, CONTROL_KEEP, *kept), scripts.load_plain("answer"))


def await_acknowledgement(command: str, seconds: float) -> Command:
    """Wait for one acknowledgement of a control command. Reply: its bytes, or None."""
    return block_on([keys.reply_key(command)], seconds)


def acknowledgements(command: str) -> Command:
    """Read the acknowledgements of a control command so far, and leave them there for others. Reply: bytes of each."""
    return Command(("LRANGE", keys.reply_key(command), 0, 499))
