"""Real sentinels: with passwords, over TLS, with IPv6 and databases, and a failover in the middle of work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import Running, forking
from moving import LOCALHOST, Forwarder, Node, Sentinel, make_certificate

from conveyor import Consumer, Job, Queue
from conveyor.errors import StoreError, StoreRefused, StoreUnavailable
from conveyor.store import commands, connect
from conveyor.store.async_client import async_client_of
from conveyor.store.client import Client
from conveyor.store.command import Exchange
from conveyor.torture.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conveyor.store.command import Operation
    from launcher import Launcher


@pytest.fixture
def start(tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Return a function that starts a server or a sentinel in a separate folder; end all with the test."""
    started: list[Node] = []

    def start(kind: type[Node], of: Any, *more: str, **options: Any) -> Any:
        started.append(kind(of, tmp_path / f"node{len(started)}", *more, **options))
        eventually(started[-1].answers)
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return the file of a certificate for this machine."""
    if shutil.which("openssl") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("openssl is not installed")
    return make_certificate(tmp_path / "cert.pem")


@pytest.fixture
def tls_binary(request: pytest.FixtureRequest, servers: Any) -> str:
    """Return the program of a server with TLS, which the embedded one lacks."""
    return servers[request.param].binary


class Port(Node):
    """A server whose certificate no client accepts: it can only be known to listen."""

    def answers(self) -> bool:
        return self._listens()


TLS = pytest.mark.parametrize("tls_binary", ["redis-server", "valkey-server"], indirect=True)


def time_of(url: str) -> float:
    """Ask the server at an address for its time, once with each client: both find it, log in and trust alike."""
    client = Client(url, patience=0.0)
    try:
        now: float = client.run(commands.server_time())
    except StoreError as error:
        with pytest.raises(type(error)) as same:
            time_in_asyncio(client)
        assert (str(same.value), same.value.hint) == (str(error), error.hint)  # noqa: PT017 - and raised below
        raise
    else:
        assert time_in_asyncio(client) >= now
        return now
    finally:
        client.close()


def time_in_asyncio(client: Client) -> float:
    def ask() -> Operation[float]:
        (now,) = yield Exchange((commands.server_time(),))
        return float(now)

    async def answer() -> float:
        return await async_client_of(client).perform(ask())

    return asyncio.run(answer())


@pytest.mark.parametrize(
    ("secret", "own_secret", "login", "options"),
    [
        ("", "", "", ""),
        ("open", "", ":open@", ""),
        ("open", "open", ":open@", ""),
        ("open", "sesame", ":open@", "?sentinel_password=sesame"),
        ("", "sesame", "", "?sentinel_password=sesame"),
        ("open", "", "default:open@", "/1"),
    ],
)
def test_server_and_sentinels_may_have_passwords(
    server: Any, start: Callable[..., Any], secret: str, own_secret: str, login: str, options: str
) -> None:
    primary = start(Node, server.binary, secret=secret)
    more = [f"sentinel auth-pass films {secret}"] if secret else []
    sentinel = start(Sentinel, primary, *more, secret=own_secret)
    url = f"sentinel://{login}127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/films{options}"
    client = Client(url)
    client.run(commands.note_queue("films"))
    assert primary.raw.info("keyspace").keys() == {"db1" if options == "/1" else "db0"}
    client.close()


def test_sentinel_is_found_by_an_ipv6_address(server: Any, start: Callable[..., Any]) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    sentinel = start(Sentinel, start(Node, server.binary))
    assert time_of(f"sentinel://[::1]:{sentinel.port}/films") > 0


def test_hung_sentinel_is_queried_last_the_next_time(one_server: Any, start: Callable[..., Any]) -> None:
    sentinel = start(Sentinel, start(Node, one_server.binary))
    with socket.create_server(("127.0.0.1", 0)) as hung:  # it takes connections and never answers
        place = f"127.0.0.1:{hung.getsockname()[1]}"
        client = Client(f"sentinel://{place},127.0.0.1:{sentinel.port}/films", patience=0.0)
        with pytest.raises(StoreUnavailable):
            client.run(commands.server_time(), within=0.8)
        hung.accept()[0].close()
        assert client.run(commands.server_time(), within=8.0) > 0  # a busy machine takes more than the 0.8
        hung.settimeout(0.0)
        with pytest.raises(BlockingIOError):
            hung.accept()  # it was not asked again
        client.close()


def test_sentinel_refusals_and_unknown_names_are_reported(one_server: Any, start: Callable[..., Any]) -> None:
    sentinel = start(Sentinel, start(Node, one_server.binary), secret="sesame")
    place = f"127.0.0.1:{sentinel.port}"
    for url in (f"sentinel://{place}/films", f"sentinel://{place}/films?sentinel_password=wrong"):
        with pytest.raises(StoreRefused, match="refused"):
            time_of(url)
    with pytest.raises(StoreUnavailable, match="no sentinel knows the primary"):
        time_of(f"sentinel://{place}/cars?sentinel_password=sesame")


@TLS
def test_sentinels_and_server_over_tls(tls_binary: str, start: Callable[..., Any], certificate: Path) -> None:
    primary = start(Node, tls_binary, secret="open", certificate=certificate)
    told = ("sentinel auth-pass films open",)
    sentinel = start(Sentinel, primary, *told, certificate=certificate)
    place = f"sentinels://:open@127.0.0.1:{sentinel.port}/films"
    assert time_of(f"{place}?ssl_ca_certs={certificate}") > 0
    with pytest.raises(StoreRefused, match="certificate is not trusted"):
        time_of(place)


@TLS
def test_untrusted_certificate_is_refused(
    tls_binary: str, start: Callable[..., Any], certificate: Path
) -> None:
    port = start(Node, tls_binary, certificate=certificate).port
    assert time_of(f"rediss://localhost:{port}?ssl_ca_certs={certificate}") > 0
    with pytest.raises(StoreRefused, match="certificate is not trusted") as error:
        time_of(f"rediss://localhost:{port}")
    assert "ssl_ca_certs" in error.value.hint
    other = make_certificate(certificate.with_name("other.pem"))
    with pytest.raises(StoreRefused, match="certificate is not trusted"):
        time_of(f"rediss://localhost:{port}?ssl_ca_certs={other}")


@TLS
@pytest.mark.parametrize(
    ("names", "times", "why"),
    [
        ("DNS:other.example", "-days 1", "Hostname mismatch"),
        (LOCALHOST, "-not_before 20200101000000Z -not_after 20200102000000Z", "certificate has expired"),
    ],
)
@pytest.mark.usefixtures("certificate")
def test_certificate_of_another_host_or_time_is_refused(
    tls_binary: str, start: Callable[..., Any], tmp_path: Path, names: str, times: str, why: str
) -> None:
    flawed = make_certificate(tmp_path / "flawed.pem", names, times)
    process = start(Port, tls_binary, certificate=flawed)
    with pytest.raises(StoreRefused, match=f"certificate is not trusted: {why}"):
        time_of(f"rediss://localhost:{process.port}?ssl_ca_certs={flawed}")


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile"])
def test_missing_file_of_a_certificate_is_named(option: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(StoreRefused, match=f"cannot load {missing}: .*No such file"):
            time_of(f"rediss://127.0.0.1:{port}?{option}={missing}")


@pytest.fixture
def consume_at(
    alone: None, eventually: Callable[..., Any], consumer_launcher: Launcher
) -> Callable[[Queue, str, int], Running]:
    """Return a function that starts a consumer of a queue at a URL, with the given number of workers."""

    def start(queue: Queue, url: str, workers: int) -> Running:
        consumer = Consumer(queue.name, workers, tasks=["consumer_jobs"], store=url)
        with forking(consumer_launcher):
            consumer.start()
        return Running(consumer, queue.client, eventually)

    return start


@TLS
def test_consumer_works_over_tls(
    tls_binary: str, start: Callable[..., Any], certificate: Path, consume_at: Callable[..., Running]
) -> None:
    port = start(Node, tls_binary, secret="open", certificate=certificate).port
    url = f"rediss://:open@localhost:{port}?ssl_ca_certs={certificate}"
    queue = Queue("work", store=connect(url))
    running = consume_at(queue, url, 2)
    try:
        assert [job.result(30) for job in queue.submit_many(jobs.add, [(n, 1) for n in range(200)])][
            -1
        ] == 200
        large = "x" * 900_000  # many TLS records
        assert queue.submit(jobs.text_of, 900_000).result(30) == large
        count = queue.count()
        assert (count.finished, count.live, count.dead, count.imbalance) == (201, 0, 0, 0)
        before = time.monotonic()
        running.answers(running.command("kill", 1), 2)
        assert time.monotonic() - before < 4.0  # the control channel is polled immediately
    finally:
        running.end()
        queue.client.close()


class Meddler(Forwarder):
    """An attacker on the network who changes one bit of the next long message, to the server or from it."""

    changes = ""

    def _pass_on(self, one: socket.socket, other: socket.socket) -> bool:
        with contextlib.suppress(OSError):
            if data := one.recv(1 << 16):
                way = "request" if other.getpeername()[1] == self.target else "reply"
                if way == self.changes and len(data) > 60:
                    self.changes = ""
                    data = data[:50] + bytes([data[50] ^ 1]) + data[51:]
                other.sendall(data)
                return True
        return False


@TLS
@pytest.mark.parametrize("way", ["request", "reply"])
def test_message_altered_in_transit_changes_no_job(
    tls_binary: str, start: Callable[..., Any], certificate: Path, way: str
) -> None:
    """The connection ends with it, and the command is resent on another."""
    meddler = Meddler(start(Node, tls_binary, certificate=certificate).port)
    try:
        port = meddler.url.rpartition(":")[2]
        queue = Queue("films", store=connect(f"rediss://localhost:{port}?ssl_ca_certs={certificate}"))
        queue.put("first")
        meddler.changes = way
        queue.put("x" * 100)
        assert meddler.changes == ""
        assert [queue.get_nowait() for _ in range(queue.qsize())] == ["first", "x" * 100]
        queue.client.close()
    finally:
        meddler.end()


def cluster(
    binary: str,
    start: Callable[..., Any],
    eventually: Callable[..., Any],
    secret: str,
    certificate: Path | None,
) -> tuple[list[Node], list[Sentinel]]:
    """Start a primary, two replicas and three sentinels that know each other."""
    options: dict[str, Any] = {"secret": secret, "certificate": certificate}
    nodes = [start(Node, binary, **options) for _ in range(3)]
    for one in nodes[1:]:
        one.raw.replicaof("127.0.0.1", nodes[0].port)
    eventually(lambda: [one.role() for one in nodes[1:]] == ["slave"] * 2)
    more = [f"sentinel auth-pass films {secret}"] if secret else []
    sentinels = [start(Sentinel, nodes[0], *more, **options) for _ in range(3)]
    for one in sentinels:
        one.raw.execute_command("SENTINEL", "SET", "films", "quorum", 2)
    eventually(lambda: all(one.knows_the_replica(2, 2) for one in sentinels))
    return nodes, sentinels


@pytest.mark.parametrize(
    ("tls_binary", "is_secret"), [("valkey-server", False), ("redis-server", True)], indirect=["tls_binary"]
)
def test_primary_killed_under_load_loses_no_job(
    tls_binary: str,
    is_secret: bool,  # noqa: FBT001
    start: Callable[..., Any],
    certificate: Path,
    consume_at: Callable[..., Running],
    eventually: Callable[..., Any],
) -> None:
    """With three sentinels; with passwords and TLS, and without."""
    secret, file = ("open", certificate) if is_secret else ("", None)
    nodes, sentinels = cluster(tls_binary, start, eventually, secret, file)
    places = ",".join(f"127.0.0.1:{one.port}" for one in sentinels)
    url = (
        f"sentinels://:open@{places}/films?ssl_ca_certs={file}" if is_secret else f"sentinel://{places}/films"
    )
    queue = Queue("work", durability="replicated:1", store=connect(url))
    running = consume_at(queue, url, 1)
    submitted: list[str] = []  # without their handles, so no producer puts lost ones again
    enough = threading.Event()

    def produce() -> None:
        while not enough.is_set():
            with contextlib.suppress(StoreUnavailable):  # the election took too long
                submitted.extend(job.id for job in queue.submit_many(jobs.add, [(n, 1) for n in range(20)]))

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        eventually(lambda: len(submitted) > 100)
        nodes[0].process.kill()
        count = len(submitted)
        eventually(lambda: len(submitted) > count + 100)
    finally:
        enough.set()
        producer.join()
        results = [Job[int](one, queue.name, client=queue.client).result(60) for one in submitted]
        running.end()
        queue.client.close()
    assert results == [place % 20 + 1 for place in range(len(submitted))]


@pytest.fixture
def watched(server: Any, start: Callable[..., Any], eventually: Callable[..., Any]) -> Sentinel:
    """Return the sentinel of a primary and a replica."""
    primary, replica = start(Node, server.binary), start(Node, server.binary)
    replica.raw.replicaof("127.0.0.1", primary.port)
    eventually(lambda: replica.role() == "slave")
    return start(Sentinel, primary)


@pytest.fixture
def queue(watched: Sentinel) -> Queue:
    """Return a queue on the primary of the sentinel."""
    return Queue("work", store=connect(f"sentinel://127.0.0.1:{watched.port}/films"))


def test_failover_under_load_blocks_no_caller(
    watched: Sentinel, queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """Jobs that the replica had not received are put again by their producer."""
    consume(workers=2)
    eventually(watched.knows_the_replica, 15)
    handles: list[Job[int]] = []
    enough = threading.Event()

    def produce() -> None:
        while not enough.is_set():
            handles.extend(queue.submit_many(jobs.add, [(n, 1) for n in range(20)]))

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        eventually(lambda: len(handles) > 200)
        before = watched.raw.sentinel_get_master_addr_by_name("films")
        watched.raw.execute_command("SENTINEL", "FAILOVER", "films")
        eventually(lambda: watched.raw.sentinel_get_master_addr_by_name("films") != before)
        count = len(handles)
        eventually(lambda: len(handles) > count + 400)
    finally:
        enough.set()
        producer.join()
    assert [job.result(30) for job in handles] == [place % 20 + 1 for place in range(len(handles))]
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    queue.client.close()
