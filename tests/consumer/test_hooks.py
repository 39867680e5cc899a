"""Hooks: what is submitted when a job ends, in the same step in which it ends."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import flow_jobs as jobs
import pytest
from consumer_kit import lines

from conveyor import BadCall, BadInput, JobFailed, JobLost, Limit, Queue, webhook
from conveyor.store import commands
from conveyor.wire.terms import Hook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conveyor.tasks import Task


@pytest.fixture
def start(consume: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that starts a consumer of the tasks."""
    return lambda *args, **changes: consume(*args, modules=("flow_jobs",), **changes)


def here(task: Task[..., None]) -> Hook:
    """Return a hook on the queue of its job."""
    return Hook(task, {})


@pytest.fixture
def ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which hooks note what they get."""
    monkeypatch.setenv("ENDS", str(path))
    return path


def test_hook_of_the_outcome_runs_and_no_other(start: Any, queue: Queue, ends: Path) -> None:
    start(workers=2)
    task = jobs.divide.options(on_success=here(jobs.note_result), on_failure=here(jobs.note_end))
    good, bad = queue.submit(task, 6, 2), queue.submit(task, 1, 0)
    assert good.result(30) == 3
    with pytest.raises(JobFailed):
        bad.result(30)
    queue.join(30)
    assert sorted(lines(ends)) == [
        f"JobEnd {bad.id} {queue.name} divide failed ValueError: nothing to divide by",
        "result 3",
    ]
    assert queue.count().imbalance == 0


def test_failure_hook_waits_for_the_last_retry(start: Any, queue: Queue, ends: Path) -> None:
    start(workers=2)
    task = jobs.divide.options(retries=2, first_delay=0, on_failure=here(jobs.note_end))
    with pytest.raises(JobFailed):
        queue.submit(task, 1, 0).result(30)
    queue.join(30)
    assert len(lines(ends)) == 1


def test_failure_hook_runs_for_a_job_whose_workers_crash(start: Any, queue: Queue, ends: Path) -> None:
    start(workers=2)
    with pytest.raises(JobLost):
        queue.submit(jobs.crash.options(on_failure=here(jobs.note_end))).result(60)
    queue.join(30)
    assert [line.split(" ")[4] for line in lines(ends)] == ["lost"]


def test_hooks_find_room_in_a_full_queue(start: Any, queue: Queue, ends: Path) -> None:
    bounded = Queue(f"{queue.name}-bounded", maxsize=3, store=queue.client)
    task = jobs.divide.options(on_success=here(jobs.note_result))
    made = bounded.submit_many(task, [(number, 1) for number in range(3)])
    start(bounded.name, workers=1)
    more = bounded.submit_many(task, [(number, 1) for number in range(3, 30)])
    assert [one.result(30) for one in (*made, *more)] == list(range(30))
    bounded.join(30)
    assert sorted(lines(ends), key=lambda line: int(line.split()[1])) == [f"result {n}" for n in range(30)]


def test_hook_is_put_on_the_full_queue_of_its_own_task(
    start: Any, queue: Queue, ends: Path, eventually: Callable[..., Any]
) -> None:
    other = Queue(f"{queue.name}-hooks", maxsize=1, store=queue.client)
    told = jobs.note_end.options(queue=other.name, priority=7)
    other.submit(jobs.note_result, 0)
    start(workers=1)
    job = queue.submit(jobs.divide.options(on_success=told), 6, 2)
    assert job.result(30) == 3
    eventually(lambda: other.qsize() == 2)
    assert lines(ends) == []
    assert other.name in queue.client.run(commands.queue_names())
    start(other.name, workers=1)
    other.join(30)
    assert lines(ends) == [f"JobEnd {job.id} {queue.name} divide done None", "result 0"]
    assert other.count().imbalance == queue.count().imbalance == 0


def test_dead_hook_does_not_keep_the_next_end_from_its_own(start: Any, queue: Queue, ends: Path) -> None:
    start(workers=1)
    failing = Hook(jobs.fail, {})
    job = queue.submit(jobs.divide.options(on_failure=failing), 1, 0)
    assert isinstance(job.exception(30), JobFailed)
    queue.join(30)
    assert queue.count().dead == 2
    queue.client.run(commands.revive(queue.name, [job.id]))
    queue.join(30)
    assert queue.count().dead == 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"unique": True}, "a hook cannot have the option unique"),
        ({"limit": Limit(by="end")}, "a hook cannot have the option limit with by"),
        ({"expires": 60}, "a hook cannot have the option expires"),
        ({"delay": datetime.now(UTC)}, "a hook cannot have the option delay until a time"),
        ({"id": "mine"}, "a hook cannot have the option id"),
        ({"on_failure": print}, "a hook cannot have the option on_failure"),
    ],
)
def test_hook_with_an_option_that_needs_a_put_is_refused(options: dict[str, Any], reason: str) -> None:
    told = jobs.note_end.options(**options)
    with pytest.raises(BadCall, match=reason) as caught:
        jobs.divide.options(on_success=told)
    assert str(caught.value.hint).startswith("pass on_success=note_end.options(")


class Listener(http.server.ThreadingHTTPServer):
    """An address that keeps what is posted, and refuses the first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[tuple[Any, bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posted.append((self.headers, body))
        self.send_response(503 if len(self.server.posted) == 1 else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Run the address."""
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_webhook_is_signed_and_sent_again(
    start: Any, queue: Queue, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEYOR_WEBHOOK_SECRET", "open sesame")
    hook = webhook(listener.url)
    quick = hook._replace(function=hook.function.options(first_delay=0.1))  # type: ignore[attr-defined]
    start(workers=1)
    bad = queue.submit(jobs.divide.options(on_failure=quick), 1, 0)
    queue.join(30)
    (first, _), (headers, body) = listener.posted
    assert first["webhook-id"] == headers["webhook-id"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(b"open sesame", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    told = json.loads(body)
    assert (told["type"], told["data"]["id"], told["data"]["state"]) == ("job.failed", bad.id, "failed")
    assert told["data"]["error"] == "ValueError: nothing to divide by"


def test_wrong_hooks_are_refused() -> None:
    with pytest.raises(BadCall, match="a hook must be a task or a function"):
        jobs.divide.options(on_failure="mail")
    with pytest.raises(BadInput, match="http"):
        webhook("example.com")
