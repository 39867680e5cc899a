"""Items that this process has taken with `Queue.get`: their leases, renewed by one thread until they are settled."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from conveyor import clock
from conveyor.errors import Empty, LeaseLost, ShutDown, StoreError, StoreUnavailable
from conveyor.store import commands, scripts
from conveyor.store.answers import settlement_of_failure
from conveyor.store.waiting import Claimant, get_job
from conveyor.wire import codec, ids
from conveyor.wire.outcome import Run, describe_undecodable, encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.clock import Deadline
    from conveyor.store import Client

T = TypeVar("T")

#: Seconds that a lease lasts, and after which it is renewed.
LEASE, HEARTBEAT = 15.0, 4.0
#: Seconds after which an item is reported as received; most are processed by then.
SOON = 0.01
#: Seconds that the server remembers a claim.
REMEMBERED = 60.0
#: Seconds that is kept what became of an item; nobody can ask for it, so only for a settling that is sent again.
KEEP = 20.0
_log = logging.getLogger("conveyor")


class Held(NamedTuple):
    """One taken item."""

    queue: str
    id: str
    token: str
    taker: object
    """The `Queue` object that took it."""
    thread: object
    """The token of the thread that took it."""
    started: bool = False
    """Whether the server knows that it was received; until then its lease may end without blame."""
    lost: bool = False
    """Whether the server has said that the lease is gone."""

    @property
    def key(self) -> tuple[str, str, str]:
        """The key in `Holder.held`: an item that this process took again is held twice, under two tokens."""
        return self.queue, self.id, self.token


class Unanswered(NamedTuple):
    """A claim that timed out or was interrupted: nobody has received what it brought, or may yet bring."""

    queue: str
    owner: str
    nonce: str
    deadline: Deadline
    """When the server has forgotten it."""


class _Thread(threading.local):
    """A token for each thread: the system gives the number of an ended thread to a new one."""

    def __init__(self) -> None:
        self.token = object()


class Holder:
    """Takes items under lease, keeps the leases alive, and settles them.

    A thread tells the server which items were received, renews the leases, and gives back what nobody received.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.owner = f"{ids.host_name()}-{os.getpid()}-{ids.unique(4)}"
        self.held: OrderedDict[tuple[str, str, str], Held] = OrderedDict()
        self.unanswered: list[Unanswered] = []
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None
        self._nonces = ids.Nonces()
        self._news = threading.Event()
        self._interrupted = 0
        self._trouble = ""  # the last error that was logged
        for verb in ("claim", "renew", "finish", "release"):
            scripts.load(verb)  # later this process may be out of file descriptors

    def take(self, taker: object, queue: str, deadline: Deadline | None, read: Callable[[bytes], T]) -> T:
        """Return what `read` makes of the bytes of the next job; waits as `get_job` does.

        A job that cannot be read is dead, and the next one is taken. It returns to the queue if this process lacks
        memory, a module or files to read it. `taker` is the object that may settle the item.
        """
        # Each thread claims as an owner of its own: the server remembers one last claim per owner. After a claim
        # without an answer it takes another name, so the server still knows that claim.
        owner = f"{self.owner}-{threading.get_ident()}-{self._interrupted}"
        claimant = Claimant(owner, LEASE, self._nonces)
        try:
            while True:
                batch = get_job(self.client, queue, claimant, deadline)
                job = batch.jobs[0]
                try:
                    item = read(job.data)
                except Exception as error:  # noqa: BLE001 - whatever the bytes do, they are no job
                    cause = error.__cause__ or error
                    if isinstance(cause, MemoryError | ImportError | OSError):  # not the fault of the bytes
                        raise cause from None
                    self._refuse(queue, batch.token, job.id, error)
                    continue
                held = Held(queue, job.id, batch.token, taker, _thread.token)
                with self.lock:
                    self.held[held.key] = held
                    self._wake()
                return item
        except (Empty, ShutDown):
            raise
        except BaseException:
            with self.lock:
                until = clock.Deadline(REMEMBERED)
                self.unanswered.append(Unanswered(queue, claimant.owner, claimant.nonce, until))
                self._interrupted += 1
                self._wake()
            raise

    def _refuse(self, queue: str, token: str, job_id: str, error: Exception) -> None:
        """Make a job dead whose bytes cannot be read; they stay as they are."""
        run = Run("?", "", clock.wall(), self.owner, 1)
        described = describe_undecodable(error)
        settlement = settlement_of_failure(job_id, "failed", described, run, 0.0, KEEP)
        self.client.run(commands.fail(queue, token, settlement))

    def settle(self, taker: object) -> None:
        """Mark an item of this taker as processed: the oldest taken by this thread, or else the oldest.

        Raises ValueError if the taker holds none, and LeaseLost if the item went to another taker. If the server does
        not reply, or the call is interrupted, the item stays held and can be settled again.
        """
        held = self._next(taker)
        queue = held.queue
        try:
            # The token makes it this taker's: the same outcome of another would look like this very command sent twice.
            outcome = encode_settled("done", codec.encode(held.token))
            settlement = commands.Settlement(held.id, outcome, KEEP)
            refused = self.client.run(commands.finish(queue, held.token, [settlement]))
        except BaseException:  # Ctrl-C while the server hangs, too
            with self.lock:
                self.held[held.key] = held
                self.held.move_to_end(held.key, last=False)
                self._wake()  # the thread may have ended meanwhile
            raise
        if refused:
            message = f"item {held.id} of {queue} went to another taker"
            raise LeaseLost(message, hint="this process was not heard of for longer than the lease of 15 s")

    def _next(self, taker: object) -> Held:
        with self.lock:
            mine = [one for one in self.held.values() if one.taker is taker]
            if not mine:
                message = "task_done() called too many times"
                raise ValueError(message)
            chosen = next((one for one in mine if one.thread is _thread.token), mine[0])
            if len(self.held) > 1:
                self._start()
            return self.held.pop(chosen.key)

    def _wake(self) -> None:
        """Make the thread look; the caller has the lock."""
        self._news.set()
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
        """See to all that is held until nothing is. No error ends this thread before."""
        beat = clock.Deadline(HEARTBEAT)
        while True:
            try:
                if self._news.wait(beat.left(HEARTBEAT)):
                    clock.sleep(min(SOON, HEARTBEAT))
                self._news.clear()
                due = beat.passed()
                with self.lock:
                    if due and not self.held and not self.unanswered:
                        self.thread = None
                        return
                    held = [one for one in self.held.values() if not one.lost and (due or not one.started)]
                    unanswered = list(self.unanswered)
                if due:
                    beat = clock.Deadline(HEARTBEAT)
                self._tell(held, unanswered)
            except Exception:  # noqa: BLE001 - no memory, or the program's own logging raised
                clock.sleep(HEARTBEAT)

    def _tell(self, held: list[Held], unanswered: list[Unanswered]) -> None:
        """Renew and give back. What fails costs no other queue anything: the next beat tries again."""
        steps: list[Callable[[], None]] = []
        for queue in {one.queue for one in held}:
            mine = [one for one in held if one.queue == queue]
            for first in range(0, len(mine), commands.MOST_RENEWED):
                part = mine[first : first + commands.MOST_RENEWED]
                steps.append(partial(self._renew, queue, part))
        steps += [partial(self._give_back, one) for one in unanswered]
        trouble = ""
        for step in steps:
            try:
                step()
            except StoreUnavailable:
                return  # for all; a lease outlasts two beats that fail
            except StoreError:
                continue
            except Exception as error:  # noqa: BLE001 - whatever it was, the next beat tries again
                trouble = repr(error)
                if self._trouble != trouble:  # said once
                    self._trouble = trouble
                    _log.exception("an error while leases were renewed; trying again")
        self._trouble = trouble

    def _renew(self, queue: str, held: list[Held]) -> None:
        told = commands.renew(queue, [(one.id, one.token, commands.STARTED) for one in held], LEASE)
        lost = set(self.client.run(told, patience=HEARTBEAT).lost)
        with self.lock:
            for place, one in enumerate(held):
                if one.key in self.held:
                    self.held[one.key] = one._replace(started=True, lost=place in lost)

    def _give_back(self, one: Unanswered) -> None:
        """Release what a claim brought that nobody received; one that is still under way brings nothing any more."""
        if not one.deadline.passed():
            claim = commands.claim(one.queue, one.owner, one.nonce, 0, LEASE)
            batch = self.client.run(claim, patience=HEARTBEAT)
            names = [job.id for job in batch.jobs]
            with self.lock:  # what was interrupted at the very end is held, but was not received
                for name in names:
                    self.held.pop((one.queue, name, batch.token), None)
            if names:
                self.client.run(commands.release(one.queue, batch.token, names), patience=HEARTBEAT)
        with self.lock:
            self.unanswered.remove(one)


_thread = _Thread()
_holders: dict[tuple[Client, int], Holder] = {}
os.register_at_fork(after_in_child=_holders.clear)


def holder_of(client: Client) -> Holder:
    """Give what this process holds at one server; a forked child holds nothing yet."""
    key = client, os.getpid()  # C code forks without hooks
    # setdefault, since two threads may come here first at once, and both must get the same one
    return _holders.get(key) or _holders.setdefault(key, Holder(client))
