"""What a key means for the row under the cursor: an intent, or why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.top import acting
from conveyor.top.acting import Intent

if TYPE_CHECKING:
    from conveyor.top.watch import Sight
    from conveyor.wire.control_messages import WorkerReport


def about_worker(key: str, sight: Sight, name: str) -> Intent | str:
    """Kill, stop, pause or resume a worker, or cancel its job."""
    worker = next((one for one in sight.snapshot.workers() if one.name == name), None)
    if worker is None:
        return "no worker is chosen"
    if key == "C":
        return _cancel(worker.queue, worker.job) if worker.job else f"{name} runs no job"
    job = f"Job {worker.job} goes back to its place on {worker.queue}. " if worker.job else ""
    if key == "K":
        words = f"{job}No other takes its place."
        doing = acting.tell_worker("kill", name, worker.job)
        return Intent(f"Kill worker {name} now?", words, "Kill worker", doing)
    if key == "S":
        words = (
            f"It finishes {f'job {worker.job}' if worker.job else 'nothing'} first. No other takes its place."
        )
        return Intent(
            f"Stop worker {name} after its current job?",
            words,
            "Stop worker",
            acting.tell_worker("stop", name),
        )
    return _pause_worker(worker) if key == "P" else "this is for jobs and failures"


def _pause_worker(worker: WorkerReport) -> Intent:
    name = worker.name
    if worker.paused:
        return Intent(
            f"Resume worker {name}?",
            "It takes jobs again.",
            "Resume worker",
            acting.tell_worker("resume", name),
        )
    words = "It finishes its current job, stays, and takes no other until it is resumed."
    return Intent(f"Pause worker {name}?", words, "Pause worker", acting.tell_worker("pause", name))


def about_queue(key: str, sight: Sight, name: str) -> Intent | str:
    """Pause or resume a queue."""
    count = sight.snapshot.queues.get(name)
    if count is None:
        return "no queue is chosen"
    if key != "P":
        return (
            "this is for workers" if key in {"K", "S"} else "this is for jobs: Enter opens those of the queue"
        )
    if count.paused or count.shutdown:
        return Intent(
            f"Resume {name}?", "It gives out jobs again.", "Resume queue", acting.resume_queue(name)
        )
    words = "It gives out nothing until it is resumed. What runs goes on; puts are accepted."
    return Intent(f"Pause {name}?", words, "Pause queue", acting.pause_queue(name))


def about_job(key: str, queue: str, job_id: str, state: str) -> Intent | str:
    """Cancel a job that is not over, or retry a dead one."""
    if not job_id:
        return "no job is chosen"
    over = state in {"done", "failed", "cancelled", "lost", "ended", "gone"}
    if key == "C":
        return f"{job_id} is over" if over or state == "dead" else _cancel(queue, job_id)
    if key == "R":
        if state not in {"dead", "failed", "lost"}:
            return f"{job_id} is not dead"
        words = "It waits again, as if never tried."
        return Intent(f"Retry job {job_id}?", words, "Retry job", acting.retry_job(queue, job_id))
    return "this is for workers"


def _cancel(queue: str, job_id: str) -> Intent:
    words = (
        "At once while it waits. If it runs, its worker is told to stop it, and killed if that has no effect."
    )
    return Intent(f"Cancel job {job_id}?", words, "Cancel job", acting.cancel_job(queue, job_id), "Keep job")


def about_failure(key: str, sight: Sight, group: str) -> Intent | str:
    """Retry all dead jobs that failed alike."""
    _, chosen, fingerprint = group.partition(" ")
    found = next((one for one in sight.failures if chosen and one.group.fingerprint == fingerprint), None)
    if found is None:
        return "no failure is chosen"
    if key != "R":
        return "this is for workers" if key in {"K", "S", "P"} else "these jobs are over"
    if not fingerprint:
        return "nothing is known of what these have in common: retry them one by one"
    jobs = "1 dead job" if found.group.count == 1 else f"{found.group.count:,} dead jobs"
    queues = found.group.queues
    where = f"on {queues[0]}" if len(queues) == 1 else f"in {len(queues):,} queues"
    title = f"Retry {jobs} of {found.task or 'this failure'} {where}?"
    return Intent(
        title, "They wait again, as if never tried.", f"Retry {jobs}", acting.retry_group(queues, fingerprint)
    )
