"""Shared fixtures of the browser tests: one browser and one page process for all, a separate window for each test."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from playwright.sync_api import sync_playwright

from conveyor import Queue
from conveyor.consumer.settings import ConsumerSettings
from conveyor.store import connect

from .kit import OTHER_NAME, SUPPORT, Command, Dashboard, environment
from .window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from launcher import Launcher

sys.path.insert(0, str(SUPPORT))

_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def browser(browser_program: str, browser_flags: tuple[str, ...]) -> Iterator[Browser]:
    """Provide the only browser of this folder; end it there, since it leaves a running event loop in this thread."""
    flags = [*browser_flags, f"--host-resolver-rules=MAP {OTHER_NAME} 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_program, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def shared_dashboard(
    launcher: Launcher,
    servers: Any,
    tmp_path_factory: pytest.TempPathFactory,
    eventually: Callable[..., Any],
) -> Iterator[Callable[[str], Dashboard]]:
    """Provide the dashboard process of a server, shared by all tests on that server."""
    running: dict[str, Dashboard] = {}

    def of(url: str) -> Dashboard:
        if url not in running:
            running[url] = Dashboard(launcher, url, eventually, tmp_path_factory.mktemp("dashboard"))
        return running[url]

    yield of
    for one in running.values():
        one.end()


@pytest.fixture
def dashboard(one_server: Any, shared_dashboard: Callable[[str], Dashboard]) -> Dashboard:
    """Return the dashboard process."""
    return shared_dashboard(one_server.url)


@pytest.fixture
def serve(
    launcher: Launcher, one_server: Any, tmp_path: Path, eventually: Callable[..., Any]
) -> Iterator[Callable[..., Dashboard]]:
    """Return a function that starts a dashboard process for the test: its arguments and environment."""
    started: list[Dashboard] = []

    def start(*words: str, url: str = one_server.url, **env: str) -> Dashboard:
        started.append(Dashboard(launcher, url, eventually, tmp_path, *words, **env))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def own_server(one_server: Any, tmp_path: Path) -> Iterator[Any]:
    """Provide a server that the test may stop."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = type(one_server)(one_server.kind, one_server.binary, folder)
    yield server
    server.reset() if server.process.poll() is None else None
    server.stop()


@pytest.fixture
def window(browser: Browser, dashboard: Dashboard) -> Iterator[Callable[..., Window]]:
    """Return a function that opens a window on the dashboard; keyword arguments are those of a browser context.

    At the end of the test no window may have had an error on its console that the test did not expect.
    """
    opened: list[Window] = []

    def open_window(**options: Any) -> Window:
        opened.append(Window(browser, options.pop("address", dashboard.address), options))
        return opened[-1]

    yield open_window
    errors = [error for one in opened for error in one.errors()]
    for one in opened:
        one.close()
    assert errors == []


@pytest.fixture
def queue(one_server: Any) -> Iterator[Queue]:
    """Provide a queue with a unique name."""
    client = connect(one_server.url)
    yield Queue(f"line{next(_numbers)}", store=client)
    client.close()


@pytest.fixture
def consume(
    consumer_launcher: Launcher, one_server: Any, tmp_path: Path, eventually: Callable[..., Any]
) -> Iterator[Callable[..., Command]]:
    """Return a function that starts a supervisor with some queues and workers and waits for its report."""
    started: list[Command] = []

    def start(*queues: str, workers: int = 1) -> Command:
        before = one_server.raw.zcard("conveyor:consumers")
        path = (str(SUPPORT),)
        settings = ConsumerSettings(queues=queues, workers=workers, modules=("browser_tasks",), path=path)
        words = [msgspec.json.encode(settings).decode()]
        said = tmp_path / f"consumer-{len(started)}"
        started.append(Command(consumer_launcher, words, environment(one_server.url, tmp_path), said))
        eventually(lambda: one_server.raw.zcard("conveyor:consumers") > before)
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the file that releases tasks; it does not exist yet."""
    return tmp_path / "go"
