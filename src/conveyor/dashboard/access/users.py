"""Users with passwords, and tokens for programs, each in a file of its own."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, NamedTuple

from conveyor.dashboard.access.files import SecretFile, checked_name
from conveyor.dashboard.access.passwords import Hash, fits, hashed, read_hash
from conveyor.dashboard.access.rights import Role

if TYPE_CHECKING:
    from pathlib import Path

_NEVER = "never"
_TOKEN_START = "conveyor_"  # noqa: S105  (by which scanners and people know it)


class User(NamedTuple):
    """One who may log in with a password."""

    name: str
    role: Role
    hash: Hash

    @property
    def stamp(self) -> str:
        """Something that is another after each change of password or role."""
        return hashlib.sha256(f"{self.role.word}:{self.hash}".encode()).hexdigest()[:16]


class Token(NamedTuple):
    """What a program shows instead of a password."""

    name: str
    role: Role
    expires: dt.date | None
    digest: bytes


class Users:
    """A users file: lines of `name:role:scrypt$n$r$p$salt$hash`."""

    def __init__(self, path: Path | str) -> None:
        self.file = SecretFile(path, _read_user)

    def find(self, name: str) -> User | None:
        """Give the user of exactly this name; BadFile if the file is not as it must be."""
        return self.file.rows().get(name)

    def verified(self, name: str, password: str) -> User | None:
        """Give the user if the password is theirs. Takes as long for a name that nobody has."""
        user = self.find(name)
        return user if fits(password, user.hash if user else None) else None

    def add(self, name: str, role: Role, password: str) -> None:
        """Write a user into the file, in place of one of the same name; BadPolicy if name or password will not do."""
        self.file.write(name, f"{checked_name(name)}:{role.word}:{hashed(password)}")


class Tokens:
    """A tokens file: lines of `name:role:expires:sha256`, where expires is a date (UTC) or `never`."""

    def __init__(self, path: Path | str) -> None:
        self.file = SecretFile(path, _read_token)

    def verified(self, shown: str) -> Token | None:
        """Give the token that was shown, if it is one and has not expired; BadFile as for users."""
        digest = hashlib.sha256(shown.encode("utf-8", "surrogateescape")).digest()
        found = None
        for token in self.file.rows().values():
            if hmac.compare_digest(token.digest, digest):
                found = token
        today = dt.datetime.now(dt.UTC).date()
        return found if found and (found.expires is None or today < found.expires) else None

    def add(self, name: str, role: Role, expires: dt.date | None) -> str:
        """Make a token, write its hash into the file, and give the token itself, which is kept nowhere.

        It is good until the day `expires` begins (UTC). One of the same name is replaced.
        """
        token = _TOKEN_START + secrets.token_urlsafe(32)
        until = expires.isoformat() if expires else _NEVER
        digest = hashlib.sha256(token.encode()).hexdigest()
        self.file.write(name, f"{checked_name(name)}:{role.word}:{until}:{digest}")
        return token


def _read_user(line: str) -> tuple[str, User]:
    name, role, text = _fields(line, "name:role:hash")
    return name, User(name, Role.of(role), read_hash(text))


def _read_token(line: str) -> tuple[str, Token]:
    name, role, until, text = _fields(line, "name:role:expires:sha256")
    expires = None if until == _NEVER else dt.date.fromisoformat(until)
    digest = bytes.fromhex(text)
    if len(digest) != hashlib.sha256().digest_size:
        message = "the hash of a token has 64 hexadecimal digits"
        raise ValueError(message)
    return name, Token(name, Role.of(role), expires, digest)


def _fields(line: str, form: str) -> list[str]:
    fields = line.strip().split(":")
    if len(fields) != len(form.split(":")):
        message = f"not of the form {form}"
        raise ValueError(message)
    return fields
