"""Who is told by the sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


class Watcher(Protocol):
    """Somebody who wants to be told."""

    @property
    def addresses(self) -> Iterable[str]:
        """The pages that this one has open."""

    def tell(self, topic: str, data: object) -> None:
        """Take news in; from any thread. Newer ones on a topic replace what was not sent yet."""
