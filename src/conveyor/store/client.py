"""The blocking client: runs commands. Only this module knows the Redis library; its errors become ours here."""

from __future__ import annotations

import contextlib
import os
import random
import ssl
import threading
from typing import TYPE_CHECKING, Any, cast

import hiredis
import redis
from redis import exceptions as foreign

from conveyor import clock
from conveyor.errors import StoreDenied, StoreError, StoreFull, StoreRefused, StoreUnavailable
from conveyor.store import acl, timeouts
from conveyor.store.address import fault_of, is_sentinel, normal, read_sentinel, shown
from conveyor.store.command import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.connection import AbstractConnection

    from conveyor.clock import Deadline
    from conveyor.store.address import SentinelAddress
    from conveyor.wire.durability import Durability

#: Seconds to wait for a connection, and for an answer beyond what the command may block.
CONNECT_TIMEOUT, ANSWER_TIMEOUT = 3.0, 10.0
#: Seconds to wait for a sentinel; there are others, and each new connection asks.
SENTINEL_TIMEOUT = 1.0
#: Seconds that a command is tried again for while the server does not answer; seconds between two tries, at most: work
#: goes on within a second of the server's return.
PATIENCE, LONGEST_PAUSE = 15.0, 0.5
#: How often a script is loaded that the server does not know, should others make it forget all at the same time.
LOADS = 5
#: What the first word of a refusal means. Not here: the server is a replica now, or not up yet, and another one may be
#: behind the address. Not now: this server does it soon. Any other is for good.
NOT_HERE = frozenset({"READONLY", "MASTERDOWN", "LOADING", "UNBLOCKED", "CLUSTERDOWN"})
NOT_NOW = frozenset({"NOREPLICAS", "MISCONF", "BUSY", "TRYAGAIN"})
#: What to do about those that need somebody.
_HINTS = {
    "READONLY": "use the address of the primary, or those of its sentinels: sentinel://host,host/name",
    "NOREPLICAS": "look at the server's replicas, or set min-replicas-to-write 0",
    "MISCONF": "look at the server's disk and its log",
}

_NUMBERS = frozenset({bool, int, float})

#: What the library and the system raise if a connection cannot be used any more.
_BROKEN = (foreign.ConnectionError, foreign.TimeoutError, OSError)


class _TookLongError(Exception):
    """A connection was made, and is kept, but took more time than its call has left."""


class Client:
    """Runs commands on one server, from any thread; each call borrows a connection of its own.

    Every command may be sent twice without harm, so one that got no answer, or was refused only for the moment, is sent
    again for `patience` seconds. A connection with an answer still to come is never reused, and none of them after the
    server has turned out not to be the primary: each new one looks the address up again. `name` is what the server's
    list of clients calls them.
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
        #: Whether the server was looked at (`store/fitness.py`); the embedded one is as it must be.
        self.vetted = revive is not None
        #: When the server was last able to give a level of durability.
        self.levels: dict[Durability, float] = {}
        #: Whether its WAITAOF waits for a sync that is not done before each answer (`store/fitness.py`).
        self.waits_for_sync = False
        self._make = _maker(self.url, name)
        self._idle: list[AbstractConnection] = []
        self._process, self._fork_lock = os.getpid(), threading.Lock()

    def __repr__(self) -> str:
        return f"<Client {shown(self.url)}>"

    def run(self, command: Command, *, patience: float | None = None, within: float | None = None) -> Any:
        """Run one command and give its answer; raises StoreUnavailable, StoreRefused or what the command raises."""
        return self.run_all((command,), patience=patience, within=within)[0]

    def run_all(
        self, commands: Sequence[Command], *, patience: float | None = None, within: float | None = None
    ) -> list[Any]:
        """Run commands in one round trip and give their answers; the first error is raised after all have run.

        `patience` bounds how long it is tried again, with time for at least one answer; `within` bounds the call.
        """
        replies = self._replies(commands, patience, within)
        return [command.read(reply) for command, reply in zip(commands, replies, strict=True)]

    def close(self) -> None:
        """Close the connections that are not in use."""
        with contextlib.suppress(IndexError):  # another thread may take the last one
            while self._idle:
                self._idle.pop().disconnect()

    def _replies(
        self, commands: Sequence[Command], patience: float | None, within: float | None
    ) -> list[Any]:
        """Send and receive; again and again while the server does not answer and patience lasts."""
        patience = self.patience if patience is None else patience
        within = self.within if within is None else within
        if within is None:
            within = max(
                patience, ANSWER_TIMEOUT + timeouts.GRACE + max([one.block for one in commands], default=0.0)
            )
        deadline, end = clock.Deadline(patience), clock.Deadline(within)
        attempt = 0
        while True:
            try:
                return self._once(commands, again=attempt > 0, end=end)
            except _TookLongError:
                message = f"no time was left after the connection to the server at {shown(self.url)} was made"
                hint = "allow more time, or try again: the next call uses this connection"
                raise StoreUnavailable(message, hint=hint) from None
            except StoreUnavailable:
                attempt += 1
                pause = min(LONGEST_PAUSE, 0.02 * 2**attempt) * random.SystemRandom().uniform(0.5, 1.0)
                if deadline.left(pause) < pause or end.left(pause) < pause:
                    raise
                if self.revive is not None:
                    with contextlib.suppress(StoreError, OSError):  # such as too many open files
                        self.revive(end.left(deadline.left(within)))
                clock.sleep(pause)

    def _once(self, commands: Sequence[Command], *, again: bool, end: Deadline) -> list[Any]:
        connection = self._borrow(end)
        ahead = _lessons(commands)
        try:
            replies = exchange(connection, [*ahead, *commands], again=again, end=end)[len(ahead) :]
        except _BROKEN as error:
            connection.disconnect()
            self.close()  # the others were cut with it, and each would cost another try
            raise self.translated(error) from error
        except BaseException:
            connection.disconnect()
            raise
        refusals = [reply for reply in replies if isinstance(reply, Exception)]
        if refusals and not NOT_HERE.isdisjoint(map(_word, refusals)):
            connection.disconnect()
            self.close()  # they lead to the same server
        else:
            self._idle.append(connection)
        if refusals:
            replies = [acl.spared(*one) for one in zip(commands, replies, strict=True)]
            for command, reply in zip(commands, replies, strict=True):
                if isinstance(reply, Exception) and not (command.confirms and _is_final(reply)):
                    raise self.translated(reply) from reply
        return replies

    def _borrow(self, end: Deadline | None) -> AbstractConnection:
        if self._process != os.getpid():  # after a fork the parent goes on using its connections
            with self._fork_lock:
                if self._process != os.getpid():
                    self._idle, self._process = [], os.getpid()
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        began = clock.monotonic()
        connection = self.connection(end)
        took = clock.monotonic() - began
        if end is not None and end.left(took) < took:  # for the reply may take as long
            self._idle.append(connection)
            raise _TookLongError
        return connection

    def connection(self, end: Deadline | None = None) -> AbstractConnection:
        """Make a connection for the caller alone; raises StoreUnavailable, or StoreRefused for wrong credentials."""
        try:
            return self._make(end)
        except (foreign.RedisError, OSError) as error:
            raise self.translated(error) from error

    def translated(self, error: Exception) -> StoreError:
        """Give the library's error as ours."""
        word, text = _word(error), str(error).rstrip(".")
        if word in NOT_HERE or word in NOT_NOW:
            message = f"the server at {shown(self.url)} is not ready: {text}"
            return StoreUnavailable(
                message, hint=_HINTS.get(word, "it may take a while; nothing has to be done")
            )
        # To the library a ConnectionError; waiting does not help.
        if isinstance(error, foreign.AuthenticationError | foreign.NoPermissionError) or acl.is_denial(text):
            return self._refused(text, acl.to_grant(text), StoreDenied)
        if isinstance(error, _BROKEN):
            return self._unavailable(error)
        if isinstance(error, foreign.OutOfMemoryError) or "OOM" in text:
            hint = "process waiting jobs to free memory, or raise maxmemory"
            return self._refused(text, hint, StoreFull)
        return self._refused(text, "`conveyor doctor` tells what is wrong with the server")

    def _unavailable(self, error: Exception) -> StoreError:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ssl.SSLCertVerificationError):
            hint = "name the file of its authority: …?ssl_ca_certs=/path/ca.pem; the certificate must name the host"
            return self._refused(f"its certificate is not trusted: {cause.verify_message}", hint)
        reason = (cause.strerror if isinstance(cause, OSError) else None) or str(error)
        hint = "is it running, and is the address right? `conveyor doctor` looks closer"
        message = f"no answer from the server at {shown(self.url)}: {reason.lower()}"
        return StoreUnavailable(message, hint=hint)

    def _refused(self, text: str, hint: str, kind: type[StoreRefused] = StoreRefused) -> StoreRefused:
        text = text.partition(", with args beginning")[0]  # they may be a password
        return kind(f"the server at {shown(self.url)} refused: {text}", hint=hint)


def _word(error: Exception) -> str:
    """Return the first word of a server's refusal; the library takes those that it knows off the text."""
    return getattr(error, "status_code", None) or str(error).partition(" ")[0]


def _is_final(refusal: Exception) -> bool:
    """Return True if sending the command again would not help."""
    return _word(refusal) not in NOT_HERE | NOT_NOW


def _greet(connection: Any) -> None:
    """Begin a connection with the user, the database and the name in one round trip; the library takes five."""
    connection._parser.on_connect(connection)  # noqa: SLF001 - as the library's own greeting begins
    password, name = connection.password or "", connection.client_name
    told: list[tuple[str, ...]] = []
    if connection.username or password:
        told.append(("AUTH", *([connection.username] if connection.username else []), password))
    if connection.db:
        told.append(("SELECT", str(connection.db)))
    if name:
        told.append(("CLIENT", "SETNAME", name))
    packed = b"".join([hiredis.pack_command(cast("Any", words)) for words in told])
    connection.send_packed_command([packed], check_health=False)
    for _ in told:
        connection.read_response()


class Listener:
    """A connection of its own for commands that block: sent now, answered when its file number becomes readable."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._connection: AbstractConnection | None = None
        self._asked: Command | None = None

    def fileno(self) -> int:
        """Give the number to wait on; -1 while nothing is asked."""
        socket = getattr(self._connection, "_sock", None)
        return -1 if socket is None or self._asked is None else int(socket.fileno())

    def ask(self, command: Command) -> None:
        """Send a command; raises StoreUnavailable."""
        if self._connection is None:
            self._connection = self.client.connection(self._end())
        self._asked = command
        try:
            send(self._connection, [command])
        except _BROKEN as error:
            raise self._broken(error) from error

    def answer(self) -> Any:
        """Read the answer to what was asked; raises StoreUnavailable."""
        assert self._connection is not None
        assert self._asked is not None
        try:
            reply = receive(self._connection, [self._asked], end=self._end())[0]
        except _BROKEN as error:
            raise self._broken(error) from error
        if isinstance(reply, Exception):
            raise self._broken(reply) from reply
        command, self._asked = self._asked, None
        return command.read(reply)

    def _end(self) -> Deadline | None:
        """Return when a call must be over, as the client says; an answer is waited for elsewhere."""
        return None if self.client.within is None else clock.Deadline(self.client.within)

    def _broken(self, error: Exception) -> StoreError:
        """Hang up, with the client's idle connections, which lead to the same server; give the error as ours."""
        self.close()
        self.client.close()
        return self.client.translated(error)

    def close(self) -> None:
        """Hang up."""
        self._asked = None
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None


def _lessons(commands: Sequence[Command]) -> list[Command]:
    """Return what loads the scripts of commands that nothing may overtake: an unknown script is else sent once more."""
    texts = [one.script.text for one in commands[:-1] if one.leads and one.script]
    return [Command(("SCRIPT", "LOAD", one)) for one in texts]


def exchange(
    connection: AbstractConnection,
    commands: Sequence[Command],
    *,
    again: bool = False,
    end: Deadline | None = None,
) -> list[Any]:
    """Send commands on one connection and give the raw answers, errors among them as values."""
    if end is None or end.left(ANSWER_TIMEOUT) == ANSWER_TIMEOUT:
        send(connection, commands, again=again)
    else:
        with timeouts.sending(connection, end, ANSWER_TIMEOUT):  # a server that hangs stops reading, too
            send(connection, commands, again=again)
    return receive(connection, commands, again=again, end=end)


def send(connection: AbstractConnection, commands: Sequence[Command], *, again: bool = False) -> None:
    """Send commands on one connection without waiting for the answers."""
    packed = b"".join([_packed(command, again=again) for command in commands])
    connection.send_packed_command([packed], check_health=False)


def receive(
    connection: AbstractConnection,
    commands: Sequence[Command],
    *,
    again: bool = False,
    end: Deadline | None = None,
) -> list[Any]:
    """Read the raw answers to what was sent; scripts that the server did not know are loaded and sent again."""
    replies = [_reply(connection, command.block, end) for command in commands]
    was_taught = False
    for place, command in enumerate(commands):
        if isinstance(replies[place], foreign.NoScriptError):
            replies[place], was_taught = _taught(connection, command, again=again, end=end), True
        elif command.confirms and was_taught:  # it was done before the script, so it waited for nothing
            connection.send_packed_command([_packed(command, again=again)], check_health=False)
            replies[place] = _reply(connection, command.block, end)
    return replies


def _packed(command: Command, *, again: bool) -> bytes:
    script, words = command.script, command.again if again and command.again is not None else command.words
    # hiredis crashes if a signal handler, that of Ctrl-C say, raises while it makes text of a number.
    texts: list[Any] = [str(one) if type(one) in _NUMBERS else one for one in words]
    packed: bytes = hiredis.pack_command(tuple(texts) if script is None else ("EVALSHA", script.sha, *texts))
    return packed


def _reply(connection: AbstractConnection, block: float, end: Deadline | None) -> Any:
    timeout = block + ANSWER_TIMEOUT if end is None else timeouts.left(end, block + ANSWER_TIMEOUT)
    try:
        return connection.read_response(disable_decoding=True, timeout=timeout)
    except foreign.ResponseError as error:
        return error


def _taught(connection: AbstractConnection, command: Command, *, again: bool, end: Deadline | None) -> Any:
    assert command.script is not None
    load = hiredis.pack_command(cast("Any", ("SCRIPT", "LOAD", command.script.text)))
    for _ in range(LOADS):
        connection.send_packed_command([load, _packed(command, again=again)], check_health=False)
        loaded, reply = _reply(connection, 0.0, end), _reply(connection, command.block, end)
        if isinstance(loaded, Exception) or not isinstance(reply, foreign.NoScriptError):
            break
    return loaded if isinstance(loaded, Exception) else reply


class Sentinels:
    """Asks one sentinel after the other where the primary is; the next time those first that did not fail."""

    def __init__(self, place: SentinelAddress) -> None:
        self.service = place.service
        options = {"socket_connect_timeout": SENTINEL_TIMEOUT, "socket_timeout": SENTINEL_TIMEOUT}
        self._pools = [_pool(url, **options) for url in place.sentinels]

    def primary(self, end: Deadline | None) -> tuple[str, int]:
        """Return host and port of the primary; raises the library's ConnectionError."""
        errors: list[Exception] = []
        for pool in self._pools:
            try:
                found = self._ask(pool, end)
            except (foreign.RedisError, OSError) as error:
                errors.append(error)
            else:
                if found is not None:
                    return found[0].decode(), int(found[1])
                errors.append(foreign.ResponseError("it knows no primary of this name"))
            # To the back: a caller with little time would ask the same hung one each time, and never another.
            self._pools = [*(one for one in self._pools if one is not pool), pool]
            if end is not None and end.passed():
                break
        if all(map(_hopeless, errors)):
            raise errors[-1]
        reasons = sorted({str(error) for error in errors})
        message = f"no sentinel tells where the primary {self.service!r} is: {'; '.join(reasons)}"
        raise foreign.ConnectionError(message)

    def _ask(self, pool: redis.ConnectionPool, end: Deadline | None) -> Any:
        connection = cast("AbstractConnection", pool.make_connection())
        try:
            with timeouts.greeting(connection, end, SENTINEL_TIMEOUT, SENTINEL_TIMEOUT):
                connection.connect()
            connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
            return connection.read_response(disable_decoding=True)
        finally:
            connection.disconnect()


def _hopeless(error: Exception) -> bool:
    """Return True if waiting does not help: a wrong password, or a certificate that is not trusted."""
    cause = error.__cause__ or error.__context__
    return isinstance(error, foreign.AuthenticationError) or isinstance(cause, ssl.SSLCertVerificationError)


def _pool(url: str, **options: Any) -> redis.ConnectionPool:
    """Return what makes connections to one address; raises ValueError for what is none."""
    # The library counts all that were ever made, so a limit would end a client after so many reconnects.
    pool = redis.ConnectionPool.from_url(
        url, retry_on_timeout=False, protocol=2, max_connections=1 << 31, **options
    )
    try:
        pool.make_connection()  # connects to nothing; it looks at the options
    except TypeError as error:
        raise ValueError(str(error).rpartition("() ")[2]) from None
    return pool


def _maker(url: str, name: str) -> Callable[[Deadline | None], AbstractConnection]:
    """Give the function that makes connections to this address: redis, rediss, unix or sentinel."""
    options = {
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": ANSWER_TIMEOUT,
        "client_name": name,
        "redis_connect_func": _greet,
    }
    try:
        place = read_sentinel(url) if is_sentinel(url) else None
        sentinels = Sentinels(place) if place else None
        pool = _pool(place.server if place else url, **options)
    except ValueError as error:
        fault, hint = fault_of(url, error)
        message = f"{shown(url)!r} is not the address of a server: {fault}"
        raise StoreRefused(message, hint=hint) from None

    def make(end: Deadline | None) -> AbstractConnection:
        connection: Any = pool.make_connection()
        if sentinels is not None:
            connection.host, connection.port = sentinels.primary(end)
        with timeouts.greeting(connection, end, CONNECT_TIMEOUT, ANSWER_TIMEOUT):
            connection.connect()
        return cast("AbstractConnection", connection)

    return make
