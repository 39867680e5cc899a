"""What a command is, and how one is made that runs a script; commands.py and plain.py have the commands."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from conveyor.errors import StoreMismatch
from conveyor.store import keys, scripts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PROTOCOL = "2"


@dataclass(frozen=True, slots=True)
class Command:
    """What to send, and how to read the answer. May be sent twice without harm."""

    words: tuple[Any, ...]
    """A plain command; for a script the words after EVALSHA and the hash."""
    script: scripts.Script | None = None
    read: Callable[[Any], Any] = field(default=lambda reply: reply)
    block: float = 0.0
    """Seconds that the server may let us wait."""
    again: tuple[Any, ...] | None = None
    """The words to use when it is sent a second time, where they differ."""
    optional: bool = False
    """The server may refuse or not know it: `read` then gets None, and the others of its round trip go on."""
    confirms: bool = False
    """It waits for the writes before it on its connection; if it is refused for good, `read` gets the error."""
    leads: bool = False
    """What follows it in a round trip must not be done before it, even if the server does not know its script yet."""

    def resent(self) -> Command:
        """Return the command as it is sent once an answer to it may have been lost."""
        return self if self.again is None else replace(self, words=self.again)


def script(name: str, queue: str, *args: Any, read: Callable[[Any], Any] | None = None) -> Command:
    """Give the command that runs a verb's script on a queue; unless told, its answer is the word it gives."""
    return Command(words(queue, args), scripts.load(name), read or word)


def words(queue: str, args: Iterable[Any]) -> tuple[Any, ...]:
    """Give the words of a script: the queue's keys, and the arguments."""
    names = keys.queue_keys(queue)
    return (len(names), *names, *args)


def word(reply: Sequence[bytes]) -> str:
    """Read an answer that is one word."""
    return checked(reply[0].decode())


def number(reply: Sequence[Any]) -> int:
    """Read an answer that is a word and a number."""
    checked(reply[0].decode())
    return int(reply[1])


def checked(answer: str) -> str:
    """Give back a script's word; raises StoreMismatch where it says that the queue is another version's."""
    if answer == "VERSION":
        message = f"this queue was written by another protocol version than {PROTOCOL}"
        raise StoreMismatch(message, hint="use the same version of conveyor for all who share a server")
    return answer


def texts(items: Iterable[bytes]) -> list[str]:
    """Read texts."""
    return [item.decode() for item in items]


def milliseconds(seconds: float) -> int:
    """Give whole milliseconds for the wire."""
    return int(seconds * 1000)
