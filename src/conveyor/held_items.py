"""Items taken by this process with `Queue.get`. One thread renews their leases until they are settled."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from conveyor import clock
from conveyor.errors import Empty, LeaseLost, ShutDown, StoreError, StoreUnavailable
from conveyor.store import commands, leases, scripts
from conveyor.store.command import Exchange
from conveyor.store.commands import settlement_of_failure
from conveyor.store.waiting import Claimant, get_job
from conveyor.wire import codec, ids
from conveyor.wire.outcome import Run, describe_undecodable, encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.clock import Deadline
    from conveyor.store import Client
    from conveyor.store.command import Command, Operation

T = TypeVar("T")

#: Seconds that a lease lasts, and seconds between renewals.
LEASE, RENEWAL = leases.LEASE, leases.RENEWAL
#: Seconds after which an item is reported as received; most items are processed by then.
SOON = 0.01
#: Seconds for which the server remembers a claim.
REMEMBERED = 60.0
#: Seconds for which the outcome of an item is kept. Only a resent settlement needs it, as no caller can query it.
KEEP = 20.0
_log = logging.getLogger("conveyor")


class HeldItem(NamedTuple):
    """One taken item, and its lease."""

    queue: str
    id: str
    token: str
    consumer: object
    """The `Queue` object that took it."""
    taker: object
    """The thread or coroutine that took it."""
    item: object
    started: bool = False
    """True if the server knows that it was received. Until then, its lease may expire without counting as a crash."""
    lost: bool = False
    """True if the server has reported the lease as expired."""
    progress: str = commands.STARTED
    """The item as a renewal reports it: received."""

    @property
    def key(self) -> tuple[str, str, str]:
        """The key in `ItemHolder.held`: an item taken twice by this process is held under two tokens."""
        return self.queue, self.id, self.token


class Unanswered(NamedTuple):
    """A claim that timed out or was interrupted: no caller has received the items it brought or may still bring."""

    queue: str
    owner: str
    nonce: str
    deadline: Deadline
    """When the server forgets the claim."""


#: In place of an item: none in particular.
ANY = object()


class ThisThread(threading.local):
    """A token for each thread, since the system reuses the number of an ended thread."""

    def __init__(self) -> None:
        self.token = object()


class ItemHolder:
    """Takes items under lease, renews the leases, and settles the items.

    A thread reports received items to the server, renews the leases, and releases items that no caller received.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.owner = f"{ids.host_name()}-{os.getpid()}-{ids.unique(4)}"
        self.held: OrderedDict[tuple[str, str, str], HeldItem] = OrderedDict()
        self.finishing: dict[tuple[str, str, str], HeldItem] = {}
        """Processed items of which no one may wait for the reply."""
        self.unanswered: list[Unanswered] = []
        self._keys: dict[object, OrderedDict[tuple[str, str, str], None]] = {}
        """Those of the items of each consumer, and of each consumer and taker, oldest first."""
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None
        self._nonces = ids.Nonces()
        self._updated = threading.Event()
        self._numbers = itertools.count(1)
        self._names: list[str] = []
        """Names for claims that are not in use."""
        self._logged = ""  # the last error that was logged
        for verb in ("claim", "renew", "finish", "release"):
            scripts.load(verb)  # later this process may be out of file descriptors

    def take(
        self,
        consumer: object,
        taker: object,
        queue: str,
        deadline: Deadline | None,
        read: Callable[[bytes], T],
    ) -> Operation[T]:
        """Wait for the next job as `get_job` does, and return the item that `read` makes of its bytes.

        `consumer` is the object that may settle the item, `taker` the thread or coroutine that takes it. An unreadable
        job is moved to the dead jobs, and the next one is taken. A job returns to the queue if this process lacks the
        memory, a module or the files to read it.
        """
        # Each call claims under a name of its own, since the server remembers one last claim per owner. The name of a
        # claim without a reply is not used again, so that the server still knows that claim.
        try:
            name = self._names.pop()
        except IndexError:
            name = f"{self.owner}-{next(self._numbers)}"
        claimant = Claimant(name, LEASE, self._nonces)
        try:
            while True:
                batch = yield from get_job(queue, claimant, deadline)
                job = batch.jobs[0]
                try:
                    item = read(job.data)
                except Exception as error:  # noqa: BLE001 - any bytes may arrive
                    cause = error.__cause__ or error
                    if isinstance(cause, MemoryError | ImportError | OSError):  # the bytes are not the cause
                        raise cause from None
                    yield Exchange((self._refusal(queue, batch.token, job.id, error),))
                    continue
                held = HeldItem(queue, job.id, batch.token, consumer, taker, item)
                with self.lock:
                    self._hold(held)
                    self._wake()
                self._names.append(name)
                return item
        except (Empty, ShutDown):
            self._names.append(name)
            raise
        except BaseException:
            with contextlib.suppress(ValueError):  # interrupted at the very end
                self._names.remove(name)
            with self.lock:
                until = clock.Deadline(REMEMBERED)
                self.unanswered.append(Unanswered(queue, claimant.owner, claimant.nonce, until))
                self._wake()
            raise

    def _refusal(self, queue: str, token: str, job_id: str, error: Exception) -> Command:
        """Return the command that moves a job with unreadable bytes to the dead jobs; the bytes are kept."""
        run = Run("?", "", clock.wall(), self.owner, 1)
        described = describe_undecodable(error)
        settlement = settlement_of_failure(job_id, "failed", described, run, 0.0, KEEP)
        return commands.fail(queue, token, settlement)

    def settle(self, consumer: object, taker: object, item: object) -> Operation[None]:
        """Mark an item of this consumer as processed: this one, or the oldest taken by this taker, or else the oldest.

        If the server does not reply, or the call is interrupted, the item stays held and can be settled again.
        Raises ValueError if the consumer holds none, and LeaseLost if the item went to another consumer.
        """
        held = self._next(consumer, taker, item)
        try:
            (refused,) = yield Exchange((_finish(held),))
        except BaseException:  # Ctrl-C while the server hangs, too
            with self.lock:
                self._hold(held, last=False)
                self._wake()  # the thread may have ended meanwhile
            raise
        if refused:
            raise _lost(held)

    def settle_surely(self, consumer: object, taker: object, item: object) -> Operation[None]:
        """Mark an item as processed, as `settle` does, even if the caller does not wait for the end.

        Without a reply, the thread that renews the leases sends it again.
        """
        held = self._next(consumer, taker, item)
        with self.lock:
            self.finishing[held.key] = held
            self._wake()
        (refused,) = yield Exchange((_finish(held),))
        self.finishing.pop(held.key, None)
        if refused:
            raise _lost(held)

    def forget(self) -> None:
        """Forget all items, since the server was emptied on purpose."""
        with self.lock:
            self.held.clear()
            self.finishing.clear()
            self._keys.clear()

    def _hold(self, held: HeldItem, *, last: bool = True) -> None:
        """Hold an item, as the newest or as the oldest; the caller has the lock."""
        self.held[held.key] = held
        for index in (held.consumer, (held.consumer, held.taker)):
            keys = self._keys.setdefault(index, OrderedDict())
            keys[held.key] = None
            keys.move_to_end(held.key, last=last)

    def _drop(self, key: tuple[str, str, str]) -> HeldItem | None:
        """Hold an item no more, and return it; the caller has the lock."""
        held = self.held.pop(key, None)
        for index in () if held is None else (held.consumer, (held.consumer, held.taker)):
            keys = self._keys.get(index, OrderedDict())
            keys.pop(key, None)
            if not keys:
                self._keys.pop(index, None)
        return held

    def _next(self, consumer: object, taker: object, item: object) -> HeldItem:
        with self.lock:
            mine, all_of_them = self._keys.get((consumer, taker), ()), self._keys.get(consumer, ())
            if item is ANY:
                key = next(iter(mine or all_of_them), None)
            else:
                key = next((one for one in all_of_them if self.held[one].item is item), None)
            held = None if key is None else self._drop(key)
            if held is None:
                raise ValueError(
                    "task_done() called too many times"
                    if item is ANY
                    else f"task_done() called with an item that this queue object does not hold: {item!r:.80}"
                )
            if self.held:
                self._start()
            return held

    def _wake(self) -> None:
        """Wake the thread; the caller has the lock."""
        self._updated.set()
        self._start()

    def _start(self) -> None:
        """Start the thread unless it is alive; the caller has the lock."""
        if self.thread is None or not self.thread.is_alive():
            thread = threading.Thread(target=self._keep, name="conveyor-leases", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system allows no more threads; the next call tries again
                _log.exception("the lease of an item is not renewed")
            else:
                self.thread = thread

    def _keep(self) -> None:
        """Renew and release until nothing is held. No error ends this thread earlier."""
        renewal = clock.Deadline(RENEWAL)
        while True:
            try:
                if self._updated.wait(renewal.left(RENEWAL)):
                    clock.sleep(min(SOON, RENEWAL))
                self._updated.clear()
                due = renewal.passed()
                with self.lock:
                    if due and not (self.held or self.finishing or self.unanswered):
                        self.thread = None
                        return
                    held = [one for one in self.held.values() if not one.lost and (due or not one.started)]
                    finishing = list(self.finishing.values()) if due else []
                    unanswered = list(self.unanswered)
                if due:
                    renewal = clock.Deadline(RENEWAL)
                self._send(held, finishing, unanswered)
            except Exception:  # noqa: BLE001 - no memory, or the program's own logging raised
                clock.sleep(RENEWAL)

    def _send(self, held: list[HeldItem], finishing: list[HeldItem], unanswered: list[Unanswered]) -> None:
        """Renew, finish and release. A failed step does not affect other queues, and the next renewal retries it."""
        steps: list[Callable[[], None]] = [
            *(partial(self._renew, command) for command in leases.renewals([*held, *finishing], LEASE)),
            *(partial(self._finish_again, one) for one in finishing),
            *(partial(self._release, claim) for claim in unanswered),
        ]
        failure = ""
        for step in steps:
            try:
                step()
            except StoreUnavailable:
                return  # to every step
            except StoreError:
                continue
            except Exception as error:  # noqa: BLE001 - whatever it was, the next renewal retries
                failure = repr(error)
                if self._logged != failure:
                    self._logged = failure
                    _log.exception("an error while leases were renewed; trying again")
        self._logged = failure

    def _renew(self, command: Command) -> None:
        renewed: leases.Renewed[HeldItem] = self.client.run(command, patience=RENEWAL)
        with self.lock:
            for one in renewed.leases:
                if one.key in self.held:
                    self.held[one.key] = one._replace(started=True, lost=one in renewed.lost)

    def _finish_again(self, held: HeldItem) -> None:
        """Finish an item again whose finish has no reply yet."""
        if held.key in self.finishing:
            refused = self.client.run(_finish(held), patience=RENEWAL)
            self.finishing.pop(held.key, None)
            if refused:
                _log.warning("%s", _lost(held))

    def _release(self, claim: Unanswered) -> None:
        """Release the items of a claim that no caller received; a claim still in transit will bring none."""
        if not claim.deadline.passed():
            again = commands.claim(claim.queue, claim.owner, claim.nonce, 0, LEASE)
            batch = self.client.run(again, patience=RENEWAL)
            names = [job.id for job in batch.jobs]
            with self.lock:  # an item interrupted at the very end is held, but was not received
                for name in names:
                    self._drop((claim.queue, name, batch.token))
            if names:
                self.client.run(commands.release(claim.queue, batch.token, names), patience=RENEWAL)
        with self.lock:
            self.unanswered.remove(claim)


def _finish(held: HeldItem) -> Command:
    # The token makes the outcome unique: that of another consumer would look like this command, resent.
    outcome = encode_settled("done", codec.encode(held.token))
    return commands.finish(held.queue, held.token, [commands.Settlement(held.id, outcome, KEEP)])


def _lost(held: HeldItem) -> LeaseLost:
    message = f"item {held.id} of {held.queue} went to another consumer: its lease was not renewed in time"
    hint = f"keep the process running and connected: a lease expires after {LEASE:g} s without a renewal"
    return LeaseLost(message, hint=hint)


this_thread = ThisThread()
#: The holder of this process's items at one server; a forked child holds none at first.
holder_of = ids.PerProcess(ItemHolder)
