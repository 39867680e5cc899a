"""Files with secrets: read when they change, refused when others can read them."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from conveyor.dashboard.access.faults import BadFile, BadPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

Row = TypeVar("Row")
_LARGEST = 2**20  # bytes
_NAME = re.compile(r"[^\s:#\x00-\x1f\x7f](?:[^:\x00-\x1f\x7f]{0,126}[^\s:\x00-\x1f\x7f])?")
_Signature = tuple[int, int, int]


def checked_name(name: str) -> str:
    """Give the name of a user or token; BadPolicy if a file cannot hold it."""
    if not _NAME.fullmatch(name):
        message = f"{name!r} is no name: 1 to 128 characters, no colon, no line break, no # in front"
        raise BadPolicy(message)
    return name


class SecretFile(Generic[Row]):
    """The rows of a file, by name, as they are now.

    One line a row, its name before the first colon; empty lines and those that begin with # are left out. `rows`
    reads the file again when it was changed, and raises BadFile when it is not as it must be: a file that others can
    read or change, or with a line that makes no sense, lets nobody in.
    """

    def __init__(self, path: Path | str, read: Callable[[str], tuple[str, Row]]) -> None:
        self.path = Path(path)
        self._read = read
        self._signature: _Signature | None = None
        self._rows: dict[str, Row] = {}

    def rows(self) -> dict[str, Row]:
        """Give the rows by name."""
        try:
            found = self.path.stat()
            if _signature(found) != self._signature:
                with self.path.open("rb") as file:
                    found = os.fstat(file.fileno())
                    self._check(found)
                    self._rows = self._parsed(file.read(_LARGEST).decode())
                    self._signature = _signature(found)
            self._check(found)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            message = f"{self.path} cannot be read: {reason}"
            raise BadFile(message) from error
        return self._rows

    def write(self, name: str, line: str) -> None:
        """Put a line into the file in place of the one with the same name; makes the file if there is none."""
        kept = []
        if self.path.exists():
            self.rows()
            kept = [old for old in self.path.read_text().splitlines() if old.partition(":")[0] != name]
        text = "\n".join([*kept, line, ""])
        handle, new = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
            Path(new).replace(self.path)  # mkstemp made it with mode 0600
        except BaseException:
            Path(new).unlink(missing_ok=True)
            raise

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            message = f"{self.path} is not a file"
            raise BadFile(message)
        if found.st_uid not in {0, os.geteuid()}:
            message = f"{self.path} belongs to another user"
            raise BadFile(message)
        if found.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            message = f"{self.path} can be read or changed by other users of this machine"
            raise BadFile(message, hint=f"Run: chmod 600 {self.path}")
        if found.st_size > _LARGEST:
            message = f"{self.path} has more than {_LARGEST} bytes"
            raise BadFile(message)

    def _parsed(self, text: str) -> dict[str, Row]:
        rows: dict[str, Row] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            try:
                name, row = self._read(line)
                if checked_name(name) in rows:
                    message = f"{name!r} is there twice"
                    raise ValueError(message)
            except ValueError as error:
                message = f"{self.path}, line {number}: {error}"
                raise BadFile(message) from error
            rows[name] = row
        return rows


def _signature(found: os.stat_result) -> _Signature:
    return found.st_mtime_ns, found.st_size, found.st_ino
