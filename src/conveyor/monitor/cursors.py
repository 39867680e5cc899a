"""Opaque cursors of lists: where the page before ended, in a text that callers carry and do not read."""

from __future__ import annotations

import base64
import binascii

from conveyor.errors import BadCall

#: Characters of a cursor.
LONGEST = 1000


def cursor_of(last: str) -> str:
    """Give the cursor for what comes after `last`."""
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def after(cursor: str) -> str:
    """Give what the page before ended with; empty for the first page. Raises BadCall for what is no cursor."""
    try:
        if len(cursor) > LONGEST:
            raise ValueError
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return data.decode()
    except (ValueError, binascii.Error):
        raise none(cursor) from None


def none(cursor: str) -> BadCall:
    """Give the error that says that a text is no cursor."""
    message = f"{cursor!r:.80} is no cursor"
    return BadCall(message, hint="use one that came with a page, or none to begin at the front")
