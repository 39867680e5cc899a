"""The kill ladder, as the supervisor climbs it: stop after current, cancel one job, kill now; each step is answered.

Pausing, resuming and asking for stacks come in by the same commands, and are passed on to where they belong.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from conveyor import clock, events
from conveyor.consumer import shared_status as slates
from conveyor.consumer.pauses import Pauses
from conveyor.consumer.stack import Stacks
from conveyor.errors import StoreError, StoreUnavailable
from conveyor.store import plain
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from conveyor.consumer.heartbeat import Notice
    from conveyor.consumer.shared_status import Glance
    from conveyor.consumer.supervisor import Supervisor
    from conveyor.consumer.worker_handle import Worker
    from conveyor.store.commands import Command

#: Seconds between a claim and the begin of the run, at most, in which a cancellation may come.
EARLY = 2.0
#: Orders that are remembered, so that one that arrives twice is obeyed once.
MOST_OBEYED = 1000
#: Answers that are kept at most while the server is silent, for the oldest go first: two from each of 1,000 workers.
MOST_UNSENT = 2500
#: Answers, and bytes of them, that travel together.
MOST_AT_ONCE, BYTES_AT_ONCE = 100, 128 * 1024
#: Seconds after which the supervisor goes on although answers are left: usually, and before it exits.
SENDING, LAST_SENDING = 1.0, 5.0


class Ladder:
    """Obeys control commands and answers them, per target: acknowledged at once, done when it is."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.early: dict[tuple[str, str], tuple[str, float]] = {}
        """Jobs to cancel, by queue and id, whose run has not begun here yet: its token, and until when to wait."""
        self._obeyed: deque[bytes] = deque(maxlen=MOST_OBEYED)
        self._unsent: deque[Command] = deque(maxlen=MOST_UNSENT)
        self.pauses = Pauses(supervisor, self.answer)
        self.stacks = Stacks(supervisor, self.answer)
        self._whole: list[control_messages.Control] = []  # who asked for the end of the whole consumer
        self._cancels: dict[tuple[str, str], control_messages.Control] = {}
        """Who waits for the end of a run, by queue and id."""

    def obey(self, data: bytes) -> None:
        """Do what a control command says, once; what cannot be read is no command."""
        order = self._new_order(data)
        if order is None:
            return
        late = self._seconds_late(order)
        if late > 0:
            self._turn_down(order, f"it came {late:.1f} s too late; nothing was done")
        elif order.verb == "cancel":
            events.emit(events.CancelAsked(order.job, order.reason))
            key = order.queue, order.job
            if not self.cancel(*key, order.token):
                self.early[key] = order.token, clock.monotonic() + EARLY
            if order.id != order.job and order.workers:
                before = self._cancels.pop(key, None)
                if before is not None:
                    self._answer_cancel(before, "repeated")
                self._cancels[key] = order
                self._answer_cancel(order, "acknowledged", order.job)
        elif order.verb in {"stop", "kill"}:
            self._end_workers(order)
        elif order.verb in {"pause", "resume"}:
            self.pauses.obey(order)
        elif order.verb == "stack":
            self.stacks.obey(order)

    def _new_order(self, data: bytes) -> control_messages.Control | None:
        """Return what a control command says, or None if it cannot be read or was sent twice."""
        try:
            order = control_messages.decode_control(data)
        except (msgspec.MsgspecError, ValueError):
            return None
        if order.id == order.job:  # a cancellation without an order: all look alike, and each is another
            return order
        is_known = data in self._obeyed
        self._obeyed.append(data)
        return None if is_known else order

    @property
    def hurried(self) -> bool:
        """Whether something is about to happen that nothing else tells of."""
        is_behind = bool(self._unsent) and not self.supervisor.is_silent
        return bool(self.early) or self.pauses.hurried or self.stacks.hurried or is_behind

    def look(self) -> None:
        """See to all that was ordered and could not be done at once."""
        self.cancel_early()
        self._look_at_cancels()
        self.pauses.look()
        self.stacks.look()

    def cancel(self, queue: str, job_id: str, token: str = "") -> bool:
        """End one run: raise in the task, and kill its worker if it does not react in time; return whether it runs.

        Without a queue, the job may be of any; without a token, the run. If two workers run it, the one with the newest
        token has the valid lease; the other gets a notice.
        """
        found = [(worker, worker.run_of(queue, job_id)) for worker in self.supervisor.workers.values()]
        runs = [(worker, *run) for worker, run in found if run is not None and token in {"", run[1].token}]
        if not runs:
            return False
        worker, glance, held = max(runs, key=lambda run: int(run[2].token))
        self._end_run(worker, glance, (held.queue, job_id))
        return True

    def heed(self, notice: Notice) -> None:
        """End the run that a notice is meant for, if it still goes on."""
        worker, number, place, job, *_ = notice.holding
        glance = worker.slate.glance()
        if (glance.number, glance.place) != (number, place):
            return
        if notice.lost and worker.ending != (number, place):
            events.emit(events.LeaseLost(worker.name, job))
        self._end_run(worker, glance, (notice.holding.queue, job), lost=notice.lost)

    def _end_run(self, worker: Worker, glance: Glance, job: tuple[str, str], *, lost: bool = False) -> None:
        """Raise in the task, once. A run whose lease is gone is not cancelled: its job waits, or runs elsewhere."""
        if worker.ending == (glance.number, glance.place):
            return
        worker.ending = (glance.number, glance.place)
        worker.cancelling = None if lost else job
        worker.kill_at = min(worker.kill_at, clock.monotonic() + self.supervisor.settings.grace)
        worker.interrupt(slates.WISH_RETURN if lost else slates.WISH_CANCEL, glance)

    def cancel_early(self) -> None:
        """Cancel what was claimed, but did not run yet, when its cancellation was asked for."""
        for job, (token, until) in list(self.early.items()):
            if self.cancel(*job, token) or clock.monotonic() > until:
                del self.early[job]

    def _look_at_cancels(self) -> None:
        """Answer for runs that were to end, and have."""
        for job, order in list(self._cancels.items()):
            workers = self.supervisor.workers.values()
            if job not in self.early and all(one.run_of(*job) is None for one in workers):
                del self._cancels[job]
                self._answer_cancel(order, "done")

    def _answer_cancel(self, order: control_messages.Control, state: str, detail: str = "") -> None:
        self.answer(order, order.workers[0], state, detail)

    def answer(self, order: control_messages.Control, target: str, state: str, detail: str = "") -> None:
        """Answer a command about one target. The answer is sent with others: a round trip for each would take long."""
        told = control_messages.Answer(target, state, detail)
        self._unsent += plain.answer(order.id, control_messages.encode(told), target, told.last_word)

    def send_answers(self, seconds: float = SENDING) -> None:
        """Send the answers in order, as soon as the server takes them; drop what it refuses."""
        until = clock.Deadline(seconds)
        while self._unsent and not self.supervisor.is_silent and not until.passed():
            some = self._next_answers()
            try:
                self.supervisor.client.run_all(some, patience=0.0)
            except StoreError as error:
                self.supervisor.note(error)
                if isinstance(error, StoreUnavailable):
                    return
            for _ in some:
                self._unsent.popleft()

    def _next_answers(self) -> list[Command]:
        """Return the answers to send next: few enough for one round trip, even with stacks in them."""
        some: list[Command] = []
        size = 0
        for one in self._unsent:
            size += sum(len(word) for word in one.words if isinstance(word, bytes))
            if some and (len(some) == MOST_AT_ONCE or size > BYTES_AT_ONCE):
                break
            some.append(one)
        return some

    def answer_all(self) -> None:
        """Answer those who wanted the whole consumer to end, now that it does, and who else still waits."""
        self._look_at_cancels()
        self.pauses.look()
        self.stacks.look()
        for order in self._whole:
            self.answer(order, self.supervisor.report.name, "done")

    def _seconds_late(self, order: control_messages.Control) -> float:
        """Give for how long an order has not been meant any more: we may have hung, and who gave it waits no longer."""
        if not order.expires:
            return 0.0
        try:
            now = self.supervisor.client.run(plain.server_time(), patience=0.0)
        except StoreError:  # it has gone away just now; this machine's clock is the next best
            now = clock.wall()
        return float(now - order.expires)

    def _turn_down(self, order: control_messages.Control, detail: str) -> None:
        names = sorted(one.name for one in self.supervisor.workers.values())
        for name in order.workers or (*names, self.supervisor.report.name):
            self.answer(order, name, "expired", detail)

    def _end_workers(self, order: control_messages.Control) -> None:
        supervisor = self.supervisor
        targets = list(supervisor.workers.values())
        if order.workers:
            targets = [one for one in targets if one.name in order.workers]
            for name in set(order.workers) - {one.name for one in targets}:
                if supervisor.to_start.pop(name, None) is None:
                    self.answer(order, name, "unknown", "no such worker")
                else:  # its replacement is not there yet, and does not come
                    self.answer(order, name, "acknowledged")
                    self.answer(order, name, "done")
        else:
            self._replace(self._whole, order, supervisor.report.name)
            self.answer(order, supervisor.report.name, "acknowledged")
            supervisor.to_start.clear()
        for worker in targets:
            self._end(worker, order)
        supervisor.beat.hurry()

    def _replace(
        self, orders: list[control_messages.Control], order: control_messages.Control, target: str
    ) -> None:
        """Add an order in place of an equal one to this target, so that no repetition makes the list longer."""
        for before in [one for one in orders if one.verb == order.verb]:
            orders.remove(before)
            self.answer(before, target, "repeated")
        orders.append(order)

    def _end(self, worker: Worker, order: control_messages.Control) -> None:
        runs = worker.job()[1]
        if order.verb == "kill" and order.workers and order.job and runs not in {"", order.job}:
            self.answer(order, worker.name, "expired", f"it runs job {runs} now")
            return
        self._replace(worker.asked, order, worker.name)
        self.supervisor.to_start.pop(worker.name, None)
        self.answer(order, worker.name, "acknowledged", runs)
        if order.verb == "kill":
            worker.verb = "kill"
            worker.kill()
        else:
            worker.verb = worker.verb or "stop"
            worker.leave()
