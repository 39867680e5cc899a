"""Who is told by the sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.dashboard.access.rights import Access
    from conveyor.dashboard.page import Book, Page, Wanted


class Watcher(Protocol):
    """Somebody who wants to be told."""

    @property
    def addresses(self) -> Iterable[str]:
        """The pages that this one has open."""

    @property
    def access(self) -> Access | None:
        """What this one may do; None: see everything."""

    def tell(self, topic: str, data: object) -> None:
        """Take news in; from any thread. Newer ones on a topic replace what was not sent yet."""


def pages_at(addresses: Iterable[str], access: Access | None, book: Book) -> dict[str, tuple[Page, Wanted]]:
    """Give the pages at some addresses, as far as there are such pages and they may be seen."""
    pages = {}
    for address in addresses:
        found = book.find(address)
        if found is None:
            continue
        page, wanted = found
        if access is None or page.missing(wanted, access) is None:
            pages[address] = page, wanted
    return pages
