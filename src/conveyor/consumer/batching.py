"""Looks after a batch that turns out long, by one of its jobs or by all: results go out, unstarted jobs go back.

It also has the arguments of the long one noted, for those who must tell of its run if its worker does not live to.

What it sends travels on another connection than the worker's next claim, and that claim must not overtake it: it would
bring later jobs than those given back. So the worker takes over what has had no answer yet, and sends it once more
ahead of the claim. That is harmless: a finish or a release that arrives again, or late, finds its token invalid.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from conveyor import clock, events
from conveyor.consumer.isolation import Isolation
from conveyor.consumer.pace import BATCH_SECONDS
from conveyor.errors import StoreError
from conveyor.store import commands
from conveyor.store.waiting import LONGEST_BLOCK

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from conveyor.consumer.settlement import Settler
    from conveyor.store import Client
    from conveyor.store.commands import Claimed, Command
    from conveyor.wire.call import Call

#: Seconds after which a batch is long although none of its jobs is.
LONGEST_BATCH = 10 * BATCH_SECONDS

Held = tuple[str, str, int, "deque[tuple[int, Claimed]]"]


class Lookout:
    """A thread beside the one that runs user code; sleeps unless several jobs are held.

    The worker takes jobs from the left of a deque, the lookout from the right. Both operations are atomic, so each
    job goes one way or the other. `note` takes the id of a job and its arguments as a line, `relieved` the number of a
    batch of which only the running job is left.
    """

    def __init__(
        self,
        client: Client,
        settler: Settler,
        note: Callable[[str, str], None] = lambda *_: None,
        relieved: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.client = client
        self.settler = settler
        self._note = note
        self._relieved = relieved
        self._running: tuple[str, Call] | None = None
        self.since = 0.0  # when the running job began
        self._began = 0.0  # when the batch began
        self._busy = threading.Event()
        self._lock = threading.Lock()  # never held while something is sent
        self._watched: Held | None = None
        self._untold: list[Command] = []  # sent, and not answered yet
        self._isolation = Isolation()
        self._thread: threading.Thread | None = None
        self._refused = False

    def watch(self, queue: str, token: str, number: int, held: deque[tuple[int, Claimed]]) -> None:
        """Watch over a batch that begins now; `number` is the one on the slate."""
        self.since = self._began = clock.monotonic()
        self._watched = (queue, token, number, held)
        if not self._busy.is_set() and self.can_watch():
            self._busy.set()

    def can_watch(self) -> bool:
        """Return True if the thread runs; start it if need be.

        If the system allows no more threads, this is reported once, and the next call tries again.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="conveyor-lookout", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                if not self._refused:
                    events.emit(events.ThreadRefused(self.settler.worker, str(error)))
                self._refused = True
                return False
            self._thread = thread
        return True

    def begin(self, job_id: str, job: Call) -> None:
        """A job begins, or its task is found only now.

        Its arguments are noted at once if it is alone; of a flood that would be the main cost.
        """
        self._running = (job_id, job)
        if self._watched is None:
            self._note_arguments()
        self.since = clock.monotonic()

    def rest(self) -> None:
        """The worker has nothing to do: stop looking."""
        self._busy.clear()

    def unwatch(self) -> None:
        """The batch is over."""
        with self._lock:
            self._watched = None

    def take_untold(self) -> list[Command]:
        """Return what was sent and not answered yet; from now on the caller has to see to it."""
        with self._lock:
            untold, self._untold = self._untold, []
            return untold

    def _run(self) -> None:
        while True:
            self._busy.wait()
            clock.sleep(BATCH_SECONDS)
            with self._isolation:
                self._look()
            self._isolation.rest()

    def _look(self) -> None:
        with self._lock:
            watched, now = self._watched, clock.monotonic()
            if watched is None:
                return
            if now - self.since <= BATCH_SECONDS and now - self._began <= LONGEST_BATCH:
                return
            self._watched = None
            told = self._untold = [*self._untold, *self._collect(*watched)]
        self._note_arguments()
        if told:
            self._send(told, watched[2])

    def _note_arguments(self) -> None:
        if self._running is not None:
            job_id, job = self._running
            text = self.settler.preview(job)
            if text is not None:  # else the task may be found, and the text noted, at this moment
                self._note(job_id, text)

    def _collect(
        self, queue: str, token: str, _number: int, held: deque[tuple[int, Claimed]]
    ) -> list[Command]:
        ids = []
        while held:
            try:
                ids.append(held.pop()[1].id)
            except IndexError:  # the worker was faster
                break
        told: list[Command] = self.settler.commands()
        if ids:
            told.append(commands.release(queue, token, ids))
        return told

    def _send(self, told: list[Command], number: int) -> None:
        """Send until the server replies, or until the worker takes over: the running job may last for hours."""
        while self._untold is told:
            try:
                answers = self.client.run_all(told, patience=LONGEST_BLOCK)
            except StoreError:
                clock.sleep(LONGEST_BLOCK)
                continue
            with self._lock:
                if self._untold is not told:
                    return  # the worker has taken it over, and looks at its answers
                self._untold = []
            self._relieved(number)
            self.settler.settled(told, answers)
