"""How one page's own code is tried without harm to the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable


def tried(make: Callable[..., Any], *given: Any) -> Any:
    """Give what a page's own code makes, or its error: one page must not keep the others. Raises StoreUnavailable."""
    try:
        return make(*given)
    except StoreUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a page does wrong
        return error
