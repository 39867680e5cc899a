"""Asks the server on behalf of all viewers: one round trip a second while anybody watches, none while nobody does."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor import clock
from conveyor.dashboard.attempt import answered, tried
from conveyor.dashboard.page import NoSuchThing, version_of
from conveyor.dashboard.pulse import pulse_of
from conveyor.dashboard.timings import Timings
from conveyor.errors import ConveyorError, StoreError
from conveyor.inspector import snapshot as snapshots
from conveyor.store.query import Query, together

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conveyor.dashboard.page import Book, Page, Wanted
    from conveyor.dashboard.watcher import Watcher
    from conveyor.inspector.snapshot import Snapshot
    from conveyor.store import Client

#: Seconds between two samples; longer steps where the server takes long to answer.
STEPS = (1.0, 2.0, 5.0, 15.0)
#: Part of a step that an answer may take before the next step is longer, and below which it is shorter again.
TOO_SLOW, FAST_ENOUGH = 0.25, 0.05
#: Seconds of age up to which a snapshot is believed when what a page is about is not in it.
YOUNG = 0.1
#: Seconds that a page waits for the server before it says that there is no answer.
WITHIN = 3.0
#: Seconds that the answer to a page's slow question is good for.
SLOW_EVERY = 10.0
#: Watched pages of one sample; where there are more they take turns, so that no number of them delays the pulse.
MOST_PAGES = 40
#: Pages that are remembered for those who come right after.
MOST_REMEMBERED = 200

_log = logging.getLogger("conveyor.dashboard")


class Sight(NamedTuple):
    """A page as it is now: the snapshot it was made with, what it shows, and a text that names this state of it."""

    snapshot: Snapshot
    view: Any
    version: str


class _Seen(NamedTuple):
    at: float
    sight: Sight


class _Kept(NamedTuple):
    at: float
    answer: Any


class Sampler:
    """One per process. Its thread runs only while there are watchers."""

    def __init__(self, client: Client, book: Book) -> None:
        self.client = client
        self.book = book
        self.snapshot = snapshots.NOTHING
        self.step = 0
        self.trouble = ""
        """Why the last sample failed; empty when it did not."""
        self.took = 0.0
        """Seconds that the last sample took, there and back."""
        self.timings, self.looks = Timings(), Timings()
        """Round trips to the server by what they were for, and all looks for watchers under an empty name."""
        self._sampled_at = float("-inf")
        self._watchers: set[Watcher] = set()
        self._seen: dict[str, _Seen] = {}
        self._slow: dict[str, _Kept] = {}
        self._watched: frozenset[str] = frozenset()
        """Pages that the next sample brings anyway."""
        self._failing: set[str] = set()
        """Pages that could not be made the last time; the log says so once."""
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()

    @property
    def interval(self) -> float:
        """Seconds between two samples now."""
        return STEPS[self.step]

    @property
    def watcher_count(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def look(self, page: Page, wanted: Wanted) -> Sight:
        """Give a page as it is now, at most a second old, or of the last sample where it is watched.

        Raises NoSuchThing, StoreError without an answer, or what the page's question raises.
        """
        good_for = STEPS[0]
        if wanted.address in self._watched:
            good_for = 2 * self.interval + (SLOW_EVERY if page.costly(wanted) else 0.0)
        seen = self._seen.get(wanted.address)
        if seen is not None and clock.monotonic() - seen.at < good_for:
            return seen.sight
        if not self.is_fresh():
            self.sample()
        try:
            return self._look_now(page, wanted)
        except NoSuchThing:  # it may be younger than the snapshot
            if clock.monotonic() - self._sampled_at < YOUNG and not self.snapshot.is_partial:
                raise
        self.sample()
        return self._look_now(page, wanted)

    def _look_now(self, page: Page, wanted: Wanted) -> Sight:
        return self._remember(page, wanted, self._ask(self._question(page, wanted)))

    def is_fresh(self) -> bool:
        """Tell whether the snapshot is at most one step old, and the server answered when it was last asked."""
        return not self.trouble and clock.monotonic() - self._sampled_at < self.interval

    def sample(self) -> Snapshot:
        """Take a snapshot now; asks twice where there are queues or consumers that it did not know."""
        for _ in range(2):
            before = self.snapshot
            sample = self._ask(snapshots.question(before), "sample")
            self._take(sample, before)
            if snapshots.is_complete(sample, before):
                break
        return self.snapshot

    def watch(self, watcher: Watcher) -> None:
        """Tell a watcher from now on what changes."""
        with self._lock:
            self._watchers.add(watcher)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="conveyor-sampler", daemon=True)
                self._thread.start()
        self._wake.set()

    def unwatch(self, watcher: Watcher) -> None:
        """Tell a watcher nothing more."""
        with self._lock:
            self._watchers.discard(watcher)
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
            left = self.interval - (clock.monotonic() - began)
            while left > 0 and self._watchers:
                self._wake.wait(left)
                self._wake.clear()
                left = self.interval - (clock.monotonic() - began)

    def _sample_for_all(self) -> None:
        with self._lock:
            watchers = list(self._watchers)
        began = clock.monotonic()
        try:
            if self.snapshot is snapshots.NOTHING:
                self.sample()  # else nothing at all would be told for a moment
            before, pages = self.snapshot, self._pages(watchers)
            sample, *answers = self._answers(before, pages)
            self._take(sample, before)
            if not snapshots.is_complete(sample, before):
                self.sample()  # what has just come is told of at once
        except StoreError as error:
            self._fail(error, watchers)
            return
        self._pace(clock.monotonic() - began)
        versions, pulse = self._versions(pages, answers), pulse_of(self.snapshot, self.interval)
        for watcher in watchers:
            watcher.tell("pulse", pulse)
            for address in watcher.addresses:
                if address in versions:
                    watcher.tell(f"changed {address}", {"address": address, "version": versions[address]})

    def _pages(self, watchers: Iterable[Watcher]) -> dict[str, tuple[Page, Wanted]]:
        """Give the watched pages that are due: not those at rest, and of many those that have waited longest."""
        found = {}
        for address in {address for watcher in watchers for address in watcher.addresses}:
            one = self.book.find(address)
            if one is not None:
                found[address] = one
        self._watched = frozenset(found)
        ages = {address: self._age(address) for address in found}
        due = [
            address
            for address, one in found.items()
            if not one[0].costly(one[1]) or ages[address] > SLOW_EVERY
        ]
        due.sort(key=ages.__getitem__, reverse=True)
        return {address: found[address] for address in due[:MOST_PAGES]}

    def _age(self, address: str) -> float:
        seen = self._seen.get(address)
        return float("inf") if seen is None else clock.monotonic() - seen.at

    def _answers(self, before: Snapshot, pages: dict[str, tuple[Page, Wanted]]) -> list[Any]:
        """Ask for a sample and for all pages in one round trip; an answer may be the error that there was instead.

        Where a question goes wrong each is asked for itself, so that only that one goes without.
        """
        queries = []
        for page, wanted in pages.values():
            query = tried(self._question, page, wanted)
            queries.append(query if isinstance(query, Query) else answered(query))
        all_at_once: list[Any] | Exception = tried(
            self._ask, together([snapshots.question(before), *queries]), "sample"
        )
        if isinstance(all_at_once, list):
            return all_at_once
        return [
            self._ask(snapshots.question(before), "sample"),
            *(tried(self._ask, query) for query in queries),
        ]

    def _versions(self, pages: dict[str, tuple[Page, Wanted]], answers: Sequence[Any]) -> dict[str, str]:
        """Remember the pages as they are now, and name what state each is in; one that cannot be made is left out."""
        versions, failing = {}, set()
        for (address, (page, wanted)), answer in zip(pages.items(), answers, strict=True):
            sight = answer if isinstance(answer, Exception) else tried(self._remember, page, wanted, answer)
            if isinstance(sight, Sight):
                versions[address] = sight.version
            elif isinstance(sight, ConveyorError):  # such as a job that has gone; whoever asks for it is told
                versions[address] = "gone"
            else:
                failing.add(address)
                if address not in self._failing:
                    _log.error("the page %s cannot be made", address, exc_info=sight)
        self._failing = failing
        return versions

    def _question(self, page: Page, wanted: Wanted) -> Query[Any]:
        quick = page.question(wanted, self.snapshot)
        if page.slow is None:
            return quick
        kept = self._slow.get(wanted.address)
        if kept is not None and clock.monotonic() - kept.at < SLOW_EVERY:
            return Query(quick.commands, lambda answers: (quick.read(answers), kept.answer))
        pair = together([quick, page.slow(wanted, self.snapshot)])

        def read(answers: Sequence[Any]) -> tuple[Any, Any]:
            first, second = pair.read(answers)
            if len(self._slow) >= MOST_REMEMBERED:
                self._slow.clear()
            self._slow[wanted.address] = _Kept(clock.monotonic(), second)
            return first, second

        return Query(pair.commands, read)

    def _ask(self, query: Query[Any], name: str = "page") -> Any:
        if not query.commands:
            return query.read([])
        with self.timings.timed(name):
            answers = self.client.run_all(query.commands, patience=0.5, within=WITHIN)
        return query.read(answers)

    def _take(self, sample: snapshots.Sample, before: Snapshot) -> None:
        self.snapshot = snapshots.snapshot_of(sample, before)
        self._sampled_at = clock.monotonic()
        if self.trouble:  # that the server was away says nothing about its speed
            self.trouble, self.step = "", 0

    def _fail(self, error: StoreError, watchers: Iterable[Watcher]) -> None:
        self.trouble = str(error)
        self.step = min(self.step + 1, len(STEPS) - 2)
        for watcher in watchers:
            watcher.tell("trouble", {"why": self.trouble, "try": error.hint})

    def _pace(self, took: float) -> None:
        """Ask less often where the server takes its time: looking must not cost what is looked at."""
        self.took = took
        self.looks.add("", took)
        if took > TOO_SLOW * self.interval:
            self.step = min(self.step + 1, len(STEPS) - 1)
        elif self.step and took < FAST_ENOUGH * self.interval:
            self.step -= 1

    def _remember(self, page: Page, wanted: Wanted, answers: Any) -> Sight:
        view = page.view(wanted, self.snapshot, answers)
        sight = Sight(self.snapshot, view, version_of(view))
        if len(self._seen) >= MOST_REMEMBERED:
            self._seen.clear()
        self._seen[wanted.address] = _Seen(clock.monotonic(), sight)
        return sight
