"""Each event has a line for people, and only unusual events are logged on request."""

from __future__ import annotations

import json
import os
import select
import sys
import typing
from contextlib import suppress
from datetime import datetime
from threading import Thread

import pytest
from consumer_kit import fill
from msgspec.structs import fields, replace

from conveyor import events, logs

if typing.TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES = {
    "consumer": "host-1a2b",
    "queues": ("numbers", "letters"),
    "workers": 2,
    "max_workers": 6,
    "server": "unix:///a/socket",
    "usual": False,
    "before": 1,
    "after": 8,
    "step": 1,
    "jobs_done": 1234,
    "worker": "host-1a2b/1",
    "how": "SIGSEGV",
    "job": "0123456789abcd",
    "task": "tasks.shout",
    "verb": "kill",
    "reason": "because",
    "error": "ValueError: no",
    "place": "beat.py:7 beat",
    "became": "given back",
    "limit": 2.5,
    "levels": ("memory", "written"),
    "queue": "numbers",
    "schedule": "nightly",
    "awaited": "456789abcdefgh",
    "seconds": 3.0,
    "resource": "tasks.pool",
}
CLASSES = events.Event.__subclasses__()


def sample(kind: type[events.Event]) -> events.Event:
    return kind(**{field.name: SAMPLES[field.name] for field in fields(kind)})


@pytest.fixture
def quiet_subscribers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_subscribers", [])


@pytest.mark.parametrize("kind", CLASSES)
def test_each_event_has_a_line_with_its_facts(kind: type[events.Event]) -> None:
    line = logs.line_for(sample(kind))
    assert line.strip()
    assert "\n" not in line
    for name in ("consumer", "worker", "job", "reason", "how", "became"):
        if any(field.name == name for field in fields(kind)):
            assert SAMPLES[name] in line


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("name", ["worker", "how", "job", "task", "reason", "error", "place", "became"])
def test_hostile_text_forges_no_line(
    kind: type[events.Event], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "\x1b[2J\r\nconveyor: forged\x9b31m\u202e\ud800\0" + "x" * 100_000
    monkeypatch.setitem(SAMPLES, name, hostile)
    line = logs.line_for(sample(kind))
    assert line.isprintable()
    assert len(line) <= logs.MAX_LENGTH
    line.encode()


def test_each_event_has_a_class_and_a_sample() -> None:
    told = {
        one for one in vars(events).values() if isinstance(one, type) and one.__module__ == events.__name__
    }
    assert told == {events.Event, *CLASSES}


@pytest.mark.parametrize("kind", [events.WorkerStopped, events.CancelAsked])
def test_reason_in_a_line_shows_no_secret(kind: type[events.Event]) -> None:
    told = logs.line_for(replace(sample(kind), reason="stubborn password=s3cr3t"))
    assert told.endswith(": stubborn password=•••")


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_each_step_of_an_exit_is_described(step: int) -> None:
    assert logs.line_for(events.ConsumerLeaving("host", step)).removeprefix("host ")


def test_all_events_or_only_unusual_ones_are_logged(
    quiet_subscribers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.to_standard_error()
    for kind in CLASSES:
        events.emit(sample(kind))
    assert capsys.readouterr().err.count("conveyor: ") == len(CLASSES)
    events._subscribers.clear()
    logs.to_standard_error(usual=False)
    for kind in CLASSES:
        events.emit(sample(kind))
    events.emit(events.WorkerStopped("host/1", "stop", ""))
    events.emit(events.WorkerRecycled("host/1", "it has run 3 jobs, its maximum", usual=True))
    told = capsys.readouterr().err
    assert told.count("conveyor: ") == len(CLASSES) - 6
    assert "host-1a2b/1 was killed: because" in told
    assert "host/1" not in told


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, typing.TextIO]]:
    """Return both ends of a pipe that takes nothing more."""
    reading, writing = os.pipe()
    fill(writing)
    os.set_blocking(reading, False)
    with os.fdopen(reading), os.fdopen(writing, "w") as stream:
        yield reading, stream


def test_full_standard_error_does_not_block_an_event(
    quiet_subscribers: None, full_pipe: tuple[int, typing.TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, stream = full_pipe
    monkeypatch.setattr(sys, "stderr", stream)
    logs.to_standard_error()

    def emit() -> None:
        for reason in ("first", "second"):
            events.emit(events.ServerAway(reason))

    emitting = Thread(target=emit, daemon=True)
    emitting.start()
    emitting.join(5.0)
    is_blocked = emitting.is_alive()
    with suppress(BlockingIOError):
        while os.read(reading, 65536):
            pass
    assert not is_blocked
    events.emit(events.ServerAway("third"))
    events.emit(events.ServerBack())
    assert os.read(reading, 65536).decode().splitlines() == [
        "conveyor: 2 lines were dropped, since nothing read them",
        "conveyor: third; retrying",
        "conveyor: the server is available again",
    ]


def test_long_line_fits_into_a_pipe(quiet_subscribers: None, capfd: pytest.CaptureFixture[str]) -> None:
    logs.to_standard_error()
    events.emit(events.ServerAway("ä" * 3000))
    told = capfd.readouterr().err
    assert told.startswith("conveyor: ääää")
    assert told.endswith("ä…\n")
    assert select.PIPE_BUF - 1 <= len(told.encode()) <= select.PIPE_BUF


@pytest.fixture
def json_lines(
    quiet_subscribers: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> typing.Callable[[events.Event], list[dict[str, typing.Any]]]:
    """Return a function that emits an event and returns the lines on standard error."""
    monkeypatch.setenv(logs.FORMAT, "json")
    logs.to_standard_error()

    def emit(event: events.Event) -> list[dict[str, typing.Any]]:
        events.emit(event)
        return [json.loads(line) for line in capfd.readouterr().err.splitlines()]

    return emit


@pytest.mark.parametrize("kind", CLASSES)
def test_each_event_is_a_json_object_with_its_fields(
    kind: type[events.Event], json_lines: typing.Any
) -> None:
    event = sample(kind)
    (line,) = json_lines(event)
    datetime.fromisoformat(line["time"])
    assert line["time"].endswith("Z")
    assert (line["logger"], line["event"], line["message"]) == ("conveyor", kind.__name__, str(event))
    assert line["level"] in {"INFO", "WARNING"}
    for field in fields(kind):
        assert line[field.name] == json.loads(json.dumps(getattr(event, field.name)))


def test_long_and_hostile_json_line_fits_into_a_pipe(json_lines: typing.Any) -> None:
    hostile = "ä\x1b[2J\n\ud800password=s3cr3t" * 2000
    (line,) = json_lines(events.WorkerDied("host/1", hostile, hostile, hostile))
    assert len(json.dumps(line)) < select.PIPE_BUF
    assert line["message"].startswith("worker host/1 crashed (ä")
    assert "s3cr3t" not in repr(line)
    (line,) = json_lines(events.WorkerStopped("host/1", "stop", "password=s3cr3t"))
    assert line["reason"] == "password=•••"
