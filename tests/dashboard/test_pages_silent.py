"""Pages about a consumer that missed its heartbeats, before its report expires."""

from __future__ import annotations

import time
from typing import Any

import pytest

from conveyor.dashboard.live_stats import live_stats
from conveyor.monitor import snapshot as snapshots
from conveyor.store import control_channel
from conveyor.wire import control_messages

from .visitor_kit import Visitor, put, report, words_of

PAGES = ("/queues/video", "/workers", "/workers/rack-0001/1")


@pytest.fixture
def visitor(one_server: Any) -> Visitor:
    """Return a visitor."""
    return Visitor(one_server.url)


def told(server: Any, ago: float) -> None:
    """Report a consumer with a busy worker `ago` seconds ago; its job had run for 75 seconds then."""
    at = time.time() - ago
    server.client.run(
        control_channel.report("rack-0001", control_messages.encode(report(workers=1, at=at)), at)
    )


@pytest.mark.parametrize("page", PAGES)
def test_silent_worker_is_shown_as_silent_with_frozen_times(
    one_server: Any, visitor: Visitor, page: str
) -> None:
    put(one_server)
    told(one_server, 12.0)
    html = visitor.see(page)
    words = words_of(html)
    assert "silent for" in words
    assert "at least 1 min 15 s" in words
    assert 'class="state busy"' not in html
    assert "data-tell" not in html, "nobody is there who would do it"
    assert "50 %" not in words, "what it takes of the processor is not known"


@pytest.mark.parametrize("page", PAGES)
def test_reporting_worker_is_not_shown_as_silent(one_server: Any, visitor: Visitor, page: str) -> None:
    put(one_server)
    told(one_server, 6.0)
    html = visitor.see(page)
    assert "silent for" not in html
    assert 'class="state silent"' not in html
    assert 'class="state busy"' in html
    assert 'data-tell="kill"' in html


def test_silent_worker_is_not_busy_in_belts_and_numbers(one_server: Any) -> None:
    put(one_server)
    told(one_server, 12.0)
    seen = snapshots.NOTHING
    for _ in range(2):
        seen = snapshots.query(seen).ask(one_server.client)
    pulse = live_stats(seen, 1.0)
    assert (pulse.busy, pulse.workers) == (0, 1)
    assert pulse.queues["video"].belt.signs == "h"
    assert "0 of 1 worker at work, 1 silent" in pulse.queues["video"].belt.words


def test_api_reports_silent_workers_and_can_filter_them(one_server: Any, visitor: Visitor) -> None:
    told(one_server, 12.0)
    (consumer,) = visitor.get("/api/v1/workers").json()["consumers"]
    assert [one["state"] for one in consumer["workers"]] == ["silent"]
    assert "rack-0001" in words_of(visitor.get("/workers", state="silent").text)
    assert "No worker matches" in words_of(visitor.get("/workers", state="busy").text)
