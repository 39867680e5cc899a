"""The command: what to send to the server and how to read the reply, as a value. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from conveyor.errors import StoreMismatch
from conveyor.store import keys, scripts

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

PROTOCOL = "2"
#: Nothing to do while the server works.
NOTHING: Iterator[object] = iter(())


def _as_is(reply: Any) -> Any:
    return reply


class Command(msgspec.Struct, frozen=True):
    """What to send, and how to read the reply. Sending it twice does no harm."""

    words: tuple[Any, ...]
    """A plain command or, with a script, the words after EVALSHA and the hash."""
    script: scripts.Script | None = None
    read: Callable[[Any], Any] = _as_is
    block: float = 0.0
    """Seconds that the server may block."""
    again: tuple[Any, ...] | None = None
    """The words to send the second time, if they differ."""
    optional: bool = False
    """If the server forbids or does not know it, `read` gets None, and the rest of the round trip continues."""
    confirms: bool = False
    """It waits for the earlier writes of its connection. If it is refused for good, `read` gets the error."""
    leads: bool = False
    """The rest of the round trip must not overtake it, even if the server has yet to load its script."""

    def resent(self) -> Command:
        """Return the command to send after a reply may have been lost."""
        return self if self.again is None else msgspec.structs.replace(self, words=self.again)


class Exchange(NamedTuple):
    """Commands to run in one round trip, and how long that may take."""

    commands: Sequence[Command]
    within: float | None = None
    """Max seconds of the whole exchange; None for the client's limit."""
    patience: float | None = None
    """Seconds for which it is repeated while the server is unavailable; None for the client's."""
    meanwhile: Iterator[object] = NOTHING
    """One step of this is taken while the server works."""


#: An operation yields exchanges, and receives the replies of each. Or it yields a function that may block, for what is
#: rarely needed, and receives its value. A client performs it, and raises in it what an exchange raises. Thus waiting
#: for room, for a job or for the end is written once, for callers that block and for asyncio.
Operation = Generator[Exchange | Callable[[], object], Any, T]


def script(name: str, queue: str, *args: Any, read: Callable[[Any], Any] | None = None) -> Command:
    """Return the command that runs a verb's script on a queue. Without `read`, the reply is the script's word."""
    return Command(words(queue, args), scripts.load(name), read or word)


def words(queue: str, args: Iterable[Any]) -> tuple[Any, ...]:
    """Return the words of a script: the key from which it derives the queue's others, and the arguments."""
    return (1, keys.key(queue, "meta"), *args)


def block_on(lists: Sequence[str], seconds: float, *, once: bool = False) -> Command:
    """Block until one of the lists has an element. Reply: its bytes, or None.

    With `once` it does not block again after a lost reply: a command behind it may have an answer already.
    """
    seconds = max(seconds, 0.001)  # 0 would block forever
    first = ("BLPOP", *lists, f"{seconds:.3f}")
    again = ("BLPOP", *lists, "0.001") if once else None
    return Command(first, read=lambda reply: reply and reply[1], block=seconds, again=again)


def push(key: str, keep: int, *messages: bytes | str, optional: bool = False) -> Command:
    """Append messages to a list that expires after `keep` seconds, even if the server is full."""
    return Command((1, key, keep, *messages), scripts.load_plain("tell"), optional=optional)


def word(reply: Sequence[bytes]) -> str:
    """Read a reply that is one word."""
    return checked(reply[0].decode())


def number(reply: Sequence[Any]) -> int:
    """Read a reply that is a word and a number."""
    checked(reply[0].decode())
    return int(reply[1])


def checked(reply: str) -> str:
    """Return a script's word. Raises StoreMismatch if the queue has another version."""
    if reply == "VERSION":
        raise StoreMismatch(
            f"the queue has another protocol version than {PROTOCOL}",
            hint="use one version of conveyor in all programs that share a server",
        )
    return reply


def texts(items: Iterable[bytes]) -> list[str]:
    """Read strings."""
    return [item.decode() for item in items]


def readable(item: bytes) -> str:
    """Read a string for display: invalid UTF-8 is replaced, so that one bad record hides no other.

    Strings that commands use are decoded strictly instead, and refused if invalid.
    """
    return item.decode(errors="replace")


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, the unit of the protocol."""
    return int(seconds * 1000)
