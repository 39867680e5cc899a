"""Hooks: what is submitted when a job ends, in the same step in which it ends."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
from typing import TYPE_CHECKING, Any

import flow_jobs as jobs
import pytest
from consumer_kit import lines

from conveyor import BadCall, BadInput, JobFailed, JobLost, Queue, webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def start(consume: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that starts a consumer of the tasks."""
    return lambda *args, **changes: consume(*args, modules=("flow_jobs",), **changes)


@pytest.fixture
def ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which hooks note what they get."""
    monkeypatch.setenv("ENDS", str(path))
    return path


def test_hook_of_the_outcome_runs_and_no_other(start: Any, queue: Queue, ends: Path) -> None:
    start(workers=2)
    task = jobs.divide.options(on_success=jobs.note_result, on_failure=jobs.note_end)
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
    task = jobs.divide.options(retries=2, first_delay=0, on_failure=jobs.note_end)
    with pytest.raises(JobFailed):
        queue.submit(task, 1, 0).result(30)
    queue.join(30)
    assert len(lines(ends)) == 1


def test_failure_hook_runs_for_a_job_whose_workers_crash(start: Any, queue: Queue, ends: Path) -> None:
    start(workers=2)
    with pytest.raises(JobLost):
        queue.submit(jobs.crash.options(on_failure=jobs.note_end)).result(60)
    queue.join(30)
    assert [line.split(" ")[4] for line in lines(ends)] == ["lost"]


def test_hooks_find_room_in_a_full_queue(start: Any, queue: Queue, ends: Path) -> None:
    bounded = Queue(f"{queue.name}-bounded", maxsize=3, store=queue.client)
    task = jobs.divide.options(on_success=jobs.note_result)
    made = bounded.submit_many(task, [(number, 1) for number in range(3)])
    start(bounded.name, workers=1)
    more = bounded.submit_many(task, [(number, 1) for number in range(3, 30)])
    assert [one.result(30) for one in (*made, *more)] == list(range(30))
    bounded.join(30)
    assert sorted(lines(ends), key=lambda line: int(line.split()[1])) == [f"result {n}" for n in range(30)]


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
