"""Hidden content of jobs is in no page, wherever it was given and however the job ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pages_kit import Line, Visitor, call
from visitor_kit import report, tell, worker

from conveyor import task

if TYPE_CHECKING:
    from collections.abc import Callable

    Visit = Callable[..., Visitor]

SECRET = "sk-9f3e7711"
STATES = ("waiting", "running", "deferred", "delayed", "dead", "ended")


@task(name="secret.report")
def make_report(title: str, pages: int, api_key: str, text: str = "") -> None:
    """Make a report."""


def data(text: str = "") -> bytes:
    return call("secret.report", "title of it", 12, SECRET, text)


@pytest.fixture(params=["", "long " * 2000], ids=["short", "cut"])
def line_of_all(line: Line, request: Any) -> Line:
    """Return a queue with such a job in each state."""
    one = data(request.param)
    line.die(
        one, "ValueError", f"refused: api_key={SECRET}", f"{SECRET=}, token: '{SECRET}'\n".partition(", ")[2]
    )
    line.finish(one, {"token": SECRET})
    running = line.run(one)
    line.progress(running, 1, 2, f"password={SECRET}")
    line.log(running, f"Authorization: Bearer {SECRET}")
    line.put(one, delay=1000.0)
    line.put(one)
    line.defer(one)
    return line


def test_positional_secret_is_in_no_page(line_of_all: Line, visit: Visit) -> None:
    name, visitor = line_of_all.name, visit()
    found = set()
    for state in STATES:
        for more in ({}, {"text": SECRET}, {"task": "secret.report"}):
            seen = visitor.see("/jobs", queue=name, state=state, **more)
            assert SECRET not in seen.text
            assert "text" in more or "secret.report" in seen.text, (state, more)
            found |= {link for link in seen.links() if f"/queues/{name}/jobs/" in link}
    assert len(found) >= len(STATES)
    for address in (*found, f"/queues/{name}", "/failures", f"/failures?queue={name}", "/workers"):
        seen = visitor.see(address)
        assert seen.status == 200
        assert SECRET not in seen.html, address


def test_non_secret_argument_is_shown(line: Line, visit: Visit) -> None:
    line.put(data())
    assert (
        "title='title of it', pages=12, api_key=•••"
        in visit().see("/jobs", queue=line.name, state="waiting").text
    )


def test_secret_in_a_worker_report_is_in_no_page(line: Line, visit: Visit, one_server: Any) -> None:
    line.put(data())
    told = worker("rack-0001/1", message=f"password={SECRET}", queue=line.name)
    tell(one_server, report(workers=[told], queues=[line.name]))
    visitor = visit()
    for address in ("/", "/workers", f"/queues/{line.name}", "/workers/rack-0001/1"):
        seen = visitor.see(address)
        assert seen.status == 200, address
        assert SECRET not in seen.html, address
    assert "password=•••" in visitor.see("/workers").text


def test_secret_in_the_line_after_its_name_is_in_no_list(line: Line, visit: Visit) -> None:
    job = line.die(data(), "LoginFailed", f"login failed, password:\n  {SECRET}")
    for filters in ({"state": "dead"}, {"id": job}):
        seen = visit().see("/jobs", queue=line.name, **filters)
        assert "LoginFailed" in seen.text
        assert SECRET not in seen.html
