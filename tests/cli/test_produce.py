"""Orders from the command line: bound to the task's parameters, placed, followed, reported."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from typing import Any

from conveyor import Queue


def test_output_is_the_ids_without_wait(at_server: Any, conveyor: Any) -> None:
    done = conveyor("produce", "sleep", 0, 3)
    assert len(done.out.split()) == 3
    assert "3 jobs enqueued on queue_zero" in done.err
    assert conveyor("produce", "shape", 1, "-q", "other", "--json").document["queue"] == "other"


def test_jobs_that_were_there_already_are_counted(at_server: Any, conveyor: Any) -> None:
    done = conveyor("produce", "only", 1, "--count", 3)
    assert "1 job enqueued on unique, 2 were there already:" in done.err
    assert len(set(done.out.split())) == 1
    assert "0 jobs enqueued on unique, 1 was there already:" in conveyor("produce", "only", 1).err
    assert "1 job enqueued on unique:" in conveyor("produce", "only", 2).err


def test_order_is_followed_to_its_joined_result(at_server: Any, conveyor: Any, start_consumer: Any) -> None:
    start_consumer("queue_zero", "-n", 2)
    done = conveyor("produce", "sleep", "seconds=0.05", "times=4", "--wait")
    assert done.code == 0
    lines = done.out.splitlines()
    assert re.fullmatch(r"Execution time: \d+\.\d{6} s", lines[0])
    assert re.fullmatch(r"Work of 4 jobs: \d+\.\d{6} s, \d+\.\d\d times the execution time", lines[1])
    assert lines[2:4] == ["Result:", "  times    4"]
    assert "4 of 4 jobs done, 100%" in done.err


def test_result_is_a_json_document(at_server: Any, conveyor: Any, start_consumer: Any) -> None:
    start_consumer("shapes", "-n", 1)
    found = conveyor("produce", "shape", 3, "named=yes", "--count", 2, "--wait", "--json").document
    assert found["schema"] == "conveyor.order/v1"
    assert (found["task"], found["queue"], found["state"], found["error"]) == (
        "shape",
        "shapes",
        "done",
        None,
    )
    assert found["result"] == [{"size": 3, "names": ["one", "two"]}] * 2
    assert [job["state"] for job in found["jobs"]] == ["done", "done"]
    assert found["wall_seconds"] >= 0 <= found["job_seconds"]


def test_exit_code_is_1_if_the_order_fails(at_server: Any, conveyor: Any, start_consumer: Any) -> None:
    start_consumer("failures", "-n", 1)
    done = conveyor("produce", "fail", "bad luck", "--wait")
    assert done.code == 1
    assert "1 of 1 job failed: ValueError: bad luck" in done.err
    assert "Hint: conveyor job " in done.err
    found = conveyor("produce", "fail", "bad luck", "--wait", "--json")
    assert (found.code, found.document["state"]) == (1, "failed")
    assert found.document["error"]["message"] == "bad luck"


def test_options_are_sent_with_the_job(at_server: Any, conveyor: Any) -> None:
    late = conveyor("produce", "shape", 1).out.strip()
    early = conveyor("produce", "shape", 2, "--priority", 9, "--retries", 2, "--timeout", 5).out.strip()
    listed = conveyor("jobs", "shapes", "--json").document["jobs"]
    assert [job["id"] for job in listed] == [early, late]


def test_start_and_expiry_are_sent_with_the_job(at_server: Any, conveyor: Any) -> None:
    brief = conveyor("produce", "shape", 1, "--expires", 60).out.strip()
    shown = conveyor("job", brief, "--json").document
    assert shown["expires_at"] > shown["put_at"]
    assert "unless it has started before" in conveyor("job", brief).out
    late = conveyor("produce", "shape", 1, "--eta", "2030-12-31T08:00+00:00").out.strip()
    shown = conveyor("job", late, "--json").document
    assert (shown["state"], shown["expires_at"]) == ("delayed", None)
    assert conveyor("produce", "shape", 1, "--eta", "2030-12-31").code == 0


def test_invalid_times_are_usage_errors(at_server: Any, conveyor: Any) -> None:
    refused = conveyor("produce", "shape", 1, "--eta", "tomorrow")
    assert refused.code == 2
    assert "--eta 'tomorrow' is not a time" in refused.err
    refused = conveyor("produce", "shape", 1, "--eta", "2030-12-31", "--delay", 5)
    assert refused.code == 2
    assert "eta and delay exclude each other" in refused.err
    refused = conveyor("produce", "shape", 1, "--expires", 0)
    assert refused.code == 2
    assert "expires must be more than 0 seconds" in refused.err


def test_durability_option_is_checked_against_the_server(at_server: Any, conveyor: Any) -> None:
    refused = conveyor("produce", "shape", 1, "--durability", "written")
    assert refused.code == 1
    assert "cannot keep jobs at the level written: its append-only file is off" in refused.err
    assert conveyor("produce", "shape", 1, "--durability", "disk").code == 2
    assert at_server.raw.zcard("conveyor:{shapes}:ready") == 0
    assert conveyor("produce", "shape", 1, "--durability", "memory").code == 0


def test_count_option_puts_many_jobs(at_server: Any, conveyor: Any) -> None:
    done = conveyor("produce", "shape", 1, "--count", 2500)
    assert len(set(done.out.split())) == 2500
    assert conveyor("queues", "--json").document["queues"][0]["waiting"] == 2500


def test_full_queue_is_reported_with_what_was_enqueued(at_server: Any, conveyor: Any) -> None:
    Queue("full", 3, store=at_server.client).put("item")
    done = conveyor("produce", "hasty", "--count", 5)
    assert (done.code, done.out) == (4, "")
    assert "2 jobs on full already, the others were not enqueued." in done.err
    assert "conveyor: the queue full is full" in done.err
    Queue("full", store=at_server.client).clear()
    assert conveyor("produce", "hasty", "--count", 5, "--json").error["message"] == "the queue full is full"


def test_interrupt_while_following_cancels_no_jobs(
    at_server: Any, conveyor: Any, folder: Any, environment: Any, eventually: Any
) -> None:
    words = [sys.executable, "-m", "conveyor", "produce", "shape", "1", "--wait"]
    with subprocess.Popen(words, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            eventually(lambda: at_server.raw.zcard("conveyor:{shapes}:ready"))
            assert process.stderr
            while "of 1 job done" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 130
    (job,) = conveyor("jobs", "shapes", "--json").document["jobs"]
    assert f"the jobs continue. To cancel them: conveyor cancel {job['id']}" in told
