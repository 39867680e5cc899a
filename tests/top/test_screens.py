"""The screens of the terminal view, on any terminal and server."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import go

from conveyor import clock
from conveyor.errors import StoreUnavailable
from conveyor.monitor import failures, poller
from conveyor.monitor import snapshot as snapshots
from conveyor.store import control_channel
from conveyor.store.client import Client
from conveyor.store.command import Command
from conveyor.store.query import Query
from conveyor.top.app import Top
from conveyor.top.poller import PollResult, View, ViewPoller
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

    Seated = Callable[..., None]


def test_view_recovers_when_the_server_is_back(
    seated: Seated, queue: Queue, one_server: Any, alone: None
) -> None:
    queue.put("item")

    async def story(seat: Any) -> None:
        await seat.sees("● live")
        one_server.stop()
        await seat.sees("no answer, trying again")
        await seat.sees("refused")
        await seat.sees("1 waiting")  # the last content stays
        one_server.start()
        await seat.sees("● live")
        await seat.sees("No queues yet")  # it came back empty

    try:
        seated(story)
    finally:
        if one_server.process.poll() is not None:
            one_server.start()


def test_two_workers_of_the_same_name_are_two_rows(seated: Seated, queue: Queue) -> None:
    twin = control_messages.WorkerReport("host-ab12/1", 1, "idle")
    report = control_messages.ConsumerReport("host-ab12", "host", 1, [queue.name], "all", 0.0, [twin, twin])
    queue.client.run(control_channel.report(report.name, control_messages.encode(report), clock.wall()))

    async def story(seat: Any) -> None:
        await seat.press("3")
        await seat.sees("host-ab12/1")
        assert sum("host-ab12/1" in line for line in seat.screen) == 2
        await seat.press("down")
        await seat.sees("● live")

    seated(story)


def test_view_is_frozen_while_updates_are_paused(seated: Seated, queue: Queue) -> None:
    queue.put("one")

    async def story(seat: Any) -> None:
        await seat.sees("1 waiting")
        await seat.press("p")
        await seat.sees("updates are paused")
        queue.put("two")
        await seat.press("question_mark")
        await seat.sees("These ask first")
        await seat.press("escape")
        await seat.sees("1 waiting")
        await seat.press("2")  # unread parts are still fetched
        await seat.sees("waiting 2", queue.name)
        queue.put("three")
        await seat.press("p")
        await seat.sees("3 waiting")

    seated(story)


def test_ended_jobs_are_counted_with_any_outcome(seated: Seated, queue: Queue) -> None:
    queue.put("one")
    queue.put("two")
    queue.get()
    queue.task_done()
    waiting = queue.submit(jobs.tell_progress, "/nowhere")
    waiting.cancel()

    async def story(seat: Any) -> None:
        await seat.press("2")
        await seat.sees("waiting 1", "dead 0", "ended 2", queue.name)

    seated(story)


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
def test_all_tabs_fit_the_terminal(
    seated: Seated, queue: Queue, consume: Callable[..., Any], path: Path, size: tuple[int, int]
) -> None:
    queue.submit(jobs.tell_progress, str(path))
    consume()

    async def story(seat: Any) -> None:
        for key in "1234":
            await seat.press(key)
            await seat.sees("q quit")  # the last word of the last line
            table = seat.pilot.app.main.table
            assert table.virtual_size.width <= size[0]
        await seat.press("tab")
        await seat.sees(queue.name, "▶")
        go(path)

    seated(story, size)


@pytest.mark.parametrize("wanted", ["none", "some"])
def test_colors_follow_the_terminal_unless_disabled(
    seated: Seated, queue: Queue, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if wanted == "none":
        monkeypatch.setenv("NO_COLOR", "1")
    queue.put("item")

    async def story(seat: Any) -> None:
        await seat.sees("● live")
        await seat.press("K")
        await seat.sees("this is for workers")
        green_and_yellow = ("color(2)", "color(3)")
        await seat.has("default", *(() if wanted == "none" else green_and_yellow))

    seated(story)


def test_slow_server_is_polled_less_often(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[PollResult] = []
    polls = ViewPoller(queue.client, results.append)
    interval = polls._poller.interval
    for _ in range(2):
        interval.succeeded(0.9 * interval.seconds)
    for fast_enough, step in ((0.0, 2), (1000.0, 1)):
        monkeypatch.setattr(poller, "FAST_ENOUGH", fast_enough)
        polls._view = View(text=str(step))
        polls._poll()
        assert results[-1].interval == poller.STEPS[step]
    app = Top(Client(queue.client.url), Any)  # type: ignore[arg-type]
    app.result = results[-1]
    assert "every 2 s: the server is slow" in app.connection().plain


def test_unavailable_server_is_polled_every_second(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[PollResult] = []
    polls = ViewPoller(queue.client, results.append)
    polls._poller.interval.succeeded(0.9)

    def refuse(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("no reply")

    monkeypatch.setattr(queue.client, "run_all", refuse)
    for _ in range(3):
        polls._poll()
    assert [one.interval for one in results] == [poller.STEPS[0]] * 3


def broken(*_: Any) -> Any:
    raise ValueError("odd bytes")


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (Query((Command(("NO_SUCH_COMMAND",)),), list), "'NO_SUCH_COMMAND'"),
        (Query((), broken), "ValueError: odd bytes"),
    ],
)
def test_refused_query_freezes_no_queues(
    seated: Seated, queue: Queue, monkeypatch: pytest.MonkeyPatch, query: Query[Any], error: str
) -> None:
    monkeypatch.setattr(failures, "overview", lambda _: query)
    queue.put("one")

    async def story(seat: Any) -> None:
        await seat.press("4")
        await seat.sees(error)
        await seat.sees("● live")
        queue.put("two")
        await seat.sees("2 waiting")
        await seat.press("1")
        await seat.misses(error)

    seated(story)


def test_bug_in_a_poll_is_shown(seated: Seated, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(seat: Any) -> None:
        await seat.sees("● live")
        with monkeypatch.context() as patch:
            patch.setattr(snapshots, "snapshot_of", broken)
            await seat.sees("no answer, trying again")
            await seat.sees("odd bytes")
        await seat.sees("● live")

    seated(story)


@pytest.mark.parametrize(
    ("before", "said", "hint"),
    [
        ("", "top needs a terminal", "conveyor status --json"),
        ("sys.modules['textual'] = None", "textual is not installed", 'pip install ".[top]"'),
    ],
)
def test_missing_terminal_or_textual_is_reported_with_advice(before: str, said: str, hint: str) -> None:
    code = f"import sys; {before}\nfrom conveyor.cli.main import run\nsys.exit(run(['top']))"
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert hint in done.stderr
