"""Lines a job logs during an outage: kept, sent afterwards, and counted beyond the limit."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest

from conveyor.consumer import log_lines
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
        self.sent.append(sum(len(one.words[-1]) for one in commands if one.words[0] == "XADD"))
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if self.trouble is not None:
            raise self.trouble
        self.taken += [one.words[-1].decode() for one in commands if one.words[0] == "XADD"]


@pytest.fixture
def client() -> FlakyClient:
    return FlakyClient()


def test_lines_are_kept_during_an_outage_and_sent_in_order(
    client: FlakyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("conveyor.clock.monotonic", lambda: now)
    lines = LogLines(client)  # type: ignore[arg-type]
    lines.add("work", "a", "1")
    client.trouble = StoreUnavailable("away")
    for text in "234":
        lines.add("work", "a", text)
    assert client.tries == 2, "a failed attempt is not repeated immediately"
    client.trouble = None
    lines.add("work", "a", "5")
    assert client.taken == ["1"]
    now += log_lines.PAUSE
    lines.add("work", "a", "6")
    assert client.taken == list("123456")
    lines.flush()
    assert client.tries == 3, "there was nothing more to send"


@pytest.mark.parametrize(("more", "words"), [(1, "1 line was"), (4, "4 lines were")])
def test_lines_beyond_the_limit_are_counted(client: FlakyClient, more: int, words: str) -> None:
    lines = LogLines(client)  # type: ignore[arg-type]
    client.trouble = StoreUnavailable("away")
    for number in range(log_lines.MAX_WAITING + more):
        lines.add("work", "a", str(number))
    client.trouble = None
    lines.flush()
    assert client.taken[-2:] == [str(log_lines.MAX_WAITING - 1), f"{words} lost: the server took none"]
    lines.flush()
    assert len(client.taken) == log_lines.MAX_WAITING + 1, "each is sent once"


def test_refused_lines_are_counted_by_job(client: FlakyClient) -> None:
    lines = LogLines(client)  # type: ignore[arg-type]
    client.trouble = StoreRefused("full")
    lines.add("work", "a", "gone")
    client.trouble = None
    lines.add("work", "b", "comes")
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
        lines.add("work", str(number), "line")
        lines.flush()  # after each claim
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
        lines.add("work", "a", f"{number} " + "é" * 4000)
    client.trouble, client.sent = None, []

    def fail_later() -> None:
        client.meanwhile = lambda: setattr(client, "trouble", StoreUnavailable("away"))

    client.meanwhile = fail_later  # the second part does not arrive
    lines.flush()
    client.trouble = None
    lines.flush()
    assert [int(text.split()[0]) for text in client.taken] == list(range(50))
    assert max(client.sent) <= log_lines.MAX_SENT


def test_unexpected_error_does_not_escape_flush(client: FlakyClient) -> None:
    lines = LogLines(client)  # type: ignore[arg-type]
    client.trouble = RuntimeError("ours")
    with pytest.raises(RuntimeError):
        lines.add("work", "a", "bad")
    lines.flush()
    client.trouble = None
    lines.add("work", "b", "next")
    lines.flush()
    assert client.taken == ["next", "1 line was lost: the server took none"]


@pytest.mark.parametrize("trouble", [None, StoreUnavailable("away"), StoreRefused("full")])
def test_line_of_a_signal_handler_waits_for_the_line_being_sent(
    client: FlakyClient, trouble: Exception | None
) -> None:
    lines = LogLines(client)  # type: ignore[arg-type]
    client.trouble = trouble
    client.meanwhile = lambda: lines.add("work", "a", "handler")
    lines.add("work", "a", "line")
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


def test_event_loop_does_not_wait_for_a_thread_that_sends(client: FlakyClient) -> None:
    lines = LogLines(client, waits=lambda: threading.current_thread() is threading.main_thread())  # type: ignore[arg-type]
    other = threading.Thread(target=lines.add, args=("work", "b", "2"), daemon=True)

    def add_elsewhere() -> None:
        other.start()
        other.join(10)

    client.meanwhile = add_elsewhere
    lines.add("work", "a", "1")
    assert not other.is_alive()
    lines.flush()
    assert client.taken == ["1", "2"]


def test_burst_from_an_event_loop_loses_no_line(client: FlakyClient) -> None:
    lines = LogLines(client, waits=lambda: False)  # type: ignore[arg-type]
    sent = [str(number) for number in range(3 * log_lines.MAX_WAITING + 1)]
    for text in sent:
        lines.add("work", "a", text)
    lines.flush()
    assert client.taken == sent
    client.trouble, client.tries = StoreUnavailable("away"), 0
    for text in sent:
        lines.add("work", "a", text)
    assert client.tries == 1, "it does not wait for a server that does not reply"
