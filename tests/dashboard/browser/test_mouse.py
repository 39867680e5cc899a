"""Actions on jobs and queues by mouse; each is in the audit trail with its reason."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from browser_tasks import fail, hold, report, tarry
from playwright.sync_api import expect

from conveyor.errors import JobCancelled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

    from .window import Window


def test_running_job_is_cancelled(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name)
    job = queue.submit(hold, str(path))
    view = window()
    page = view.go(f"/queues/{queue.name}/jobs/{job.id}")
    expect(page.locator(".job-head .state")).to_have_text(re.compile("running"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#confirm-words")).to_contain_text("JobCancelled")
    view.say_yes("took too long")
    with pytest.raises(JobCancelled):
        job.result(30)
    expect(page.locator(".job-head .state")).to_have_text(re.compile("cancelled"))
    view.is_in_the_audit("cancel job", job.id, "took too long")


def test_slow_cancellation_is_followed_until_the_job_ends(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name)
    job = queue.submit(tarry, str(path))
    page = window().go(f"/queues/{queue.name}/jobs/{job.id}")
    expect(page.locator(".job-head .state")).to_have_text(re.compile("running"))
    page.get_by_role("button", name="Cancel").click()
    page.locator("#confirm-yes").click()
    expect(page.locator("#toasts")).to_contain_text("Cancel: the worker stops the job")
    expect(page.locator("#cancelling")).to_contain_text(re.compile(r"its worker is killed in \d+ s unless"))
    expect(page.get_by_role("button", name="Cancelling")).to_be_disabled()
    path.touch()
    expect(page.locator("#toasts")).to_contain_text("Cancel: the job is cancelled")
    expect(page.locator(".job-head .state")).to_have_text(re.compile("cancelled"))


def test_id_is_copied_from_a_list_and_from_the_job_page(window: Callable[..., Window], queue: Queue) -> None:
    job = queue.submit(hold, "/nowhere")
    view = window(permissions=["clipboard-write"])
    for path in (f"/jobs?queue={queue.name}&state=waiting", f"/queues/{queue.name}/jobs/{job.id}"):
        page = view.go(path)
        page.locator(".copy").click()
        expect(page.locator("#toasts")).to_have_text(f"Copied {job.id}")


def test_dismissed_dialog_has_no_effect(window: Callable[..., Window], queue: Queue) -> None:
    job = queue.submit(hold, "/nowhere")
    view = window()
    page = view.go(f"/queues/{queue.name}/jobs/{job.id}")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Keep job").click()
    expect(page.locator("#confirm")).to_be_hidden()
    assert queue.qsize() == 1


def test_refusal_is_explained_in_sentences(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name)
    job = queue.submit(hold, str(path))
    view = window()
    view.forgiven.append("status of 409")
    page = view.go(f"/queues/{queue.name}/jobs/{job.id}")
    page.get_by_role("button", name="Cancel").click()
    path.touch()
    assert job.result(30) == "let go"
    view.say_yes()
    toast = page.locator(".toast.wrong")
    expect(toast).to_have_text("Cancel: Conflict. The job is over, so there is nothing to cancel.")


def test_failed_job_is_retried(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name)
    job = queue.submit(fail, str(path))
    view = window()
    page = view.go(f"/queues/{queue.name}")
    expect(page.locator(".tiles [data-n=dead]")).to_have_text("1")
    page = view.go(f"/queues/{queue.name}/jobs/{job.id}")
    expect(page.locator(".trace")).to_contain_text("ValueError")
    path.touch()
    page.get_by_role("button", name="Retry").click()
    view.say_yes("the file is there now")
    expect(page.locator(".job-head .state")).to_have_text(re.compile("done"))
    view.is_in_the_audit("retry job", job.id, "the file is there now")


def test_group_of_failures_is_retried(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name, workers=2)
    queue.submit_many(fail, [(str(path),)] * 6)
    view = window()
    page = view.go("/failures")
    group = page.locator(".failure").filter(has_text=queue.name)
    expect(group.locator(".failure-count b")).to_have_text("6")
    path.touch()
    group.get_by_role("button", name="Retry all").click()
    view.say_yes("the disk is back")
    expect(page).to_have_url(re.compile("/operations"))
    row = page.locator("tbody tr").filter(has_text=queue.name)
    expect(row.locator(".state")).to_have_text(re.compile("done"))
    expect(row).to_contain_text("6 done")
    view.go("/failures")
    expect(page.locator(".failure").filter(has_text=queue.name)).to_have_count(0)
    view.is_in_the_audit("retry", queue.name, "the disk is back")


def test_job_is_put_with_the_form(
    window: Callable[..., Window], queue: Queue, one_server: Any, eventually: Callable[..., Any]
) -> None:
    queue.put("so that the queue is known")
    view = window()
    page = view.go("/enqueue?task=double")
    number, command = page.locator("#a-number"), page.locator("[data-command]")
    times = page.get_by_label("times")
    times.fill("1.5")
    expect(page.locator("#a-times-error")).to_be_visible()
    expect(times).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#a-number-error")).to_be_hidden()
    times.fill("0")
    number.fill("21")
    expect(page.locator('[data-error=""]')).to_contain_text("nothing to do")
    times.fill("2")
    expect(page.locator('[data-error=""]')).to_be_hidden()
    page.get_by_text("Options").click()
    page.locator("#o-queue").fill(queue.name)
    page.locator("#o-reason").fill("asked for by mail")
    expect(command).to_have_text(re.compile(rf"conveyor produce double .*21.*times=2.*{queue.name}"))
    with page.expect_navigation():
        page.get_by_role("button", name="Enqueue", exact=True).click()
    eventually(lambda: queue.qsize() == 2)
    expect(page.locator("h1")).to_contain_text("double")
    view.is_in_the_audit("enqueue", queue.name, "asked for by mail")


def test_queue_is_paused_resumed_bounded_and_emptied(
    window: Callable[..., Window], queue: Queue, eventually: Callable[..., Any]
) -> None:
    queue.put_many(range(5))
    view = window()
    page = view.go(f"/queues/{queue.name}")
    state = page.locator("h1 .state")
    page.get_by_role("button", name="Pause", exact=True).click()
    view.say_yes("deploying")
    expect(state).to_have_text(re.compile("paused"))
    assert queue.count().paused
    page.get_by_role("button", name="Resume", exact=True).click()
    view.say_yes("deployed")
    expect(state).to_have_text(re.compile("open"))
    assert not queue.count().paused

    page.get_by_label("Change the limit").fill("7")
    page.get_by_role("button", name="Set").click()
    view.say_yes("the machine is small")
    expect(page.locator(".facts").first).to_contain_text("7 slots")
    assert queue.count().maxsize == 7

    page.get_by_role("button", name="Empty").click()
    expect(page.locator("#confirm-yes")).to_be_disabled()
    expect(page.locator("#confirm-words")).to_contain_text(
        "5 jobs, waiting, deferred or delayed, are cancelled"
    )
    expect(page.locator("#confirm .buttons")).to_have_text(re.compile(r"Keep jobs\s*Cancel 5 jobs"))
    view.say_yes("all of it is wrong", typed=queue.name)
    eventually(lambda: queue.qsize() == 0)
    expect(page).to_have_url(re.compile("/operations"))
    for act, reason in (
        ("pause queue", "deploying"),
        ("resume queue", "deployed"),
        ("bound", "the machine is small"),
        ("purge", "all of it is wrong"),
    ):
        view.is_in_the_audit(act, queue.name, reason)


def test_bulk_cancel_names_the_number_of_jobs(window: Callable[..., Window], queue: Queue) -> None:
    queue.submit_many(hold, [("/nowhere",)] * 1234)
    page = window().go(f"/jobs?queue={queue.name}&state=waiting")
    page.locator("[data-select]").first.click()
    page.locator("[data-bulk-all]").click()
    page.locator("[data-bulk]").get_by_role("button", name="Cancel").click()
    expect(page.locator("#confirm-title")).to_have_text("Cancel 1,234 jobs?")
    expect(page.locator("#confirm .buttons")).to_have_text(re.compile(r"Keep jobs\s*Cancel 1,234 jobs"))
    page.get_by_role("button", name="Keep jobs").click()
    expect(page.locator("#confirm")).to_be_hidden()
    assert queue.qsize() == 1234


def test_bulk_cancel_of_a_task_names_all_jobs_it_checks(
    window: Callable[..., Window], queue: Queue, eventually: Callable[..., Any]
) -> None:
    queue.submit_many(hold, [("/nowhere",)] * 4)
    queue.submit(report, "/nowhere")
    view = window()
    page = view.go(f"/jobs?queue={queue.name}&state=waiting&task={hold.name}")
    page.locator("[data-select]").first.click()
    page.locator("[data-bulk-all]").click()
    page.locator("[data-bulk]").get_by_role("button", name="Cancel").click()
    title = f"Cancel all jobs of {hold.name}, of 5 queued?"
    expect(page.locator("#confirm-title")).to_have_text(title)
    expect(page.locator("#confirm .buttons")).to_have_text(re.compile(r"Keep jobs\s*Cancel jobs\s*$"))
    view.say_yes("not these", typed=queue.name)
    eventually(lambda: queue.qsize() == 1)


def test_selected_jobs_are_cancelled(
    window: Callable[..., Window], queue: Queue, eventually: Callable[..., Any]
) -> None:
    jobs = queue.submit_many(hold, [("/nowhere",)] * 5)
    view = window()
    page = view.go(f"/jobs?queue={queue.name}&state=waiting")
    boxes = page.locator("[data-select]")
    expect(boxes).to_have_count(5)
    boxes.nth(1).click()
    boxes.nth(3).click(modifiers=["Shift"])
    expect(page.locator("[data-bulk-words]")).to_have_text("3 jobs")
    page.locator("[data-bulk]").get_by_role("button", name="Cancel").click()
    expect(page.locator("#confirm-title")).to_have_text("Cancel 3 jobs?")
    view.say_yes("not these")
    expect(page).to_have_url(re.compile("/operations"))
    eventually(lambda: queue.qsize() == 2)
    assert [job.cancelled() for job in jobs].count(True) == 3
    view.is_in_the_audit("cancel", queue.name, "not these")


def test_log_is_followed_live(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name)
    path.write_text("<b>the first</b>\n")
    job = queue.submit(report, str(path))
    view = window()
    page = view.go(f"/queues/{queue.name}/jobs/{job.id}")
    lines = page.locator("#log-lines li")
    expect(lines).to_have_count(1)
    expect(lines.first).to_contain_text("<b>the first</b>")
    page.evaluate("window.same = document.querySelector('#log-lines li')")
    with path.open("a") as file:
        file.write("".join(f"line {number}\n" for number in range(2, 200)))
    expect(lines).to_have_count(199)
    expect(lines.last).to_contain_text("line 199")
    expect(lines.last).to_be_in_viewport()
    assert page.evaluate("window.same === document.querySelector('#log-lines li')")
    page.locator("[data-log-filter]").fill("line 19")
    expect(page.locator("#log-lines li:visible")).to_have_count(11)
    with path.open("a") as file:
        file.write("end\n")
    assert job.result(30) == 199
