"""Equal words mean equal numbers: waiting jobs are due jobs, wherever they are counted."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from selectolax.lexbor import LexborHTMLParser

from conveyor import Queue
from conveyor.monitor import snapshot as snapshots
from conveyor.monitor.actions import Actor
from conveyor.store import commands
from conveyor.store.commands import PutParams
from conveyor.top import tabs
from conveyor.top.app import Top
from conveyor.top.poller import PollResult
from conveyor.wire import ids
from conveyor.wire.call import encode_items
from conveyor.wire.control_messages import WorkerReport

from .visitor_kit import Visitor, report, tell, words_of, worker

if TYPE_CHECKING:
    from pathlib import Path

    from launcher import Launcher


@pytest.fixture
def visitor(one_server: Any) -> Visitor:
    """Return a visitor."""
    return Visitor(one_server.url)


def put(server: Any, *, due: int, later: int) -> None:
    """Put jobs on the queue video, some of which are due only in ten minutes."""
    server.client.run(commands.note_queue("video"))
    for count, delay in ((due, 0.0), (later, 600.0)):
        jobs = list(zip(ids.new_ids(count), encode_items(list(range(count))), strict=True))
        if jobs:
            server.client.run(commands.put("video", jobs, PutParams(delay=delay)))


def shown(visitor: Visitor, address: str, selector: str) -> str:
    """Return the text of the first such element of a page."""
    node = LexborHTMLParser(visitor.see(address)).css_first(selector)
    assert node is not None
    return str(node.text()).strip()


def document(launcher: Launcher, server: Any, folder: Path, *words: str) -> dict[str, Any]:
    """Return the JSON output of a command."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONVEYOR")}
    env = {**kept, "CONVEYOR_URL": server.url, "CONVEYOR_HOME": str(folder)}
    told = launcher.run([*words, "--json"], folder, env)
    assert told.returncode == 0, told.stderr
    found: dict[str, Any] = json.loads(told.stdout)
    return found


@pytest.mark.parametrize(("due", "later"), [(3, 2), (0, 1)])
def test_page_api_commands_and_terminal_show_equal_counts(
    one_server: Any, launcher: Launcher, visitor: Visitor, tmp_path: Path, due: int, later: int
) -> None:
    put(one_server, due=due, later=later)
    word = str(due)
    assert shown(visitor, "/", "[data-total=waiting]") == word
    assert shown(visitor, "/", "[data-total=delayed]") == str(later)
    assert shown(visitor, "/", "[data-belt] [data-n=waiting]") == word
    assert shown(visitor, "/queues", "td[data-n=waiting]") == word
    assert shown(visitor, "/queues", "td[data-n=delayed]") == str(later)
    assert shown(visitor, "/queues/video", ".tiles [data-n=waiting]") == word
    assert shown(visitor, "/jobs?state=waiting&queue=video", ".tabs [aria-current] .count") == word
    (line,) = visitor.get("/api/v1/queues").json()["queues"]
    assert (line["waiting"], line["delayed"], line["qsize"]) == (due, later, due + later)
    pulse = visitor.get("/api/v1/snapshot").json()["pulse"]
    assert (pulse["waiting"], pulse["queues"]["video"]["waiting"]) == (due, due)
    assert visitor.get("/api/v1/jobs", queue="video", state="waiting").json()["total"] == due
    for command in ("queues", "status"):
        (line,) = document(launcher, one_server, tmp_path, command)["queues"]
        assert (line["waiting"], line["delayed"]) == (due, later)
    tell(one_server, report("rack-0001", leaving_crew()))
    seen = snapshots.NOTHING
    for _ in range(2):
        seen = snapshots.query(seen).ask(one_server.client)
    (row,) = tabs.queue_rows(PollResult(seen), "", [24] * len(tabs.QUEUE_COLUMNS))
    assert row.cells[2].plain.strip() == word


def test_limit_counts_delayed_jobs_and_the_belt_says_so(one_server: Any, visitor: Visitor) -> None:
    Queue("video", 4, store=one_server.client).put(1)
    put(one_server, due=0, later=1)
    assert shown(visitor, "/queues/video", "[data-belt] [data-n=taken]") == "2"
    assert shown(visitor, "/queues/video", "[data-belt-words]") == (
        "video: 2 of 4 slots taken, 1 of these delayed, no workers."
    )


def test_delayed_jobs_are_shown_only_if_any(one_server: Any) -> None:
    put(one_server, due=1, later=0)
    assert 'data-while="delayed" hidden' in Visitor(one_server.url).see("/")
    put(one_server, due=0, later=1)
    assert 'data-while="delayed" hidden' not in Visitor(one_server.url).see("/")


LEAVING, IDLE = 40, 9


def leaving_crew() -> list[WorkerReport]:
    """Return workers asked to exit: most finish a job, one of which has only just begun; a few are idle."""
    crew = [worker(f"rack-0001/{number}", state="leaving") for number in range(1, LEAVING)]
    crew.append(WorkerReport(f"rack-0001/{LEAVING}", 1, "leaving", busy=True))
    return crew + [WorkerReport(f"rack-0001/{LEAVING + number}", 1, "idle") for number in range(1, IDLE + 1)]


def test_exiting_workers_with_a_job_are_busy_everywhere(
    one_server: Any, launcher: Launcher, visitor: Visitor, tmp_path: Path
) -> None:
    put(one_server, due=1, later=0)
    tell(one_server, report("rack-0001", leaving_crew()))
    every = str(LEAVING + IDLE)
    for address in ("/", "/workers"):
        assert shown(visitor, address, "[data-total=busy]") == str(LEAVING)
        assert shown(visitor, address, "[data-total=workers]") == every
        assert shown(visitor, address, "[data-total=leaving]") == str(LEAVING)
    assert f"{LEAVING} of {every} busy, {LEAVING} leaving" in words_of(visitor.see("/workers"))
    assert f"{LEAVING} of {every} busy, {LEAVING} leaving" in words_of(visitor.see("/workers/rack-0001/1"))
    assert words_of(visitor.see("/workers?state=busy")).count("0001/") == LEAVING
    assert shown(visitor, "/queues/video", "#workers-title [data-n=busy]") == str(LEAVING - 1)
    assert f"{LEAVING - 1} of {every} workers at work" in shown(visitor, "/queues/video", "[data-belt-words]")
    pulse = visitor.get("/api/v1/snapshot").json()["pulse"]
    assert (pulse["busy"], pulse["workers"], pulse["leaving"]) == (LEAVING, LEAVING + IDLE, LEAVING)
    assert visitor.get("/api/v1/queues/video").json()["busy"] == LEAVING - 1
    system = visitor.get("/api/v1/system").json()
    assert (system["busy"], system["workers"], system["leaving"]) == (LEAVING, LEAVING + IDLE, LEAVING)
    crew = visitor.get("/api/v1/workers").json()["consumers"][0]["workers"]
    assert sum(one["busy"] for one in crew) == LEAVING
    metrics = visitor.see("/metrics")
    assert f'conveyor_worker_slots{{state="busy"}} {LEAVING}\n' in metrics
    assert f'conveyor_worker_slots{{state="idle"}} {IDLE}\n' in metrics
    tell(one_server, report("rack-0001", leaving_crew()))  # again: after some seconds it would be silent
    status = document(launcher, one_server, tmp_path, "status")
    assert status["workers"] == {"all": LEAVING + IDLE, "busy": LEAVING, "leaving": LEAVING}
    tell(one_server, report("rack-0001", leaving_crew()))
    (consumer,) = document(launcher, one_server, tmp_path, "workers")["consumers"]
    assert sum(one["busy"] for one in consumer["workers"]) == LEAVING
    tell(one_server, report("rack-0001", leaving_crew()))
    seen = snapshots.NOTHING
    for _ in range(2):
        seen = snapshots.query(seen).ask(one_server.client)
    top = Top(one_server.client, Actor("ada", "test"))
    top.result = PollResult(seen)
    assert f"{LEAVING}/{every} workers busy   {LEAVING} leaving" in top.head().plain


def test_silent_worker_is_not_busy() -> None:
    crew = [worker("rack-0001/1", state="silent"), worker("rack-0001/2")]
    assert snapshots.Snapshot(1.0, {}, [report("rack-0001", crew)]).worker_counts == (2, 1, 0)


def test_jobs_beyond_the_limit_take_no_slots(one_server: Any, visitor: Visitor) -> None:
    put(one_server, due=14, later=0)
    one_server.client.run(commands.bound("video", 10))
    belt = LexborHTMLParser(visitor.see("/queues/video")).css_first("[data-belt]")
    assert "10 of 10 slots and 4 more" in " ".join(belt.text().split())
    words = "video: 10 of 10 slots taken and 4 more jobs waiting, no workers."
    assert shown(visitor, "/queues/video", "[data-belt-words]") == words
    pulse = visitor.get("/api/v1/snapshot").json()["pulse"]["queues"]["video"]
    assert (pulse["qsize"], pulse["taken"], pulse["beyond"]) == (14, 10, 4)


def test_queue_with_workers_and_no_job_is_empty_everywhere(one_server: Any, visitor: Visitor) -> None:
    lists = ("/jobs?queue=video", "/failures?queue=video", "/queues/video")
    api = ("/api/v1/queues/video", "/api/v1/queues/video/scaling", "/api/v1/jobs?queue=video")
    for address in (*lists, *api):
        missing = visitor.see(address, 404)
        assert ("reconnect.js" in missing) == (address in lists)
    assert "reconnect.js" not in visitor.see("/jobs/nojob", 404)
    tell(one_server, report())
    for address in (*lists, *api):
        Visitor(one_server.url).see(address)
    line = visitor.get("/api/v1/queues/video").json()
    assert (line["waiting"], line["running"], line["workers"]) == (0, 0, 2)
    assert visitor.get("/api/v1/queues/video/scaling").json()["workers"] == 2
    assert visitor.get("/api/v1/jobs?queue=video").json()["jobs"] == []
