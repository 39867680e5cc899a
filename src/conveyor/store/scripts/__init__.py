"""The server-side verbs: one Lua file each. This module reads them and puts together what they share."""

from __future__ import annotations

import functools
import hashlib
import re
from importlib import resources

_USE = re.compile(r"^-- use: (.+)$", re.MULTILINE)


class Script:
    """One verb as the server gets it: the shared parts it names, then its own text."""

    __slots__ = ("name", "sha", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"<Script {self.name}>"


@functools.cache
def load(name: str) -> Script:
    """Give the script `name`; a line `-- use: a, b` in it brings shared/a.lua and shared/b.lua in that order."""
    own = _read(f"{name}.lua")
    shebang, _, body = own.partition("\n")
    used = _USE.search(own)
    shared = ["queue", *(used[1].split(", ") if used else [])]
    return Script(name, "\n".join([shebang, *(_read(f"shared/{part}.lua") for part in shared), body]))


@functools.cache
def load_plain(name: str) -> Script:
    """Give the script plain/`name`, which moves no job and shares nothing with the others."""
    return Script(name, _read(f"plain/{name}.lua"))


def load_all() -> None:
    """Read all scripts now: a process that will run other people's code may not be able to open files later."""
    for name in names():
        load(name)
    for name in ("answer", "tell", "report", "progress"):
        load_plain(name)


def names() -> list[str]:
    """Give the names of all verbs."""
    return sorted(
        file.name[:-4] for file in resources.files(__name__).iterdir() if file.name.endswith(".lua")
    )


def _read(file: str) -> str:
    return (resources.files(__name__) / file).read_text("utf-8")
