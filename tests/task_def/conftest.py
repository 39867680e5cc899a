"""Shared fixtures of the task tests: a job that records and stops, and a web site that misbehaves on request."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from conveyor.context import CurrentJob, running
from conveyor.task_def import web_scrape
from conveyor.task_def.samples import make_documentation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Answer = Callable[["Visitor"], None]


class RecordingJob(CurrentJob):
    """Keeps a task's reports, and is cancelled after a number of them."""

    def __init__(self, cancel_after: int | None = None) -> None:
        self.reports: list[tuple[float, float]] = []
        self.cancel_after = cancel_after

    @property
    def cancelled(self) -> bool:
        return self.cancel_after is not None and len(self.reports) >= self.cancel_after

    def progress(self, done: float, total: float = 1.0, message: str = "") -> None:
        assert isinstance(message, str)
        self.reports.append((done, total))


@pytest.fixture
def job() -> Iterator[RecordingJob]:
    """Run the test inside a job."""
    job = RecordingJob()
    mark = running.set(job)
    yield job
    running.reset(mark)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run each test in a separate empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def documentation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the pages of the documentation, which take seconds to write: once for all processes."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "samples"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_documentation(folder / "documentation")
    return folder / "documentation"


@pytest.fixture
def shared_documentation(documentation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an order without a site read the pages that other tests have made."""
    monkeypatch.setattr(web_scrape, "sample_folder", lambda: documentation.parent)


class Visitor(BaseHTTPRequestHandler):
    """A request to the site, answered by the test's function for its path."""

    server: Site
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path)
        if answer is None:
            self.say("no such page", status=404)
        else:
            answer(self)

    def say(self, text: str | bytes, *, status: int = 200, **headers: str) -> None:
        body = text.encode() if isinstance(text, str) else text
        self.send_response(status)
        for name, value in {"Content_Type": "text/html; charset=utf-8", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


class Site(ThreadingHTTPServer):
    """A web site on loopback whose pages are functions."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visitor)
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def page(self, path: str, body: str = "", title: str = "a page", **headers: str) -> None:
        """Add a page of HTML."""
        text = f"<html><head><title>{title}</title></head><body><h1>Of {title}</h1>{body}</body></html>"
        self.answers[path] = lambda visitor: visitor.say(text, **headers)

    def redirect(self, path: str, target: str) -> None:
        """Add a redirect."""
        self.answers[path] = lambda visitor: visitor.say("", status=302, Location=target)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore visitors who disconnect."""


@contextmanager
def served() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield site
    finally:
        site.shutdown()
        thread.join()
        site.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    """Provide an empty web site."""
    with served() as site:
        yield site
