"""Fingerprints of failures: alike are those of one task, type of error, and location in the user's code."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

_FRAME = re.compile(r'^[ |]*File "(.+)", line (\d+), in (.+)$')
_CHAINS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
_FOREIGN = re.compile(
    r"[\\/](?:site|dist)-packages[\\/]|[\\/]lib(?:64)?[\\/]python\d[\d.]*[\\/]|^<|[\\/]conveyor[\\/]consumer[\\/]execution\.py$"
)
_BUILT_IN_TASKS = re.compile(r"[\\/]conveyor[\\/]task_def[\\/]")


class CodeLocation(NamedTuple):
    """A line of code: file name without folders, line number, function."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}"


def fingerprint(task: str, kind: str, traceback: str = "") -> str:
    """Return eight hexadecimal digits that are equal for failures with the same cause.

    Messages, line numbers and folders do not count: they differ between runs, versions and hosts.
    """
    location = innermost(traceback)
    where = (location.file, location.function) if location else ("", "")
    text = "\0".join((task, kind, *where))
    return hashlib.blake2s(text.encode(errors="backslashreplace"), digest_size=4).hexdigest()


def innermost(traceback: str) -> CodeLocation | None:
    """Return the last location of a traceback in the user's code, or else the last one, or None if there is none."""
    own = last = None
    for path, line, function in _frames(traceback):
        last = CodeLocation(re.split(r"[\\/]", path)[-1], int(line), function)
        if _is_own(path):
            own = last
    return own or last


class TracebackPart(NamedTuple):
    """Consecutive lines of a traceback."""

    of: str
    """own: locations in the user's code; library: locations in other code; otherwise empty, such as the message."""
    text: str
    places: int


def traceback_parts(traceback: str) -> list[TracebackPart]:
    """Split a traceback into parts of the same kind; joined by line feeds, they are the traceback."""
    found = []
    for of, some in itertools.groupby(_lines(traceback), key=itemgetter(1)):
        lines = [line for line, _ in some]
        found.append(TracebackPart(of, "\n".join(lines), sum(bool(_FRAME.match(line)) for line in lines)))
    return found


def _lines(traceback: str) -> list[tuple[str, str]]:
    """Return each line, and whose code it belongs to."""
    found, of = [], ""
    for line in traceback.rstrip("\n").split("\n"):
        frame = _FRAME.match(line)
        if frame:
            of = "own" if _is_own(frame[1]) else "library"
        elif line[:4].strip(" |") or not line.strip():
            of = ""
        found.append((line, of))
    return found


def _frames(traceback: str) -> list[tuple[str, str, str]]:
    """Return the frames of the final exception, without those of its causes or in its message."""
    for chain in _CHAINS:
        traceback = traceback.rpartition(f"\n{chain}\n")[2]
    frames: list[tuple[str, str, str]] = []
    for line in traceback.split("\n"):
        found = _FRAME.match(line)
        if found:
            frames.append((found[1], found[2], found[3]))
        elif frames and line[:1] not in {" ", ""}:  # the exception itself; its message follows
            break
    return frames


def _is_own(path: str) -> bool:
    if _BUILT_IN_TASKS.search(path):
        return True
    return not path.startswith(_PACKAGE) and not _FOREIGN.search(path)
