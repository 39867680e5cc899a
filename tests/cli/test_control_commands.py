"""The commands that control queues and jobs."""

from __future__ import annotations

from typing import Any


def test_queue_is_paused_and_resumed(at_server: Any, conveyor: Any) -> None:
    conveyor("produce", "shape", 1)
    assert conveyor("pause", "shapes").out == "shapes is paused: 1 waiting, 0 running.\n"
    assert conveyor("pause", "shapes", "--json").document == {
        "schema": "conveyor.pause/v1",
        "queue": "shapes",
        "state": "paused",
        "was_paused": True,
    }
    assert conveyor("resume", "shapes").out == "shapes is resumed: 1 waiting, 0 running.\n"
    assert conveyor("resume", "shapes", "--json").document["was_paused"] is False


def test_queue_is_purged(at_server: Any, conveyor: Any) -> None:
    job = conveyor("produce", "shape", 1, "--count", 3).out.split()[0]
    done = conveyor("purge", "shapes", "--yes", "--json")
    assert done.document == {"schema": "conveyor.purge/v1", "queue": "shapes", "cancelled": 3, "running": 0}
    assert conveyor("job", job, "--json").document["state"] == "cancelled"
    assert conveyor("purge", "shapes", "-y").out == "shapes: 0 jobs cancelled.\n"


def test_empty_queue_is_deleted(at_server: Any, conveyor: Any) -> None:
    conveyor("produce", "shape", 1, "--count", 3)
    full = conveyor("delete", "shapes")
    assert (full.code, full.out) == (5, "")
    assert "the queue shapes is not empty: 3 waiting" in full.err
    assert "`conveyor delete shapes --purge`" in full.err
    assert conveyor("queues", "--json").document["queues"][0]["waiting"] == 3
    conveyor("purge", "shapes", "--yes")
    done = conveyor("delete", "shapes", "--json", "--reason", "one-off")
    assert done.document == {
        "schema": "conveyor.delete/v1",
        "queue": "shapes",
        "cancelled": 0,
        "discarded": 0,
    }
    assert conveyor("queues", "--json").document["queues"] == []
    assert at_server.raw.keys("conveyor:{shapes}:*") == [b"conveyor:{shapes}:deleted"]
    assert conveyor("delete", "shapes").code == 3
    act, *_ = conveyor("audit", "--json").document["acts"]
    assert (act["action"], act["target"], act["reason"], act["outcome"]) == (
        "delete_queue",
        "shapes",
        "one-off",
        "done",
    )


def test_queue_with_jobs_is_deleted_with_purge(
    at_server: Any, conveyor: Any, start_consumer: Any, folder: Any, eventually: Any
) -> None:
    conveyor("produce", "fail", "--count", 3)
    assert start_consumer("failures", "-n", 1, "--until-empty").wait(20) == 0
    conveyor("produce", "fail", "--count", 2, "--delay", 1000)
    assert conveyor("delete", "failures", "--purge").code == 2, "it cannot ask"
    assert at_server.raw.zcard("conveyor:{failures}:dead") == 3
    done = conveyor("delete", "failures", "--purge", "-y")
    assert done.out == "failures is deleted. 2 jobs cancelled, 3 discarded.\n"
    assert at_server.raw.keys("conveyor:{failures}:*") == [b"conveyor:{failures}:deleted"]
    start_consumer("held", "-n", 1)
    conveyor("produce", "hold", folder / "never", "--count", 2)
    eventually(lambda: at_server.raw.zcard("conveyor:{held}:leased"))
    busy = conveyor("delete", "held", "--purge", "--yes")
    assert busy.code == 5
    assert "1 waiting, 1 running" in busy.err
    assert "wait for the running jobs to finish" in busy.err


def test_waiting_job_is_cancelled_once(at_server: Any, conveyor: Any) -> None:
    first, second = conveyor("produce", "shape", 1, "--count", 2).out.split()
    assert conveyor("cancel", first).out == f"{first}: cancelled\n"
    assert conveyor("cancel", first).code == 5
    both = conveyor("cancel", first, second, "--json")
    assert both.code == 0
    assert [one["state"] for one in both.document["jobs"]] == ["error", "cancelled"]


def test_cancel_exit_code_if_some_jobs_have_finished(at_server: Any, conveyor: Any) -> None:
    over, waiting = conveyor("produce", "shape", 1, "--count", 2).out.split()
    conveyor("cancel", over)
    some = conveyor("cancel", over, waiting)
    assert (some.code, some.out) == (0, f"{waiting}: cancelled\n")
    assert f"job {over} has already finished: cancelled" in some.err
    assert conveyor("cancel", over, waiting).code == 5
    assert conveyor("cancel", over, "nosuchjob").code == 3


def test_running_job_is_cancelled(
    at_server: Any, conveyor: Any, start_consumer: Any, folder: Any, eventually: Any
) -> None:
    start_consumer("held", "-n", 1)
    job = conveyor("produce", "hold", folder / "never").out.strip()
    eventually(lambda: at_server.raw.zcard("conveyor:{held}:leased"))
    assert "its worker will stop it: a test" in conveyor("cancel", job, "--reason", "a test").out
    eventually(lambda: conveyor("job", job, "--json").document["state"] == "cancelled")


def test_dead_jobs_are_retried(at_server: Any, conveyor: Any, start_consumer: Any) -> None:
    ids = conveyor("produce", "fail", "--count", 3).out.split()
    assert conveyor("retry", ids[0]).code == 5
    assert start_consumer("failures", "-n", 1, "--until-empty").wait(20) == 0
    assert conveyor("retry", ids[0]).out == f"{ids[0]}: waiting again\n"
    assert conveyor("retry", "--all", "failures", "--json").document == {
        "schema": "conveyor.retry-all/v1",
        "queue": "failures",
        "retried": 2,
    }
    assert conveyor("queues", "--json").document["queues"][0]["waiting"] == 3
    assert "No dead jobs in failures" in conveyor("retry", "--all", "failures").err


APPROVE = """
from conveyor import current_job, task

@task(name="approve", queue="approvals")
def approve() -> object:
    job = current_job()
    job.step("ask", str, "asked")
    return job.wait_for("approved")
"""


def test_dead_job_is_not_retried_while_another_has_its_key(
    at_server: Any, conveyor: Any, start_consumer: Any
) -> None:
    dead = conveyor("produce", "refuse", 1).out.strip()
    assert start_consumer("refused", "-n", 1, "--until-empty").wait(20) == 0
    holder = conveyor("produce", "refuse", 1).out.strip()
    refused = conveyor("retry", dead)
    assert refused.code == 5
    assert f"job {dead} is not retried: job {holder} has its unique key" in refused.err
    assert f"`conveyor cancel {holder}`" in refused.err
    act, *_ = conveyor("audit", "--json").document["acts"]
    assert act["outcome"] == f"not done: {holder} has its unique key"
    conveyor("cancel", holder)
    assert conveyor("retry", dead).out == f"{dead}: waiting again\n"
    assert "is not dead, it is waiting" in conveyor("retry", dead).err


def test_signal_lets_a_suspended_job_go_on(
    at_server: Any, conveyor: Any, start_consumer: Any, folder: Any, eventually: Any
) -> None:
    (folder / "approvals.py").write_text(APPROVE)
    start_consumer("approvals", "-n", 1, "--tasks", "approvals")
    job = conveyor("produce", "approve", "--tasks", "approvals").out.strip()
    eventually(lambda: at_server.raw.zcard("conveyor:{approvals}:delayed"))
    shown = conveyor("job", job).out
    assert "delayed until a signal" in shown
    assert "the signal approved" in shown
    assert "Steps done  ask" in shown
    assert "a signal" in conveyor("jobs", "approvals", "--state", "delayed").out
    assert conveyor("signal", job, "approved", '{"by": "Ada"}').out == f"{job}: signal approved sent\n"
    eventually(lambda: "{'by': 'Ada'}" in str(conveyor("job", job, "--json").document["result"]))
    late = conveyor("signal", job, "approved", "no")
    assert (late.code, "it has finished: done" in late.err) == (5, True)


def test_signal_is_a_string_unless_it_is_json(at_server: Any, conveyor: Any) -> None:
    job = conveyor("produce", "shape", 1).out.strip()
    assert conveyor("signal", job, "one", "not json", "--json").document["state"] == "sent"
    conveyor("signal", job, "two", "2.5")
    conveyor("signal", job, "three")
    assert [step["value"] for step in conveyor("job", job, "--json").document["steps"]] == [
        "not json",
        2.5,
        None,
    ]
    assert conveyor("signal", job, "one", "other").code == 5
    assert conveyor("signal", "nosuchjob", "one").code == 3
    assert conveyor("signal", job, "x" * 201).code == 2
