"""The names that dashboards and alerts of users rely on: each is measured, or listed as not measured."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from manual_kit import rows

from conveyor.dashboard.metrics import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The agreement: name, type, labels, and the values of labels that have few.
AGREED = """
queue_jobs                    gauge      queue state=waiting,scheduled,running,retrying,paused
queue_oldest_waiting_seconds  gauge      queue
queue_paused                  gauge      queue
queue_memory_bytes            gauge      queue
jobs_enqueued_total           counter    queue task
jobs_started_total            counter    queue task
jobs_finished_total           counter    queue task outcome
job_retries_total             counter    queue task
jobs_dropped_total            counter    queue reason=retention,maxlen
job_wait_seconds              histogram  queue
job_run_seconds               histogram  queue task outcome
workers                       gauge      queue state
worker_slots                  gauge      state=busy,idle
worker_heartbeat_age_seconds  gauge
workers_lost_total            counter    queue
control_commands_total        counter    command outcome=done,refused,no_answer
schedule_lag_seconds          gauge      schedule
backend_command_seconds       histogram  command
backend_up                    gauge
dashboard_streams             gauge
dashboard_sample_seconds      histogram
build_info                    gauge      version python backend
"""


def agreed() -> Iterator[tuple[str, str, str, frozenset[str]]]:
    """Yield each label of each metric, or an empty one, with the agreed values."""
    for line in AGREED.strip().splitlines():
        name, kind, *labels = line.split()
        for word in labels or [""]:
            label, _, values = word.partition("=")
            yield f"conveyor_{name}", kind, label, frozenset(filter(None, values.split(",")))


@pytest.mark.parametrize(("name", "kind", "label", "values"), list(agreed()))
def test_agreed_metrics_are_measured_or_listed_as_unmeasured(
    name: str, kind: str, label: str, values: frozenset[str]
) -> None:
    measured = {one.strip("`"): (kind, words) for one, kind, words in rows("metrics")}
    missing = {what: what.replace(",", " ").split() for what, _ in rows("unmeasured")}
    if [f"`{name}`"] in missing.values():
        assert name not in measured
        return
    assert measured[name][0] == kind
    lacks = [words[2:] for words in missing.values() if words[:2] == [f"`{name}`", f"`{label}`"]]
    labels = re.findall(r"`(\w+)`", measured[name][1])
    told = re.search(rf"`{label}` \(([\w, ]+)\)", measured[name][1])
    if values:
        there = set(told[1].split(", ")) if told else set()
        assert {*there, *(lacks[0] if lacks else ())} >= values
        assert not there & set(lacks[0] if lacks else ())
    elif label:
        assert (label in labels) == (not lacks)


def test_outcomes_match_the_agreed_names() -> None:
    assert set(OUTCOMES) == {"succeeded", "failed", "cancelled", "timeout", "lost", "expired"}
