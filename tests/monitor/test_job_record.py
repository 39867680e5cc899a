"""Everything about a job in a single query, in every state, and even if its bytes are invalid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Task, result_of, results_of
from conveyor.errors import BadCall
from conveyor.monitor import job_list, job_record
from conveyor.monitor.job_record import LogLine
from conveyor.store import commands, keys, records
from conveyor.store.command import Command
from conveyor.store.commands import PutParams
from conveyor.wire import codec
from conveyor.wire.call import PutOptions, RunOptions
from conveyor.wire.outcome import Cancel, Done, Fail, Retry, describe_text
from conveyor.wire.redaction import MASK, Labels

if TYPE_CHECKING:
    from conftest import Hand
    from conveyor import Queue

ERROR = describe_text("OSError", "no way", 'Traceback …:\n  File "/app/a.py", line 1, in go\n')


def fetch(url: str, depth: int = 1, **rest: Any) -> None: ...


def told(queue: Queue, job_id: str, **options: Any) -> job_record.JobRecord:
    found = job_record.record(queue.name, job_id, **options).ask(queue.client)
    assert found
    return found


def test_waiting_job_is_shown_without_its_secrets(queue: Queue) -> None:
    queue.submit(fetch, "https://ann:hunter2@example.org")
    job = queue.submit(fetch, "second", 3, password="hunter2")
    one = told(queue, job.id)
    assert (one.state, one.place, one.due_in, one.worker) == ("waiting", 1, None, "")
    assert one.arguments == [("", "second"), ("", 3), ("password", MASK)]
    assert one.preview == "'second', 3, password=•••"
    assert (one.settled, one.run, one.attempts, one.lines, one.undecodable) == (None, None, [], [], 0)
    assert one.call
    assert one.put_at == one.call.put_at


def test_positional_secret_is_hidden_if_the_task_is_known(queue: Queue) -> None:
    job = queue.submit(fetch, "x", 3)
    labels = {f"{__name__}.fetch": Labels(("url", "depth"), ("depth",))}
    one = told(queue, job.id, labels_of=labels.__getitem__)
    assert one.arguments == [("url", "x"), ("depth", MASK)]
    assert one.preview == "url='x', depth=•••"


def test_retried_job_has_its_attempts_and_its_last_run(queue: Queue, hand: Hand) -> None:
    job = queue.submit(fetch, "x")
    hand.end(Retry(ERROR, 0.0))
    hand.log(job.id, "first line", "second line")
    one = told(queue, job.id)
    assert (one.state, one.retries, [attempt.state for attempt in one.attempts]) == (
        "waiting",
        1,
        ["retried"],
    )
    hand.end(Done(codec.encode(5)), elapsed=0.25)
    one = told(queue, job.id)
    assert (one.state, one.task, one.preview, one.call) == ("done", f"{__name__}.fetch", "'x'", None)
    assert [(attempt.attempt, attempt.state) for attempt in one.attempts] == [(1, "retried"), (2, "done")]
    assert one.attempts[0].message == "no way"
    assert one.settled
    assert (one.settled.result(), one.settled.elapsed) == (5, 0.25)
    assert one.run
    assert (one.run.attempt, one.run.worker) == (2, "host/1")
    assert [line.text for line in one.lines] == ["first line", "second line"]


def test_failed_job_has_a_single_attempt(queue: Queue, hand: Hand) -> None:
    job = queue.submit(fetch, "x")
    hand.end(Fail(ERROR))
    one = told(queue, job.id)
    assert (one.state, [attempt.state for attempt in one.attempts]) == ("dead", ["failed"])
    assert one.run
    assert one.arguments == [("", "x")]


def tries(one: job_record.JobRecord) -> tuple[int, int, int]:
    """Return retries, crashes and attempt."""
    return one.retries, one.crashes, one.attempt


@pytest.mark.parametrize("outcome", [Fail(ERROR), Done(codec.encode(5)), Cancel()])
def test_finished_job_has_its_retries_crashes_and_attempt(queue: Queue, hand: Hand, outcome: Any) -> None:
    job = queue.submit(fetch, "x")
    assert tries(told(queue, job.id)) == (0, 0, 1)
    hand.end(Retry(ERROR, 0.0))
    assert tries(told(queue, job.id)) == (1, 0, 2)
    hand.lose()
    assert tries(told(queue, job.id)) == (1, 1, 3)
    hand.end(outcome)
    assert tries(told(queue, job.id)) == (1, 1, 3)


def test_job_that_lost_ten_leases_has_ten_attempts(queue: Queue, hand: Hand) -> None:
    job = queue.submit(fetch, "x")
    for _ in range(10):
        hand.lose()
    one = told(queue, job.id)
    assert (one.state, *tries(one)) == ("dead", 0, 10, 10)
    (row,) = job_list.page(queue.name, "dead").ask(queue.client).rows
    assert (row.retries, row.crashes, row.attempt) == (0, 10, 10)


def test_revived_job_has_no_earlier_attempts(queue: Queue, hand: Hand) -> None:
    job = queue.submit(fetch, "x")
    hand.end(Retry(ERROR, 0.0))
    hand.end(Fail(ERROR))
    queue.client.run(commands.revive(queue.name, [job.id]))
    assert tries(told(queue, job.id)) == (0, 0, 1)
    hand.end(Done(codec.encode(5)))
    assert tries(told(queue, job.id)) == (0, 0, 1)


def test_discarded_dead_job_keeps_its_outcome(queue: Queue, hand: Hand) -> None:
    job = queue.submit(fetch, "x")
    hand.end(Fail(ERROR))
    queue.client.run(commands.discard(queue.name, [job.id]))
    assert told(queue, job.id).state == "failed"


def test_running_job_has_its_worker(queue: Queue, hand: Hand) -> None:
    job = queue.submit(fetch, "x")
    hand.take()
    assert (told(queue, job.id).state, told(queue, job.id).worker) == ("running", "host/1")


def test_delayed_job_has_its_due_time(queue: Queue) -> None:
    queue.client.run(commands.put(queue.name, [("later", b"\xc1")], PutParams(delay=100.0)))
    one = told(queue, "later")
    assert one.state == "delayed"
    assert one.due_in == pytest.approx(100.0, abs=10.0)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"no job", b"\x94\xa1t\x05\x05\x00"])
def test_unreadable_job_has_a_record(queue: Queue, data: bytes) -> None:
    queue.client.run(commands.put(queue.name, [("odd", data)], PutParams()))
    one = told(queue, "odd")
    assert (one.state, one.undecodable, one.arguments) == ("waiting", len(data), [])


def test_unreadable_outcome_attempt_or_progress_hides_no_more(queue: Queue, hand: Hand) -> None:
    job = queue.submit(fetch, "x")
    raw = queue.client
    raw.run(Command(("RPUSH", f"conveyor:{{{queue.name}}}:attempts:{job.id}", b"\xc1")))
    raw.run(Command(("EXPIRE", f"conveyor:{{{queue.name}}}:attempts:{job.id}", 60)))
    raw.run(Command(("HSET", f"conveyor:{{{queue.name}}}:progress", job.id, b"\xc1")))
    one = told(queue, job.id)
    assert (one.state, one.attempts, one.progress) == ("waiting", [], None)
    claimed = hand.take()
    token = hand.settler._token
    raw.run(commands.finish(queue.name, token, [commands.Settlement(claimed.id, b"\xc1", 60.0)]))
    one = told(queue, job.id)
    assert (one.state, one.settled, one.run) == ("over", None, None)


def test_results_of_other_jobs_are_shown_as_such(queue: Queue) -> None:
    first, second = queue.submit(fetch, "x"), queue.submit(fetch, "y")
    last = queue.submit(fetch, result_of(first), depth=2, rest=results_of([first, second]))
    one = told(queue, last.id)
    assert one.preview == f"url=result of {first.id}, depth=2, rest=results of 2 jobs"
    assert one.arguments == [("url", f"result of {first.id}"), ("depth", 2), ("rest", "results of 2 jobs")]


def test_failure_of_a_job_before_is_the_reason(queue: Queue, hand: Hand) -> None:
    first = queue.submit(fetch, "x")
    last = queue.submit(Task(fetch, "fetch", PutOptions(), RunOptions()).options(after=[first]), "y")
    hand.end(Fail(describe_text("OSError", "no way")))
    one = told(queue, last.id)
    reason = f"the job {first.id}, which it comes after, ended as failed"
    assert (one.state, one.cancelled_by, one.cancel_reason) == ("cancelled", "", reason)
    assert dict(job_record.facts(one))["Cancelled"] == reason


def test_cancelled_job_has_its_run_time(queue: Queue, hand: Hand) -> None:
    job = queue.submit(fetch, "x")
    hand.end(Cancel(), elapsed=2.0)
    one = told(queue, job.id)
    assert one.settled
    assert (one.state, one.settled.elapsed, one.attempts[-1].state) == ("cancelled", 2.0, "cancelled")


def test_unknown_job_has_no_record(queue: Queue) -> None:
    assert job_record.record(queue.name, "never").ask(queue.client) is None


def test_job_is_located_in_its_queue(queue: Queue, hand: Hand) -> None:
    waiting = queue.submit(fetch, "x")
    names = ["elsewhere", queue.name, "nowhere"]
    assert job_record.locate(waiting.id, names).ask(queue.client) == queue.name
    hand.end(Done(codec.encode(None)))
    assert job_record.locate(waiting.id, names).ask(queue.client) == queue.name
    assert job_record.locate("never", names).ask(queue.client) == ""
    assert job_record.locate("never", []).ask(queue.client) == ""


def test_new_lines_are_queried_after_the_last_known_line(queue: Queue, hand: Hand) -> None:
    job = queue.submit(fetch, "x")
    hand.log(job.id, *map(str, range(5)))
    first = job_record.log_after(queue.name, job.id, count=2).ask(queue.client)
    assert [line.text for line in first] == ["0", "1"]
    rest = job_record.log_after(queue.name, job.id, first[-1].id).ask(queue.client)
    assert [line.text for line in rest] == ["2", "3", "4"]
    assert job_record.log_after(queue.name, job.id, rest[-1].id).ask(queue.client) == []
    assert [line.id for line in told(queue, job.id).lines] == [line.id for line in (*first, *rest)]
    with pytest.raises(BadCall):
        job_record.log_after(queue.name, job.id, "5 or so")


def test_long_line_is_cut_and_any_text_is_accepted(queue: Queue, hand: Hand) -> None:
    job = queue.submit(fetch, "x")
    hand.log(job.id, "é" * 10_000, "x" * 8192, "caf\udce9")
    long, whole, odd = (line.text for line in told(queue, job.id).lines)
    assert len(long.encode()) <= 8192
    assert long.strip("é") == "…"
    assert whole == "x" * 8192
    assert odd == "caf\\udce9"


def test_record_has_the_last_five_hundred_lines(queue: Queue, hand: Hand) -> None:
    job = queue.submit(fetch, "x")
    hand.log(job.id, *map(str, range(510)))
    assert [line.text for line in told(queue, job.id).lines] == [str(number) for number in range(10, 510)]


def test_line_has_level_attempt_number_and_its_own_time(queue: Queue) -> None:
    job = queue.submit(fetch, "x")
    client = queue.client
    client.run_all(
        records.log(queue.name, job.id, "late", level="ERROR", attempt=2, number=7, age=3.5)
        + records.log(queue.name, job.id, "old")
    )
    late, old = told(queue, job.id).lines
    assert (late.text, late.level, late.attempt, late.number) == ("late", "ERROR", 2, 7)
    assert old[2:] == ("old", "", 0, 0)
    assert old.at - late.at == pytest.approx(3.5, abs=0.5)


@pytest.mark.parametrize("value", [b"", b"x", b"-1", b"1" * 5000, b"\xff", "\u0662".encode()])
def test_corrupt_fields_of_a_line_do_not_hide_it(queue: Queue, value: bytes) -> None:
    job = queue.submit(fetch, "x")
    key = keys.key(queue.name, f"log:{job.id}")
    fields = ("line", b"text", "level", value, "attempt", value, "number", value, "age", value, "odd")
    queue.client.run_all([Command(("XADD", key, "*", *fields, value)), Command(("EXPIRE", key, 60))])
    (line,) = told(queue, job.id).lines
    assert (line.text, line.attempt, line.number) == ("text", 0, 0)


def test_rows_of_a_log_show_attempts_gaps_and_tracebacks() -> None:
    lines = [
        LogLine("1-0", 0.0, "one\n  two", "ERROR", 1, 3),
        LogLine("2-0", 61.0, "\x1b[31mpassword=hunter2", "INFO", 1, 4),
        LogLine("3-0", 61.0, "again", "out", 2, 1),
        LogLine("4-0", 61.0, "on", "out", 2, 3),
        LogLine("5-0", 61.0, "old", "", 0, 0),
    ]
    rows = [head + text for head, _, text in job_record.log_rows(lines)]
    assert rows == [
        "… 2 lines not shown",
        "00:00:00 ERROR    one",
        "                    two",
        "00:01:01 INFO     password=•••",
        "Attempt 2",
        "00:01:01 out      again",
        "… 1 line not shown",
        "00:01:01 out      on",
        "00:01:01 old",
    ]


def test_suspended_job_has_its_steps_and_what_it_waits_for(queue: Queue) -> None:
    job, values = queue.submit(fetch, "x"), {"password": "hunter2", "number": 3}
    (token,) = (queue.client.run(commands.claim(queue.name, "ann", f"{job.id}.1", 1, 60.0)).token,)
    kept = [
        ("step fetch", codec.encode(values), 0),
        ("step api_key", codec.encode("hunter2"), 0),
        ("step large", codec.encode("x" * 1000), 0),
        ("step strange", b"\xc1", 0),
        ("cursor", codec.encode(7), 12),
    ]
    sent = [commands.step(queue.name, token, job.id, *one) for one in kept]
    sent.append(commands.signal(queue.name, job.id, "early", codec.encode([1])))
    sent.append(commands.wait(queue.name, token, job.id, "sleep", "nap", 0.0))
    sent.append(commands.wait(queue.name, token, job.id, "wait", "late", 0.0))
    sent.append(commands.wait(queue.name, token, job.id, "wait", "go", 600.0))
    for command in [*sent, commands.suspend(queue.name, token, job.id, "wait", "go")]:
        queue.client.run(command)  # not together: a script that the server has yet to load would be overtaken
    queue.client.run(Command(("HSET", keys.key(queue.name, f"steps:{job.id}"), "foreign", "!")))
    one = told(queue, job.id)
    assert [(step.kind, step.name, step.state, step.value) for step in one.steps] == [
        ("foreign", "", "done", 33),
        ("step", "fetch", "done", {"password": MASK, "number": 3}),
        ("step", "api_key", "done", MASK),
        ("step", "large", "done", None),
        ("step", "strange", "done", None),
        ("cursor", "", "done", 7),
        ("signal", "early", "done", [1]),
        ("sleep", "nap", "done", None),
        ("signal", "late", "timed out", None),
        ("signal", "go", "waiting", None),
    ]
    assert [step.size for step in one.steps][-5:] == [1, 2, 0, 0, 0]
    facts = dict(job_record.facts(one))
    assert facts["Waits for"].startswith("the signal go until ")
    assert facts["Steps done"] == "fetch, api_key, large, strange, early, nap"
    assert facts["Cursor"] == "7"
    assert facts["State"].startswith("delayed, due in ")


def test_job_that_waits_without_end_has_no_due_time(queue: Queue) -> None:
    job = queue.submit(fetch, "x")
    token = queue.client.run(commands.claim(queue.name, "ann", f"{job.id}.1", 1, 60.0)).token
    sent = commands.wait(queue.name, token, job.id, "wait", "go", None)
    queue.client.run(sent)
    queue.client.run(commands.suspend(queue.name, token, job.id, "wait", "go"))
    one = told(queue, job.id)
    assert (one.state, one.due_in, [step.until for step in one.waits_for]) == ("delayed", None, [None])
    facts = dict(job_record.facts(one))
    assert (facts["State"], facts["Waits for"]) == ("delayed until a signal", "the signal go")
    (row,) = job_list.page(queue.name, "delayed").ask(queue.client).rows
    assert row.due_at is None
