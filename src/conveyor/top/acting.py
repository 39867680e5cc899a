"""What can be done from the screen, and how far each act is: requested, acknowledged, done."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from conveyor.clock import Deadline, sleep
from conveyor.errors import ConveyorError, StoreUnavailable
from conveyor.monitor import bulk as operations
from conveyor.monitor.actions import Matching
from conveyor.store import commands, control_channel
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conveyor.monitor.actions import Actions

#: Seconds that a worker's consumer is given for its first word, and that an act is followed at all.
FIRST_WORD, FOLLOWED = 10.0, 55.0
#: Seconds of one wait for an answer.
STEP = 0.5
REQUESTED, ACKNOWLEDGED, DONE, REFUSED, SILENT = (
    "requested",
    "acknowledged",
    "done",
    "refused",
    "no answer",
)


class News(NamedTuple):
    """How far an act is."""

    state: str
    detail: str = ""


#: Does something and tells how far it is; gets what acts, and the reason.
Doing: TypeAlias = "Callable[[Actions, str], Iterator[News]]"


class Intent(NamedTuple):
    """An act that somebody has asked for and not confirmed."""

    title: str
    """The question: Kill worker host-ab12/3 now?"""
    consequence: str
    yes: str
    """What the button says, and how the act is called later on."""
    doing: Doing
    no: str = "Do nothing"
    """What the other button says: what stays as it is."""


def carry_out(intent: Intent, actions: Actions, reason: str, tell: Callable[[Intent, News], object]) -> None:
    """Do it in a thread of its own; `tell` is called from there."""

    def run() -> None:
        tell(intent, News(REQUESTED))
        try:
            for news in intent.doing(actions, reason):
                tell(intent, news)
        except StoreUnavailable as error:
            tell(intent, News(SILENT, str(error)))
        except ConveyorError as error:
            tell(intent, News(REFUSED, str(error)))

    threading.Thread(target=run, name="conveyor-top-act", daemon=True).start()


def tell_worker(verb: str, worker: str, job: str = "") -> Doing:
    """Tell one worker something: stop, kill (if it still runs the job that was seen there), pause or resume."""

    def do(actions: Actions, reason: str) -> Iterator[News]:
        order = actions.tell_workers(verb, [worker], reason, jobs={worker: job})
        first, deadline, state = Deadline(FIRST_WORD), Deadline(FOLLOWED), REQUESTED
        while not deadline.passed() and (state != REQUESTED or not first.passed()):
            data = actions.client.run(control_channel.await_acknowledgement(order.id, STEP))
            if data is None:
                continue
            answer = control_messages.decode_acknowledgement(data)
            if answer.target != worker:  # its consumer, which leaves with its last worker
                continue
            state = answer.state if answer.state in {ACKNOWLEDGED, DONE} else REFUSED
            words = f"with job {answer.detail}" if answer.detail and state == ACKNOWLEDGED else ""
            if state == REFUSED:
                words = ": ".join(
                    filter(None, (control_messages.WORDS.get(answer.state, answer.state), answer.detail))
                )
            yield News(state, words)
            if state != ACKNOWLEDGED:
                return
        if state == REQUESTED:
            yield News(SILENT, "the order holds should its consumer come back within a minute")

    return do


def pause_queue(queue: str) -> Doing:
    """Let a queue give out nothing."""

    def do(actions: Actions, reason: str) -> Iterator[News]:
        actions.pause_queue(queue, reason)
        yield News(DONE, "it gives out nothing; what runs goes on")

    return do


def resume_queue(queue: str) -> Doing:
    """Let a queue give out jobs again."""

    def do(actions: Actions, reason: str) -> Iterator[News]:
        actions.resume_queue(queue, reason)
        yield News(DONE, "it gives out jobs")

    return do


def cancel_job(queue: str, job_id: str) -> Doing:
    """Cancel a job, and follow a running one until it has ended."""

    def do(actions: Actions, reason: str) -> Iterator[News]:
        state = actions.cancel_job(queue, job_id, reason).state
        if state == "cancelled":
            yield News(DONE)
            return
        if state != "running":
            yield News(REFUSED, f"it is {state}")
            return
        yield News(ACKNOWLEDGED, "its worker is told to stop it")
        deadline = Deadline(FOLLOWED)
        while not deadline.passed():
            found: commands.State = actions.client.run(commands.state(queue, job_id))
            if found.state != "leased":
                yield News(DONE)
                return
            sleep(STEP / 2)

    return do


def retry_job(queue: str, job_id: str) -> Doing:
    """Put a dead job back."""

    def do(actions: Actions, reason: str) -> Iterator[News]:
        answer = actions.retry_job(queue, job_id, reason)
        yield News(DONE, "it waits again") if answer.changed else News(REFUSED, f"it is {answer.state}")

    return do


def retry_group(queues: Sequence[str], fingerprint: str) -> Doing:
    """Put all dead jobs back that failed alike."""

    def do(actions: Actions, reason: str) -> Iterator[News]:
        begun = actions.begin("retry", queues, Matching(group=fingerprint), reason)
        done = 0
        for step in operations.run(actions.client, begun):
            done = step.done
            yield News(ACKNOWLEDGED, f"{done:,} wait again")
        yield News(DONE, f"{done:,} wait again")

    return do
