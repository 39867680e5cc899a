"""The worker process: claims, runs and settles jobs. Its supervisor renews its leases."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from conveyor import clock
from conveyor.consumer import shared_status, stack
from conveyor.consumer.batching import BatchMonitor, BatchSizer
from conveyor.consumer.execution import ClaimedBatch, Executor, RunningBatch, RunningJob
from conveyor.consumer.gathering import Gathering
from conveyor.consumer.log_lines import LogLines
from conveyor.consumer.process_state import FILES, TINY, ProcessState, undo_in_forks
from conveyor.consumer.process_usage import ProcessLimits
from conveyor.consumer.sending import Sender
from conveyor.consumer.settings import FEW_QUEUES, LAST_TALLY, LEASE, POLL_EMPTY, SURE
from conveyor.consumer.settlement import TALLY_EVERY, Settler, is_claim, is_tally
from conveyor.consumer.shared_status import NO_REQUEST, REQUEST_RETURN, HeldBatch
from conveyor.errors import JobCancelled, StoreError
from conveyor.store import commands
from conveyor.store.client import ANSWER_TIMEOUT, Pipeline
from conveyor.store.outbox import deliver_last, deliver_soon
from conveyor.store.waiting import MAX_BLOCK
from conveyor.wire import ids
from conveyor.wire.outcome import Cancel, Done, Fail, Release, Suspend, describe_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.consumer.settings import ConsumerSettings
    from conveyor.consumer.shared_status import SharedStatus
    from conveyor.store import Client
    from conveyor.store.command import Command
    from conveyor.store.commands import Batch, Claimed
    from conveyor.tasks import Registry
    from conveyor.wire.call import Call
    from conveyor.wire.outcome import Outcome

#: Seconds between two checks of a paused worker, in case a signal did not reach it.
POLL_PAUSE = 0.5
#: Seconds that an exiting worker waits for each reply that its supervisor can do without.
EXIT_WITHIN = 1.0
#: Wake-ups that a queue may have.
MAX_WAKE_UPS = 32
#: Tasks that a worker remembers as harmless; names of tasks that do not exist are among them.
MAX_TRUSTED = 1000


class _Interrupted(BaseException):
    """Raised by the signal handlers while the worker is only waiting."""


class _ClaimAhead(NamedTuple):
    """A claim that was sent on the pipeline, without waiting for the batch."""

    queue: str
    command: Command
    sure_until: float
    """As of its batch."""


class WorkerProcess:
    """One worker of a consumer, in a process of its own."""

    def __init__(
        self, name: str, settings: ConsumerSettings, status: SharedStatus, client: Client, registry: Registry
    ) -> None:
        self.name = name
        self.settings = settings
        self.status = status
        self.status.worker = name
        self.client = client
        self.executor = Executor(registry)
        self.settler = Settler(name, self.executor.preview)
        self.pipeline = Pipeline(client)
        self.lines = LogLines(client)
        self.monitor = BatchMonitor(client, self.settler, status, self.pipeline, self.lines)
        self.sizer = BatchSizer()
        self.nonces = ids.Nonces()
        self.limits = ProcessLimits(settings)
        self.jobs_done = 0
        self.batch_number = 0
        self._looks = [commands.any_work([queue]) for queue in settings.queues]
        self._running_job = partial(RunningJob, status, self.lines, self.executor)
        self._unchanged = clock.Deadline(0.0)
        """When a job of the queue may be due, or a lease expire, without a wake-up."""
        self._ahead: _ClaimAhead | None = None
        """The claim of the next batch, sent while this one runs."""
        self._left = 0
        """Jobs that the last claim left in the queue."""
        self._wake_ups = 1
        """How many to take at a time."""
        self._sure_until = 0.0
        """When other workers may hold the jobs of the batch, if the supervisor has renewed no lease."""
        self._task = ""
        """That of the job which ran last, unless that is a batch task."""
        self._gathers = False
        """True if the next job is of a batch task, so that it ends its claimed batch and gathers others."""
        self._ran: set[str] = set()
        """Tasks that ran since the process was last restored."""
        self._trusted: set[str] = set()
        """Tasks that changed nothing in their last run; after tiny runs of them only the end of a batch is checked."""
        self._suspects: set[str] = set()
        """Tasks that may have changed the process; it is checked after each of their runs."""
        self._soft_limit: float | None = None
        """That of the job which ran last."""
        self._position = -1
        self._interrupted: tuple[int, int] | None = None
        self._spent = ""
        """The limit of the process that is reached, or an empty string."""
        self._is_stopping = self._was_signalled = False
        self._is_waiting = False
        self._is_paused = False
        self._is_throttled = False  # a job of the batch has asked for a rest
        self._pid = os.getpid()
        self._send = Sender(client, status, lambda: self._is_stopping, self._starve).send

    def work(self) -> None:
        """Claim and run jobs until the worker is to stop or, with `until_empty`, until the queues are empty.

        Raises ResourceUnavailable before the first claim if a resource cannot be opened.
        """
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGUSR1, self._on_request)
        stack.take_signal(self.status, self._write_stack)
        undo_in_forks()
        os.register_at_fork(after_in_child=self.lines.begin)
        self.lines.gather()
        with self.executor.resources:
            self.process_state = ProcessState()
            self.status.state = shared_status.IDLE
            try:
                self._work()
                self.status.state = shared_status.LEAVING
                self._settle_all()
            except StoreError:
                if not self._is_stopping:
                    raise
        if self._spent:  # not before all is settled, however long the server was unavailable
            self.status.error, self.status.spent = self._spent, self.limits.reached
        if self._was_signalled and self.settings.until_empty and not self.status.error:
            # The queues may not be empty, so this worker is replaced.
            self.status.error = "it received a stop signal"

    def _settle_all(self) -> None:
        """Send everything that is gathered, so that nothing is held any more."""
        self._restore_after_batch()
        self._settle(self._owed(counted=False))
        self._give_back_ahead()
        self.status.hold_nothing()
        self.lines.flush(exiting=True)
        self.client.perform(deliver_last(self.settings.queues))
        with contextlib.suppress(StoreError):  # not worth waiting for
            self.client.run_all(self.settler.tallies(), patience=0.0, within=LAST_TALLY)

    def _work(self) -> None:
        may_have_more = True  # until a claim says that it left no jobs: then a put wakes the worker
        while not self._must_stop():
            if self.limits.are_set and (spent := self.limits.exceeded(self.jobs_done)):
                self._spent = spent
                break
            if self.status.pause_requested:
                self._pause()
                may_have_more = True
                continue
            if self._ahead is not None:
                queue, batch = self._claimed_ahead(self._ahead)
            else:
                queue, batch = self._claim() if may_have_more or not self._claims_behind else ("", None)
            if batch is None or not batch.jobs:
                goes_on, batch = self._wait(batch)
                if not goes_on:
                    break
            may_have_more = batch is None or batch.left > 0
            if batch is not None:
                self._unchanged = clock.Deadline(batch.wait)
                self._run_batch(queue or self.settings.queues[0], batch)

    @property
    def _claims_behind(self) -> bool:
        """True if the worker claims right behind a wake-up, in the same round trip: from a single queue."""
        return len(self.settings.queues) == 1 and not self.settings.until_empty

    def _must_stop(self) -> bool:
        self._is_stopping = self._is_stopping or self.status.stop_requested != 0
        return self._is_stopping

    def _no_work_left(self) -> bool:
        """Return True if the worker is to exit because the queues are empty."""
        return self.settings.until_empty and not self._send([commands.any_work(self.settings.queues)])[0]

    def _pause(self) -> None:
        """Take no jobs until the pause ends, or until no work is left if the worker is to exit then."""
        self.sizer.reset()
        self.monitor.rest()
        self._settle_all()
        self.status.state = shared_status.PAUSED
        self._is_paused = True
        while self.status.pause_requested and not self._must_stop():
            if self._no_work_left():
                self._is_stopping = True
                break
            with contextlib.suppress(_Interrupted):
                self._is_waiting = True
                clock.sleep(POLL_PAUSE)
                self._is_waiting = False
            self._is_waiting = False
        self._is_paused = False
        self.status.state = shared_status.IDLE

    def _claim(self) -> tuple[str, Batch | None]:
        """Settle finished jobs and claim from the first queue that has some, in one round trip per queue."""
        self._restore_after_batch()
        soonest: Batch | None = None
        for queue in self._queues_to_ask():
            settling = self._owed()
            size = self._batch_size() if self.sizer.size == 1 or self.monitor.can_watch() else 1
            claim = self._next_claim(queue, size)
            owed = not all(map(is_tally, settling))
            *replies, batch = self._send([*settling, claim], patience=LEASE if owed else 0.0)
            self.settler.settled(settling, replies)
            self.lines.resume()
            if batch.has_messages:
                self.client.perform(deliver_soon(queue))
            if batch.jobs:
                return queue, batch
            if soonest is None or batch.wait < soonest.wait:
                soonest = batch
        self.status.set_claim("", "")  # the last claim brought nothing
        return "", soonest

    def _batch_size(self, waiting: int = 0) -> int:
        """Return how many jobs to claim, 0 for none: behind `waiting` ones, no more than this process may still run."""
        if not self.limits.are_set:
            return self.sizer.size
        return max(0, int(min(self.sizer.size, self.limits.max_jobs - self.jobs_done - waiting)))

    def _claim_ahead(self, batch: ClaimedBatch, waiting: int) -> list[Command]:
        """Return the claim of the next batch, to be sent while this one runs, if it is sure that there are jobs.

        Only from the first queue, or a job of an earlier one might wait for it. The jobs are held, none counts as
        started. If this batch takes long, or this process is suspended, the claim is taken back, as one that waits.
        """
        if not self._left or self._ahead is not None or not self._comes_first(batch.queue):
            return []
        size = self._batch_size(waiting)
        if not size:
            return []
        sure_until = self._sure_until
        with self.monitor.lock:
            if not self.monitor.is_watching:
                return []
            claim = self._next_claim(batch.queue, size, first=commands.HELD)
            self.status.begin_wait(clock.boottime())
        self._ahead = _ClaimAhead(batch.queue, claim, self._sure_until)
        self._sure_until = sure_until
        return [claim]

    def _claimed_ahead(self, ahead: _ClaimAhead) -> tuple[str, Batch | None]:
        """Return the batch that was claimed ahead, and settle the rest of the last one without waiting."""
        self._restore_after_batch()
        wait, _ = self.status.wait()
        is_mine = self.status.end_wait() and self.monitor.taken_back != wait
        self._ahead = None
        self.lines.flush()
        answered, owed = self._replies()
        batch: Batch | None = next((reply for command, reply in answered if command is ahead.command), None)
        is_much = self.settler.is_much
        settling = [*self.monitor.take_unconfirmed(), *owed, *self.settler.commands()]
        if not is_mine:
            self._settle(settling)
            self._return_unseen(ahead.queue)
            return self._claim()
        if batch is None:  # the reply was lost
            *replies, batch = self._send([*settling, ahead.command.resent()], patience=LEASE)
            self.settler.settled(settling, replies)
        elif owed or is_much or len(batch.jobs) == 1:  # a single job is not watched, and may take long
            self._settle(settling)
        elif settling:
            self.status.unconfirmed = self.batch_number
            self.pipeline.send(settling)
        self.lines.resume()
        if batch.has_messages:
            self.client.perform(deliver_soon(ahead.queue))
        self._sure_until = ahead.sure_until
        if not batch.jobs and len(self.settings.queues) > 1:
            return self._claim()
        return (ahead.queue if batch.jobs else ""), batch

    def _give_back_ahead(self) -> None:
        """Release the jobs that were claimed ahead."""
        if self._ahead is not None:
            queue, self._ahead = self._ahead.queue, None
            self.status.end_wait()
            self._return_unseen(queue)

    def _queues_to_ask(self) -> Sequence[str]:
        """Return the queues to claim from; of many only those that have jobs, found in one round trip."""
        queues = self.settings.order()
        if len(queues) <= FEW_QUEUES:
            return queues
        settling = self._owed()
        replies = self._send([*settling, *self._looks], patience=LEASE)
        self.settler.settled(settling, replies[: len(settling)])
        has_work = dict(zip(self.settings.queues, replies[len(settling) :], strict=True))
        return [queue for queue in queues if has_work[queue]]

    def _comes_first(self, queue: str) -> bool:
        """Return True if no job of another queue could be in front of those of this one."""
        return queue == self.settings.queues[0] and not self.settings.weights

    def _next_claim(self, queue: str, size: int, first: Literal["S", "H"] = commands.STARTED) -> Command:
        """Return the next claim, and note it for the supervisor in case that its reply does not arrive."""
        nonce = self.nonces.next()
        self.status.set_claim(queue, nonce)
        self._sure_until = clock.boottime() + SURE
        return commands.claim(queue, self.name, nonce, size, LEASE, first)

    def _owed(self, *, counted: bool = True) -> list[Command]:
        """Return the commands that settle the jobs of the last batch; `counted`: also the counts, if they are due.

        The lines of these jobs are sent, so that they are there when the outcomes are.
        """
        self.lines.flush()
        unanswered = [*self.monitor.take_unconfirmed(), *self._unanswered()]
        return [*unanswered, *self.settler.commands(counted=counted)]

    def _settle(self, settling: list[Command]) -> None:
        """Send commands that settle jobs, and wait for the replies."""
        if settling:
            self.settler.settled(settling, self._send(settling, patience=LEASE))

    def _unanswered(self) -> list[Command]:
        """Process the replies to what was settled during the batch, and return what has to be sent again."""
        return self._replies()[1]

    def _replies(self) -> tuple[list[tuple[Command, Any]], list[Command]]:
        """Process and return the replies to what was sent ahead; and return what has to be sent again, but no claim."""
        answered, unanswered = self.pipeline.replies(EXIT_WITHIN if self._is_stopping else ANSWER_TIMEOUT)
        self.settler.settled([command for command, _ in answered], [reply for _, reply in answered])
        if not unanswered:
            self.status.unconfirmed = 0
        return answered, [one for one in unanswered if not is_claim(one)]

    def _wait(self, batch: Batch | None) -> tuple[bool, Batch | None]:
        """Wait for a wake-up. Return False if the worker is to exit because no work is left, and what was claimed."""
        if self._claims_behind:
            return True, self._claim_when_woken(
                self._unchanged.left(MAX_BLOCK) if batch is None else batch.wait
            )
        self._restore_after_batch()
        self._settle(self._unanswered())
        self._rest()
        queues = self.settings.queues
        longest = POLL_EMPTY if self.settings.until_empty else MAX_BLOCK
        wait = batch.wait if batch is not None else longest
        while not self._must_stop() and not self.status.pause_requested:
            if self._no_work_left():
                return False, None
            bell = commands.await_bell(queues, min(longest, wait), most=self._wake_ups)
            wake_up = self._await(self.settler.tallies(), bell)
            if wake_up is not None:
                self._wake_ups = MAX_WAKE_UPS  # if this one brings no job, others are left over, too
            if self._is_stopping or wake_up is not None:
                break
            wait = longest
            if self._send([commands.any_work(queues)])[0]:
                break
        return True, None

    def _claim_when_woken(self, wait: float) -> Batch | None:
        """Settle finished jobs and claim behind the next wake-up. Return a batch, or None to stop or pause.

        `wait` is how many seconds the last claim said that nothing would change without a wake-up. The outcomes travel
        on a connection of their own, so that none of their replies waits for the wake-up.
        """
        (queue,) = self.settings.queues
        if not self.process_state.looks_intact():
            self._restore_after_batch()
        self._send_ahead(self._owed())
        self._restore_after_batch()  # not before, or it would delay the outcome
        self._rest()
        tallies: list[Command] = []
        while not self._must_stop() and not self.status.pause_requested:
            # The counts follow after a second, or they would delay the outcome of the job.
            longest = TALLY_EVERY if self.settler.tally.is_owed else MAX_BLOCK
            bell = commands.await_bell([queue], min(longest, wait), once=True)
            claim = self._next_claim(queue, 1)
            self.status.begin_wait(clock.boottime())
            found: Batch | None = self._await(tallies, bell, claim)
            is_mine = self.status.end_wait()
            self._settle(self._unanswered())
            if found is None or not is_mine:
                self._return_unseen(queue)
                return None
            self.lines.resume()
            if found.has_messages:
                self.client.perform(deliver_soon(queue))
            if found.jobs:
                return found
            wait, tallies = found.wait, self.settler.tallies()
        self._settle(self._unanswered())
        return None

    def _send_ahead(self, owed: list[Command]) -> None:
        """Send what settles jobs without waiting for the replies, unless the next claim must not overtake it."""
        if any(one.leads for one in owed):
            self._settle(owed)
        elif owed:
            self.pipeline.send(owed)
            os.sched_yield()  # the server may be next on this processor, and someone waits for the outcome

    def _rest(self) -> None:
        """Start from one job again, since there was nothing to do."""
        self.sizer.reset()
        self.monitor.rest()
        self.status.state = shared_status.IDLE

    def _await(self, tallies: list[Command], *blocking: Command) -> Any:
        """Send counts and commands that wait; return the reply to the last, or None if a signal came."""
        reply = None
        with contextlib.suppress(_Interrupted):
            self._is_waiting = True
            replies = self._send([*tallies, *blocking])
            reply = replies[-1]
            self._is_waiting = False
            self.settler.settled(tallies, replies[: len(tallies)])
        self._is_waiting = False
        return reply

    def _return_unseen(self, queue: str) -> None:
        """Release the jobs of the last claim, whose reply was given up for a signal.

        If the worker exits without a reply, the claim stays noted, and the supervisor does this once it has ended.
        """
        claim = commands.claim(queue, self.name, self.status.claim()[0], 0, LEASE)
        send = self._send_once if self._is_stopping else self._send
        with contextlib.suppress(StoreError):
            (batch,) = send([claim])
            if batch.jobs:
                send([commands.release(queue, batch.token, [job.id for job in batch.jobs])])
            self.status.set_claim("", "")

    def _send_once(self, sent: list[Command]) -> list[Any]:
        return self.client.run_all(sent, patience=0.0, within=EXIT_WITHIN)

    def _starve(self, lack: str) -> None:
        self._is_waiting = False
        self._exit_for(f"it cannot open a connection: {lack}")

    def _run_batch(self, queue: str, claimed: Batch) -> None:
        self.status.state = shared_status.BUSY
        names = [job.id for job in claimed.jobs]
        nonce = self.status.claim()[0]
        self.batch_number = self.status.hold(HeldBatch(queue, claimed.token, nonce, names))
        batch = ClaimedBatch(queue, claimed.token, self.batch_number)
        began = clock.monotonic()
        held = deque(enumerate(claimed.jobs))
        if len(held) > 1:
            self.monitor.watch(*batch, held)
        self.settler.begin(queue, claimed.token, len(held))
        self._left, self._wake_ups = claimed.left, 1
        done = 0
        self._is_throttled = False
        while held and not (self._is_stopping or self._is_throttled or self.status.pause_requested):
            if clock.boottime() >= self._sure_until:
                self._confirm_leases(batch, held)
            try:
                position, job = held.popleft()
            except IndexError:  # the monitor was faster
                break
            if not self._run_job(batch, position, job):
                held.appendleft((position, job))
                break
            done += 1
            if (
                not self._ran <= self._trusted
                or clock.monotonic() - self.monitor.since > TINY
                or signal.getitimer(signal.ITIMER_REAL)[0]  # it would kill the next job
            ):
                self._restore_process()
            if held and self.settler.has_enough:
                self._settle_some(batch, len(held))
        self.monitor.unwatch()
        self.sizer.learn(done, clock.monotonic() - began)
        if self._gathers:
            self._gathers = False
            self._gather(batch, [job for _, job in held])
        elif held:
            self.settler.release([job.id for _, job in held])
        held.clear()

    def _gather(self, batch: ClaimedBatch, claimed: list[Claimed]) -> None:
        """Gather more jobs of the batch task of the first of these, which are claimed, and run them together."""
        decoded = self.executor.decode(claimed[0].data)
        function = None if isinstance(decoded, Fail) else self.executor.batch_function(decoded.task)
        assert not isinstance(decoded, Fail)
        assert function is not None
        gathering = Gathering(batch.queue, decoded.task, function, self.limits.max_jobs - self.jobs_done)
        self.settler.release(gathering.take(claimed, batch.token))
        self._settle(self._owed(counted=False))  # from here on, the shared status has only what is gathered
        self._give_back_ahead()
        self._hold(gathering)
        while gathering.room and not self._must_stop() and not self.status.pause_requested:
            self._claim_more(gathering)
        if self._is_stopping or self.status.pause_requested:
            self._settle(gathering.releases())
        else:
            self._run_gathered(gathering)
        self.status.hold_nothing()
        self.sizer.reset()

    def _hold(self, gathering: Gathering) -> None:
        self.batch_number = self.status.hold(gathering.held(self.status.claim()[0]))

    def _claim_more(self, gathering: Gathering) -> None:
        """Claim more jobs of a batch task, from the second time on behind a wake-up, and release those of others."""
        queue = gathering.queue
        waits = gathering.may_wait
        bell = [commands.await_bell([queue], gathering.left(self._unchanged.left(MAX_BLOCK)), once=True)]
        claim = self._next_claim(queue, gathering.room, first=commands.HELD)
        self.status.begin_wait(clock.boottime())
        found: Batch | None = self._await([], *(bell if waits else ()), claim)
        if not self.status.end_wait() or found is None:
            self._return_unseen(queue)
            return
        gathering.asked(found.left)
        self._unchanged = clock.Deadline(found.wait)
        if others := gathering.take(found.jobs, found.token):
            self._settle([commands.release(queue, found.token, others)])
        self._hold(gathering)  # not sooner, or the others would not be released if this process died
        if found.has_messages:
            self.client.perform(deliver_soon(queue))

    def _run_gathered(self, gathering: Gathering) -> None:
        """Run jobs together, and settle them."""
        self._settle(gathering.confirm(self._send(gathering.renewals())))
        expired = self.executor.expired(gathering.jobs, self.client)
        self._settle(gathering.leave_out(self.settler, expired))
        self.jobs_done += len(expired)
        self._hold(gathering)
        if not gathering.jobs:
            self.status.end(self.jobs_done)
            return
        limited = gathering.limited()
        self._ran.add(limited.task)
        self.status.task = limited.task
        self.status.clear_progress()
        current = RunningBatch(self.status, self.lines, self.executor, self.batch_number, gathering.jobs)
        self.monitor.begin(current.id, limited)
        outcomes = self._outcomes(gathering, limited, current)
        if os.getpid() != self._pid:
            os._exit(0)
        elapsed = clock.monotonic() - self.monitor.since
        self._trusted.discard(limited.task)
        self.jobs_done += sum(not isinstance(one, Release) for one in outcomes)
        self.status.end(self.jobs_done)
        self.lines.flush()
        for settling in gathering.settle(self.settler, outcomes, elapsed):
            self._settle(settling)
        self._restore_process()

    def _outcomes(self, gathering: Gathering, limited: Call, current: RunningBatch) -> list[Outcome]:
        """Run jobs together, as `_outcome` does one."""
        outcomes: list[Outcome] = [Cancel()] * len(gathering.jobs)
        self._set_soft_limit(limited.options.soft_timeout)
        if limited.options.timeout:
            self.status.limit_delay = self.executor.longest_delay_after_limit(gathering.jobs)
        try:
            try:
                self._position = 0
                self.status.start(0, self.monitor.since, limited.options.timeout or 0.0, current.attempt)
                outcomes = self.executor.run_batch(gathering.jobs, limited, current)
            finally:
                self._position = -1
        except JobCancelled:
            self._position = -1
        request = self.status.request_for(self.batch_number, 0)
        if request == REQUEST_RETURN:
            outcomes = [Release()] * len(outcomes)
        current.end_each(outcomes, cancelled=request != NO_REQUEST)
        return outcomes

    def _settle_some(self, batch: ClaimedBatch, waiting: int) -> None:
        """Settle what has finished of a batch; small outcomes without waiting, so that server and worker both work."""
        self.lines.flush()
        is_much = self.settler.is_much
        settling = self.settler.commands(counted=False)
        if not is_much:
            may_overtake = not any(one.leads for one in settling)
            self.pipeline.send([*settling, *(self._claim_ahead(batch, waiting) if may_overtake else ())])
            return
        self._settle([*self._unanswered(), *settling])

    def _confirm_leases(self, batch: ClaimedBatch, held: deque[tuple[int, Claimed]]) -> None:
        """Keep the jobs of a batch that are still held: this process was suspended, or the claim took long."""
        self.monitor.unwatch()
        self._sure_until = clock.boottime() + SURE
        mine = list(held)
        leases = [
            (job.id, batch.token, commands.HELD if number else commands.STARTED)
            for number, (_, job) in enumerate(mine)
        ]
        (renewal,) = self._send([commands.renew(batch.queue, leases, LEASE)])
        held.clear()
        held.extend(one for number, one in enumerate(mine) if number not in renewal.lost)
        if len(held) > 1:
            self.monitor.watch(*batch, held)

    def _restore_after_batch(self) -> None:
        """Restore the process after tiny runs of trusted tasks."""
        if self._ran:
            self._restore_process()

    def _restore_process(self) -> None:
        """Restore what tasks have changed in this process, or exit, to be replaced."""
        broken = self.process_state.restore()
        if self.process_state.changed:
            self._suspects |= self._ran
        self._trusted = self._ran | self._trusted if len(self._trusted) < MAX_TRUSTED else set(self._ran)
        self._trusted -= self._suspects
        self._ran.clear()
        stack.take_signal(self.status, self._write_stack)
        if broken:
            self.monitor.unwatch()
            if broken == FILES:
                self.client.close()  # its connections may be closed, and their descriptors reused
                self.pipeline.drop()
            self._exit_for(broken)

    def _exit_for(self, reason: str) -> None:
        """Exit in good order, to be replaced; the supervisor reports the reason."""
        self.status.state = shared_status.LEAVING
        self.status.error = reason
        self._is_stopping = True

    def _run_job(self, batch: ClaimedBatch, position: int, job: Claimed) -> bool:
        """Run a job and record its outcome. Return False if it was not run: released meanwhile, or of a batch task.

        Whatever our own code raises on the bytes of a job is that job's failure: the worker goes on.
        """
        self.status.last = position  # counts as crashed if the worker dies now
        try:
            return self._try_job(batch, position, job)
        except Exception as error:  # noqa: BLE001 - nothing is known of such a job
            self.status.end(self.jobs_done)
            self._trusted -= self._ran
            self.settler.add(job.id, None, Fail(describe_error(error)), 0.0, job.retries + job.crashes)
            return True

    def _try_job(self, batch: ClaimedBatch, position: int, job: Claimed) -> bool:
        decoded = self.executor.decode(job.data)
        if isinstance(decoded, Fail):
            self.settler.add(job.id, None, decoded, 0.0, job.retries + job.crashes)
            return True
        if decoded.task != self._task:
            if self.executor.batch_function(decoded.task) is None:
                self._task = decoded.task
            elif job.crashes:
                self._task = ""  # a job that may have ended a worker runs alone
            else:
                self._gathers = True
                return False
            self.status.task = decoded.task
        self._ran.add(decoded.task)
        self.status.clear_progress()
        current = self._running_job(batch, position, job)
        self.monitor.begin(job.id, decoded)
        outcome = self._outcome(decoded, current, job.retries, position)
        if os.getpid() != self._pid:
            os._exit(0)  # a task that forks and returns twice: there is only one worker here
        if outcome is None:
            self._task = ""
            self.status.end(self.jobs_done)
            return False
        elapsed = clock.monotonic() - self.monitor.since
        if type(outcome) is not Done:
            self._trusted.discard(decoded.task)
        if isinstance(outcome, Release):
            self._is_throttled = outcome.rest > 0  # the rest of the batch may have to rest as well
        elif not isinstance(outcome, Suspend):
            self.jobs_done += 1
        self.status.end(self.jobs_done)
        self.settler.add(job.id, decoded, outcome, elapsed, job.retries + job.crashes)
        return True

    def _outcome(self, job: Call, current: RunningJob, retries: int, position: int) -> Outcome | None:
        """Run a job. Return None if the supervisor has released it meanwhile, or it is found to be of a batch task."""
        outcome: Outcome | None = Cancel()  # if the request comes in the moment before the task's own code
        limit, soft_limit, found = job.options.timeout or 0.0, job.options.soft_timeout, None
        if not self.executor.knows(job.task):
            limit, soft_limit, found = 0.0, None, partial(self._found, job, current, retries, position)
        if soft_limit is not self._soft_limit:  # None mostly; and the limit of another job is another object
            self._set_soft_limit(soft_limit)
        if limit:
            self.status.limit_delay = self.executor.delay_after_limit(job, retries)
        try:
            try:
                self._position = position
                self.status.start(position, self.monitor.since, limit, current.attempt)
                is_released = position and self.status.is_released(self.batch_number)
                outcome = None if is_released else self.executor.run(job, current, retries, found)
            finally:
                self._position = -1
        except JobCancelled:
            self._position = -1
        request = self.status.request_for(self.batch_number, position)
        if outcome is not None and request == REQUEST_RETURN:
            # Even if the task has returned: after its clean-up, that may be half a result.
            outcome = Release()
        current.end(outcome, cancelled=request != NO_REQUEST)
        return outcome

    def _write_stack(self, *_: Any) -> None:
        """Add the stack of the coroutine that is awaited, since those of the threads show the event loop only."""
        with contextlib.suppress(Exception):
            stack.write_section(self.status, self.executor.awaited_stack(), self.name)

    def _found(self, job: Call, current: RunningJob, retries: int, position: int) -> None:
        """Start the run again, since its task was found only now: a slow import must not use up a short limit."""
        self.monitor.begin(current.id, job)
        self._set_soft_limit(job.options.soft_timeout)
        if job.options.timeout:
            self.status.limit_delay = self.executor.delay_after_limit(job, retries)
        self.status.start(position, self.monitor.since, job.options.timeout or 0.0, current.attempt)

    def _set_soft_limit(self, limit: float | None) -> None:
        self._soft_limit = limit
        self.status.soft_limit = limit or 0.0

    def _on_stop(self, *_: Any) -> None:
        self._is_stopping = self._was_signalled = True
        self.executor.resources.interrupt()
        if self._is_waiting:
            self._is_waiting = False
            raise _Interrupted

    def _on_request(self, *_: Any) -> None:
        """Raise in the running job if the supervisor requests its end, or its soft time limit has passed.

        Between jobs, pause or go on.
        """
        position = self._position
        if position < 0:
            if self._is_waiting and bool(self.status.pause_requested) != self._is_paused:
                self._is_waiting = False
                raise _Interrupted
            return
        run = (self.batch_number, position)
        if self.status.request_for(*run) == NO_REQUEST:
            if self.status.is_over_soft_limit(clock.monotonic()):
                self.executor.raise_soft_limit(self.status)
        elif self._interrupted != run:
            self._interrupted = run  # once: the supervisor asks again, and the task may be cleaning up
            self.executor.interrupt()
