"""Server users with the rights that docs/running.md names: each role can do its work, and no more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
import redis
import streaming_jobs
from asgi_client import OWN, ask
from consumer_kit import Running, go, lines
from tests.conftest import RUNNING, documented_rights
from tests.store import lifecycle
from tests.store.test_versions import HOLDING, LOOKING, REFUSED

from conveyor import Consumer, DurabilityUnknown, Full, JobCancelled, JobFailed, JobLost, Queue, clock
from conveyor.cli.main import run as command
from conveyor.dashboard import create_dashboard
from conveyor.errors import StoreDenied
from conveyor.store import Client, commands, control_channel, fitness, keys, records, scripts, waiting
from conveyor.wire.durability import read_durability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Server

ROLES = ("producer", "worker", "viewer", "operator")
#: Commands forbidden to every role, whatever it is made to send.
FORBIDDEN = (
    ("FLUSHALL",),
    ("KEYS", "*"),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("EVAL", "return 1", "0"),
    ("SCRIPT", "FLUSH"),
    ("REPLICAOF", "NO", "ONE"),
    ("SHUTDOWN", "NOSAVE"),
    ("ACL", "LIST"),
    ("FUNCTION", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("GET", "others"),
    ("SET", "others", "x"),
)


#: The scripts that each role runs.
VERBS = {
    "producer": {
        *("put", "submit", "follow", "go_on", "hook", "signal"),
        *("listen", "leave", "join"),
        *("count", "state", "cancel", "schedule", "reschedule"),
    },
    "worker": {
        "claim",
        "renew",
        "finish",
        "retry",
        "fail",
        "lost",
        "release",
        "throttle",
        "append",
        "step",
        "wait",
        "suspend",
        "follow",
        "go_on",
        "hook",
        "count",
        "state",
        "tally",
        "forget",
        "due",
        "fire",
        "schedule",
    },
    "viewer": {"count", "state", "rows", "series", "limits", "flow"},
    "operator": {
        "put",
        "pause",
        "resume",
        "shut",
        "purge",
        "cancel",
        "signal",
        "limit",
        "limits",
        "flow",
        "end_rest",
        "age",
        "revive",
        "discard",
        "bound",
        "forget",
        "reap",
        "rows",
        "schedule",
        "reschedule",
    },
}


#: It also reveals the server's passwords, so producers and workers may not use it.
OPTIONAL = "command config|get"


class People:
    """The users of a server, one for each role, and the commands denied to them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.raw = server.raw
        for name, rights in documented_rights().items():
            self.raw.execute_command("ACL", "SETUSER", name, "on", ">pw", *rights)
        self.raw.execute_command("ACL", "LOG", "RESET")

    def url(self, name: str) -> str:
        return self.server.url_of(name)

    def denied(self) -> list[str]:
        """Return the denied commands by user since the last call, except the setting that a program reads if it may."""
        entries = self.raw.acl_log()
        self.raw.execute_command("ACL", "LOG", "RESET")
        found = {f"{one['username']}: {one['reason']} {one['object']}" for one in entries}
        return sorted(one for one in found if not one.endswith(OPTIONAL))


@pytest.fixture
def people(server: Server) -> Iterator[People]:
    people = People(server)
    assert documented_rights().keys() == set(ROLES)
    yield people
    for name in ROLES:
        people.raw.execute_command("ACL", "DELUSER", name)
    people.raw.execute_command("ACL", "LOG", "RESET")


@pytest.fixture
def running(
    people: People, alone: None, short_lease: float, eventually: Callable[..., Any]
) -> Iterator[Running]:
    """Run a consumer of two workers as the user for workers."""
    modules = ["consumer_jobs", "streaming_jobs"]
    consumer = Consumer("work", 2, tasks=modules, store=people.url("worker"))
    consumer.start()
    running = Running(consumer, people.server.client, eventually)
    yield running
    running.end()


def produce(queue: Queue, path: Path, eventually: Callable[..., Any]) -> None:
    """Use a queue as producers do: put, wait for room, for results and for the end, cancel, and inspect jobs."""
    assert [job.result(30) for job in queue.submit_many(jobs.add, [(n, 1) for n in range(60)])][-1] == 60
    assert (
        queue.submit(jobs.steady.options(delay=0.05, priority=3), str(path.with_name("steady")), 1).result(30)
        == 2
    )
    held = queue.submit(jobs.hold, str(path), "held")
    logged = queue.submit(jobs.log_and_hold, str(path.with_name("logged")))
    eventually(lambda: lines(path) and lines(path.with_name("logged")))
    assert held.status() == "running"
    assert held.progress() is None
    waiting = [queue.submit(jobs.add, n, n) for n in range(3)]
    assert waiting[0].cancel()
    assert (queue.qsize(), queue.full(), queue.empty()) == (2, False, False)
    with pytest.raises(Full):
        Queue("small", 1, store=queue.client).put_many(["a", "b"], timeout=0.1)
    with pytest.raises(Exception, match="unfinished"):
        queue.join(0.1)
    for place in (path, path.with_name("logged")):
        go(place)
    assert (held.result(30), logged.result(30)) == ("held", "logged")
    with pytest.raises(JobFailed):
        queue.submit(jobs.boom, "no").result(30)
    assert list(queue.submit(streaming_jobs.numbers, 3).stream()) == [0, 1, 2]
    with pytest.raises(JobLost):
        queue.submit(jobs.end_process, str(path.with_name("end")), "exit3").result(30)
    endless = queue.submit(jobs.sleep_for_ever, str(path.with_name("endless")))
    eventually(lambda: lines(path.with_name("endless")))
    assert endless.cancel()  # without the right to command workers: the renewal reports it
    with pytest.raises(JobCancelled):
        endless.result(30)
    queue.join(20)


def test_roles_have_sufficient_rights(
    people: People, running: Running, path: Path, eventually: Callable[..., Any], capsys: Any
) -> None:
    producer = Client(people.url("producer"))
    produce(Queue("work", store=producer), path, eventually)
    producer.close()
    assert [one for one in people.denied() if "conveyor:control:" not in one] == []

    viewer = create_dashboard(people.url("viewer"), read_only=True)
    pages = [
        "/",
        "/queues",
        "/queues/work",
        "/jobs",
        "/jobs?state=dead",
        "/workers",
        "/failures",
        "/audit",
        "/system",
    ]
    pages += [
        "/operations",
        "/api/v1/queues",
        "/api/v1/jobs?state=ended",
        "/api/v1/workers",
        "/metrics",
        "/readyz",
    ]
    assert {page: ask(viewer, "GET", page).status_code for page in pages} == dict.fromkeys(pages, 200)
    assert command(["--url", people.url("viewer"), "doctor"]) in {0, 1}
    for words in (["status"], ["queues"], ["workers"], ["jobs", "work", "--state", "dead"], ["audit"]):
        assert command(["--url", people.url("viewer"), *words]) == 0
    assert people.denied() == []

    operator = create_dashboard(people.url("operator"))
    for act in ("pause", "resume"):
        assert ask(operator, "POST", f"/api/v1/queues/work/{act}", json={}, headers=OWN).status_code == 200
    for words in (
        ["retry", "--all", "work"],
        ["purge", "small", "--yes"],
        ["pause", "small"],
        ["resume", "small"],
    ):
        assert command(["--url", people.url("operator"), *words]) == 0
    assert command(["--url", people.url("operator"), "kill", running.name]) == 0
    assert people.denied() == []
    eventually(running.has_left)
    assert people.denied() == []


@pytest.mark.parametrize("role", ["producer", "worker", "operator"])
def test_role_may_demand_a_level_of_durability(
    role: str, people: People, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    people.raw.config_set("appendfsync", "always")
    people.raw.config_set("appendonly", "yes")
    client = Client(people.url(role))
    try:
        eventually(lambda: not people.raw.info("persistence")["aof_rewrite_in_progress"])
        client.levels[read_durability("replicated:1")] = (
            clock.monotonic() - fitness.CHECK_AGAIN
        )  # it had a replica
        with monkeypatch.context() as soon:
            soon.setattr(waiting, "CONFIRM_WITHIN", 0.1)
            with pytest.raises(DurabilityUnknown, match="0 of 1 replicas have received it"):
                Queue("work", durability="replicated:1", store=client).put("item")
        Queue("work", durability="written", store=client).put("item")
        synced = Queue("work", durability="fsync", store=client)
        waits = fitness.waits_for_sync(people.server.client.run(fitness.info("server")))
        if role != "operator" and not waits:
            with pytest.raises(StoreDenied) as error:
                synced.put("item")
            assert f"+{OPTIONAL.partition(' ')[2]}" in error.value.hint
            people.raw.execute_command("ACL", "SETUSER", role, "+config|get")
        synced.put("item")
        assert people.denied() == []
    finally:
        client.close()
        people.raw.config_set("appendonly", "no")
        people.raw.config_set("appendfsync", "everysec")


@pytest.mark.parametrize("role", ROLES)
def test_role_has_the_rights_of_all_paths_of_its_scripts(role: str, one_server: Server) -> None:
    """Those too that no scenario takes."""
    known = {one.decode() for one in one_server.raw.execute_command("COMMAND LIST")}
    granted = {word[1:] for word in documented_rights()[role] if word.startswith("+")}
    text = " ".join(scripts.load(verb).text for verb in VERBS[role])
    called = {word.lower() for word in re.findall(r"'([A-Z]+)'", text)} & known
    # Parts of scripts that readers do not use.
    writing = {"hset", "time"} if role == "viewer" else {"time"}
    assert called - granted - writing == set()


@pytest.mark.parametrize("role", ROLES)
def test_role_is_denied_forbidden_commands(role: str, people: People) -> None:
    people.server.client  # noqa: B018 - connected before
    Queue("work", store=people.server.client).put("item")
    raw = redis.Redis(unix_socket_path=str(people.server.socket), username=role, password="pw")
    for words in FORBIDDEN:
        with pytest.raises(redis.exceptions.NoPermissionError):
            raw.execute_command(*words)
    raw.close()
    client = Client(people.url(role))
    queue = Queue("work", store=client)
    if role in {"producer", "viewer"}:
        with pytest.raises(StoreDenied):
            queue.get_nowait()
    if role == "viewer":
        for act in (queue.pause, queue.clear, lambda: queue.put("more")):
            with pytest.raises(StoreDenied):
                act()
    if role in {"producer", "worker"}:
        with pytest.raises(StoreDenied):
            client.run(records.audit_counts())
    if role == "producer":
        with pytest.raises(StoreDenied):
            client.run(control_channel.send("host-1", b"kill"))
    client.close()
    assert Queue("work", store=people.server.client).qsize() == 1


def rights_of_one_queue() -> dict[str, list[str]]:
    """Return the rights of users who may use the queue `sums` alone, as the page has them."""
    page = RUNNING.read_text()
    everything = re.search(r"^ACL SETUSER conveyor on >a-long-password (.+)$", page, re.MULTILINE)
    its_keys = re.search(r"^~conveyor:\{sums\}:\* .+$", page, re.MULTILINE)
    assert everything
    assert its_keys
    of_all, of_one, figures = "~conveyor:{*}:*", "~conveyor:{sums}:*", "~conveyor:{\\*}:*"
    for text in (f"replace `{of_all}` by `{of_one}`", f"totals of all queues, `{figures}`"):
        assert text in page.replace("\n", " ")
    rights = {"conveyor": everything[1].replace("~conveyor:*", its_keys[0]).split()}
    for role, more in (("producer", []), ("worker", [figures])):
        words = documented_rights()[role]
        assert of_all in words
        rights[role] = [of_one if word == of_all else word for word in words] + more
    return rights


@pytest.mark.parametrize("user", ["conveyor", "producer", "worker"])
def test_user_of_a_queue_is_denied_other_queues(user: str, server: Server) -> None:
    films, sums = (Queue(name, store=server.client) for name in ("films", "sums"))
    films.put_many(["held", "waits"])
    sums.put("item")
    token = server.client.run(commands.claim("films", "ann", "nonce.1", 1, 60.0)).token
    names = [*server.raw.scan_iter("conveyor:{films}:*")]
    before = {name: server.raw.dump(name) for name in names}
    server.raw.execute_command("ACL", "SETUSER", user, "on", ">pw", *rights_of_one_queue()[user])
    client = Client(server.url_of(user))
    raw = redis.Redis(unix_socket_path=str(server.socket), username=user, password="pw")
    try:
        for verb, arguments in {**REFUSED, **LOOKING}.items():
            with pytest.raises(StoreDenied):
                client.run(lifecycle.function_of(verb)("films", *arguments))
        for verb, of_token in HOLDING.items():
            with pytest.raises(StoreDenied):
                client.run(lifecycle.function_of(verb)("films", *of_token(token)))
        hostile = raw.script_load("return redis.call('DEL', ARGV[1])")
        for name in names:
            for words in (("GET", name), ("DEL", name), ("RENAME", name, "conveyor:{sums}:jobs")):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    raw.execute_command(*words)
            with pytest.raises(redis.exceptions.ResponseError, match="No permissions to access a key"):
                raw.evalsha(hostile, 1, keys.key("sums", "jobs"), name)
        assert {name: server.raw.dump(name) for name in names} == before
        if user != "worker":
            Queue("sums", store=client).put("another")
        if user != "producer":
            assert client.run(commands.claim("sums", "bob", "nonce.1", 1, 60.0)).jobs
    finally:
        client.close()
        raw.close()
        server.raw.execute_command("ACL", "DELUSER", user)
        server.raw.execute_command("ACL", "LOG", "RESET")
