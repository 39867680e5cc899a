"""Looks after the other jobs of a batch when one of them turns out long: results go out, unstarted jobs go back.

It also has the arguments of the long one noted, for those who must tell of its run if its worker does not live to.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from conveyor import clock
from conveyor.consumer.pace import BATCH_SECONDS
from conveyor.errors import StoreError
from conveyor.store import commands
from conveyor.store.waiting import LONGEST_BLOCK

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from conveyor.call import Call
    from conveyor.consumer.settlement import Settler
    from conveyor.store import Client
    from conveyor.store.commands import Claimed, Command

Held = tuple[str, str, "deque[tuple[int, Claimed]]"]


class Lookout:
    """A thread beside the one that runs user code; sleeps unless several jobs are held.

    The worker takes jobs from the left of a deque, the lookout from the right. Both operations are atomic, so each
    job goes one way or the other. `note` takes the id of a job and its arguments as a line.
    """

    def __init__(
        self, client: Client, settler: Settler, note: Callable[[str, str], None] = lambda *_: None
    ) -> None:
        self.client = client
        self.settler = settler
        self._note = note
        self._running: tuple[str, Call] | None = None
        self.since = 0.0  # when the running job began
        self._busy = threading.Event()
        self._sending = threading.Lock()
        self._watched: Held | None = None
        self._thread: threading.Thread | None = None

    def watch(self, queue: str, token: str, held: deque[tuple[int, Claimed]]) -> None:
        """Watch over a batch that begins now."""
        self.since = clock.monotonic()
        self._watched = (queue, token, held)
        if not self._busy.is_set():
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="conveyor-lookout", daemon=True)
                self._thread.start()
            self._busy.set()

    def begin(self, job_id: str, job: Call) -> None:
        """A job begins. Its arguments are noted at once if it is alone; of a flood that would be the main cost."""
        self._running = (job_id, job)
        if self._watched is None:
            self._note_arguments()
        self.since = clock.monotonic()

    def rest(self) -> None:
        """The worker has nothing to do: stop looking."""
        self._busy.clear()

    def unwatch(self) -> None:
        """The batch is over."""
        self._watched = None

    def finish(self, seconds: float) -> None:
        """Wait until what is being sent has arrived, or is with the settler again; the worker is about to leave."""
        self._watched = None
        if self._sending.acquire(timeout=seconds):
            self._sending.release()

    def _run(self) -> None:
        while True:
            self._busy.wait()
            clock.sleep(BATCH_SECONDS)
            watched = self._watched
            if watched is not None and clock.monotonic() - self.since > BATCH_SECONDS:
                self._watched = None
                self._note_arguments()
                with self._sending:
                    self._relieve(*watched)

    def _note_arguments(self) -> None:
        if self._running is not None:
            job_id, job = self._running
            self._note(job_id, self.settler.preview(job))

    def _relieve(self, queue: str, token: str, held: deque[tuple[int, Claimed]]) -> None:
        ids = []
        while held:
            try:
                ids.append(held.pop()[1].id)
            except IndexError:  # the worker was faster
                break
        told: list[Command] = self.settler.commands()
        if ids:
            told.append(commands.release(queue, token, ids))
        if not told:
            return
        try:
            self.settler.settled(told, self.client.run_all(told, patience=LONGEST_BLOCK))
        except StoreError:
            self.settler.keep(told)  # they go out with the next claim
