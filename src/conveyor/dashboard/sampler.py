"""Asks the server on behalf of all viewers: one round trip a second while anybody watches, none while nobody does.

There is one more when a queue or consumer is new; and where the server refuses a page's question there are more once.
"""

from __future__ import annotations

import logging
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from conveyor import clock
from conveyor.dashboard.attempt import tried
from conveyor.dashboard.flight import Flight
from conveyor.dashboard.page import NoSuchThing
from conveyor.dashboard.pulse import pulse_of
from conveyor.dashboard.searches import Busy, Searches
from conveyor.dashboard.sights import SLOW_EVERY, Sight, Sights
from conveyor.dashboard.timings import Timings
from conveyor.dashboard.trips import Trips
from conveyor.dashboard.turns import MOST_COSTLY, Turns
from conveyor.dashboard.watcher import pages_at
from conveyor.errors import ConveyorError, StoreError, StoreUnavailable
from conveyor.monitor import poll_interval
from conveyor.monitor import snapshot as snapshots
from conveyor.store.query import Query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from conveyor.dashboard.page import Book, Page, Wanted
    from conveyor.dashboard.watcher import Watcher
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store import Client

#: Seconds of age up to which a snapshot is believed when what a page is about is not in it.
YOUNG = 0.1
#: Seconds that whoever asks waits for a connection and for the answer, before it is said that the server is away.
PATIENCE, WITHIN = 0.5, 3.0

T = TypeVar("T")
_log = logging.getLogger("conveyor.dashboard")


class Sampler:
    """One per process. Its thread runs only while there are watchers."""

    def __init__(self, client: Client, book: Book) -> None:
        self.client = client
        self.book = book
        self.snapshot = snapshots.NOTHING
        self.pace = poll_interval.Pace()
        self.trouble = ""
        """Why the last sample failed; empty when it did not."""
        self.took = 0.0
        """Seconds that the last sample took, there and back."""
        self.timings, self.looks = Timings(), Timings()
        """Round trips to the server by what they were for, and all looks for watchers under an empty name."""
        self._sampled_at = float("-inf")
        self._watchers: dict[Watcher, Mapping[str, tuple[Page, Wanted]]] = {}
        self._sights = Sights()
        self._turns = Turns(self._sights)
        self._trips = Trips(self._sights)
        self._refreshing = Flight(self._refreshed)
        self.searches = Searches()
        self._watched: frozenset[str] = frozenset()
        """Pages that the next sample brings anyway."""
        self._failing: set[str] = set()
        """Pages that could not be made the last time; the log says so once."""
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()

    @property
    def watchers(self) -> list[Watcher]:
        """Who watch now."""
        return list(self._watchers)

    def look(self, page: Page, wanted: Wanted) -> Sight:
        """Give a page as it is now, at most a second old, or of the last sample where it is watched.

        Raises NoSuchThing, StoreError without an answer, Busy where others are searching, too, or what the page's
        question raises.
        """
        seen = self.seen(page, wanted)
        if seen is not None:
            return seen
        if not page.costly(wanted):
            return self._look(page, wanted)
        with self.searches.turn():
            return self.seen(page, wanted) or self._look(page, wanted)

    def _look(self, page: Page, wanted: Wanted) -> Sight:
        self.fresh()
        try:
            return self._look_now(page, wanted)
        except NoSuchThing:  # it may be younger than the snapshot
            if clock.monotonic() - self._sampled_at < YOUNG and not self.snapshot.is_partial:
                raise
        self.sample()
        return self._look_now(page, wanted)

    def seen(self, page: Page, wanted: Wanted) -> Sight | None:
        """Give a page as it was last seen, where that is as good as a look now; asks nobody."""
        good_for = poll_interval.STEPS[0]
        if wanted.address in self._watched:
            good_for = 2 * self.pace.interval + (SLOW_EVERY if page.costly(wanted) else 0.0)
        return self._sights.last(wanted.address, good_for)

    def _look_now(self, page: Page, wanted: Wanted) -> Sight:
        answers = self.ask(self._sights.question(page, wanted, self.snapshot))
        return self._see(page, wanted, answers)

    def fresh(self) -> Snapshot:
        """Give a snapshot that is at most one step old; takes one where the server did not answer the last time.

        Who comes while one is being taken gets that one.
        """
        if self._is_fresh():
            return self.snapshot
        try:
            return self._refreshing.join(WITHIN)
        except TimeoutError:
            message = f"no answer from the server within {WITHIN:g} s"
            raise StoreUnavailable(message) from None

    def _is_fresh(self) -> bool:
        return not self.trouble and clock.monotonic() - self._sampled_at < self.pace.interval

    def _refreshed(self) -> Snapshot:
        return self.snapshot if self._is_fresh() else self.sample()  # the flight before may just have landed

    def versions(self, pages: Mapping[str, tuple[Page, Wanted]]) -> dict[str, str]:
        """Name the states that pages are in, by key; those that were not seen just now are asked in one round trip.

        What cannot be made, or must wait for a turn, is left out. Raises StoreError without an answer.
        """
        seen = {address: self.seen(*one) for address, one in pages.items()}
        found = {address: sight.version for address, sight in seen.items() if sight is not None}
        unseen = {address: one for address, one in pages.items() if seen[address] is None}
        costly = [address for address, (page, wanted) in unseen.items() if page.costly(wanted)]
        light = {address: one for address, one in unseen.items() if address not in costly}
        if costly:
            try:
                with self.searches.turn():
                    return found | self._asked({one: unseen[one] for one in costly[:MOST_COSTLY]} | light)
            except Busy:
                pass
        return found | self._asked(light)

    def _asked(self, pages: Mapping[str, tuple[Page, Wanted]]) -> dict[str, str]:
        refused, nothing = self._trips.refused(), Query((), lambda _: None)
        pages = {address: one for address, one in pages.items() if address not in refused}
        _, *answers = self._trips.make(self.ask, nothing, pages, self.snapshot)
        return self._told(pages, answers)[0]

    def sample(self) -> Snapshot:
        """Take a snapshot now; asks twice where there are queues or consumers that it did not know."""
        for _ in range(2):
            before = self.snapshot
            sample = self.ask(snapshots.question(before), "sample")
            self._take(sample, before)
            if snapshots.is_complete(sample, before):
                break
        return self.snapshot

    def ask(self, query: Query[T], name: str = "page") -> T:
        """Ask in one round trip, which is timed under a name; raises StoreUnavailable soon where the server is away."""
        with self.timings.timed(name) if query.commands else nullcontext():
            return query.ask(self.client, patience=PATIENCE, within=WITHIN)

    def watch(self, watcher: Watcher) -> None:
        """Tell a watcher from now on what changes."""
        with self._lock:
            self._watchers[watcher] = pages_at(watcher.addresses, watcher.access, self.book)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="conveyor-sampler", daemon=True)
                self._thread.start()
        self._wake.set()

    def unwatch(self, watcher: Watcher) -> None:
        """Tell a watcher nothing more."""
        with self._lock:
            self._watchers.pop(watcher, None)
        self._wake.set()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._watchers:
                    self._watched, self._thread = frozenset(), None
                    return
            began = clock.monotonic()
            try:
                self._sample_for_all()
            except Exception:  # noqa: BLE001 - one sample that went wrong must not be the last
                _log.exception("this sample was in vain")
            self._wake.clear()
            left = self.pace.interval - (clock.monotonic() - began)
            while left > 0 and self._watchers:
                self._wake.wait(left)
                self._wake.clear()
                left = self.pace.interval - (clock.monotonic() - began)

    def _sample_for_all(self) -> None:
        with self._lock:
            watchers = dict(self._watchers)
        began = clock.monotonic()
        try:
            if self.snapshot is snapshots.NOTHING:
                self.sample()  # else nothing at all would be told for a moment
            before, pages = self.snapshot, self._pages(watchers.values())
            sample, *answers = self._answers(before, pages)
            self._take(sample, before)
            if not snapshots.is_complete(sample, before):
                self.sample()  # what has just come is told of at once
        except StoreError as error:
            self._fail(error, watchers)
            return
        self._note(clock.monotonic() - began)
        versions, pulse = self._versions(pages, answers), pulse_of(self.snapshot, self.pace.interval)
        for watcher, watched in watchers.items():
            watcher.tell("pulse", pulse)
            for address, (_, wanted) in watched.items():
                if wanted.address in versions:
                    news = {"address": address, "version": versions[wanted.address]}
                    watcher.tell(f"changed {address}", news)

    def _pages(self, watched: Iterable[Mapping[str, tuple[Page, Wanted]]]) -> dict[str, tuple[Page, Wanted]]:
        """Give the watched pages that are due, by their keys."""
        found = {one[1].address: one for some in watched for one in some.values()}
        self._watched = frozenset(found)
        refused = self._trips.refused()
        return self._turns.choose({address: one for address, one in found.items() if address not in refused})

    def _answers(self, before: Snapshot, pages: dict[str, tuple[Page, Wanted]]) -> list[Any]:
        """Ask for a sample and for all pages in one round trip; a page's answer may be the error there was instead."""

        def ask(query: Query[Any]) -> Any:
            return self.ask(query, "sample")

        return self._trips.make(ask, snapshots.question(before), pages, self.snapshot)

    def _versions(self, pages: dict[str, tuple[Page, Wanted]], answers: Sequence[Any]) -> dict[str, str]:
        """Name the state of each page, and say once in the log which cannot be made."""
        versions, faults = self._told(pages, answers)
        for address, fault in faults.items():
            if address not in self._failing:
                _log.error("the page %s cannot be made", address, exc_info=fault)
        self._failing = set(faults)
        return versions

    def _told(
        self, pages: Mapping[str, tuple[Page, Wanted]], answers: Sequence[Any]
    ) -> tuple[dict[str, str], dict[str, Exception]]:
        """Remember pages as they are now; gives what state each is in, and the errors of those that cannot be made."""
        versions, faults = {}, {}
        for (key, (page, wanted)), answer in zip(pages.items(), answers, strict=True):
            sight = answer if isinstance(answer, Exception) else tried(self._see, page, wanted, answer)
            if isinstance(sight, Sight):
                versions[key] = sight.version
            elif isinstance(sight, ConveyorError):  # such as a job that has gone; whoever asks for it is told
                versions[key] = "gone"
                self._sights.lose(key)
            else:
                faults[key] = sight
        return versions, faults

    def _see(self, page: Page, wanted: Wanted, answer: Any) -> Sight:
        return self._sights.see(page, wanted, self.snapshot, answer)

    def _take(self, sample: snapshots.Sample, before: Snapshot) -> None:
        self.snapshot = snapshots.snapshot_of(sample, before)
        self._sampled_at = clock.monotonic()
        if self.trouble:
            self.trouble = ""
            self.pace.restart()

    def _fail(self, error: StoreError, watchers: Iterable[Watcher]) -> None:
        self.trouble = str(error)
        self.pace.failed()
        for watcher in watchers:
            watcher.tell("trouble", {"why": self.trouble, "try": error.hint})

    def _note(self, took: float) -> None:
        self.took = took
        self.looks.add("", took)
        if not self._turns.has_costly:  # a search says nothing about how fast the server is
            self.pace.took(took)
