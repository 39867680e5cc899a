"""One poller asks the server for all viewers: one round trip a second while anyone watches, none otherwise.

The round trip brings a snapshot of all queues and workers and what each watched page asks. The poller makes the pages
of the replies, caches them for those who come right after, and notifies its subscribers of the live numbers and of the
version of each page that they watch. One more round trip follows if a queue or consumer is new, and several once if
the server refuses a page's question.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from conveyor import clock
from conveyor.dashboard.live_stats import live_stats
from conveyor.dashboard.page import NoSuchThing, version_of
from conveyor.dashboard.timings import Timings
from conveyor.errors import ConveyorError, StoreError, StoreUnavailable
from conveyor.monitor import poller as polling
from conveyor.monitor.poller import PATIENCE, WITHIN, ask_isolated, result_or_error
from conveyor.store.query import Query, known, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from conveyor.dashboard.access.rights import Access
    from conveyor.dashboard.page import Page, PageRegistry, PageRequest
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store import Client

#: Seconds of age up to which a snapshot is believed if what a page is about is not in it.
YOUNG = 0.1
#: Seconds for which the reply to a page's slow question is valid.
SLOW_EVERY = 10.0
#: Pages that are cached.
MAX_CACHED = 200
#: Watched pages of one round trip, and those among them whose question is much work; the others take turns.
MAX_PAGES, MAX_COSTLY = 40, 2
#: Seconds for which a page is left out whose question the server refused.
LEFT_OUT = 60.0
#: Concurrent searches, each of which holds up to a thousand jobs in memory.
MAX_SEARCHES = 2
#: Searches that wait for a slot, each of which holds one of the threads that serve requests.
MAX_WAITING = 6
#: Seconds that a search waits for a slot, and after which a refused one may try again.
MAX_WAIT, TRY_AGAIN = 3.0, 2

T = TypeVar("T")
Pages: TypeAlias = "Mapping[str, tuple[Page, PageRequest]]"
_log = logging.getLogger("conveyor.dashboard")


class SingleFlight(Generic[T]):
    """Single flight: concurrent callers share one execution of a slow function.

    Callers that arrive during a call wait for it and share its result or exception. Thread-safe.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._running: Future[T] | None = None
        self._lock = threading.Lock()

    def call(self, seconds: float) -> T:
        """Call the function, or wait at most `seconds` for the running call. Raises TimeoutError after that."""
        with self._lock:
            running = self._running
            if running is None:
                mine = self._running = Future()
        if running is not None:
            return running.result(seconds)
        try:
            mine.set_result(self._function())
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                self._running = None
        return mine.result()


class Busy(ConveyorError):
    """All slots for searches are taken, and this search would have waited too long."""

    def __init__(self) -> None:
        super().__init__("too many are searching at the moment", hint="try again in a few seconds")


class SearchSlots:
    """A limit on concurrent searches: each reads many jobs."""

    def __init__(self) -> None:
        self._admitted = threading.BoundedSemaphore(MAX_SEARCHES + MAX_WAITING)
        self._running = threading.BoundedSemaphore(MAX_SEARCHES)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot for the block. Raises Busy if too many want one."""
        if not self._admitted.acquire(blocking=False):
            raise Busy
        try:
            if not self._running.acquire(timeout=MAX_WAIT):
                raise Busy
            try:
                yield
            finally:
                self._running.release()
        finally:
            self._admitted.release()


class CachedPage(NamedTuple):
    """A page as it was last made: its snapshot, what it shows, and a string that names this state of it."""

    snapshot: Snapshot
    view: Any
    version: str


class _Kept(NamedTuple):
    at: float
    what: Any
    """A cached page (None: gone), or the reply to a slow question."""


class PageCache:
    """The last state of each page by address, and the replies to slow questions. Thread-safe."""

    def __init__(self) -> None:
        self._pages: dict[str, _Kept] = {}
        self._slow: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def age(self, address: str) -> float:
        """Return the seconds since a page was last made; infinite if it was not."""
        kept = self._pages.get(address)
        return float("inf") if kept is None else clock.monotonic() - kept.at

    def get(self, address: str, max_age: float) -> CachedPage | None:
        """Return a page that is younger than `max_age` seconds, or None."""
        kept = self._pages.get(address)
        return None if kept is None or clock.monotonic() - kept.at >= max_age else kept.what

    def make(self, page: Page, request: PageRequest, snapshot: Snapshot, replies: Any) -> CachedPage:
        """Make a page of the replies to its question, and cache it. Raises what its view raises."""
        view = page.view(request, snapshot, replies)
        made = CachedPage(snapshot, view, version_of(view))
        self._keep(self._pages, request.address, made)
        return made

    def forget(self, address: str) -> None:
        """Note that what a page is about is gone."""
        self._keep(self._pages, address, None)

    def question(self, page: Page, request: PageRequest, snapshot: Snapshot) -> Query[Any]:
        """Return a page's question, with its slow one unless there is a valid reply to that."""
        quick = page.question(request, snapshot)
        if page.slow is None:
            return quick
        kept = self._slow.get(request.address)
        if kept is not None and clock.monotonic() - kept.at < SLOW_EVERY:
            return quick.map(lambda first: (first, kept.what))

        def keep(pair: Sequence[Any]) -> tuple[Any, Any]:
            first, second = pair
            self._keep(self._slow, request.address, second)
            return first, second

        return together([quick, page.slow(request, snapshot)]).map(keep)

    def _keep(self, table: dict[str, _Kept], address: str, what: Any) -> None:
        with self._lock:
            table.pop(address, None)  # so that the oldest is the first
            if len(table) >= MAX_CACHED:
                del table[next(iter(table))]
            table[address] = _Kept(clock.monotonic(), what)


class PageSchedule:
    """Chooses the watched pages of the next round trip, so that their number never delays the live numbers."""

    def __init__(self, cache: PageCache) -> None:
        self.has_costly = False
        """True if the last choice has costly pages. The next one then has none, and so shows how fast the server is."""
        self._cache = cache
        self._chosen: dict[str, float] = {}
        self._refused: dict[str, float] = {}

    def choose(self, watched: Pages) -> Pages:
        """Return the pages that have waited longest; a costly one at most every ten seconds."""
        now = clock.monotonic()
        watched = self.permitted(watched)
        self._chosen = {address: at for address, at in self._chosen.items() if address in watched}
        ages = {address: now - self._chosen.get(address, float("-inf")) for address in watched}
        light, costly = split_costly(watched)
        oldest = sorted(costly, key=ages.__getitem__, reverse=True)
        due = [one for one in oldest if min(ages[one], self._cache.age(one)) > SLOW_EVERY]
        chosen = [] if self.has_costly else due[:MAX_COSTLY]
        self.has_costly = bool(chosen)
        chosen += sorted(light, key=ages.__getitem__, reverse=True)[: MAX_PAGES - len(chosen)]
        self._chosen.update(dict.fromkeys(chosen, now))
        return {address: watched[address] for address in chosen}

    def permitted(self, pages: Pages) -> Pages:
        """Return the pages whose question the server has not refused lately."""
        now = clock.monotonic()
        self._refused = {address: until for address, until in self._refused.items() if until > now}
        return {address: one for address, one in pages.items() if address not in self._refused}

    def refuse(self, address: str) -> None:
        """Leave a page out for a while, since the server refused its question."""
        self._refused = {**self._refused, address: clock.monotonic() + LEFT_OUT}


def split_costly(pages: Pages) -> tuple[Pages, Pages]:
    """Return the pages whose question is little work, and the others."""
    costly = {address for address, (page, request) in pages.items() if page.costly(request)}
    light = {address: one for address, one in pages.items() if address not in costly}
    return light, {address: pages[address] for address in pages if address in costly}


class Subscriber(Protocol):
    """A viewer that the poller notifies."""

    @property
    def addresses(self) -> Iterable[str]:
        """Addresses of the pages that are open."""

    @property
    def access(self) -> Access | None:
        """What the viewer may see; None: everything."""

    def notify(self, topic: str, data: object) -> None:
        """Receive an update. A newer one on a topic replaces one that was not sent yet. Thread-safe."""


def pages_at(addresses: Iterable[str], access: Access | None, registry: PageRegistry) -> Pages:
    """Return the pages at some addresses, without those that do not exist or that the viewer may not see."""
    found = {address: registry.find(address) for address in addresses}
    return {
        address: one
        for address, one in found.items()
        if one is not None and (access is None or one[0].missing(one[1], access) is None)
    }


class PagePoller(polling.Poller):
    """Polls the server for all viewers, with the pages that they watch. Thread-safe."""

    def __init__(self, client: Client, registry: PageRegistry) -> None:
        super().__init__(lambda query: self.ask(query, "sample"), self._poll_for_all, self._is_watched)
        self.client = client
        self.registry = registry
        self.timings, self.polls = Timings(), Timings()
        """Round trips to the server by purpose, and all polls for subscribers under an empty name."""
        self.searches = SearchSlots()
        self._subscribers: dict[Subscriber, Pages] = {}
        self._cache = PageCache()
        self._schedule = PageSchedule(self._cache)
        self._refreshing = SingleFlight(self._refresh)
        self._watched: frozenset[str] = frozenset()
        """Addresses that the polls bring while there are subscribers."""
        self._failing: set[str] = set()
        """Addresses whose page could not be made the last time; logged once."""

    @property
    def subscribers(self) -> list[Subscriber]:
        """The subscribers now."""
        return list(self._subscribers)

    def _is_watched(self) -> bool:
        return bool(self._subscribers)

    def page(self, page: Page, request: PageRequest) -> CachedPage:
        """Return a page that is at most a second old or, if it is watched, of the last poll.

        Raises NoSuchThing, StoreError without a reply, Busy if too many are searching, or what the question raises.
        """
        cached = self.cached(page, request)
        if cached is not None:
            return cached
        with self.searches.slot() if page.costly(request) else nullcontext():
            return self.cached(page, request) or self._page(page, request)

    def _page(self, page: Page, request: PageRequest) -> CachedPage:
        self.fresh()
        try:
            return self._make_now(page, request)
        except NoSuchThing:  # it may be younger than the snapshot
            if self.age < YOUNG and not self.snapshot.is_partial:
                raise
        self.poll_snapshot()
        return self._make_now(page, request)

    def _make_now(self, page: Page, request: PageRequest) -> CachedPage:
        replies = self.ask(self._cache.question(page, request, self.snapshot))
        return self._cache.make(page, request, self.snapshot, replies)

    def cached(self, page: Page, request: PageRequest) -> CachedPage | None:
        """Return a page from the cache if it is as good as a new one, or None; asks no one."""
        max_age = polling.STEPS[0]
        if self._subscribers and request.address in self._watched:
            max_age = 2 * self.interval.seconds + (SLOW_EVERY if page.costly(request) else 0.0)
        return self._cache.get(request.address, max_age)

    def fresh(self) -> Snapshot:
        """Return a snapshot that is at most one interval old; polls if the server did not reply the last time.

        Concurrent callers share one poll. Raises StoreError.
        """
        if self._is_fresh():
            return self.snapshot
        try:
            return self._refreshing.call(WITHIN)
        except TimeoutError:
            raise StoreUnavailable(f"no reply from the server within {WITHIN:g} s") from None

    def _is_fresh(self) -> bool:
        return self.age < self.interval.seconds

    def _refresh(self) -> Snapshot:
        # The call before may just have ended.
        return self.snapshot if self._is_fresh() else self.poll_snapshot()

    def versions(self, pages: Pages) -> dict[str, str]:
        """Return the version of each page, by address; those that are not cached are asked in one round trip.

        A page that cannot be made, or must wait for a search slot, is left out. Raises StoreError without a reply.
        """
        cached = {address: self.cached(*one) for address, one in pages.items()}
        found = {address: one.version for address, one in cached.items() if one is not None}
        light, costly = split_costly(
            {address: one for address, one in pages.items() if cached[address] is None}
        )
        with suppress(Busy), self.searches.slot() if costly else nullcontext():
            some = dict(list(costly.items())[:MAX_COSTLY])
            return found | self._versions_now({**some, **light})
        return found | self._versions_now(light)

    def _versions_now(self, pages: Pages) -> dict[str, str]:
        pages = self._schedule.permitted(pages)
        questions = self._questions(pages, self.snapshot)
        _, *replies = ask_isolated(self.ask, known(None), questions, self._refuse(pages))
        return self._make_all(pages, replies)[0]

    def ask(self, query: Query[T], name: str = "page") -> T:
        """Ask in one round trip, timed under a name. Raises StoreUnavailable soon if the server is unavailable."""
        with self.timings.timed(name) if query.commands else nullcontext():
            return query.ask(self.client, patience=PATIENCE, within=WITHIN)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Notify a subscriber from now on."""
        with self._lock:
            self._subscribers[subscriber] = pages_at(subscriber.addresses, subscriber.access, self.registry)
        self.wake()

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Notify a subscriber no more."""
        with self._lock:
            self._subscribers.pop(subscriber, None)
        self.wake()

    def _poll_for_all(self) -> None:
        with self._lock:
            subscribers = dict(self._subscribers)
        watched = {one[1].address: one for pages in subscribers.values() for one in pages.values()}
        self._watched = frozenset(watched)
        pages = self._schedule.choose(watched)
        try:
            # A search does not show how fast the server is.
            replies = self.poll(
                lambda snapshot: self._questions(pages, snapshot),
                adapt=not self._schedule.has_costly,
                on_refused=self._refuse(pages),
            )
        except StoreError as error:
            for subscriber in subscribers:
                subscriber.notify("trouble", {"why": str(error), "try": error.hint})
            return
        self.polls.add("", self.took)
        versions, errors = self._make_all(pages, replies)
        self._log_errors(errors)
        stats = live_stats(self.snapshot, self.interval.seconds)
        for subscriber, its_pages in subscribers.items():
            subscriber.notify("pulse", stats)
            for address, (_, request) in its_pages.items():
                if request.address in versions:
                    update = {"address": address, "version": versions[request.address]}
                    subscriber.notify(f"changed {address}", update)

    def _questions(self, pages: Pages, snapshot: Snapshot) -> list[Query[Any]]:
        """Return the question of each page; the value of a question that cannot be made is the error."""
        made = [result_or_error(self._cache.question, *one, snapshot) for one in pages.values()]
        return [one if isinstance(one, Query) else known(one) for one in made]

    def _refuse(self, pages: Pages) -> Callable[[int], None]:
        """Return a function that leaves out the page at a position, since the server refused its question."""
        addresses = list(pages)
        return lambda position: self._schedule.refuse(addresses[position])

    def _make_all(self, pages: Pages, replies: Sequence[Any]) -> tuple[dict[str, str], dict[str, Exception]]:
        """Make and cache pages; returns the version of each, and the errors of those that cannot be made."""
        versions, errors = {}, {}
        for (address, (page, request)), reply in zip(pages.items(), replies, strict=True):
            made = reply
            if not isinstance(reply, Exception):
                made = result_or_error(self._cache.make, page, request, self.snapshot, reply)
            if isinstance(made, CachedPage):
                versions[address] = made.version
            elif isinstance(made, ConveyorError):
                # Such as a job that is gone; who asks for the page sees why.
                versions[address] = "gone"
                self._cache.forget(address)
            else:
                errors[address] = made
        return versions, errors

    def _log_errors(self, errors: Mapping[str, Exception]) -> None:
        for address, error in errors.items():
            if address not in self._failing:
                _log.error("the page %s cannot be made", address, exc_info=error)
        self._failing = set(errors)
