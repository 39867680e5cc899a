"""What a page is: an address, the right to see it, what it asks the server, and what it shows of the answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from conveyor.errors import ConveyorError
from conveyor.store.query import Query
from conveyor.wire import ids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conveyor.dashboard.access.rights import Access, Right
    from conveyor.monitor.snapshot import Snapshot

#: Characters of an address that may be watched.
LONGEST_ADDRESS = 2000
#: Filters behind the question mark.
MOST_FILTERS = 50


class NoSuchThing(ConveyorError):
    """The page is about something that is not there: a queue, a job, a worker."""

    def __init__(self, message: str, *, hint: str = "", may_come: str = "") -> None:
        super().__init__(message, hint=hint)
        self.may_come = may_come
        """What may begin to exist, "queue" or "worker": then the page that says so looks again; or empty."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a visitor asked for: the parts of the path, and the filters behind the question mark."""

    path: str
    """As it reads, with nothing quoted."""
    parts: Mapping[str, str] = field(default_factory=dict)
    filters: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The address below the page's root; the same for the same request, and for no other one."""
        given = {name: value for name, value in sorted(self.filters.items()) if value}
        path = quote(self.path, safe="/:")  # else a part with a question mark in it would read as filters
        return f"{path}?{urlencode(given)}" if given else path

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Give a filter as a number; what is none, or out of bounds, counts as the nearest that is allowed."""
        text = self.filters.get(name, "")
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default  # noqa: PLR2004
        return min(max(value, least), most)


def _ask_nothing(_: Wanted, __: Snapshot) -> Query[None]:
    return Query((), lambda _: None)


@dataclass(frozen=True, slots=True)
class Page:
    """One kind of page. Both functions are pure, so a sampler may call them for any number of viewers at once."""

    name: str
    """Also that of its template."""
    path: str
    """With parts in braces, such as /queues/{queue}."""
    title: str
    view: Callable[[Wanted, Snapshot, Any], Any]
    """Makes what the template shows, as a value; raises NoSuchThing. Times in it are moments, never durations that
    run on, so that a view is equal to the one before unless something happened."""
    question: Callable[[Wanted, Snapshot], Query[Any]] = _ask_nothing
    slow: Callable[[Wanted, Snapshot], Query[Any]] | None = None
    """What is asked at most every ten seconds, such as histories; the view then gets a pair of both answers."""
    costly: Callable[[Wanted], bool] = lambda _: False
    """Whether the question is so much work that a watched page asks it only every ten seconds, such as a search."""
    right: Right = "look"
    inspects: Callable[[Wanted], bool] = lambda _: False
    """Whether what is asked for needs the right to inspect besides, such as a search in arguments."""
    menu: str = ""
    """The page's entry in the menu; empty: it has none."""
    key: str = ""
    """The letter that goes there, after a g."""
    section: str = ""
    """The entry of the menu under which the page stands."""

    def match(self, path: str) -> dict[str, str] | None:
        """Give the parts of a path if it is one of this page; None also where a queue cannot be called so."""
        pattern, given = self.path.split("/"), path.split("/")
        if len(pattern) != len(given):
            return None
        parts = {}
        for wanted, word in zip(pattern, given, strict=True):
            if wanted.startswith("{"):
                if not word:
                    return None
                parts[wanted[1:-1]] = word
            elif wanted != word:
                return None
        return parts if ids.is_queue_name(parts.get("queue", "any")) else None

    def missing(self, request: Wanted, access: Access) -> Right | None:
        """Return the right that the client lacks to see this, or None."""
        needed: tuple[Right, ...] = (self.right, "inspect") if self.inspects(request) else (self.right,)
        return next((right for right in needed if not access.may(right)), None)


class Book:
    """All pages."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self.pages = pages

    def find(self, address: str) -> tuple[Page, Wanted] | None:
        """Give the page of an address below the root, and what it is asked for."""
        if len(address) > LONGEST_ADDRESS:
            return None
        try:
            split = urlsplit(address)
            filters = dict(parse_qsl(split.query, max_num_fields=MOST_FILTERS)) if split.query else {}
        except ValueError:  # a visitor's own text: brackets that mean nothing, or too many filters
            return None
        return self.of_path(unquote(split.path), filters)

    def of_path(self, path: str, filters: Mapping[str, str]) -> tuple[Page, Wanted] | None:
        """Give the page of a path, and what it is asked for."""
        for page in self.pages:
            parts = page.match(path)
            if parts is not None:
                return page, Wanted(path, parts, filters)
        return None


def version_of(view: object) -> str:
    """Give a short text that differs where two views differ in more than the numbers which every pulse brings anyway.

    A view with such numbers has a method `essence` that gives the rest.
    """
    essence = view.essence() if hasattr(view, "essence") else view
    return hashlib.blake2b(repr(essence).encode(errors="backslashreplace"), digest_size=8).hexdigest()
