"""Lines a job logs during an outage: kept, sent afterwards, and counted beyond the limit."""

from __future__ import annotations

import _thread
import threading
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest

from conveyor.consumer import log_lines
from conveyor.consumer.execution import RunningJob
from conveyor.consumer.log_lines import LogLines
from conveyor.errors import StoreRefused, StoreUnavailable
from conveyor.monitor import Inspector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from conveyor import Queue


class FlakyClient:
    """A server that raises `trouble` as long as there is some, and takes lines otherwise."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self.taken: list[str] = []
        self.tries = 0
        self.sent: list[int] = []  # bytes of each try

    def run_all(self, commands: Sequence[Any], *, patience: float, within: float) -> None:
        self.tries += 1
        assert patience <= within <= 1.0, "a task stands still for so long"
        self.sent.append(sum(len(one.words[7]) for one in commands if one.words[0] == "XADD"))
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if self.trouble is not None:
            raise self.trouble
        self.taken += [text_of(one) for one in commands if one.words[0] == "XADD"]


class Run(RunningJob):
    """A run that does nothing but log."""

    def __init__(self, job_id: str) -> None:
        self.id, self.queue, self.attempt = job_id, "work", 1


def say(lines: LogLines, job_id: str, text: str) -> None:
    lines.add(Run(job_id), "INFO", text)


def text_of(command: Any) -> str:
    return str(command.words[command.words.index("line") + 1].decode())


@pytest.fixture
def client() -> FlakyClient:
    return FlakyClient()


def test_lines_are_kept_during_an_outage_and_sent_in_order(
    client: FlakyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("conveyor.clock.monotonic", lambda: now)
    lines = LogLines(client)  # type: ignore[arg-type]
    say(lines, "a", "1")
    client.trouble = StoreUnavailable("away")
    for text in "234":
        say(lines, "a", text)
    assert client.tries == 2, "a failed attempt is not repeated immediately"
    client.trouble = None
    say(lines, "a", "5")
    assert client.taken == ["1"]
    now += log_lines.PAUSE
    say(lines, "a", "6")
    assert client.taken == list("123456")
    lines.flush()
    assert client.tries == 3, "there was nothing more to send"


@pytest.mark.parametrize(("more", "words"), [(1, "1 line was"), (4, "4 lines were")])
def test_lines_beyond_the_limit_are_counted(client: FlakyClient, more: int, words: str) -> None:
    lines = LogLines(client)  # type: ignore[arg-type]
    client.trouble = StoreUnavailable("away")
    for number in range(log_lines.MAX_WAITING + more):
        say(lines, "a", str(number))
    client.trouble = None
    lines.resume()
    assert client.taken[-2:] == [str(log_lines.MAX_WAITING - 1), f"{words} lost: the server took none"]
    lines.flush()
    assert len(client.taken) == log_lines.MAX_WAITING + 1, "each is sent once"


def test_refused_lines_are_counted_by_job(client: FlakyClient) -> None:
    lines = LogLines(client)  # type: ignore[arg-type]
    client.trouble = StoreRefused("full")
    say(lines, "a", "gone")
    client.trouble = None
    say(lines, "b", "comes")
    lines.flush(exiting=True)
    assert client.taken == ["comes", "1 line was lost: the server took none"]


def test_full_server_is_queried_rarely_and_with_bounded_counts(
    client: FlakyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("conveyor.clock.monotonic", lambda: now)
    lines = LogLines(client)  # type: ignore[arg-type]
    client.trouble = StoreRefused("full")
    jobs = log_lines.MAX_COUNTED + 20
    for number in range(jobs):
        say(lines, str(number), "line")
        lines.resume()  # after each claim
        now += log_lines.PAUSE / 10
    assert client.tries <= jobs / 9
    client.trouble = None
    now += log_lines.PAUSE
    lines.flush()
    apart = [text for text in client.taken if text == "1 line was lost: the server took none"]
    assert len(apart) == log_lines.MAX_COUNTED
    (others,) = [text for text in client.taken if "of other jobs" in text]
    rest = len([text for text in client.taken if text == "line"])
    assert int(others.split()[0]) == jobs - log_lines.MAX_COUNTED - rest
    lines.flush()
    assert len(client.taken) == log_lines.MAX_COUNTED + rest + 1, "each is reported once"


def test_kept_lines_are_sent_in_chunks_and_only_once(client: FlakyClient) -> None:
    lines = LogLines(client)  # type: ignore[arg-type]
    client.trouble = StoreUnavailable("away")
    for number in range(50):
        say(lines, "a", f"{number} " + "é" * 4000)
    client.trouble, client.sent = None, []

    def fail_later() -> None:
        client.meanwhile = lambda: setattr(client, "trouble", StoreUnavailable("away"))

    client.meanwhile = fail_later  # the second part does not arrive
    lines.resume()
    client.trouble = None
    lines.resume()
    assert [int(text.split()[0]) for text in client.taken] == list(range(50))
    assert max(client.sent) <= log_lines.MAX_SENT


def test_unexpected_error_does_not_escape_flush(client: FlakyClient) -> None:
    lines = LogLines(client)  # type: ignore[arg-type]
    client.trouble = RuntimeError("ours")
    with pytest.raises(RuntimeError):
        say(lines, "a", "bad")
    lines.flush(exiting=True)
    client.trouble = None
    say(lines, "b", "next")
    lines.flush(exiting=True)
    assert client.taken == ["next", "1 line was lost: the server took none"]


@pytest.mark.parametrize("trouble", [None, StoreUnavailable("away"), StoreRefused("full")])
def test_line_of_a_signal_handler_waits_for_the_line_being_sent(
    client: FlakyClient, trouble: Exception | None
) -> None:
    lines = LogLines(client)  # type: ignore[arg-type]
    client.trouble = trouble
    client.meanwhile = lambda: say(lines, "a", "handler")
    say(lines, "a", "line")
    client.trouble = None
    lines.flush(exiting=True)
    lost = ["handler", "1 line was lost: the server took none"]
    assert client.taken == (lost if isinstance(trouble, StoreRefused) else ["line", "handler"])


def test_lines_logged_while_the_server_hangs_reach_the_job(
    queue: Queue,
    consume: Callable[..., Any],
    one_server: Any,
    path: Path,
    eventually: Callable[..., Any],
) -> None:
    consume()
    job = queue.submit(jobs.log_when_told, str(path))
    eventually(path.exists)
    one_server.raw.client_pause(3000)
    path.with_suffix(".go").touch()
    assert job.result(30) == 3

    def told() -> list[str]:
        found = Inspector(queue.client).job(job.id, queue.name)
        return list(dict.fromkeys(line.text for line in found.lines)) if found else []

    eventually(lambda: told() == ["line 0", "line 1", "line 2"])


def test_gathered_lines_do_not_wait_for_the_thread_that_sends(
    client: FlakyClient, eventually: Callable[..., Any]
) -> None:
    lines = LogLines(client)  # type: ignore[arg-type]
    lines.gather()
    other = threading.Thread(target=say, args=(lines, "b", "2"), daemon=True)

    def add_elsewhere() -> None:
        other.start()
        other.join(10)

    client.meanwhile = add_elsewhere
    say(lines, "a", "1")
    eventually(lambda: client.taken == ["1", "2"])
    assert not other.is_alive()


def test_burst_of_gathered_lines_loses_none(client: FlakyClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "RETRY", 60.0)
    lines = LogLines(client)  # type: ignore[arg-type]
    lines.gather()
    sent = [str(number) for number in range(3 * log_lines.MAX_WAITING + 1)]
    for text in sent:
        say(lines, "a", text)
    lines.flush()
    assert client.taken == sent
    assert client.tries <= 2 + len(sent) // 100, "they travel together"
    client.trouble, client.tries = StoreUnavailable("away"), 0
    for text in sent:
        say(lines, "a", text)
    assert client.tries <= 2, "it does not wait for a server that does not reply"


def test_gathered_lines_arrive_after_an_outage(
    client: FlakyClient, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setattr(log_lines, "RETRY", 0.01)
    lines = LogLines(client)  # type: ignore[arg-type]
    lines.gather()
    client.trouble = StoreUnavailable("away")
    say(lines, "a", "1")
    eventually(lambda: client.tries >= 2)
    client.trouble = None
    eventually(lambda: client.taken == ["1"])


def test_caller_sends_lines_if_no_thread_can_be_started(
    client: FlakyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    lines = LogLines(client)  # type: ignore[arg-type]
    lines.gather()
    say(lines, "a", "1")
    assert client.taken == ["1"]


def test_line_knows_its_level_attempt_number_and_age(
    client: FlakyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("conveyor.clock.monotonic", lambda: now)
    sent: list[Any] = []
    monkeypatch.setattr(client, "run_all", lambda commands, **_: sent.extend(commands))
    lines, run = LogLines(client), Run("a")  # type: ignore[arg-type]
    run.attempt = 3
    lines.gather()
    monkeypatch.setattr(lines, "_will_send", lambda: True)
    for level in ("INFO", "WARNING"):
        lines.add(run, level, "text")
        now += 0.25
    lines.flush()
    found = [dict(zip(one.words[6::2], one.words[7::2], strict=True)) for one in sent[:2]]
    same = {"line": b"text", "attempt": 3}
    assert found == [
        same | {"level": b"INFO", "number": 1, "age": 500},
        same | {"level": b"WARNING", "number": 2, "age": 250},
    ]
    assert [one.words[0] for one in sent] == ["XADD", "XADD", "EXPIRE"]
