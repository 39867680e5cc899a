"""The worker on the page of a running job: its resources, its silence, and when it is killed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from pages_kit import Line, Role, Visitor, call

from conveyor import JobCancelled
from conveyor.monitor import Inspector, bulk
from conveyor.monitor.actions import Actions, Actor
from conveyor.monitor.format import duration
from conveyor.store import commands, control_channel, keys
from conveyor.store.commands import Command, Settlement
from conveyor.wire import control_messages
from conveyor.wire.audit_entry import Matching
from conveyor.wire.control_messages import ConsumerReport, WorkerReport
from conveyor.wire.outcome import Run, encode_killed, encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from pages_kit import Seen

    Visit = Callable[..., Visitor]

OWNER = "host-ab12/3"


def page_of(visitor: Visitor, line: Line, job: str) -> Seen:
    """See the page of a job."""
    return visitor.see(f"/queues/{line.name}/jobs/{job}")


def running(line: Line, ago: float) -> str:
    """Set up a job that reports being half done and was claimed some seconds ago; return its id."""
    job = line.run(call("shop.prices", 1), worker=OWNER)
    line.progress(job, 1, 2, "half of it")
    token = int((time.time() - ago) * 1e6)
    lease = f"{token} {OWNER} S 1"
    line.client.run(Command(("HSET", keys.key(line.name, "leases"), job, lease)))
    return job


def cancel(line: Line, job: str) -> None:
    """Request the cancellation of a running job."""
    line.client.run(commands.cancel(line.name, job, encode_settled("cancelled"), 60.0))


def report(line: Line, job: str, ago: float, **more: Any) -> None:
    """Report the job by its consumer some seconds ago."""
    worker = WorkerReport(OWNER, 4711, "busy", 3, job, "shop.prices", line.name, 60.0, **more)
    name, at = control_messages.consumer_of(OWNER), time.time() - ago
    told = ConsumerReport(name, "far-away", 99, [line.name], "process", 1.0, [worker], at=at)
    line.client.run(control_channel.report(name, control_messages.encode(told), at))


@pytest.fixture(autouse=True)
def nobody_stays(line: Line) -> Any:
    """Forget the consumer in the end."""
    yield
    line.client.run_all(control_channel.retire(control_messages.consumer_of(OWNER)))


def test_resources_of_the_worker_process_are_shown(line: Line, visit: Visit) -> None:
    job = running(line, 60.0)
    report(line, job, 1.0, cpu=0.83, memory=45 * 1024**2)
    seen = page_of(visit(), line, job)
    facts = dict(zip(seen.words(".facts dt"), seen.words(".facts dd"), strict=True))
    assert (facts["CPU"], facts["Memory"], facts["Process"]) == (
        "83 % of a core",
        "45.0 MiB",
        "4711 on far-away",
    )
    assert "#resources" in seen.links()


def test_small_resource_changes_are_no_new_version(line: Line, visit: Visit) -> None:
    job = running(line, 60.0)
    tags = []
    for cpu, memory in ((0.82, 45.1), (0.84, 45.2), (0.54, 45.2), (0.54, 65.0)):
        report(line, job, 1.0, cpu=cpu, memory=int(memory * 1024**2))
        tags.append(page_of(visit(), line, job).response.headers["etag"])
    assert tags[0] == tags[1]
    assert len(set(tags)) == 3


def test_unreported_job_shows_no_resources(line: Line, visit: Visit) -> None:
    job = running(line, 60.0)
    report(line, "another", 1.0, cpu=0.83, memory=45 * 1024**2)
    assert "Resources" not in page_of(visit(), line, job).text


@pytest.mark.parametrize(("ago", "ran"), [(15.0, "1 min 25 s"), (38.0, "1 min 2 s")])
def test_times_are_frozen_while_the_worker_is_silent(line: Line, visit: Visit, ago: float, ran: str) -> None:
    job = running(line, 100.0)
    report(line, job, ago, cpu=0.83, memory=1024)
    if ago > control_channel.REPORT_KEEP:
        line.client.run(Command(("DEL", keys.consumer_key(control_messages.consumer_of(OWNER)))))
    seen = page_of(visit(), line, job)
    assert "its worker is silent since" in seen.text
    assert f"At least {ran} on" in seen.text
    assert not seen.all("time[data-time=for]")
    assert not seen.all("time[data-time=in]")
    assert "Stack now" not in seen.text
    assert "83 %" not in seen.text


@pytest.mark.parametrize("ago", [15.0, 38.0])
@pytest.mark.parametrize("whose", ["", "?"])
def test_times_in_lists_are_frozen_while_the_worker_is_silent(
    line: Line, visit: Visit, ago: float, whose: str
) -> None:
    job = running(line, 100.0)
    report(line, job, ago)
    if ago > control_channel.REPORT_KEEP:
        line.client.run(Command(("DEL", keys.consumer_key(control_messages.consumer_of(OWNER)))))
    filters = {} if whose else {"queue": line.name}
    seen = visit().see("/jobs", state="running", **filters)
    (row,) = seen.words("tbody tr")
    assert "silent since" in row
    assert f"at least {duration(100.0 - ago)[:5]}" in row
    assert not seen.all("time[data-time=for]")
    assert "50 %" in row
    assert not [link for link in seen.links() if link.startswith("/workers/")]
    found = visit().see("/api/v1/jobs", state="running", **filters).response.json()["jobs"]
    (heard,) = (time.time() - one["silent_since"] - ago for one in found)
    assert -0.5 < heard < 20, "it has grown while the pages were made"
    assert [round(one["silent_since"] - one["since"] - 100.0 + ago) for one in found] == [0]


def test_reporting_worker_is_not_shown_as_silent_in_lists(line: Line, visit: Visit) -> None:
    job = running(line, 100.0)
    report(line, job, 1.0)
    seen = visit().see("/jobs", state="running", queue=line.name)
    assert "silent" not in seen.text
    assert seen.all("tbody time[data-time=for]")
    (found,) = visit().see("/api/v1/jobs", state="running", queue=line.name).response.json()["jobs"]
    assert found["silent_since"] is None


def test_program_that_took_a_job_itself_is_never_silent(line: Line, visit: Visit) -> None:
    job = line.run(call("shop.prices", 1), worker="host-99-abcd-taker")
    lease = f"{int((time.time() - 100) * 1e6)} host-99-abcd-taker S 1"
    line.client.run(Command(("HSET", keys.key(line.name, "leases"), job, lease)))
    assert "silent" not in visit().see("/jobs", queue=line.name).text


def test_reporting_worker_is_not_silent(line: Line, visit: Visit) -> None:
    job = running(line, 100.0)
    report(line, job, 1.0)
    seen = page_of(visit(), line, job)
    assert "silent" not in seen.text
    assert seen.all(".job-now time[data-time=for]")
    assert seen.all(".job-now time[data-time=in]")


def test_unknown_worker_of_a_running_job_is_silent(line: Line, visit: Visit) -> None:
    job = running(line, 100.0)
    seen = page_of(visit(), line, job)
    assert "its worker is silent" in seen.text
    assert f"conveyor consume {line.name}" in seen.text


def test_cancelling_job_shows_when_its_worker_is_killed(line: Line, visit: Visit) -> None:
    job = running(line, 60.0)
    cancel(line, job)
    report(line, job, 0.0, cancelling=True, kill_in=8.0)
    seen = page_of(visit(), line, job)
    assert "its worker is killed" in " ".join(seen.words("#cancelling"))
    assert seen.all("#cancelling time[data-time=in]")
    (button,) = [node for node in seen.all(".job-head button") if node.text() == "Cancelling"]
    assert button.attributes["aria-disabled"] == "true"
    assert not [node for node in seen.all("[data-act]") if "/cancel" in (node.attributes["data-act"] or "")]
    assert "at this pace" not in seen.text
    assert visit().see(f"/api/v1/jobs/{job}").response.json()["cancelling"]


def test_job_is_cancelling_before_its_worker_reports_so(line: Line, visit: Visit) -> None:
    job = running(line, 60.0)
    report(line, job, 0.0)
    before = page_of(visit(), line, job)
    cancel(line, job)
    after = page_of(visit(), line, job)
    assert before.response.headers["etag"] != after.response.headers["etag"]
    assert after.words("#cancelling") == ["Cancelling: its worker stops it."]


def test_cancelled_job_shows_author_reason_and_kill(line: Line, visit: Visit) -> None:
    actions = Actions(line.client, Actor("ada", "page"))
    waiting = line.put(call("shop.prices", 1))
    actions.cancel_job(line.name, waiting, "wrong month, see redis://:hunter2@h")
    seen = page_of(visit(), line, waiting)
    assert seen.words("#cancelled") == ["Cancelled by ada: wrong month, see redis://:•••@h."]
    assert not page_of(visit(Role.VIEWER), line, waiting).all("#cancelled")

    job = running(line, 60.0)
    begun = actions.begin("cancel", line.name, Matching(ids=(job,)), "no")
    assert [one.done for one in bulk.run(line.client, begun, pause=0)] == [0], "it does not wait"
    actions.cancel_job(line.name, job, "too slow")
    Actions(line.client, Actor("bob", "page")).cancel_job(line.name, job, "me too")
    assert page_of(visit(), line, job).words("#cancelled") == ["Cancelled by ada: too slow."]
    token = line.client.run(Command(("HGET", keys.key(line.name, "leases"), job))).split()[0].decode()
    outcome = encode_killed(5.0, Run("shop.prices", "", 100.0, OWNER, 1))
    ended = Settlement(job, outcome, 60.0)
    line.client.run(commands.finish(line.name, token, [ended], counter="cancelled"))
    seen = page_of(visit(), line, job)
    killed = "Its worker was killed: the task did not end in time."
    assert seen.words("#cancelled") == [f"Cancelled by ada: too slow. {killed}"]
    assert page_of(visit(Role.VIEWER), line, job).words("#cancelled") == [killed]
    told = json.loads(visit().see(f"/api/v1/jobs/{job}").html)
    assert (told["cancelled_by"], told["cancel_reason"], told["killed"]) == ("ada", "too slow", True)
    hidden = json.loads(visit(Role.VIEWER).see(f"/api/v1/jobs/{job}").html)
    assert (hidden["cancelled_by"], hidden["cancel_reason"], hidden["killed"]) == (None, None, True)
    details = Inspector(line.client).job(job, line.name)
    assert details is not None
    assert (details.cancelled_by, details.cancel_reason) == ("ada", "too slow")
    assert details.settled is not None
    assert details.settled.was_killed
    with pytest.raises(JobCancelled):
        details.settled.result()
