"""With `--log-format json`, each line on standard error is a JSON object; so are those of a formatter for users."""

from __future__ import annotations

import io
import json
import logging
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from conveyor import logs
from conveyor.logs import JsonFormatter

if TYPE_CHECKING:
    from pathlib import Path

TASKS = """
import logging
import os

from conveyor import task

log = logging.getLogger("shop")


@task(name="sell", queue="shop")
def sell(item: str) -> str:
    "Log."
    log.info("not shown, as without a format")
    log.warning("sold %s", item, extra={"price": 7})
    try:
        raise LookupError(item)
    except LookupError:
        log.exception("no such\\nitem")
    return item


@task(name="crash", queue="shop")
def crash() -> None:
    os.kill(os.getpid(), 9)
"""


def objects(text: str) -> list[dict[str, Any]]:
    """Return the lines of a text, each of which is an object of JSON with the usual fields."""
    found = [json.loads(line) for line in text.splitlines()]
    for one in found:
        assert datetime.fromisoformat(one["time"]).tzinfo is not None
        assert {"level", "logger", "message"} <= one.keys()
    return found


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--log-format", "json", "nonesuch"], 2, "No such command 'nonesuch'"),
        (["tasks", "nonesuch", "--log-format=JSON"], 3, "no task named 'nonesuch' here"),
        (
            ["consume", "--log-format", "json"],
            2,
            "QUEUE is missing, and without a terminal it cannot be asked for",
        ),
    ],
)
def test_error_is_an_object(conveyor: Any, words: list[str], code: int, said: str) -> None:
    done = conveyor(*words)
    assert done.code == code
    last = objects(done.err)[-1]
    assert (last["message"], last["level"], last["code"]) == (said, "ERROR", code)
    assert last["hint"]


def test_unknown_format_is_refused(conveyor: Any, environment: dict[str, str]) -> None:
    done = conveyor("tasks", "--log-format", "xml")
    assert (done.code, "'xml' is not one of 'text', 'json'" in done.err) == (2, True)
    environment[logs.FORMAT] = "xml"
    assert conveyor("tasks").code == 2


def test_error_of_a_document_stays_as_it_is(conveyor: Any) -> None:
    done = conveyor("tasks", "nonesuch", "--json", "--log-format", "json")
    assert set(done.error) == {"code", "message", "hint"}


def test_data_on_standard_output_stays_as_it_is(at_server: Any, conveyor: Any) -> None:
    done = conveyor("produce", "shape", 1, "--log-format", "json")
    assert len(done.out.split()) == 1
    assert objects(done.err)[-1]["message"] == "1 job enqueued on shapes:"


@pytest.mark.parametrize("kind", ["process", "thread", "coroutine"])
def test_consumer_writes_objects_only(
    at_server: Any, conveyor: Any, start_consumer: Any, folder: Path, kind: str
) -> None:
    (folder / "tasks.py").write_text(TASKS)
    (job,) = conveyor("produce", "sell", "tea").out.split()
    (lost,) = conveyor("produce", "crash").out.split()
    process = start_consumer("shop", "-n", 1, "--kind", kind, "--until-empty", "--log-format", "json")
    assert process.wait(60) == 0
    found = objects((folder / "consumer-0.log").read_text())
    by_event = {one["event"]: one for one in found if "event" in one}
    assert by_event["ConsumerStarted"]["queues"] == ["shop"]
    name = by_event["ConsumerStarted"]["consumer"]
    assert (by_event["WorkerDied"]["job"], by_event["WorkerDied"]["level"]) == (lost, "WARNING")
    assert by_event["WorkerDied"]["task"] == "crash"
    sold, failed = (one for one in found if one["logger"] == "shop")
    common = {"queue": "shop", "job": job, "task": "sell", "worker": f"{name}/1", "attempt": 1}
    assert sold.items() >= {**common, "message": "sold tea", "level": "WARNING", "price": 7}.items()
    assert failed.items() >= {**common, "message": "no such\nitem", "level": "ERROR"}.items()
    assert failed["exception"].splitlines()[-1] == "LookupError: tea"
    lines = conveyor("job", job, "--json").document["log"]
    assert any("sold tea" in json.dumps(line) for line in lines)


def test_environment_chooses_it_also_with_reload(
    at_server: Any, start_consumer: Any, environment: dict[str, str], folder: Path, eventually: Any
) -> None:
    environment[logs.FORMAT] = "json"
    process = start_consumer("shapes", "-n", 1, "--reload")
    log = folder / "consumer-0.log"
    eventually(lambda: "reloaded when code changes" in log.read_text())
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert objects(log.read_text())


def test_dashboard_writes_objects_only(
    at_server: Any, environment: dict[str, str], folder: Path, eventually: Any
) -> None:
    with (folder / "dashboard.log").open("w") as errors:
        command = [sys.executable, "-m", "conveyor", "dashboard", "--port", "0", "--log-format", "json"]
        process = subprocess.Popen(command, env=environment, cwd=folder, stderr=errors)
    try:
        log = folder / "dashboard.log"
        eventually(lambda: "The dashboard is at" in log.read_text())
        url = objects(log.read_text())[-1]["message"].split()[4]
        request = urllib.request.Request(url, headers={"Host": "elsewhere"})
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert objects(log.read_text())


@pytest.fixture
def logger() -> tuple[logging.Logger, io.StringIO]:
    """Return a logger with the formatter, and what it has written."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    found = logging.Logger("of.users")  # noqa: LOG001 - one that pytest does not know
    found.addHandler(handler)
    return found, stream


class Stubborn:
    """An object without a text."""

    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("arguments", "extra", "message", "fields"),
    [
        (("%s", "tea"), {"when": date(2026, 1, 2)}, "tea", {"when": "2026-01-02"}),
        (("%d", "tea"), {}, "%d [TypeError: %d format: a real number is required, not str]", {}),
        (("x",), {"number": float("nan")}, "x", {"number": "nan"}),
        (("x",), {"it": Stubborn()}, "x", {"it": "(Stubborn without a text: ValueError)"}),
        (("x",), {"map": {(1, 2): 3}}, "x", {"map": "{(1, 2): 3}"}),
        (("\ud800\x1b\n\u2028ä",), {}, "\ud800\x1b\n\u2028ä", {}),
        (("x",), {"time": "mine", "level": "mine"}, "x", {"level": "WARNING"}),
    ],
    ids=["date", "arguments", "nan", "stubborn", "keys", "surrogate", "reserved"],
)
def test_formatter_holds_any_record(
    logger: Any, arguments: Any, extra: dict[str, Any], message: str, fields: dict[str, Any]
) -> None:
    log, stream = logger
    log.warning(*arguments, extra=extra)
    (text,) = stream.getvalue().splitlines()
    assert text.isascii()
    (line,) = objects(text)
    assert line.items() >= {"message": message, "logger": "of.users", **fields}.items()


def test_formatter_names_the_span(logger: Any) -> None:
    log, stream = logger
    with TracerProvider(shutdown_on_exit=False).get_tracer("x").start_as_current_span("x") as span:
        log.warning("within", stack_info=True)
    log.warning("without")
    within, without = objects(stream.getvalue())
    context = span.get_span_context()
    assert (within["trace_id"], within["span_id"]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert within["stack"].startswith("Stack (most recent call last)")
    assert not {"trace_id", "stack", "job"} & without.keys()
