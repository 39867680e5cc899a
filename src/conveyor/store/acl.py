"""What the server's user may not do: done without where that is possible, else with a word on what to grant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conveyor.store.command import Command

_COMMAND = re.compile(r"User (\S+) has no permissions to run the '([\w|-]+)' command", re.IGNORECASE)
_FORBIDDEN = "no permissions"
_UNKNOWN = "unknown command"  # hosted servers take CONFIG away
_MANUAL = "docs/running.md has the whole line"


def spared(command: Command, reply: Any) -> Any:
    """Return the answer to a command; None for one that need not be permitted, and is not, or is not there."""
    if not command.optional or not isinstance(reply, Exception):
        return reply
    refusal = str(reply)
    return None if is_denial(refusal) or refusal.lower().startswith(_UNKNOWN) else reply


def is_denial(refusal: str) -> bool:
    """Return True if the server refused for lack of rights, be it the command or one within its script."""
    return _FORBIDDEN in refusal.lower()


def to_grant(refusal: str) -> str:
    """Give a hint on what the user needs, by the words of the refusal."""
    if found := _COMMAND.search(refusal):
        return f"grant it: ACL SETUSER {found[1]} +{found[2]}; {_MANUAL}"
    if is_denial(refusal):
        return f"grant the user Conveyor's keys: ACL SETUSER … ~conveyor:*; {_MANUAL}"
    return "give user and password in the URL, and the user the rights named in docs/running.md"
