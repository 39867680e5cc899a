"""The blocking client, which runs commands on connections, again while the server is unavailable."""

from __future__ import annotations

import contextlib
import os
import random
import re
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from conveyor import clock
from conveyor.errors import StoreDenied, StoreError, StoreFull, StoreRefused, StoreUnavailable
from conveyor.store.address import error_of, is_sentinel, normal, read_sentinel, read_server, shown
from conveyor.store.command import NOTHING, Command, Exchange
from conveyor.store.connection import BrokenError, Connection, Refusal, UntrustedError, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conveyor.clock import Deadline
    from conveyor.store.address import SentinelAddress, ServerAddress
    from conveyor.store.command import Operation
    from conveyor.wire.durability import Durability

T = TypeVar("T")

#: Seconds to wait for a connection, and for a reply beyond what the command may block.
CONNECT_TIMEOUT, ANSWER_TIMEOUT = 3.0, 10.0
#: Seconds to wait for a sentinel; there are others, and each new connection asks.
SENTINEL_TIMEOUT = 1.0
#: Seconds beyond the caller's own timeout after which a call to a hanging server fails.
GRACE = 0.2
#: Seconds for which a command is retried while the server is unavailable, and max seconds between two attempts: work
#: resumes within a second of the server's return.
PATIENCE, MAX_PAUSE = 15.0, 0.5
#: How often an unknown script is loaded, in case others flush it at the same time.
LOADS = 5
#: What the first word of a refusal means. Not here: the server is a replica now, or not up yet, and another one may
#: have its address. Not now: this server will serve the command soon. Any other is final.
NOT_HERE = frozenset({"READONLY", "MASTERDOWN", "LOADING", "UNBLOCKED", "CLUSTERDOWN"})
NOT_NOW = frozenset({"NOREPLICAS", "MISCONF", "BUSY", "TRYAGAIN"})
WRONG_PASSWORD = frozenset({"NOAUTH", "WRONGPASS"})
#: Hints for those that need an operator.
_HINTS = {
    "READONLY": "use the URL of the primary, or of its sentinels: sentinel://host,host/name",
    "NOREPLICAS": "check the server's replicas, or set min-replicas-to-write 0",
    "MISCONF": "check the server's disk and its log",
}

#: What follows in a refusal may be a password.
_ARGUMENTS = ", with args beginning"
_FORBIDDEN_COMMAND = re.compile(
    r"User (\S+) has no permissions to run the '([\w|-]+)' command", re.IGNORECASE
)
_MANUAL = "docs/running.md has the whole line"


def time_for(deadline: Deadline | None) -> float | None:
    """Return the seconds that a call may take if its caller waits until the deadline, or None for no limit."""
    if deadline is None or deadline.at is None:
        return None
    return deadline.left(float("inf")) + GRACE


def socket_timeout(end: Deadline, at_most: float) -> float:
    """Return the seconds until `end` as a timeout of a socket: never 0, which would mean not to wait at all."""
    return max(0.001, end.left(at_most))


class _TookLongError(Exception):
    """Making a connection, which is kept, took more time than its call has left."""


class Client:
    """Runs commands on one server, from any thread; each call borrows a connection of its own.

    Sending a command twice does no harm, so one without a reply, or with a temporary refusal, is sent again for
    `patience` seconds. A connection with an outstanding reply is never reused, and none is once the server turns out
    not to be the primary: each new one looks up the address again. `name` is their name in the server's list of
    clients. `within` limits each call in seconds, and `revive` restarts the server if it can. Thread-safe.
    """

    def __init__(
        self,
        url: str,
        *,
        patience: float = PATIENCE,
        within: float | None = None,
        revive: Callable[[float], object] | None = None,
        name: str = "conveyor",
    ) -> None:
        self.url, self.patience, self.within = normal(url), patience, within
        self.revive, self.name = revive, name
        #: Whether the server was checked (`store/fitness.py`); the embedded one is fit.
        self.vetted = revive is not None
        #: When the server was last able to provide a level of durability.
        self.levels: dict[Durability, float] = {}
        #: Whether its WAITAOF waits for a sync that is not done before each reply (`store/fitness.py`).
        self.waits_for_sync = False
        self.find = _finder(self.url)
        """Finds the server's address now; asks the sentinels, if it has any."""
        self._loaded: set[str] = set()
        self._idle: list[Connection] = []
        self._process, self._fork_lock = os.getpid(), threading.Lock()

    def __repr__(self) -> str:
        return f"<Client {shown(self.url)}>"

    def run(
        self,
        command: Command,
        *,
        patience: float | None = None,
        within: float | None = None,
        meanwhile: Iterator[object] = NOTHING,
    ) -> Any:
        """Run one command and return its reply. Raises StoreUnavailable, StoreRefused or what the command raises.

        One step of `meanwhile` is taken while the server works.
        """
        return command.read(self._replies((command,), patience, within, meanwhile)[0])

    def run_all(
        self, commands: Sequence[Command], *, patience: float | None = None, within: float | None = None
    ) -> list[Any]:
        """Run commands in one round trip and return their replies.

        `patience` limits retries in seconds, with time for at least one reply; `within` limits the whole call. Raises
        the first error after all commands have run.
        """
        replies = self._replies(commands, patience, within, NOTHING)
        return [command.read(reply) for command, reply in zip(commands, replies, strict=True)]

    def perform(self, operation: Operation[T]) -> T:
        """Run the exchanges of an operation, and return what it returns."""
        reply: Any = None
        error: BaseException | None = None
        while True:
            try:
                asked = operation.send(reply) if error is None else operation.throw(error)
            except StopIteration as end:
                value: T = end.value
                return value
            error = None
            try:
                reply = self._run_exchange(asked) if isinstance(asked, Exchange) else asked()
            except BaseException as raised:  # noqa: BLE001 - the operation decides
                error = raised

    def _run_exchange(self, asked: Exchange) -> list[Any]:
        commands, within, patience, meanwhile = asked
        if len(commands) == 1:
            return [self.run(commands[0], patience=patience, within=within, meanwhile=meanwhile)]
        return self.run_all(commands, patience=patience, within=within)

    def close(self) -> None:
        """Close the idle connections."""
        with contextlib.suppress(IndexError):  # another thread may take the last one
            while self._idle:
                self._idle.pop().disconnect()

    def _replies(
        self,
        commands: Sequence[Command],
        patience: float | None,
        within: float | None,
        meanwhile: Iterator[object],
    ) -> list[Any]:
        """Send and receive, again while the server is unavailable and patience lasts."""
        attempts = Attempts(self, commands, patience, within)
        while True:
            try:
                return self._once(commands, again=attempts.failed > 0, end=attempts.end, meanwhile=meanwhile)
            except _TookLongError:
                raise StoreUnavailable(
                    f"connecting to the server at {shown(self.url)} took all the time",
                    hint="allow more time, or try again: the next call uses this connection",
                ) from None
            except StoreUnavailable:
                pause = attempts.pause()
                if pause is None:
                    raise
                self.revive_server(attempts.left)
                clock.sleep(pause)

    def revive_server(self, within: float) -> None:
        """Restart the server if that is possible, or else do nothing."""
        if self.revive is not None:
            with contextlib.suppress(StoreError, OSError):  # such as too many open files
                self.revive(within)

    def _once(
        self, commands: Sequence[Command], *, again: bool, end: Deadline, meanwhile: Iterator[object]
    ) -> list[Any]:
        connection = self.borrow(end)
        ahead = _loads(connection.loaded, commands) if len(commands) > 1 else []
        sent = [*ahead, *commands] if ahead else commands
        try:
            send(connection, sent, again=again, end=end)
            next(meanwhile, None)
            replies = receive(connection, sent, again=again, end=end)[len(ahead) :]
        except OSError as error:
            connection.disconnect()
            self.close()  # the others broke with it, and each would cost a retry
            raise self.translated(error) from error
        except BaseException:
            connection.disconnect()
            raise
        refusals = [reply for reply in replies if isinstance(reply, Refusal)]
        if not refusals:
            self.give_back(connection)
            return replies
        if leads_elsewhere(refusals):
            connection.disconnect()
            self.close()  # they lead to the same server
        else:
            self.give_back(connection)
        return self.judged(commands, replies)

    def judged(self, commands: Sequence[Command], replies: list[Any]) -> list[Any]:
        """Return the replies, None to what is optional and forbidden. Raises the first other refusal, translated."""
        replies = [none_if_forbidden(*one) for one in zip(commands, replies, strict=True)]
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, Refusal) and not (command.confirms and _is_final(reply)):
                raise self.translated(reply) from reply
        return replies

    def give_back(self, connection: Connection) -> None:
        """Return a borrowed connection without an outstanding reply."""
        self._idle.append(connection)

    def borrow(self, end: Deadline | None) -> Connection:
        """Return an idle connection, or a new one. Raises StoreUnavailable, or StoreRefused for wrong credentials."""
        if self._process != os.getpid():  # after a fork the parent keeps using its connections
            with self._fork_lock:
                if self._process != os.getpid():
                    self._idle, self._process = [], os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            pass
        began = clock.monotonic()
        connection = self.connection(end)
        took = clock.monotonic() - began
        if end is not None and end.left(took) < took:  # the reply may take as long
            self._idle.append(connection)
            raise _TookLongError
        return connection

    def connection(self, end: Deadline | None = None) -> Connection:
        """Make a dedicated connection. Raises StoreUnavailable, or StoreRefused for wrong credentials."""
        try:
            made = Connection(
                self.find(end), self.name, connect=CONNECT_TIMEOUT, answer=ANSWER_TIMEOUT, end=end
            )
        except (Refusal, OSError) as error:
            raise self.translated(error) from error
        self._loaded.clear()  # it may be another server, or one without them
        made.loaded = self._loaded
        return made

    def translated(self, error: Exception) -> StoreError:
        """Translate an error of a connection, or a refusal."""
        word, text = word_of(error), str(error).rstrip(".")
        if word in NOT_HERE or word in NOT_NOW:
            return StoreUnavailable(
                f"the server at {shown(self.url)} is not ready: {text}",
                hint=_HINTS.get(word, "wait: it should recover without help"),
            )
        if _is_wrong_password(error) or is_denial(text):
            return self._refused(text, grant_hint(text), StoreDenied)
        if isinstance(error, UntrustedError):
            hint = "name the file of its authority: …?ssl_ca_certs=/path/ca.pem; the certificate must name the host"
            return StoreRefused(f"no connection to the server at {shown(self.url)}: {text}", hint=hint)
        if isinstance(error, OSError):
            return StoreUnavailable(
                f"no reply from the server at {shown(self.url)}: {reason_of(error).lower()}",
                hint="check that it runs and that the URL is right; see `conveyor doctor`",
            )
        if "OOM" in text:
            hint = "process waiting jobs to free memory, or raise maxmemory"
            return self._refused(text, hint, StoreFull)
        return self._refused(text, "check the server with `conveyor doctor`")

    def _refused(self, text: str, hint: str, kind: type[StoreRefused] = StoreRefused) -> StoreRefused:
        text = text.partition(_ARGUMENTS)[0]
        return kind(f"the server at {shown(self.url)} refused: {text}", hint=hint)


class Attempts:
    """The attempts to run commands: until when, and the pauses between them."""

    __slots__ = ("_until", "end", "failed", "left")

    def __init__(
        self, client: Client, commands: Sequence[Command], patience: float | None, within: float | None
    ) -> None:
        patience = client.patience if patience is None else patience
        within = client.within if within is None else within
        if within is None:
            within = max(patience, ANSWER_TIMEOUT + GRACE + max([one.block for one in commands], default=0.0))
        self.end = clock.Deadline(within)
        self.failed = 0
        self.left = 0.0
        """Seconds that were left for further attempts at the last failure."""
        self._until = clock.monotonic() + patience

    def pause(self) -> float | None:
        """Count a failed attempt, and return the seconds until the next one, or None if there is no more time."""
        self.failed += 1
        pause = min(MAX_PAUSE, 0.02 * 2**self.failed) * random.SystemRandom().uniform(0.5, 1.0)
        self.left = self.end.left(self._until - clock.monotonic())
        return None if self.left < pause else pause


def leads_elsewhere(refusals: Sequence[Refusal]) -> bool:
    """Return True if the server is not the primary, or not up, so that a new connection may lead to another one."""
    return not NOT_HERE.isdisjoint(map(word_of, refusals))


def reason_of(error: Exception) -> str:
    """Return why a connection failed, for people."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def none_if_forbidden(command: Command, reply: Any) -> Any:
    """Return the reply to a command, or None if it is optional and forbidden or unknown."""
    if not command.optional or not isinstance(reply, Refusal):
        return reply
    is_unknown = str(reply).lower().startswith("unknown command")  # hosted servers remove CONFIG
    return None if is_unknown or is_denial(str(reply)) else reply


def is_denial(refusal: str) -> bool:
    """Return True if the server refused for lack of rights, be it the command or one within its script."""
    return "no permissions" in refusal.lower()


def grant_hint(refusal: str) -> str:
    """Return a hint on which rights to grant to the server's user."""
    if found := _FORBIDDEN_COMMAND.search(refusal):
        return f"grant it: ACL SETUSER {found[1]} +{found[2]}; {_MANUAL}"
    if is_denial(refusal):
        return f"grant the user Conveyor's keys: ACL SETUSER … ~conveyor:*; {_MANUAL}"
    return "put user and password into the URL, and grant the user the rights named in docs/running.md"


def word_of(error: object) -> str:
    """Return the first word of a server's refusal, or "" for another error."""
    return error.word if isinstance(error, Refusal) else ""


def _is_wrong_password(error: Exception) -> bool:
    """Return True if the server does not know the user or the password, has no passwords, or wants one."""
    return word_of(error) in WRONG_PASSWORD or "without any password configured" in str(error)


def _is_final(refusal: Exception) -> bool:
    """Return True if sending the command again would not help."""
    return word_of(refusal) not in NOT_HERE | NOT_NOW


class Listener:
    """A dedicated connection for commands that block. A reply is due once the file descriptor is readable."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._connection: Connection | None = None
        self._asked: Command | None = None

    def fileno(self) -> int:
        """Return the file descriptor to wait on, or -1 while no reply is due."""
        return -1 if self._connection is None or self._asked is None else self._connection.fileno()

    def ask(self, command: Command) -> None:
        """Send a command. Raises StoreUnavailable."""
        if self._connection is None:
            self._connection = self.client.connection(self._end())
        self._asked = command
        try:
            send(self._connection, [command], end=self._end())
        except OSError as error:
            raise self._broken(error) from error

    def reply(self) -> Any:
        """Read the reply to the command. Raises StoreUnavailable."""
        assert self._connection is not None
        assert self._asked is not None
        try:
            reply = receive(self._connection, [self._asked], end=self._end())[0]
        except OSError as error:
            raise self._broken(error) from error
        if isinstance(reply, Refusal):
            raise self._broken(reply) from reply
        command, self._asked = self._asked, None
        return command.read(reply)

    def _end(self) -> Deadline | None:
        """Return when a call must end by the client's limit; waiting for the reply is the caller's job."""
        return None if self.client.within is None else clock.Deadline(self.client.within)

    def _broken(self, error: Exception) -> StoreError:
        """Disconnect, also the client's idle connections, which lead to the same server; translate the error."""
        self.close()
        self.client.close()
        return self.client.translated(error)

    def close(self) -> None:
        """Disconnect."""
        self._asked = None
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None


class Pipeline:
    """Sends commands without waiting for their replies, so that the server works on them while the caller goes on."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.unread: list[Command] = []
        """Commands that were sent, or could not be, and whose replies were not read."""
        self._sent: list[Command] = []  # these, and what loads their scripts
        self._connection: Connection | None = None

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands. Whether that failed shows in `replies`."""
        is_first = not self.unread
        self.unread += commands
        try:
            if is_first:
                self._connection = self.client.borrow(clock.Deadline(ANSWER_TIMEOUT))
            if self._connection is not None:
                # Whether a script is unknown would show only when the replies are read.
                sent = [*unloaded(self._connection.loaded, commands), *commands]
                self._sent += sent
                send(self._connection, sent)
        except (OSError, StoreError, _TookLongError):
            self.drop()

    def replies(self, within: float = ANSWER_TIMEOUT) -> tuple[list[tuple[Command, Any]], list[Command]]:
        """Return the commands with their replies, and those without one, which have to be sent again.

        `within` is for each reply, in seconds.
        """
        unread, sent = self.unread, self._sent
        self.unread, self._sent = [], []
        found: list[tuple[Command, Any]] = []
        if self._connection is None:
            return found, unread
        try:
            for command in sent:
                reply = self._connection.reply(within + command.block)
                if isinstance(reply, Refusal):  # the caller sends it again, and learns what to do about it
                    self.drop()
                    break
                if command.script is not None or command.words[0] != "SCRIPT":
                    found.append((command, command.read(reply)))
            else:
                self.client.give_back(self._connection)
                self._connection = None
        except (OSError, StoreError):
            self.drop()
        return found, unread[len(found) :]

    def drop(self) -> None:
        """Close the connection: what was sent on it is uncertain."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None


def _loads(loaded: set[str], commands: Sequence[Command]) -> list[Command]:
    """Load the scripts of commands that nothing may overtake, and of those in front of a command that blocks.

    An unknown script would be sent once more, behind the others, and after the block.
    """
    texts = [one.script.text for one in commands[:-1] if one.leads and one.script]
    last_block = max((place for place, one in enumerate(commands) if one.block), default=0)
    return [Command(("SCRIPT", "LOAD", one)) for one in texts] + unloaded(loaded, commands[:last_block])


def unloaded(loaded: set[str], commands: Sequence[Command]) -> list[Command]:
    """Load the scripts that are not among the loaded ones: in front of a script, not once it is refused."""
    found = {one.script.sha: one.script.text for one in commands if one.script}
    unknown = found.keys() - loaded
    loaded |= unknown
    return [Command(("SCRIPT", "LOAD", found[sha])) for sha in unknown]


def send(
    connection: Connection, commands: Sequence[Command], *, again: bool = False, end: Deadline | None = None
) -> None:
    """Send commands on one connection without waiting for the replies."""
    data = b"".join([packed(command, again=again) for command in commands])
    connection.send(data, _timeout(0.0, end))  # a server that hangs stops reading, too


def receive(
    connection: Connection, commands: Sequence[Command], *, again: bool = False, end: Deadline | None = None
) -> list[Any]:
    """Read the raw replies to what was sent; load unknown scripts and send them again."""
    replies = [connection.reply(_timeout(command.block, end), soon=not command.block) for command in commands]
    was_loaded = False
    for place, command in enumerate(commands):
        if isinstance(replies[place], Refusal) and replies[place].word == "NOSCRIPT":
            connection.loaded.clear()
            replies[place], was_loaded = _run_loaded(connection, command, again=again, end=end), True
        elif command.confirms and was_loaded:  # it ran before the script, so it waited for nothing
            send(connection, [command], again=again, end=end)
            replies[place] = connection.reply(_timeout(command.block, end))
    return replies


def packed(command: Command, *, again: bool) -> bytes:
    """Return a command as it is sent, the first time or again."""
    script, words = command.script, command.again if again and command.again is not None else command.words
    return pack(words if script is None else ("EVALSHA", script.sha, *words))


def _timeout(block: float, end: Deadline | None) -> float:
    """Return the seconds to wait for a reply to what may block."""
    longest = block + ANSWER_TIMEOUT
    return longest if end is None else socket_timeout(end, longest)


def _run_loaded(connection: Connection, command: Command, *, again: bool, end: Deadline | None) -> Any:
    assert command.script is not None
    load = pack(("SCRIPT", "LOAD", command.script.text))
    for _ in range(LOADS):
        connection.send(load + packed(command, again=again), _timeout(0.0, end))
        loaded, reply = connection.reply(_timeout(0.0, end)), connection.reply(_timeout(command.block, end))
        if isinstance(loaded, Refusal) or word_of(reply) != "NOSCRIPT":
            break
    return loaded if isinstance(loaded, Refusal) else reply


class Sentinels:
    """The sentinels of a URL, asked one after the other for the primary; those that failed come last the next time."""

    def __init__(self, place: SentinelAddress) -> None:
        self.service = place.service
        self._addresses = [read_server(url) for url in place.sentinels]

    def primary(self, end: Deadline | None) -> tuple[str, int]:
        """Return host and port of the primary. Raises OSError, or Refusal if all refuse the password."""
        errors: list[Exception] = []
        for address in self._addresses:
            try:
                found = self._ask(address, end)
            except (Refusal, OSError) as error:
                errors.append(error)
            else:
                if found is not None:
                    return found[0].decode(), int(found[1])
                errors.append(Refusal("unknown name of a primary"))
            # Move it to the back, or a caller with little time would ask the same hung one each time.
            self._addresses = [*(one for one in self._addresses if one is not address), address]
            if end is not None and end.passed():
                break
        if all(map(_hopeless, errors)):
            raise errors[-1]
        reasons = sorted({reason_of(error).partition(_ARGUMENTS)[0] for error in errors})
        raise BrokenError(f"no sentinel knows the primary {self.service!r}: {'; '.join(reasons)}")

    def _ask(self, address: ServerAddress, end: Deadline | None) -> Any:
        connection = Connection(address, "", connect=SENTINEL_TIMEOUT, answer=SENTINEL_TIMEOUT, end=end)
        try:
            timeout = SENTINEL_TIMEOUT if end is None else socket_timeout(end, SENTINEL_TIMEOUT)
            connection.send(pack(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)), timeout)
            reply = connection.reply(timeout)
        finally:
            connection.disconnect()
        if isinstance(reply, Refusal):
            raise reply
        return reply


def _hopeless(error: Exception) -> bool:
    """Return True if waiting does not help: a wrong password or an untrusted certificate."""
    return isinstance(error, UntrustedError) or _is_wrong_password(error)


def _finder(url: str) -> Callable[[Deadline | None], ServerAddress]:
    """Return the function that finds the address of a URL: redis, rediss, unix or sentinel."""
    try:
        place = read_sentinel(url) if is_sentinel(url) else None
        sentinels = Sentinels(place) if place else None
        address = read_server(place.server if place else url)
    except ValueError as error:
        reason, hint = error_of(url, error)
        raise StoreRefused(f"invalid server URL {shown(url)!r}: {reason}", hint=hint) from None

    def find(end: Deadline | None) -> ServerAddress:
        if sentinels is None:
            return address
        host, port = sentinels.primary(end)
        return address._replace(host=host, port=port)

    return find
