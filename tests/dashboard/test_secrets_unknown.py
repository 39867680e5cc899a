"""A secret of a job is in no output of a process that does not know the job's task."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
from asgi_client import ORIGIN, OWN, ask
from starlette.routing import Route
from tests.conftest import installed_kinds

from conveyor.cli.commands import COMMANDS
from conveyor.cli.main import run
from conveyor.dashboard import Policy, create_dashboard, pages
from conveyor.dashboard.api import ENDPOINTS
from conveyor.dashboard.app import application
from conveyor.monitor import Inspector
from conveyor.tasks import registry
from conveyor.wire.redaction import Labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from launcher import Launcher

#: Part of every secret; the text before it shows which one was found.
MARK = "-hunter2"
LEAK = re.compile(r"[\w -]*-hunt")
STATES = ("waiting", "deferred", "delayed", "running", "dead", "ended")
TASKS = """
import sys
import time
from dataclasses import dataclass
from typing import NamedTuple

from conveyor import BadInput, Queue, current_job, task
from conveyor.wire import redaction

MARK = "-hunter2"
redaction.register(lambda name, value: f"…{value[-4:]}" if name == "iban" else value)


class Account(NamedTuple):
    name: str
    password: str


@dataclass
class Door:
    number: int
    secret: str


@task(name="log_in", queue="doors", redact=["pin"], retries=1, first_delay=1000.0)
def log_in(user: str, password: str, pin: str = "", account: Account | None = None, text: str = "") -> str:
    job = current_job()
    job.log(f"{user} came with {password!r}")
    job.progress(1, 2, f"with {pin}")
    if user == "busy":
        while not job.cancelled:
            time.sleep(0.01)
    if user in {"dead", "late"}:
        raise (PermissionError if user == "late" else BadInput)(f"{user} may not come in with {password} and {pin}")
    return user


def open_door(door: Door, keys: list[str], *tokens: str, url: str = "", more: dict | None = None) -> None:
    raise ValueError(f"no {keys} for {door}, {tokens}, {url}")


if __name__ == "__main__":
    long = "long " * 2000

    def tell(job):
        if job.queue_name != "gone":
            print(job.queue_name, job.id)

    def put(queue, user):
        by_name = {"account": Account("me", "tuple" + MARK), "text": ""}
        there = log_in.options(queue=queue)
        tell(there.submit(user, "position" + MARK, "pin" + MARK, **by_name))
        tell(there.submit(user, password="name" + MARK, pin="pin by name" + MARK))
        tell(there.submit(user, password="cut" + MARK, text=long))
        tell(there.submit(long, "behind" + MARK, "pin" + MARK))

    def put_plain(queue):
        door = Door(7, "field" + MARK)
        address = f"https://me:address{MARK}@example.org/?api_key=query{MARK}"
        more = {"nested": [{"pin code": 1, "password": "key" + MARK}], "iban": "formatted" + MARK + "4321"}
        tell(Queue(queue).submit(open_door, door, ["list" + MARK], "rest" + MARK, url=address, more=more))

    if sys.argv[1] == "first":
        for user in ("busy", "dead", "late", "done"):
            put("doors", user)
        put_plain("doors")
    else:
        put("waiting", "wait")
        tell(log_in.options(queue="waiting", delay=1000.0).submit("delayed", "delayed" + MARK))
        put_plain("waiting")
        put_plain("gone")
        Queue("waiting").put({"user": "ada", "password": "item" + MARK, "inner": {"iban": "in an item" + MARK}})
"""


class Scene(NamedTuple):
    """A server with such jobs in every state."""

    server: Any
    jobs: dict[str, list[str]]
    """By their queues."""
    running: str
    """The id of a running job."""
    consumer: str
    log: Path


@pytest.fixture(scope="module")
def lent(servers: Any) -> Iterator[Any]:
    """Provide a server for all tests of this file."""
    with servers.lend(installed_kinds()[0]) as server:
        yield server


@pytest.fixture(scope="module")
def scene(
    lent: Any,
    launcher: Launcher,
    tmp_path_factory: pytest.TempPathFactory,
    eventually: Callable[..., Any],
) -> Iterator[Scene]:
    """Provide jobs with secrets for all tests of this file: waiting, delayed, running, to be retried, dead and done."""
    folder = tmp_path_factory.mktemp("scene")
    (folder / "log_in_tasks.py").write_text(TASKS)
    env = {**os.environ, "CONVEYOR_URL": lent.url, "CONVEYOR_HOME": str(folder / "home")}
    raw = lent.raw
    jobs: dict[str, list[str]] = {"doors": [], "waiting": []}

    def produce(what: str) -> None:
        words = [sys.executable, "log_in_tasks.py", what]
        done = subprocess.run(
            words, cwd=folder, env=env, check=True, timeout=20, stdout=subprocess.PIPE, text=True
        )
        for line in done.stdout.splitlines():
            queue, job = line.split()
            jobs[queue].append(job)

    def there(index: str) -> int:
        counted: int = raw.zcard(f"conveyor:{{doors}}:{index}")
        return counted

    produce("first")
    words = ["consume", "doors", "-n", "5", "--tasks", "log_in_tasks"]
    log = folder / "consumer.log"
    with log.open("w") as file:
        consumer = launcher.start(words, folder, env, file.fileno(), file.fileno())
    try:
        eventually(lambda: [there(index) for index in ("ready", "leased", "delayed", "dead")] == [0, 3, 3, 4])
        produce("then")
        (report,) = Inspector(lent.client).consumers()
        running = raw.zrange("conveyor:{doors}:leased", 0, 0)[0].decode()
        yield Scene(lent, jobs, running, report.name, log)
    finally:
        consumer.kill()  # the kernel ends its workers
        consumer.wait()


def paths(scene: Scene) -> list[str]:
    """Return the paths of all pages and of all API endpoints, from the application's own tables."""
    app = application(scene.server.client, Policy())
    routes = {one.path for one in app.routes if isinstance(one, Route)}
    told = [f"/api/v1{one.path}" for one in ENDPOINTS if one.method == "GET"]
    changing = {f"/api/v1{one.path}" for one in ENDPOINTS} - set(told)
    left_out = {"/api/v1/events", "/static/{version}/{name:path}", "/{path:path}", "/api/{rest:path}", "/api"}
    return sorted((routes - changing - left_out) | {one.path for one in pages.ALL} | set(told))


def filled(scene: Scene, path: str, ids_of: dict[str, list[str]]) -> Iterator[str]:
    """Yield a path's addresses: with each queue and id in its place, and with all filters that lists have."""
    for queue, jobs in scene.jobs.items():
        kind = path.removeprefix("/api/v1").removeprefix("/queues/{queue}").split("/")[1:2]
        for one in (
            {"jobs": jobs[::2], **ids_of}.get(kind[0] if kind else "", [""]) if "{id}" in path else [""]
        ):
            parts = {"queue": queue, "id": one, "name": "sleep", "consumer": scene.consumer, "number": "1"}
            if "/jobs/{id}" not in path:
                yield path.format(**parts)
            if "{" not in path or "/jobs/{id}" in path:
                yield f"{path.format(**parts)}?queue={queue}"
            if path.endswith("/jobs"):
                for state in STATES:
                    for more in ("", f"&queue={queue}", f"&text=in&queue={queue}"):
                        yield f"{path}?state={state}{more}"
            if path == "/enqueue":
                yield from (f"{path}?from={job}&queue={queue}" for job in jobs)


async def answers(app: Any, addresses: list[str]) -> list[httpx.Response]:
    """Return the responses to all these, requested in sequence."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
        return [await client.get(one) for one in addresses]


def test_secret_is_in_no_page_response_or_metric(scene: Scene) -> None:
    app = create_dashboard(scene.server.url)
    stack = f"/api/v1/jobs/{scene.running}/stack"
    order = ask(app, "POST", stack, json={"queue": "doors"}, headers=OWN).json()["order"]
    operation = ask(app, "POST", "/api/v1/queues/gone/purge", json={}, headers=OWN).json()["operation"]
    looked_at, found = 0, {}
    for path in paths(scene):
        addresses = list(dict.fromkeys(filled(scene, path, {"orders": [order], "operations": [operation]})))
        told = asyncio.run(answers(app, addresses))
        assert 200 in {one.status_code for one in told}, path
        looked_at += len(told)
        leaks = {str(one.url): LEAK.findall(one.text) for one in told}
        found.update({address: leaked for address, leaked in leaks.items() if leaked})
    assert looked_at > 100
    assert found == {}


def test_secret_is_in_no_command_output(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("CONVEYOR_URL", scene.server.url)
    monkeypatch.setenv("CONVEYOR_HOME", str(tmp_path / "home"))
    words = {name: [[]] for name in ("status", "queues", "workers", "tasks", "audit")}
    words["jobs"] = [
        [queue, "--state", state]
        for queue in scene.jobs
        for state in ("waiting", "deferred", "delayed", "running", "dead")
    ]
    words["job"] = [[job, "-q", queue] for queue, jobs in scene.jobs.items() for job in jobs[::2]]
    words["flow"] = words["job"][:]
    words["job"].append([scene.running, "--stack"])
    assert COMMANDS["Look"].keys() - set(words) == {"dashboard", "top"}
    found = {}
    for command, variants in words.items():
        for variant in variants:
            for form in ([], ["--json"]):
                assert run([command, *variant, *form]) == 0
                if leaked := LEAK.findall("".join(capsys.readouterr())):
                    found[command, *variant, *form] = leaked
    run(["doctor"])
    assert LEAK.findall("".join(capsys.readouterr()) + scene.log.read_text()) == []
    assert found == {}


def test_secret_is_masked_and_the_rest_is_shown(scene: Scene) -> None:
    assert registry.labels("log_in") == Labels()
    app = create_dashboard(scene.server.url)
    found = ask(app, "GET", "/api/v1/jobs?queue=waiting&state=waiting").text
    assert "user='wait', password=•••, pin=•••, account=•••" in found
