"""The page of a job, in every state, and of undecodable jobs."""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import go
from pages_kit import TRACEBACK, Line, Role, Visitor, call

from conveyor.store import commands, keys, records
from conveyor.store.command import Command
from conveyor.wire import codec
from conveyor.wire.call import RunOptions, encode_calls, header_pairs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pages_kit import Seen

    from conveyor import Queue

    Visit = Callable[..., Visitor]


class State(enum.Enum):
    OPEN = "open"


def page_of(visitor: Visitor, line: Line, job: str) -> Seen:
    """See the page of a job."""
    return visitor.see(f"/queues/{line.name}/jobs/{job}")


def with_headers(headers: dict[str, str]) -> bytes:
    """Return the bytes of a job with headers."""
    (data,) = encode_calls(jobs.same, "shop.prices", [((1,), {})], RunOptions(headers=header_pairs(headers)))
    return data


def test_waiting_job_shows_its_position(line: Line, visit: Visit) -> None:
    line.put_many(call("shop.prices", 1), 3)
    job = line.put(call("shop.prices", 2, depth=[3, 4]))
    seen = page_of(visit(), line, job)
    assert seen.status == 200
    assert seen.words("h1") == ["shop.prices"]
    assert "3 jobs before it" in seen.text
    assert f"conveyor consume {line.name}" in seen.text
    assert seen.words(".arguments dd") == ["2", "[3, 4]"]
    assert [node.attributes["data-yes"] for node in seen.all("[data-act]")] == ["Cancel job"]


def test_headers_are_shown_without_secrets(line: Line, visit: Visit) -> None:
    headers = {"tenant": "<b>7</b>", "Authorization": "Bearer abcdef"}
    job = line.put(with_headers(headers))
    seen = page_of(visit(), line, job)
    assert seen.words("#headers + .arguments dt") == ["tenant", "Authorization"]
    assert seen.words("#headers + .arguments dd") == ["<b>7</b>", "•••"]
    assert "abcdef" not in seen.text
    assert not page_of(visit(), line, line.put(call("shop.prices", 1))).all("#headers")


def test_delayed_job_shows_its_due_time_and_the_last_failure(line: Line, visit: Visit) -> None:
    job = line.retry(call("shop.prices", 1))
    seen = page_of(visit(), line, job)
    assert seen.words(".job-line .state") == ["delayed"]
    assert seen.all(".job-now time[data-time=in]")
    assert "for attempt 2" in seen.text
    assert "OSError" in seen.words("tbody tr")[0]
    assert len(seen.all(".gantt .bar")) == 1


def test_running_job_shows_progress_log_and_the_effect_of_cancel(line: Line, visit: Visit) -> None:
    job = line.run(call("shop.prices", 1))
    line.progress(job, 1, 4, "a quarter")
    line.log(job, "one", "\x1b[31mtwo\x1b[0m in red")
    seen = page_of(visit(), line, job)
    assert seen.words(".log li span") == ["one", "two in red"]
    assert seen.words(".job-progress") == ["25 % a quarter"]
    assert seen.all(".job-now time[data-time=for]")
    assert seen.all(".job-now time[data-time=in]")
    cancel = next(node for node in seen.all("[data-act]") if "/cancel" in (node.attributes["data-act"] or ""))
    assert "JobCancelled" in (cancel.attributes["data-words"] or "")
    assert "SIGKILL" in (cancel.attributes["data-words"] or "")
    assert any("/stack" in (node.attributes["data-act"] or "") for node in seen.all("[data-act]"))


def test_dead_job_shows_its_traceback_with_user_code_highlighted(line: Line, visit: Visit) -> None:
    job = line.die(call("shop.prices", 1))
    seen = page_of(visit(), line, job)
    assert "\n".join(node.text() for node in seen.all(".trace pre")) == TRACEBACK.rstrip()
    assert seen.words(".trace .own") == ['File "/srv/app/shop.py", line 12, in prices return page["price"]']
    assert seen.words(".trace summary") == ["1 place in code of libraries"]
    assert "execution.py" in seen.words(".trace details pre")[0]
    assert "in bold" in seen.text
    assert "shop.py:12 prices" in seen.text
    assert [node.attributes["data-yes"] for node in seen.all("[data-act]")] == ["Retry job", "Discard job"]
    assert f"/enqueue?task=shop.prices&from={job}&queue={line.name}" in seen.links()


def test_traceback_without_user_code_is_not_folded(line: Line, visit: Visit) -> None:
    foreign = TRACEBACK.replace("/srv/app/", "/usr/lib/python3.11/site-packages/")
    job = line.die(call("shop.prices", 1), trace=foreign)
    seen = page_of(visit(), line, job)
    assert "\n".join(node.text() for node in seen.all(".trace pre")) == foreign.rstrip()
    assert not seen.all(".trace summary")
    assert "in bold" not in seen.text


def test_finished_job_shows_its_result_and_arguments(line: Line, visit: Visit) -> None:
    job = line.finish(call("shop.prices", 1, depth=2), {"price": [5, 6], "password": "hunter"})
    seen = page_of(visit(), line, job)
    assert "'price': [5, 6]" in seen.text
    assert "hunter" not in seen.html
    assert "1, depth=2" in seen.text
    assert "250 ms" in seen.text


@dataclasses.dataclass
class Login:
    name: str
    password: str
    state: Any


def test_object_is_shown_like_a_call_of_its_class(line: Line, visit: Visit) -> None:
    login, shown = Login("ada", "hunter", State.OPEN), "Login(name='ada', password='•••', state=State.OPEN)"
    finished = line.finish(call("shop.prices", login), {"logins": [login] * 3})
    seen = page_of(visit(), line, finished)
    assert f"'logins': [ {shown}, {shown}, {shown}, ]," in seen.text
    assert "hunter" not in seen.html
    result = visit().see(f"/api/v1/jobs/{finished}", queue=line.name).response.json()["result"]
    assert result == {"logins": [{"name": "ada", "password": "•••", "state": "OPEN"}] * 3}
    job = line.put(call("shop.prices", login, {State.OPEN: Counter("aab")}))
    seen = page_of(visit(), line, job)
    assert seen.words(".arguments dd") == [shown, "{State.OPEN: Counter({'a': 2, 'b': 1})}"]
    assert "hunter" not in seen.html


def test_large_object_is_shown_a_line_per_attribute(line: Line, visit: Visit) -> None:
    job = line.finish(call("shop.prices", 1), Login("a" * 60, "hunter", [State.OPEN, deque([1])]))
    shown = f"Login( name='{'a' * 60}', password='•••', state=[State.OPEN, deque([1])], )"
    assert shown in page_of(visit(), line, job).text


def test_large_result_is_only_downloadable(line: Line, visit: Visit) -> None:
    job = line.finish(call("shop.prices", 1), "large " * 20_000)
    seen = page_of(visit(), line, job)
    assert "large large" not in seen.html
    assert "117 KiB" in seen.text
    (download,) = [link for link in seen.links() if link.startswith("/api/v1/") and "/log" not in link]
    assert "large large" in visit().see(download).html


def test_secrets_are_masked_in_arguments_raw_log_and_progress(line: Line, visit: Visit) -> None:
    job = line.run(call("shop.prices", "https://me:hunter@shop.example", api_token="hunter"))
    line.progress(job, 1, 2, "at https://me:hunter@shop.example")
    line.log(job, "asked https://me:hunter@shop.example")
    assert "hunter" not in page_of(visit(), line, job).html
    assert "hunter" not in visit().see("/jobs", queue=line.name).html


def test_job_page_without_the_right_to_inspect_shows_facts_only(line: Line, visit: Visit) -> None:
    dead = line.die(
        call("shop.prices", "hunter"), message="hunter", trace=TRACEBACK.replace("price", "hunter")
    )
    line.log(dead, "hunter")
    done = line.finish(call("shop.prices", "hunter"), "hunter")
    visitor = visit(Role.VIEWER)
    for job in (dead, done):
        seen = page_of(visitor, line, job)
        assert seen.words("h1") == ["shop.prices"]
        assert "hunter" not in seen.html
        assert not seen.all("[data-act]")
    assert "KeyError" in page_of(visitor, line, dead).text


def test_job_is_found_without_its_queue(line: Line, visit: Visit) -> None:
    Line(line.client).put(call("shop.other", 1))
    job = line.put(call("shop.prices", 1))
    seen = visit().see(f"/jobs/{job}")
    assert seen.words("h1") == ["shop.prices"]
    assert f"in {line.name}" in seen.text


@pytest.mark.parametrize(
    "data", [b"\xc1 no job", b"\x94\xa4task\xc1\xc1", call("shop.prices", 1)[:-9], b"\x00"]
)
def test_undecodable_job_has_a_page_with_its_known_facts(line: Line, visit: Visit, data: bytes) -> None:
    job = line.put(data)
    seen = page_of(visit(), line, job)
    assert seen.status == 200
    assert f"{len(data)} B" in seen.text
    assert data.hex(" ")[:11] in seen.words("#raw pre")[0]


def test_damaged_records_do_not_prevent_a_page(line: Line, visit: Visit) -> None:
    job = line.die(call("shop.prices", 1))
    for name in ("reasons", "progress"):
        line.client.run(Command(("HSET", keys.key(line.name, name), job, b"\xc1")))
    seen = page_of(visit(), line, job)
    assert seen.status == 200
    assert visit().see("/jobs", queue=line.name, state="dead").status == 200
    assert visit().see("/failures").status == 200


@pytest.mark.parametrize("job", ["nowhere", "%2e%2e%2f", "x" * 65, "a'b", "a%00b", "%3Cscript%3E"])
def test_unknown_job_is_reported(line: Line, visit: Visit, job: str) -> None:
    line.put(call("shop.prices", 1))
    for address in (f"/queues/{line.name}/jobs/{job}", f"/jobs/{job}", f"/queues/nowhere/jobs/{job}"):
        assert visit().see(address).status in {400, 404}


def test_long_log_is_shown_from_its_end(line: Line, visit: Visit) -> None:
    job = line.run(call("shop.prices", 1))
    line.log(job, *(f"line {number} {'x' * 300}" for number in range(300)))
    seen = page_of(visit(), line, job)
    lines = seen.words(".log li span")
    assert lines[-1].startswith("line 299")
    assert 50 < len(lines) <= 200
    assert len(seen.response.content) < 60 * 1024
    assert any("/log?queue=" in link for link in seen.links())


def test_log_shows_levels_and_tells_attempts_apart(line: Line, visit: Visit) -> None:
    job = line.run(call("shop.prices", 1))
    for attempt, level, text in (
        (1, "INFO", "one"),
        (1, "ERROR", "two\nthree"),
        (2, "<b>", "four"),
        (2, "out", "five"),
    ):
        line.client.run_all(records.log(line.name, job, text, level=level, attempt=attempt, number=1))
    line.log(job, "old")
    seen = page_of(visit(), line, job)
    assert seen.words(".log li span") == ["one", "two three", "four", "five", "old"]
    assert seen.words(".log li b") == ["INFO", "ERROR", "<b>", "out", ""]
    assert [words.split()[-1] for words in seen.words(".log li")] == [
        "one",
        "three",
        "2",
        "four",
        "five",
        "old",
    ]
    assert seen.words(".log-attempt") == ["Attempt 2"]


def test_log_reports_the_number_of_lines_if_not_all_are_kept(line: Line, visit: Visit) -> None:
    job = line.run(call("shop.prices", 1))
    line.client.run_all(records.log(line.name, job, "text", level="INFO", attempt=1, number=12_345))
    assert "has logged 12,345 lines; the last thousand or so are kept" in page_of(visit(), line, job).text


def test_empty_log_explains_what_is_kept(line: Line, visit: Visit) -> None:
    seen = page_of(visit(), line, line.run(call("shop.prices", 1)))
    (empty,) = seen.words(".log-empty")
    assert empty.startswith("No log lines.")
    assert all(word in empty for word in ("logging.info", "current_job().log", "--prints"))


def test_page_version_depends_on_the_job_and_not_on_the_clock(line: Line, visit: Visit) -> None:
    job = line.run(call("shop.prices", 1))
    line.progress(job, 1, 4)
    visitor = visit()
    tags = [page_of(visit(), line, job).response.headers["etag"] for _ in range(2)]
    assert tags[0] == tags[1]
    line.log(job, "news")
    assert page_of(visit(), line, job).response.headers["etag"] != tags[0]
    assert page_of(visitor, line, job).status == 200


def test_job_of_a_real_consumer_is_followed_to_its_end(
    queue: Queue, consume: Callable[..., Any], path: Path, visit: Visit, eventually: Callable[..., Any]
) -> None:
    running = consume()
    job = queue.submit(jobs.tell_progress, str(path))
    eventually(job.progress)
    address = f"/queues/{queue.name}/jobs/{job.id}"
    seen = visit().see(address)
    assert seen.words(".job-line .state") == ["running"]
    assert seen.words(".log li span") == ["first line", "second line"]
    assert "three of four" in seen.text
    assert f"/workers/{running.name}/1" in seen.links()
    go(path)
    job.result(30)
    over = visit().see(address)
    assert over.words(".job-line .state") == ["done"]
    assert f"path={str(path)!r}"[:40] in over.text
    assert over.words(".log li span")[:2] == ["first line", "second line"]
    assert [node.attributes.get("class") for node in over.all(".gantt .bar")] == ["bar done"]


def test_dead_job_shows_its_attempts_everywhere(
    queue: Queue, consume: Callable[..., Any], path: Path, visit: Visit
) -> None:
    consume()
    job = queue.submit(jobs.steady, str(path), fails=9)
    assert job.exception(30) is not None
    seen = visit().see(f"/queues/{queue.name}/jobs/{job.id}")
    assert seen.words(".job-line .state") == ["dead"]
    facts = dict(zip(seen.words(".facts dt"), seen.words(".facts dd"), strict=True))
    assert (facts["Attempt"], facts["Retries used"], facts["Crashes"]) == ("3", "2 of 2", "0")
    rows = visit().see("/jobs", queue=queue.name, state="dead")
    assert rows.words("tbody [data-label=Attempt]") == ["3"]
    one = visit().see(f"/api/v1/jobs/{job.id}").response.json()
    (line,) = visit().see("/api/v1/jobs", queue=queue.name, state="dead").response.json()["jobs"]
    for told in (one, line):
        assert (told["state"], told["attempt"], told["retries"], told["crashes"]) == ("dead", 3, 2, 0)


def suspended(line: Line, seconds: float | None) -> str:
    """Suspend a job behind a step, and return its id."""
    job = line.put(call("shop.prices", 1))
    token = line.client.run(commands.claim(line.name, "host-ab12/3", f"n{job}.1", 1, 60.0)).token
    value = codec.encode({"password": "hunter2", "text": "<b>4</b>"})
    line.client.run(commands.step(line.name, token, job, "step charge", value))
    line.client.run(commands.wait(line.name, token, job, "wait", "<i>go</i>", seconds))
    line.client.run(commands.suspend(line.name, token, job, "wait", "<i>go</i>"))
    return job


def test_suspended_job_shows_its_steps_without_secrets(line: Line, visit: Visit) -> None:
    seen = page_of(visit(), line, suspended(line, 600.0))
    assert seen.words(".job-now")[0].startswith("Waits for the signal <i>go</i> , at most in 9 min")
    assert seen.words("[aria-label=Steps] td:first-child") == ["charge", "signal <i>go</i>"]
    assert seen.words("[aria-label=Steps] .state") == ["done", "waiting"]
    assert "•••" in seen.text
    assert "<b>4</b>" in seen.text
    assert "hunter2" not in seen.text
    endless = page_of(visit(), line, suspended(line, None))
    assert endless.words(".job-now") == ["Waits for the signal <i>go</i>"]


def test_steps_are_hidden_without_the_right_to_inspect(line: Line, visit: Visit) -> None:
    seen = page_of(visit(Role.VIEWER), line, suspended(line, None))
    assert seen.words(".job-now") == ["Waits for a signal"]
    assert not seen.all("#steps")
    assert "charge" not in seen.text
