"""What a page is: a path, the right to see it, what it asks the server, and what it shows of the replies."""

from __future__ import annotations

import bisect
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from starlette.routing import compile_path

from conveyor.errors import ConveyorError
from conveyor.store.query import Query
from conveyor.wire import ids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conveyor.dashboard.access.rights import Access, Right
    from conveyor.monitor.snapshot import Snapshot


#: Characters of an address that can be watched.
MAX_ADDRESS = 2000
#: Filters in the query string.
MAX_FILTERS = 50


class NoSuchThing(ConveyorError):
    """The page is about something that does not exist: a queue, a job, a worker."""

    def __init__(self, message: str, *, hint: str = "", may_come: str = "") -> None:
        super().__init__(message, hint=hint)
        self.may_come = may_come
        """What may begin to exist, "queue" or "worker", so that the error page polls again; or ""."""


def with_queue(snapshot: Snapshot, queue: str) -> Snapshot:
    """Return the snapshot with a queue on which no job was put yet, but workers take from it.

    A snapshot that has it is returned as it is. Raises NoSuchThing for an unknown queue, but not for "".
    """
    snapshot = snapshot.with_queue(queue)
    if queue and queue not in snapshot.queues:
        hint = "check the name, or put a job on the queue to create it"
        raise NoSuchThing(f"no queue is called {queue:.120}", hint=hint, may_come="queue")
    return snapshot


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What a visitor asks for: the parts of the path, and the filters in the query string."""

    path: str
    """Unquoted."""
    parts: Mapping[str, str] = field(default_factory=dict)
    filters: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The address below the dashboard's root, by which the page is cached: one for each distinct request."""
        # Quoted, since a part with a question mark in it would read as filters.
        return href(quote(self.path, safe="/:"), **self.filters)


def href(path: str, /, **filters: str | int) -> str:
    """Return an address below the root; empty filters are left out, the others sorted."""
    given = {name: value for name, value in sorted(filters.items()) if value}
    return f"{path}?{urlencode(given)}" if given else path


def job_path(queue: str, job_id: str) -> str:
    """Return the address of a job's page."""
    return f"/queues/{quote(queue)}/jobs/{quote(job_id, safe=':')}"


def _ask_nothing(_: PageRequest, __: Snapshot) -> Query[None]:
    return Query((), lambda _: None)


@dataclass(frozen=True, slots=True)
class Page:
    """One kind of page. Both functions are pure, so the poller may call them for any number of viewers at once."""

    name: str
    """Also that of its template."""
    path: str
    """With parts in braces, such as /queues/{queue}."""
    title: str
    view: Callable[[PageRequest, Snapshot, Any], Any]
    """Makes what the template shows, as a value. Raises NoSuchThing. Times in it are moments, never running durations,
    so that a view equals the one before unless something happened."""
    question: Callable[[PageRequest, Snapshot], Query[Any]] = _ask_nothing
    slow: Callable[[PageRequest, Snapshot], Query[Any]] | None = None
    """What is asked at most every ten seconds, such as histories; the view then gets a pair of both replies."""
    costly: Callable[[PageRequest], bool] = lambda _: False
    """True if the question is so much work that a watched page asks it only every ten seconds, such as a search."""
    right: Right = "look"
    inspects: Callable[[PageRequest], bool] = lambda _: False
    """True if the request also needs the right to inspect, such as a search in arguments."""
    menu: str = ""
    """The page's entry in the menu; "" without one."""
    key: str = ""
    """The letter that goes there, after a g."""
    section: str = ""
    """The menu entry that is marked on a page without an entry of its own."""

    def request(self, path: str, parts: Mapping[str, str], filters: Mapping[str, str]) -> PageRequest | None:
        """Return what a path that matches the page's own asks for, or None if it has an invalid queue name."""
        is_valid = ids.is_queue_name(parts.get("queue", "any")) and not {"\r", "\n"} & set(path)
        return PageRequest(path, parts, filters) if is_valid else None

    def missing(self, request: PageRequest, access: Access) -> Right | None:
        """Return the right that the client lacks to see this, or None."""
        needed: tuple[Right, ...] = (self.right, "inspect") if self.inspects(request) else (self.right,)
        return next((right for right in needed if not access.may(right)), None)


class PageRegistry:
    """All pages, and which of them a watched address is: by the patterns of their routes."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self.pages = pages
        self._patterns = [(compile_path(one.path)[0], one) for one in pages]

    def find(self, address: str) -> tuple[Page, PageRequest] | None:
        """Return the page at an address below the root, and what it is asked for, or None."""
        if len(address) > MAX_ADDRESS:
            return None
        try:
            split = urlsplit(address)
            filters = dict(parse_qsl(split.query, max_num_fields=MAX_FILTERS)) if split.query else {}
        except ValueError:  # a visitor's own text: stray brackets, or too many filters
            return None
        path = unquote(split.path)
        for pattern, page in self._patterns:
            found = pattern.fullmatch(path)
            request = page.request(path, found.groupdict(), filters) if found else None
            if request is not None:
                return page, request
        return None


def version_of(view: object) -> str:
    """Return a short string that differs if two views differ in more than the live numbers.

    A view that shows live numbers has a method `version_key` that returns the rest.
    """
    key = view.version_key() if hasattr(view, "version_key") else view
    return hashlib.blake2b(repr(key).encode(errors="backslashreplace"), digest_size=8).hexdigest()


T = TypeVar("T")


class Slice(NamedTuple, Generic[T]):
    """Part of a list; `previous` and `next` are addresses, "" without one."""

    items: Sequence[T]
    first: int
    """How many come before."""
    total: int
    previous: str
    next: str


def slice_of(
    items: Sequence[T], keys: Sequence[str], request: PageRequest, room: int, sizes: Sequence[int] = ()
) -> Slice[T]:
    """Return the items behind the filter `after` (a key) for which there is room.

    The items are sorted by their keys, so a cursor stays valid while they come and go. `sizes` are their sizes, 1 by
    default; the first is included at any size.
    """
    sizes = sizes or [1] * len(items)
    after = request.filters.get("after", "")
    first = bisect.bisect_right(keys, after) if after else 0
    end = _fitting(sizes[first:], room) + first
    back = first - _fitting(sizes[:first][::-1], room)
    rest = {name: value for name, value in request.filters.items() if name != "after"}
    previous = href(request.path, **rest, after=keys[back - 1] if back else "") if first else ""
    following = href(request.path, **rest, after=keys[end - 1]) if end < len(items) else ""
    return Slice(items[first:end], first, len(items), previous, following)


def _fitting(sizes: Sequence[int], room: int) -> int:
    used = 0
    for position, size in enumerate(sizes):
        used += size
        if used > room and position:
            return position
    return len(sizes)
