"""The client: its resends, its refusals, and which connections may be reused."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Queue, clock
from conveyor.cli.main import run
from conveyor.errors import StoreDenied, StoreError, StoreFull, StoreRefused, StoreUnavailable
from conveyor.store import client as client_module
from conveyor.store import commands, connect, scripts
from conveyor.store.address import shown
from conveyor.store.client import Client, Listener, Pipeline
from conveyor.store.command import Command
from conveyor.store.commands import PutParams
from conveyor.store.connection import Connection, Refusal, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Server


def put(name: str, queue: str = "films") -> Command:
    return commands.put(queue, [(name, b"bytes")], PutParams())


def cut_off(server: Server) -> None:
    """Close every connection but our own from the server's side."""
    server.raw.client_kill_filter(_type="normal", skipme=True)


def test_command_on_a_cut_connection_is_resent_and_applied_once(one_server: Server) -> None:
    client = one_server.client
    for number in range(20):
        assert client.run(put(f"job{number}")).accepted == 1
        cut_off(one_server)
    count = client.run(commands.count("films"))
    assert (count.ready, count.accepted, count.imbalance) == (20, 20, 0)


def test_put_executed_without_a_reply_is_not_put_twice(
    one_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after the server's execution and before the reply; meanwhile the job even ends."""
    client = one_server.client
    broken: list[bool] = []
    original = client._once

    def break_once(told: Any, **options: Any) -> Any:
        answer = original(told, **options)
        if not broken:
            broken.append(True)
            batch = one_server.another_client().run(commands.claim("films", "ann", "n", 1, 60.0))
            settlement = commands.Settlement("job", b"done", 0.0)
            one_server.another_client().run(commands.finish("films", batch.token, [settlement]))
            raise StoreUnavailable
        return answer

    monkeypatch.setattr(client, "_once", break_once)
    assert client.run(put("job"))[:2] == (1, 0)
    count = client.run(commands.count("films"))
    assert (count.accepted, count.finished, count.live) == (1, 1, 0)


def test_killed_server_that_restarts_is_waited_for(
    one_server: Server, eventually: Callable[..., Any]
) -> None:
    one_server.stop()
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(one_server.client.run(put("job"))))
    thread.start()
    one_server.start()
    thread.join(20)
    assert [answer[:2] for answer in answers] == [(1, 0)]


def test_patience_ends(one_server: Server) -> None:
    one_server.stop()
    try:
        with pytest.raises(StoreUnavailable, match="no reply") as error:
            one_server.client.run(put("job"), patience=0.2)
        assert isinstance(error.value, ConnectionError)
        assert error.value.hint
    finally:
        one_server.start()


def test_client_may_reconnect_any_number_of_times(one_server: Server) -> None:
    for _ in range(150):
        connection = one_server.client.connection()
        connection.disconnect()
    assert one_server.client.run(commands.server_time()) > 0


def test_many_threads_share_a_client(one_server: Server) -> None:
    client = one_server.client
    threads = [
        threading.Thread(target=lambda name=name: [client.run(put(f"{name}-{n}")) for n in range(25)])
        for name in range(150)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.run(commands.count("films")).ready == 150 * 25


def test_next_command_succeeds_after_many_broken_connections(
    one_server: Server,
) -> None:
    client = one_server.client
    client._idle = [client.connection() for _ in range(100)]
    cut_off(one_server)
    assert client.run(put("job"), patience=1.0)[:2] == (1, 0)


def test_late_reply_never_reaches_the_next_caller(
    one_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a server hangs with our command, the connection is dropped and not reused."""
    client = one_server.client
    client.run(put("job"))
    connection = client._idle[-1]
    connection.send(pack(("ECHO", "without a reader")), 10.0)
    with pytest.raises(StoreUnavailable):
        _interrupted(client, monkeypatch)
    assert connection not in client._idle
    assert client.run(commands.count("films")).ready == 1


def _interrupted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command that meets a time-out."""

    def time_out(*_: object, **__: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "reply", time_out)
        client.run(commands.count("films"), patience=0.0)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_uses_separate_connections(one_server: Server, forked: Any) -> None:
    client = one_server.client
    client.run(put("job"))
    before = client._idle[:]

    def run_in_child() -> str:
        client.run(put("of the child"))
        return f"{len(set(before) & set(client._idle))} of the parent's"

    assert forked(run_in_child) == "0 of the parent's"
    assert client.run(commands.count("films")).ready == 2


def test_refusal_names_the_server_and_is_not_retried(one_server: Server) -> None:
    wrong = Command(("SET", "conveyor:queues"))
    with pytest.raises(StoreRefused, match="wrong number of arguments") as error:
        one_server.client.run(wrong)
    assert one_server.url in str(error.value)


def test_pipeline_runs_other_commands_if_a_command_is_refused(one_server: Server) -> None:
    with pytest.raises(StoreRefused):
        one_server.client.run_all([put("a"), Command(("NOSUCHCOMMAND",)), put("b")])
    assert one_server.client.run(commands.count("films")).ready == 2


def test_listener_can_be_polled_and_closes_with_the_server(
    one_server: Server, eventually: Callable[..., Any]
) -> None:
    listener = Listener(one_server.client)
    assert listener.fileno() == -1
    listener.ask(commands.await_bell(["films"], 30.0))
    assert listener.fileno() >= 0
    one_server.client.run(put("job"))
    assert listener.reply() == b"1"
    listener.ask(commands.await_bell(["films"], 30.0))
    cut_off(one_server)
    with pytest.raises(StoreUnavailable):
        listener.reply()
    assert listener.fileno() == -1


def test_pipeline_reads_the_replies_later_and_in_order(server: Server) -> None:
    pipeline = Pipeline(server.client)
    server.client.run(put("zero"))
    sent = [put("a"), commands.count("films"), put("b")]
    pipeline.send(sent[:2])
    pipeline.send(sent[2:])
    answered, unanswered = pipeline.replies()
    assert ([command for command, _ in answered], unanswered) == (sent, [])
    assert [answered[0][1].accepted, answered[1][1].ready, answered[2][1].accepted] == [1, 2, 1]
    assert pipeline.replies() == ([], [])


@pytest.mark.parametrize("trouble", ["cut", "forgotten script"])
def test_pipeline_returns_what_has_to_be_sent_again(one_server: Server, trouble: str) -> None:
    client = one_server.client
    client.run(commands.server_time())
    pipeline = Pipeline(client)
    pipeline.send([put("zero")])
    if trouble == "cut":
        cut_off(one_server)
    else:
        assert pipeline.replies()[1] == []
        one_server.raw.script_flush()
    sent = [put("a"), put("b")]
    pipeline.send(sent)
    _, unanswered = pipeline.replies()
    assert unanswered[-2:] == sent
    client.run_all([one.resent() for one in unanswered])
    assert client.run(commands.count("films")).accepted == 3


def test_pipeline_loads_its_scripts_again_once_one_is_unknown(one_server: Server) -> None:
    pipeline = Pipeline(one_server.client)
    pipeline.send([put("a")])
    pipeline.replies()
    one_server.raw.script_flush()
    one_server.client.run(commands.count("films"))
    pipeline.send([put("b")])
    answered, unanswered = pipeline.replies()
    assert (answered[0][1].accepted, unanswered) == (1, [])


def test_suspended_server_counts_as_unavailable(one_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    client = one_server.client
    client.run(commands.server_time())
    monkeypatch.setattr("conveyor.store.client.ANSWER_TIMEOUT", 0.2)
    os.kill(one_server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            client.run(commands.server_time(), patience=0.0)
    finally:
        os.kill(one_server.pid, signal.SIGCONT)
    assert client.run(commands.server_time()) > 0


def test_script_forgotten_right_after_its_load_is_loaded_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.client.run(commands.server_time())  # a connection's greeting has OK replies, too
    flushes = iter(range(4))
    packed = client_module.packed

    def forget_first(command: Command, *, again: bool) -> bytes:
        flush = b"*2\r\n$6\r\nSCRIPT\r\n$5\r\nFLUSH\r\n" if next(flushes, None) is not None else b""
        return flush + packed(command, again=again)

    original = Connection.reply

    def skip_the_flush(connection: Connection, timeout: float, **_: object) -> Any:
        reply = original(connection, timeout)
        return original(connection, timeout) if reply == b"OK" else reply

    monkeypatch.setattr(client_module, "packed", forget_first)
    monkeypatch.setattr(Connection, "reply", skip_the_flush)
    assert server.client.run(put("job"))[:2] == (1, 0)
    assert next(flushes, None) is None


def test_claim_does_not_overtake_a_release_of_an_unknown_script(server: Server) -> None:
    client = server.client
    client.run_all([put("first"), put("second")])
    taken = client.run(commands.claim("films", "ann", "ann.1", 1, 9.0))
    server.raw.script_flush()
    server.raw.script_load(scripts.load("claim").text)
    told = [
        commands.release("films", taken.token, ["first"]),
        commands.claim("films", "ann", "ann.2", 1, 9.0),
    ]
    released, batch = client.run_all(told)
    assert released == 1
    assert [job.id for job in batch.jobs] == ["first"]


@pytest.mark.parametrize("url", ["http://x", "films", "", "://"])
def test_invalid_url_is_refused_with_examples(url: str) -> None:
    with pytest.raises(StoreRefused, match="invalid server URL") as error:
        Client(url)
    assert "unix://" in error.value.hint


MISTYPED = [
    "reddis://:hunt@h",
    "REDIS://ada:hunt@h:6379/0",
    "redis:/:hunt@h",
    "redis::hunt@h",
    "redis:ada:hunt@h",
    "redis//:hunt@h",
    "://:hunt@h",
    ":hunt@h:6379",
    "ada:hunt@h",
    "hunt@h",
    "redis://hunt@h",
    "redis://hunt:@h",
    "redis://:hunt",
    "redis://ada:hunt",
    "redis://:hunt%40h:6379",
    "redis://:hu@hunt@h:6379",
    "redis://:hunt/hunt@h:6379",
    "redis://:hunt?hunt@h",
    "redis://:hunt?key=hunt@h",
    "redis://:hunt#hunt@h",
    "redis://:hu[hunt]er@h",
    "redis://:hunt℀@h",
    "redis://:hunt\nhunt@h",
    "redis://h:hunt/0",
    "redis://h/0?password=hunt",
    "redis://h/0?password=hunt@hunt&db=1",
    "redis://h/0?db=1&passw%6frd=hunt#hunt",
    "rediss://h?ssl_password=hunt",
    "sentinel://ada:hunt@h1:26379,h2:26379/name",
    "sentinel://:hunt@h1,:hunt@h2/name",
    "sentinel://h1:hunt,h2:26379",
    "unix://ada:hunt@/run/valkey.sock?db=1",
]


@pytest.mark.parametrize("url", MISTYPED)
def test_password_of_an_invalid_url_is_not_shown(
    url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = [shown(url)]
    try:
        client = Client(url, patience=0.0)
    except StoreRefused as error:
        said += str(error), error.hint, "".join(traceback.format_exception(error))
    else:
        said += repr(client), str(client.translated(OSError("no answer")))
    if not url.startswith(
        ("redis://", "rediss://", "REDIS:", "sentinel://", "unix://")
    ):  # nor may a server be asked for
        for words in (["--url", url, "status"], ["status", f"--url={url}", "--json"]):
            assert run(words) == 2
    said += capsys.readouterr()
    assert not [text for text in said if "hunt" in text]


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://127.0.0.1:6379/0?db=1",
        "redis://[::1]:6379/0",
        "rediss://h:6379?ssl_ca_certs=/path/ca.pem",
        "sentinel://h1:26379,[::1]:26379,h3/name",
        "unix:///run/valkey:1.sock?db=1",
        "films",
    ],
)
def test_url_without_a_password_is_shown_whole(url: str) -> None:
    assert shown(url) == url


def test_scheme_may_be_in_capitals(one_server: Server) -> None:
    url = one_server.url.replace("unix:", "UNIX:")
    assert Client(url).run(put("job"))[:2] == (1, 0)
    assert connect(url) is connect(one_server.url)


def test_password_is_never_shown() -> None:
    assert shown("redis://ann:secret@host:6379/0") == "redis://ann:•••@host:6379/0"
    assert shown("redis://host") == "redis://host"
    assert "secret" not in repr(Client("redis://:secret@127.0.0.1:1/0"))


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        ("READONLY You can't write against a read only replica.", StoreUnavailable),
        (
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            StoreUnavailable,
        ),
        ("LOADING Redis is loading the dataset in memory", StoreUnavailable),
        ("CLUSTERDOWN The cluster is down", StoreUnavailable),
        ("UNBLOCKED force unblock from blocking operation, instance state changed", StoreUnavailable),
        ("NOREPLICAS Not enough good replicas to write.", StoreUnavailable),
        ("MISCONF Errors writing to the AOF file: No space left on device", StoreUnavailable),
        ("BUSY Redis is busy running a script.", StoreUnavailable),
        ("TRYAGAIN Multiple keys request during rehashing of slot", StoreUnavailable),
        ("OOM command not allowed when used memory > 'maxmemory'.", StoreFull),
        ("NOPERM User ann has no permissions to run the 'evalsha' command", StoreDenied),
        (
            "ACL failure in script: User ann has no permissions to run the 'zadd' command script: on f:1.",
            StoreDenied,
        ),
        ("NOAUTH Authentication required.", StoreDenied),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", StoreRefused),
        ("ERR DB index is out of range", StoreRefused),
    ],
)
def test_refusal_is_temporary_or_permanent(refusal: str, kind: type[StoreError]) -> None:
    error = Client("redis://127.0.0.1:1").translated(Refusal(refusal))
    assert type(error) is kind
    assert error.hint


@contextmanager
def no_replicas(server: Server) -> Iterator[str]:
    """Make the server refuse writes for lack of replicas; return the text of its refusal."""
    server.raw.config_set("min-replicas-to-write", 1)
    try:
        yield "Not enough good replicas"
    finally:
        server.raw.config_set("min-replicas-to-write", 0)


def test_put_waits_for_a_server_that_refuses_temporarily(server: Server) -> None:
    with no_replicas(server) as words:
        with pytest.raises(StoreUnavailable, match=words) as error:
            server.client.run(put("job"), patience=0.1)
        assert error.value.hint
        thread = threading.Thread(target=lambda: server.client.run(put("job")))
        thread.start()
        with pytest.raises(StoreUnavailable):
            server.client.run(put("other"), patience=0.3)
        assert len(server.client._idle) >= 1  # it is the right server, and its connections are good
    thread.join(10)
    assert server.client.run(commands.count("films")).ready == 1


def test_client_retries_a_dead_server_at_least_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(clock, "monotonic", lambda: sum(pauses))
    monkeypatch.setattr(clock, "sleep", pauses.append)
    with pytest.raises(StoreUnavailable):
        Client("unix:///nowhere/s", patience=60.0).run(commands.server_time())
    assert max(pauses) <= 0.5
    assert sum(pauses) > 59.0


@pytest.mark.parametrize("verb", ["put", "get"])
def test_call_to_a_hung_server_ends_within_its_patience(
    verb: str, one_server: Server, monkeypatch: pytest.MonkeyPatch, quickest: Callable[..., float]
) -> None:
    monkeypatch.setattr("conveyor.store.client.ANSWER_TIMEOUT", 2.0)
    client = one_server.client
    queue = Queue("films", store=client)
    queue.put("item")
    monkeypatch.setattr(client, "patience", 3.0)
    call = {"put": lambda: queue.put("other"), "get": queue.get}[verb]

    def seconds() -> float:
        os.kill(one_server.pid, signal.SIGSTOP)
        before = time.monotonic()
        try:
            with pytest.raises(StoreUnavailable):
                call()
            return time.monotonic() - before
        finally:
            os.kill(one_server.pid, signal.SIGCONT)

    assert 2.9 < quickest(seconds, 3.7) < 3.7


INTERRUPTED = """
import signal
from conveyor.store.client import send
from conveyor.store.command import Command

class Nowhere:
    def send(self, packed, timeout):
        pass

came = 0
signal.signal(signal.SIGALRM, signal.default_int_handler)
while came < 5000:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.00005)
        for _ in range(500):
            send(Nowhere(), [Command(("SET", 1, 2.5))])
    except KeyboardInterrupt:
        came += 1
"""


def test_interrupt_while_numbers_are_packed_causes_no_crash(start_python: Callable[..., Any]) -> None:
    assert start_python(INTERRUPTED).wait(60) == 0


def test_slow_replies_are_looked_out_for_less_often(one_server: Server) -> None:
    connection = one_server.client.connection()

    def reply_to(*words: str) -> Any:
        connection.send(pack(words), 5.0)
        return connection.reply(5.0, soon=True)

    try:
        for misses in (1, 2, 3, 4, 5, 6, 6):
            connection._skip = 0
            assert reply_to("WAIT", "1", "20") == 0, "after 20 ms, since there is no replica"
            assert (connection._misses, connection._skip) == (misses, 2**misses - 1)
        connection._skip = 1
        assert reply_to("PING") == b"PONG"
        assert (connection._misses, connection._skip) == (6, 0), "it was not looked out for"
        connection.send(pack(("PING",)), 5.0)
        assert select.select([connection], [], [], 5.0)[0], "however busy this host is"
        assert connection.reply(5.0, soon=True) == b"PONG"
        assert connection._misses == 0
    finally:
        connection.disconnect()
