"""What can be wrong with the settings of the page's security, and with a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.errors import ConveyorError

if TYPE_CHECKING:
    from conveyor.dashboard.access.rights import Right


class BadPolicy(ConveyorError, ValueError):
    """The settings make no sense or are not safe; the page must not start with them."""


class BadFile(BadPolicy):
    """A file of users or tokens cannot be read, is open to others, or has a line that makes no sense."""


class Forbidden(ConveyorError):
    """The client lacks a right."""

    def __init__(self, right: Right) -> None:
        super().__init__(f"this needs the right “{right}”")
        self.right = right
