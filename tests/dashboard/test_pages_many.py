"""Many queues, jobs and workers: each number of every interface matches the server's keys."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from selectolax.lexbor import LexborHTMLParser

from .many_kit import DEAD_QUEUES, KINDS, LEAVING, RUNNING, Counted, Filled, counted, fill, report
from .visitor_kit import Visitor, words_of

if TYPE_CHECKING:
    from pathlib import Path

    from launcher import Launcher

ENDED = 3000


class Made(NamedTuple):
    """A server, its content, and the numbers as its keys have them."""

    server: Any
    filled: Filled
    keys: Counted


@pytest.fixture
def made(one_server: Any) -> Made:
    """Return a server with 300 queues."""
    filled = fill(one_server.client, ENDED)
    return Made(one_server, filled, counted(one_server.raw))


def shown(html: str, selector: str) -> int:
    """Return the number that an element shows."""
    node = LexborHTMLParser(html).css_first(selector)
    assert node is not None, selector
    return int(node.text().strip().replace(",", ""))


def summed(metrics: str, name: str, **labels: str) -> int:
    """Return the sum of a metric's lines with these labels."""
    lines = re.findall(rf"^conveyor_{name}(?:{{(.*)}})? (\S+)$", metrics, re.MULTILINE)
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return int(sum(float(number) for found, number in lines if all(one in found for one in wanted)))


def test_every_interface_matches_the_keys(made: Made, launcher: Launcher, tmp_path: Path) -> None:
    visitor, keys = Visitor(made.server.url), made.keys
    assert keys.ended == keys.succeeded + keys.failed == ENDED + sum(KINDS.values())
    assert (keys.running, keys.busy, keys.dead) == (LEAVING, LEAVING, sum(KINDS.values()))
    for check in (check_overview, check_api, check_failures, check_metrics):
        report(made.server.client, made.filled)
        check(visitor, keys)
    check_commands(made, launcher, tmp_path)


def check_overview(visitor: Visitor, keys: Counted) -> None:
    html = visitor.see("/")
    for name in ("waiting", "delayed", "running", "dead", "busy", "workers"):
        assert shown(html, f"[data-total={name}]") == getattr(keys, name), name
    assert shown(html, "[data-total=leaving]") == LEAVING
    minutes = [keys.ended_by_minute[minute] for minute in sorted(keys.ended_by_minute)]
    assert minutes[-1] <= shown(html, "[data-total=per_minute]") <= sum(minutes[-2:])
    words = words_of(html)
    assert f"{keys.failed:,} failed or lost, last hour" in words
    assert f"{keys.succeeded:,} jobs succeeded in the last hour, {keys.failed:,} failed or were lost" in words
    belts = [node.attributes["data-belt"] for node in LexborHTMLParser(html).css("[data-belt]")]
    assert RUNNING in belts
    day = words_of(visitor.see("/?span=day"))
    assert f"{keys.succeeded:,} jobs succeeded in the last 24 hours" in day
    assert f"Queues {keys.queues}" in words_of(visitor.see("/queues"))
    assert f"{LEAVING} of {keys.workers} busy , {LEAVING} leaving" in words_of(visitor.see("/workers"))


def check_api(visitor: Visitor, keys: Counted) -> None:
    pulse = visitor.get("/api/v1/snapshot").json()["pulse"]
    for name in ("waiting", "delayed", "running", "dead", "busy", "workers"):
        assert pulse[name] == getattr(keys, name), name
    lines, cursor = [], ""
    while True:
        page = visitor.get("/api/v1/queues", count="200", cursor=cursor).json()
        lines += page["queues"]
        cursor = page["next"]
        if not cursor:
            break
    check_lines(lines, keys)
    assert sum(line["finished"] + line["dead"] for line in lines) == keys.ended
    points = visitor.get("/api/v1/statistics").json()["points"]
    assert sum(point["succeeded"] for point in points) == keys.succeeded
    assert sum(point["failed"] for point in points) == keys.failed


def check_failures(visitor: Visitor, keys: Counted) -> None:
    words = words_of(visitor.see("/failures"))
    assert f"{keys.dead} dead jobs, in {len(KINDS)} groups" in words
    for kind, number in KINDS.items():
        assert re.search(rf"\b{number} jobs {kind} in shop.sell .* in {DEAD_QUEUES} queues:", words), kind
    groups = visitor.get("/api/v1/failures").json()["failures"]
    assert {one["kind"]: one["count"] for one in groups} == KINDS
    assert {len(one["queues"]) for one in groups} == {DEAD_QUEUES}


def check_lines(lines: list[dict[str, Any]], keys: Counted) -> None:
    assert len(lines) == keys.queues
    for name in ("waiting", "delayed", "running", "dead"):
        assert sum(line[name] for line in lines) == getattr(keys, name), name


def check_metrics(visitor: Visitor, keys: Counted) -> None:
    metrics = visitor.see("/metrics")
    states = {"waiting": "waiting", "scheduled": "delayed", "running": "running", "dead": "dead"}
    for state, name in states.items():
        assert summed(metrics, "queue_jobs", state=state) == getattr(keys, name), name
    assert summed(metrics, "jobs_finished_total", outcome="succeeded") == keys.succeeded
    assert summed(metrics, "jobs_finished_total", outcome="failed") == keys.failed
    assert summed(metrics, "worker_slots", state="busy") == keys.busy
    assert summed(metrics, "worker_slots") == keys.workers
    assert summed(metrics, "workers", queue=RUNNING, state="leaving") == LEAVING


def check_commands(made: Made, launcher: Launcher, folder: Path) -> None:
    keys = made.keys

    def told(command: str) -> dict[str, Any]:
        report(made.server.client, made.filled)
        done = launcher.run(["--url", made.server.url, command, "--json"], folder, os.environ)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    status = told("status")
    check_lines(status["queues"], keys)
    check_lines(told("queues")["queues"], keys)
    workers = {"all": keys.workers, "busy": keys.busy, "leaving": LEAVING}
    assert status["workers"] == workers
    crew = [one for consumer in told("workers")["consumers"] for one in consumer["workers"]]
    assert len(crew) == keys.workers
    assert sum(one["busy"] for one in crew) == keys.busy
    assert sum(one["job"] is not None for one in crew) == keys.busy
