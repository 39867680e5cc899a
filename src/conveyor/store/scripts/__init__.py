"""The server-side verbs, one Lua file each, and the loader that prepends their shared parts."""

from __future__ import annotations

import functools
import hashlib
import re
from importlib import resources

_USE = re.compile(r"^-- use: (.+)$", re.MULTILINE)


class Script:
    """A verb as it is sent to the server: the shared parts that it names, then its own text."""

    __slots__ = ("name", "sha", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"<Script {self.name}>"


@functools.cache
def load(name: str) -> Script:
    """Return the script `name`. A line `-- use: a, b` in it prepends shared/a.lua and shared/b.lua in that order."""
    own = _read(f"{name}.lua")
    shebang, _, body = own.partition("\n")
    used = _USE.search(own)
    shared = ["queue", *(used[1].split(", ") if used else [])]
    return Script(name, "\n".join([shebang, *(_read(f"shared/{part}.lua") for part in shared), body]))


@functools.cache
def load_plain(name: str) -> Script:
    """Return the script plain/`name`, which moves no job and shares no parts with others."""
    return Script(name, _read(f"plain/{name}.lua"))


def load_all() -> None:
    """Read all scripts now: a process that runs users' code may be out of file descriptors later."""
    for name in names():
        load(name)
    for name in ("answer", "tell", "report", "progress"):
        load_plain(name)


def names() -> list[str]:
    """Return the names of all verbs."""
    return sorted(
        file.name[:-4] for file in resources.files(__name__).iterdir() if file.name.endswith(".lua")
    )


def _read(file: str) -> str:
    return (resources.files(__name__) / file).read_text("utf-8")
