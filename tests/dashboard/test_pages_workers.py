"""Pages about queues, workers, operations and the audit trail show the facts."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from conveyor import Queue
from conveyor.consumer.settlement import Tally
from conveyor.dashboard.page import PageRequest, slice_of
from conveyor.dashboard.pages.operations import in_words
from conveyor.monitor.actions import Actions, Actor
from conveyor.store import commands
from conveyor.store.commands import PutParams, Settlement
from conveyor.wire.audit_entry import Matching
from conveyor.wire.call import encode_items
from conveyor.wire.control_messages import WorkerReport
from conveyor.wire.outcome import Note, encode

from .visitor_kit import LARGEST, Visitor, pages_from, put, report, tell, words_of, worker


@pytest.fixture
def visitor(one_server: Any) -> Visitor:
    """Return an administrator."""
    return Visitor(one_server.url)


def test_queues_are_listed_in_a_table_with_numbers_and_states(one_server: Any, visitor: Visitor) -> None:
    put(one_server, "video", 3, 40)
    put(one_server, "mail", 1)
    Queue("mail", store=one_server.client).pause()
    tell(one_server, report())
    html = visitor.see("/queues")
    words = words_of(html)
    assert "mail paused 1 0 0 none 0 0 0 0 0 none Resume" in words
    assert "video open 3 0 0 40 0 0 0 0 0 2 of 2 Pause" in words
    assert html.index(">mail<") < html.index(">video<")


def test_queue_with_only_listeners_is_empty(one_server: Any, visitor: Visitor) -> None:
    missing = Visitor(one_server.url).get("/queues/video")
    assert missing.status_code == 404
    assert "This page opens automatically when the queue exists." in missing.text
    assert (
        "opens automatically when the worker exists" in Visitor(one_server.url).get("/workers/nobody/1").text
    )
    tell(one_server, report())
    html = visitor.see("/queues/video")
    assert "video: 0 jobs waiting, 2 of 2 workers at work." in html
    words = words_of(html)
    assert "Nothing was put on this queue yet." in words
    assert "0001/2 busy" in words
    assert "Enqueue a job" in words
    assert not re.search(r"data-queue-act|data-limit|/purge", html), "there is nothing yet to do it to"
    put(one_server, "video", 3)
    html = Visitor(one_server.url).see("/queues/video")
    assert "video: 3 jobs waiting" in html
    assert 'data-queue-act="pause"' in html


def test_live_numbers_are_no_new_version_of_the_page(one_server: Any) -> None:
    def version() -> str:
        html = Visitor(one_server.url).see("/queues")
        return html.partition('data-version="')[2].partition('"')[0]

    put(one_server, "video", 1)
    before = version()
    put(one_server, "video", 2)
    assert "data-n=waiting>3<" in Visitor(one_server.url).see("/queues")
    assert version() == before
    Queue("video", store=one_server.client).pause()
    assert version() != before


def test_thousand_queues_are_paged_and_can_be_filtered(one_server: Any, visitor: Visitor) -> None:
    names = [f"q{number:04}" for number in range(1000)]
    one_server.client.run_all([commands.note_queue(name) for name in names])
    seen: list[str] = []
    for html in pages_from(visitor, "/queues"):
        seen += re.findall(r'data-queue="(\w+)"', html)
    assert seen == names
    assert re.findall(r'data-queue="(\w+)"', visitor.see("/queues?name=Q099")) == names[990:]
    assert "No queue has such a name" in visitor.see("/queues?name=zzz")


@pytest.mark.parametrize("address", ["/", "/queues"])
def test_queues_with_the_longest_names_fit_in_a_page(one_server: Any, visitor: Visitor, address: str) -> None:
    names = [f"{number:02}-{'long' * 24}." for number in range(50)]
    assert {len(name) for name in names} == {100}
    for name in names:
        put(one_server, name, 3, 3)
    tell(one_server, report(queues=names))
    html = visitor.see(address)
    assert len(html.encode()) <= LARGEST
    assert f'title="{names[0]}">{names[0][:59]}…</a>' in html


def test_overview_sums_up_all_queues(one_server: Any, visitor: Visitor) -> None:
    put(one_server, "video", 2, 40)
    put(one_server, "mail", 1)
    one_server.client.run(commands.put("mail", [("later", encode_items([1])[0])], PutParams(delay=600.0)))
    tell(one_server, report())
    tally = Tally("ann/1")
    for outcome in ("failed", "lost", "timeout", "succeeded"):
        tally.add("video", "video.cut", outcome, 1.0)
    one_server.client.run_all(tally.commands(resting=True))
    words = words_of(visitor.see("/"))
    assert "3 waiting , 0 deferred , and 1 delayed" in words
    assert re.search(
        r" \d+ s oldest wait 0 running 2 / 2 workers busy , 0 leaving 3 failed or lost, last hour", words
    )
    assert "4 ended, last minute 0 dead jobs" in words


def test_full_queue_is_shown_as_full_everywhere(one_server: Any, visitor: Visitor) -> None:
    put(one_server, "video", 2, 3)
    tell(one_server, report())
    before = {address: visitor.see(address) for address in ("/", "/queues", "/queues/video")}
    put(one_server, "video", 1)
    for address, html in before.items():
        assert "video open" in words_of(html)
        now = Visitor(one_server.url).see(address)
        assert "video full" in words_of(now)
        assert 'data-queue-act="pause"' in now or address == "/"


def test_queue_page_shows_ledger_workers_charts_and_next_jobs(one_server: Any, visitor: Visitor) -> None:
    put(one_server, "video", 12, 40)
    tell(one_server, report())
    html = visitor.see("/queues/video")
    words = words_of(html)
    assert "Limit 40 slots" in words
    assert "Accepted in total 12" in words
    assert "Ledger balanced" in words
    assert "0001/1 busy video.split attempt 2" in words
    assert html.count('<td class="n" data-label="Position">') == 10
    assert "All 12 waiting jobs" in words
    assert html.count('<figure class="chart card"') == 2
    assert html.count("<tr><td data-v=") == 2 * 60, "a row for each minute, in the table of each chart"
    assert 'href="/jobs?queue=video&amp;state=running"' in html
    assert 'data-typed="video"' in html
    visitor.see("/queues/nothing", 404)


def test_finished_jobs_are_shown_by_task_and_minute(one_server: Any, visitor: Visitor) -> None:
    put(one_server, "video", 1)
    assert "Nothing has ended in this hour and the last" in visitor.see("/queues/video")
    tally = Tally("ann/1")
    for elapsed in (0.2, 4.0):
        tally.add("video", "video.cut", "succeeded", elapsed)
    tally.add("video", "video.cut", "failed", 1.0)
    one_server.client.run_all(tally.commands(resting=True))
    html = Visitor(one_server.url).see("/queues/video")  # one that does not remember the answer of just now
    assert "video.cut 3 1" in words_of(html)
    assert "2 jobs succeeded in the last hour, 1 failed or were lost" in html
    assert "3 jobs ended in 30 minutes" in visitor.see("/queues")


def test_workers_are_grouped_by_host_and_consumer(one_server: Any, visitor: Visitor) -> None:
    idle = WorkerReport("box-0002/1", 5, "paused", paused=True, memory=1 << 20)
    tell(one_server, report(), report("box-0002", host="box", workers=[idle], queues=["mail"]))
    html = visitor.see("/workers")
    words = words_of(html)
    assert words.index("box 1 consumer") < words.index("rack 1 consumer")
    assert "rack-0001 2 of 2 busy takes video up" in words
    assert "pid 99 · 8 cores · Conveyor 0.1.0 · Python 3.12.1" in words
    assert "CPU Memory Runs" in words, "whatever came of them"
    assert re.search(r"0001/2 busy video.split attempt 2 1 min 1\d s 25 % page 3 50 % 64.0 MiB 41", words)
    assert "0002/1 paused 0 % 1.0 MiB 0 Resume Stop Kill" in words
    assert 'href="/queues/video/jobs/job1"' in html


def test_workers_can_be_filtered_and_stopped_by_consumer(one_server: Any, visitor: Visitor) -> None:
    idle = WorkerReport("box-0002/1", 5, "idle")
    tell(one_server, report(), report("box-0002", host="box", workers=[idle], queues=["mail"]))
    assert "rack-0001" not in visitor.see("/workers?queue=mail")
    assert "box-0002" not in visitor.see("/workers?host=rack")
    assert "rack-0001" not in visitor.see("/workers?state=idle")
    assert "Stop all" not in words_of(visitor.see("/workers?state=idle")).replace("Stop all Kill all", "")
    html = visitor.see("/workers?queue=video")
    assert 'data-typed="2"' in html
    assert '{"targets": ["rack-0001"], "verb": "stop"}' in html
    assert "No worker matches" in visitor.see("/workers?queue=none")


def test_exiting_worker_has_no_buttons_to_stop_or_pause(one_server: Any, visitor: Visitor) -> None:
    going = worker("rack-0001/1", state="leaving", cancelling=True, kill_in=8.0)
    tell(one_server, report(workers=[going]))
    for address in ("/workers", "/workers/rack-0001/1"):
        html = visitor.see(address)
        assert set(re.findall(r'data-tell="(\w+)"', html)) == {"kill"}
        assert len(re.findall(r'<button aria-disabled="true"', html)) == (6 if address == "/workers" else 4)
    html = visitor.see("/workers/rack-0001/1")
    assert "It leaves as soon as this job has finished" in html
    assert re.search(r'it is killed <b><time [^>]*data-time="in"', html)


def test_worker_page_shows_job_consumer_and_recent_runs(one_server: Any, visitor: Visitor) -> None:
    client = one_server.client
    tell(one_server, report())
    Queue("video", store=client).put(1)
    batch = client.run(commands.claim("video", "rack-0001/2", "n", 1, 60))
    note = Note("old1", "video.cut", "done", 1.5, "rack-0001/2", 1, time.time(), 0.1, "path='a'")
    settled = Settlement(batch.jobs[0].id, b"x", 60, encode(note))
    client.run(commands.finish("video", batch.token, [settled]))
    html = visitor.see("/workers/rack-0001/2")
    words = words_of(html)
    assert "rack-0001/2 busy" in words
    assert "attempt 2" in words
    assert "Show stack" in words
    assert "Kind of workers process" in words
    assert re.search(r"video.cut path=&#39;a&#39; done video 1.5 s", words)
    assert "rack-0001/1" not in html
    visitor.see("/workers/rack-0001/3", 404)
    visitor.see("/workers/nobody/1", 404)


def test_operations_show_their_progress_and_can_be_stopped(one_server: Any, visitor: Visitor) -> None:
    put(one_server, "video", 4)
    actions = Actions(one_server.client, Actor("anna", "10.0.0.7"))
    actions.begin("cancel", "video", Matching(task="video.split"), "wrong input")
    words = words_of(visitor.see("/operations"))
    assert "Cancel waiting jobs on video task video.split" in words
    assert "0 of 4 0 done" in words
    assert "anna from 10.0.0.7 wrong input Stop" in words
    assert in_words(Matching(ids=("a", "b"))) == "2 chosen jobs"
    assert in_words(Matching()) == "all of them"


def test_audit_trail_shows_author_action_and_reason(one_server: Any, visitor: Visitor) -> None:
    actions = Actions(one_server.client, Actor("anna", "10.0.0.7"))
    put(one_server, "video", 1, 40)
    actions.bound_queue("video", 50, "more disk")
    actions.pause_queue("video", "deploying")
    words = words_of(visitor.see("/audit"))
    assert "anna 10.0.0.7 bound queue video more disk maxsize 40 → 50" in words
    assert words.index("deploying") < words.index("more disk")
    only = words_of(visitor.see("/audit?action=bound+queue&who=ANNA&queue=video"))
    assert "more disk" in only
    assert "deploying" not in only
    assert "1 of the 2 searched actions matches" in only


def test_audit_trail_pages_have_no_gaps(one_server: Any, visitor: Visitor) -> None:
    actions = Actions(one_server.client, Actor("anna", "here"))
    for number in range(95):
        actions.pause_queue("video", f"reason{number:03}")
    for first in ("/audit", "/audit?who=anna"):
        seen: list[str] = []
        for html in pages_from(visitor, first):
            seen += re.findall(r"reason\d{3}", html)
        assert seen == [f"reason{number:03}" for number in reversed(range(95))], first


def test_previous_page_holds_the_preceding_items() -> None:
    things = [f"{number:03}" for number in range(100)]
    sizes = [3 if number % 7 == 0 else 1 for number in range(100)]
    places = slice_of(things, things, PageRequest("/x", filters={}), 10, sizes)
    assert places.previous == ""
    while places.next:
        after = places.next.partition("after=")[2]
        following = slice_of(things, things, PageRequest("/x", filters={"after": after}), 10, sizes)
        assert following.first == places.first + len(places.items)
        assert following.previous
        places = following
    assert places.items[-1] == "099"
