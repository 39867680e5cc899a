"""The server-side verbs, one Lua file each, and the loader that adds their shared parts."""

from __future__ import annotations

import functools
import hashlib
import re
from importlib import resources

_USE = re.compile(r"^-- use: (.+)\n", re.MULTILINE)
_DEFINITION = re.compile(r"^(?=local )", re.MULTILINE)
_NAMES = re.compile(r"local (?:function )?(\w+(?:, \w+)*)")
_WORD = re.compile(r"[A-Za-z_]\w*")
_COMMENT = re.compile("--.*")


class Script:
    """A verb as it is sent to the server: its own text, with what it uses of the shared parts."""

    __slots__ = ("name", "sha", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"<Script {self.name}>"


@functools.cache
def load(name: str) -> Script:
    """Return the script `name`. In place of a line `-- use: a, b` it has shared/a.lua and shared/b.lua, in that order.

    Definitions that it does not use are left out, since the server makes each of them again in every run. For the same
    reason, a verb returns early where it can, and names the parts for the rare cases behind that.
    """
    own = _read(f"{name}.lua")
    shebang, _, body = own.partition("\n")
    *pieces, last = _USE.split(f"-- use: queue\n{body}")
    texts, wanted = [last], _words(last)
    for text, parts in zip(reversed(pieces[::2]), reversed(pieces[1::2]), strict=True):
        for part in reversed(parts.split(", ")):
            for names, words, definition in reversed(_definitions(_read(f"shared/{part}.lua"))):
                if not wanted.isdisjoint(names):
                    texts.append(definition)
                    wanted |= words
        texts.append(text)
        wanted |= _words(text)
    return Script(name, "\n".join([shebang, *reversed(texts)]))


@functools.cache
def _definitions(part: str) -> list[tuple[list[str], set[str], str]]:
    """Return the definitions in a text: of each the names that it defines, all words in it, and its own text."""
    texts = _DEFINITION.split(_COMMENT.sub("", part))
    found = [(_NAMES.match(text), text) for text in texts]
    return [(names[1].split(", "), _words(text), text) for names, text in found if names]


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


@functools.cache
def _read(file: str) -> str:
    return (resources.files(__name__) / file).read_text("utf-8")


def _words(text: str) -> set[str]:
    return set(_WORD.findall(_COMMENT.sub("", text)))
