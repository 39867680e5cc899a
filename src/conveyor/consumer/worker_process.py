"""The worker process: claims, runs, settles. It never renews a lease; its supervisor does that."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from conveyor import clock
from conveyor.consumer import forks, stack
from conveyor.consumer import shared_status as slates
from conveyor.consumer.batching import Lookout
from conveyor.consumer.execution import Executor
from conveyor.consumer.log_lines import LogLines
from conveyor.consumer.pace import Pace
from conveyor.consumer.process_state import FILES, TINY, ProcessState
from conveyor.consumer.running_job import RunningJob
from conveyor.consumer.settings import LEASE
from conveyor.consumer.settlement import Settler, is_tally
from conveyor.errors import JobCancelled, StoreDenied, StoreError, StoreFull, StoreUnavailable
from conveyor.store import commands, plain
from conveyor.store.waiting import LONGEST_BLOCK
from conveyor.wire import ids
from conveyor.wire.outcome import Cancel, Done, Fail, Release, describe_error

if TYPE_CHECKING:
    from conveyor.consumer.settings import ConsumerSettings
    from conveyor.consumer.shared_status import Slate
    from conveyor.store import Client
    from conveyor.store.commands import Batch, Claimed, Command
    from conveyor.tasks import Registry
    from conveyor.wire.call import Call
    from conveyor.wire.outcome import Outcome


#: Seconds between two looks whether all is done, where the worker is to leave then: nobody rings for that.
LAST_JOB_LOOK = 0.25
#: Seconds between two looks of a paused worker at its slate, where a signal did not reach it.
PAUSE_LOOK = 0.5
#: Seconds that a worker takes to tell what it counted, when it leaves.
LAST_WORDS = 0.5
#: Seconds between two tries at a server that answers and refuses.
REFUSED_PAUSE = 1.0
#: Seconds for which a worker that lacks the file descriptors for a connection tries on, before it exits.
STARVED_AFTER = 3.0
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
#: Tasks that a worker remembers as harmless, at most: names of tasks that do not exist are among them.
MOST_TRUSTED = 1000
#: Seconds after a claim for which its jobs are certain to be ours, whatever became of their renewals.
SURE = LEASE / 3


class _LeaveNow(BaseException):
    """Raised by the signal handlers where the worker only waits."""


class CrewWorker:
    """One worker of a consumer, in a process of its own."""

    def __init__(
        self, name: str, settings: ConsumerSettings, slate: Slate, client: Client, registry: Registry
    ) -> None:
        self.name = name
        self.settings = settings
        self.slate = slate
        self.client = client
        self.executor = Executor(registry)
        self.settler = Settler(name, self.executor.preview)
        self.lookout = Lookout(client, self.settler, slate.set_arguments, slate.set_relieved)
        self.lines = LogLines(client)
        self.pace = Pace()
        self.nonces = ids.Nonces()
        self._sure_until = 0.0
        """When the jobs of the batch may be with others, if the supervisor has renewed no lease."""
        self.batch_number = 0
        self.jobs_done = 0
        self._task = ""
        self._ran: set[str] = set()
        """Tasks that ran since the process was last put right."""
        self._trusted: set[str] = set()
        """Tasks after whose run nothing was found changed; after their tiny runs only the end of a batch is checked."""
        self._suspects: set[str] = set()
        """Tasks that may have changed the process; it is checked after each of their runs."""
        self._place = -1
        self._interrupted: tuple[int, int] | None = None
        self._leaving = self._signalled = False
        self._waiting = False
        self._resting = False
        self._process = os.getpid()

    def work(self) -> None:
        """Claim and run until told to leave, or until the queues are empty if that was asked for."""
        self._take_signals()
        forks.watch()
        os.register_at_fork(after_in_child=self.lines.begin)
        self.process_state = ProcessState()
        self.slate.set_state(slates.IDLE)
        try:
            self._work()
            self.slate.set_state(slates.LEAVING)
            self._let_go()
        except StoreError:
            if not self._leaving:
                raise
        if self._signalled and self.settings.until_empty and not self.slate.error():
            # Not one that found no more work: it is replaced.
            self.slate.set_error("it got a signal to leave")

    def _take_signals(self) -> None:
        signal.signal(signal.SIGTERM, self._on_leave)
        signal.signal(signal.SIGUSR1, self._on_wish)
        stack.take_signal(self.slate)

    def _let_go(self) -> None:
        """Tell all that is to be told, so that nothing is held any more."""
        settling = [*self.lookout.take_untold(), *self.settler.commands(counted=False)]
        if settling:
            self.settler.settled(settling, self._run(settling, patience=LEASE))
        self.slate.hold_nothing()
        self.lines.flush(leaving=True)
        with contextlib.suppress(StoreError):  # not worth waiting for
            self.client.run_all(self.settler.tallies(), patience=0.0, within=LAST_WORDS)

    def _work(self) -> None:
        while not self._must_leave():
            if self.slate.must_pause():
                self._rest()
                continue
            queue, batch = self._claim()
            if batch is not None and batch.jobs:
                self._run_batch(queue, batch)
            elif not self._wait(batch):
                break

    def _must_leave(self) -> bool:
        self._leaving = self._leaving or self.slate.must_leave()
        return self._leaving

    def _rest(self) -> None:
        """Stay without a job until that is over, or until no work is left if the worker is to leave then."""
        self.pace.reset()
        self.lookout.rest()
        self._let_go()
        self.slate.set_state(slates.PAUSED)
        self._resting = True
        while self.slate.must_pause() and not self._must_leave():
            if self.settings.until_empty and not self._run([plain.any_work(self.settings.queues)])[0]:
                self._leaving = True
                break
            with contextlib.suppress(_LeaveNow):
                self._waiting = True
                clock.sleep(PAUSE_LOOK)
                self._waiting = False
            self._waiting = False
        self._resting = False
        self.slate.set_state(slates.IDLE)

    def _claim(self) -> tuple[str, Batch | None]:
        """Settle what is done and claim from the first queue that has something; both in one round trip."""
        soonest: Batch | None = None
        for queue in self.settings.queues:
            nonce = self.nonces.next()
            self.slate.claiming(queue, nonce)
            self._sure_until = clock.boottime() + SURE
            settling = [*self.lookout.take_untold(), *self.settler.commands()]
            size = self.pace.size if self.pace.size == 1 or self.lookout.can_watch() else 1
            claim = commands.claim(queue, self.name, nonce, size, LEASE)
            owed = not all(map(is_tally, settling))
            *answers, batch = self._run([*settling, claim], patience=LEASE if owed else 0.0)
            self.settler.settled(settling, answers)
            self.lines.flush()
            if batch.jobs:
                return queue, batch
            if soonest is None or batch.wait < soonest.wait:
                soonest = batch
        self.slate.claiming("", "")  # the last one brought nothing
        return "", soonest

    def _wait(self, batch: Batch | None) -> bool:
        """Wait for a hint, at most two seconds; gives False if there is nothing left to wait for."""
        self.pace.reset()
        self.lookout.rest()
        self.slate.set_state(slates.IDLE)
        queues = self.settings.queues
        longest = LAST_JOB_LOOK if self.settings.until_empty else LONGEST_BLOCK
        wait = batch.wait if batch is not None else longest
        while not self._must_leave() and not self.slate.must_pause():
            if self.settings.until_empty and not self._run([plain.any_work(queues)])[0]:
                return False
            hint = None
            with contextlib.suppress(_LeaveNow):
                telling = self.settler.tallies()
                self._waiting = True
                *answers, hint = self._run([*telling, plain.await_bell(queues, min(longest, wait))])
                self._waiting = False
                self.settler.settled(telling, answers)
            self._waiting = False
            if self._leaving or hint is not None:
                break
            wait = longest
            if self._run([plain.any_work(queues)])[0]:
                break
        return True

    def _run(self, told: list[Command], *, patience: float = 0.0) -> list[Any]:
        """Run commands however long the server is away or refuses; a leaving worker tries for `patience` seconds.

        The slate holds the refusal meanwhile, and the supervisor reports it. A refusal that no operator can lift, such
        as one of nonsense, is raised after the length of a lease. A worker that cannot open a connection, whatever the
        server does, exits before its leases expire: a task may have left it without file descriptors.
        """
        until: clock.Deadline | None = None
        refused: clock.Deadline | None = None
        starved: clock.Deadline | None = None
        while True:
            try:
                answers = self.client.run_all(told, patience=LONGEST_BLOCK)
                if refused is not None:
                    self.slate.set_error("")
            except StoreError as error:
                until = (until or clock.Deadline(patience)) if self._leaving else None
                if until is not None and until.passed():
                    raise
                told = [one.resent() for one in told]
                if isinstance(error, StoreUnavailable):
                    lack = _lack()
                    starved = (starved or clock.Deadline(STARVED_AFTER)) if lack else None
                    if starved is not None and starved.passed():
                        self._waiting = False
                        self._be_replaced(f"it cannot open a connection: {lack}")
                        raise
                    continue
                refused = refused or clock.Deadline(LEASE)
                self.slate.set_error(str(error))
                if refused.passed() and not isinstance(error, StoreFull | StoreDenied):
                    raise
                clock.sleep(REFUSED_PAUSE)
            else:
                return answers

    def _run_batch(self, queue: str, batch: Batch) -> None:
        self.slate.set_state(slates.BUSY)
        names = [job.id for job in batch.jobs]
        self.batch_number = self.slate.hold(
            slates.HeldBatch(queue, batch.token, self.slate.claim()[0], names)
        )
        began = clock.monotonic()
        held = deque(enumerate(batch.jobs))
        if len(held) > 1:
            self.lookout.watch(queue, batch.token, self.batch_number, held)
        self.settler.begin(queue, batch.token, sampled=len(held) > 1)
        done = 0
        while held and not self._leaving and not self.slate.must_pause():
            if clock.boottime() >= self._sure_until:
                self._make_sure(queue, batch.token, held)
            try:
                place, job = held.popleft()
            except IndexError:  # the lookout was faster
                break
            if not self._run_job(queue, batch.token, place, job):
                held.appendleft((place, job))
                break
            done += 1
            if held and self.settler.has_enough:
                settling = self.settler.commands(counted=False)
                self.settler.settled(settling, self._run(settling, patience=LEASE))
            if (
                not self._ran <= self._trusted
                or clock.monotonic() - self.lookout.since > TINY
                or signal.getitimer(signal.ITIMER_REAL)[0]  # it would kill the next job
            ):
                self._recover_process()
        self.lookout.unwatch()
        if held:
            self.settler.release([job.id for _, job in held])
            held.clear()
        if self._ran:
            self._recover_process()
        self.pace.learn(done, clock.monotonic() - began)

    def _make_sure(self, queue: str, token: str, held: deque[tuple[int, Claimed]]) -> None:
        """Keep those jobs of a batch that are still ours: this process was stopped, or the claim took long."""
        self.lookout.unwatch()
        self._sure_until = clock.boottime() + SURE
        mine = list(held)
        told = [
            (job.id, token, commands.HELD if number else commands.STARTED)
            for number, (_, job) in enumerate(mine)
        ]
        (renewal,) = self._run([commands.renew(queue, told, LEASE)])
        held.clear()
        held.extend(one for number, one in enumerate(mine) if number not in renewal.lost)
        if len(held) > 1:
            self.lookout.watch(queue, token, self.batch_number, held)

    def _recover_process(self) -> None:
        """Put right what tasks have changed of this process, or leave it, to be replaced."""
        broken = self.process_state.restore()
        if self.process_state.changed:
            self._suspects |= self._ran
        self._trusted = self._ran | self._trusted if len(self._trusted) < MOST_TRUSTED else set(self._ran)
        self._trusted -= self._suspects
        self._ran.clear()
        stack.take_signal(self.slate)
        if broken:
            self.lookout.unwatch()
        if broken == FILES:
            self.client.close()  # its connections may be closed, and their numbers those of other files
        if broken:
            self._be_replaced(broken)

    def _be_replaced(self, reason: str) -> None:
        """Exit in good order, to be replaced; the supervisor reports the reason."""
        self.slate.set_state(slates.LEAVING)
        self.slate.set_error(reason)
        self._leaving = True

    def _run_job(self, queue: str, token: str, place: int, job: Claimed) -> bool:
        """Run a job and record its outcome. Return False if the supervisor has released it meanwhile.

        Whatever our own code raises on the bytes of a job is that job's failure: the worker goes on.
        """
        self.slate.take(place)
        try:
            return self._try_job(queue, token, place, job)
        except Exception as error:  # noqa: BLE001 - nothing is known of a job that nobody could foresee
            self.slate.end(self.jobs_done)
            self._trusted -= self._ran
            self.settler.add(job.id, None, Fail(describe_error(error)), 0.0, job.retries + job.crashes)
            return True

    def _try_job(self, queue: str, token: str, place: int, job: Claimed) -> bool:
        decoded = self.executor.decode(job.data)
        if isinstance(decoded, Fail):
            self.settler.add(job.id, None, decoded, 0.0, job.retries + job.crashes)
            return True
        if decoded.task != self._task:
            self.slate.set_task(decoded.task)
            self._task = decoded.task
        self._ran.add(decoded.task)
        self.slate.clear_progress()
        current = RunningJob(self, queue, token, place, job)
        self.lookout.begin(job.id, decoded)
        outcome = self._outcome(decoded, current, job.retries, place)
        if os.getpid() != self._process:
            os._exit(0)  # a task that forks and returns twice: there is only one worker here
        if outcome is None:
            self.slate.end(self.jobs_done)
            return False
        elapsed = clock.monotonic() - self.lookout.since
        if type(outcome) is not Done:
            self._trusted.discard(decoded.task)
        self.jobs_done += not isinstance(outcome, Release)
        self.slate.end(self.jobs_done)
        self.settler.add(job.id, decoded, outcome, elapsed, job.retries + job.crashes)
        return True

    def _outcome(self, job: Call, current: RunningJob, retries: int, place: int) -> Outcome | None:
        """Run a job. Return None if the supervisor has released it meanwhile."""
        outcome: Outcome | None = Cancel()  # if the request comes in the moment before the task's own code
        limit, found = job.options.timeout or 0.0, None
        if not self.executor.knows(job.task):
            limit, found = 0.0, partial(self._found, job, current, place)
        try:
            try:
                self._place = place
                self.slate.start(place, self.lookout.since, limit, current.attempt)
                taken = place and self.slate.is_taken(self.batch_number)
                outcome = None if taken else self.executor.run(job, current, retries, found)
            finally:
                self._place = -1
        except JobCancelled:
            self._place = -1
        wish = self.slate.wish(self.batch_number, place)
        current.end(cancelled=wish != slates.NO_WISH)
        if outcome is not None and wish == slates.WISH_RETURN:
            return Release()  # even if the task has returned: after its clean-up, that may be half a result
        return outcome

    def _found(self, job: Call, current: RunningJob, place: int) -> None:
        """Begin the run again, since its task is found only now: a slow import must not use up a short limit."""
        self.lookout.begin(current.id, job)
        self.slate.start(place, self.lookout.since, job.options.timeout or 0.0, current.attempt)

    def _on_leave(self, *_: Any) -> None:
        self._leaving = self._signalled = True
        if self._waiting:
            self._waiting = False
            raise _LeaveNow

    def _on_wish(self, *_: Any) -> None:
        """The supervisor wants the running job to end: raise in it, if it is still the one that is meant.

        Where none runs, it wants the worker to pause, or to go on.
        """
        place = self._place
        if place < 0:
            if self._waiting and self.slate.must_pause() != self._resting:
                self._waiting = False
                raise _LeaveNow
            return
        run = (self.batch_number, place)
        if self.slate.wish(*run) != slates.NO_WISH and self._interrupted != run:
            self._interrupted = run  # once: the supervisor asks again, and the task may be cleaning up
            self.executor.interrupt()


def _lack() -> str:
    """Return why this process cannot open files, or an empty string if it can.

    The error of a connection does not always tell: without file descriptors, names of hosts are only not found.
    """
    try:
        for one in os.pipe():
            os.close(one)
    except OSError as error:
        return os.strerror(error.errno).lower() if error.errno in _NO_ROOM else ""
    return ""
