"""Opaque cursors of lists: where the page before ended, in a text that callers carry and do not read."""

from __future__ import annotations

import base64
import binascii

from conveyor.errors import BadCall


def cursor_of(last: str) -> str:
    """Give the cursor for what comes after `last`."""
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def after(cursor: str) -> str:
    """Give what the page before ended with; empty for the first page. Raises BadCall for what is no cursor."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return data.decode()
    except (ValueError, binascii.Error):
        message = f"{cursor!r:.80} is no cursor"
        raise BadCall(message, hint="use `next` of a page, or none to begin at the front") from None


def place_after(cursor: str) -> int:
    """Give the place in a list at which a page begins, 0 for the first page. Raises BadCall for what is none."""
    text = after(cursor) or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 8):  # noqa: PLR2004 - no list is that long
        message = f"{cursor!r:.80} is no cursor"
        raise BadCall(message, hint="use `next` of a page, or none to begin at the front")
    return int(text)
