"""Users with passwords, and tokens for programs, each in a file that no other user can read."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import os
import re
import secrets
import stat
import tempfile
import unicodedata
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from conveyor.dashboard.access.rights import BadPolicy, Role

Row = TypeVar("Row")
_MAX_FILE = 2**20  # bytes
_NAME = re.compile(r"[^\s:#\x00-\x1f\x7f](?:[^:\x00-\x1f\x7f]{0,126}[^\s:\x00-\x1f\x7f])?")
_NEVER = "never"
_TOKEN_START = "conveyor_"  # noqa: S105 - by which scanners and people recognize it
# scrypt with 16 MiB and about a seventh of a second for one attempt: what OWASP recommends for little memory.
_N, _R, _P = 2**14, 8, 5
_SALT_BYTES, _HASH_BYTES = 16, 32
_MIN_PASSWORD = 8
#: Bytes. A file must not make one login take all the memory.
_MAX_MEMORY = 128 * 2**20


class BadFile(BadPolicy):
    """A file of users or tokens cannot be read, is open to other users, or has an invalid line."""


class Hash(NamedTuple):
    """Hash of a password, with the parameters to compute it again."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def __str__(self) -> str:
        return f"scrypt${self.n}${self.r}${self.p}${_encode(self.salt)}${_encode(self.digest)}"


def hashed(password: str) -> str:
    """Return the hash of a new password, as a users file has it. Raises BadPolicy for fewer than 8 characters."""
    if len(password) < _MIN_PASSWORD:
        raise BadPolicy(f"a password needs at least {_MIN_PASSWORD} characters")
    salt = os.urandom(_SALT_BYTES)
    return str(Hash(_N, _R, _P, salt, _scrypt(password, _N, _R, _P, salt)))


def read_hash(text: str) -> Hash:
    """Parse what `hashed` returned. Raises ValueError for anything else, or if its cost is out of bounds."""
    kind, *rest = text.split("$")
    if kind != "scrypt" or len(rest) != 5:  # noqa: PLR2004 - n, r, p, salt, hash
        raise ValueError("not of the form scrypt$n$r$p$salt$hash")
    n, r, p = (int(number) for number in rest[:3])
    if n < _N or n & (n - 1) or r < 1 or not 1 <= p <= 16 or 128 * n * r > _MAX_MEMORY:  # noqa: PLR2004
        raise ValueError("its cost is out of bounds")
    found = Hash(n, r, p, _decode(rest[3]), _decode(rest[4]))
    if len(found.salt) < _SALT_BYTES or len(found.digest) != _HASH_BYTES:
        raise ValueError("salt or hash has the wrong length")
    return found


def fits(password: str, expected: Hash | None) -> bool:
    """Return True if this is the password. Takes as long for None, which no password fits."""
    known = expected or _DECOY
    made = _scrypt(password, known.n, known.r, known.p, known.salt)
    return hmac.compare_digest(made, known.digest) and expected is not None


def _scrypt(password: str, n: int, r: int, p: int, salt: bytes) -> bytes:
    # The same password may be typed with composed or with combined letters.
    secret = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=2 * _MAX_MEMORY, dklen=_HASH_BYTES)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("salt or hash is not base64") from None


_DECOY = Hash(_N, _R, _P, os.urandom(_SALT_BYTES), os.urandom(_HASH_BYTES))


class SecretFile(Generic[Row]):
    """Rows of a file by name, as they are now.

    A row is a line; its name stands before the first colon. Empty lines and lines that begin with # are skipped.
    `rows` reads the file again if it was changed. Raises BadFile if other users can read or change the file, or if
    it has an invalid line: such a file lets no one in.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._state: tuple[int, int, int] | None = None
        self._rows: dict[str, Row] = {}

    def read(self, line: str) -> tuple[str, Row]:
        """Return the name and the row of a line. Raises ValueError for an invalid one."""
        raise NotImplementedError

    def rows(self) -> dict[str, Row]:
        """Return the rows by name."""
        try:
            found = self.path.stat()
            if _state(found) != self._state:
                with self.path.open("rb") as file:
                    found = os.fstat(file.fileno())
                    self._check(found)
                    self._rows = self._parse(file.read(_MAX_FILE).decode())
                    self._state = _state(found)
            self._check(found)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise BadFile(f"{self.path} cannot be read: {reason}") from error
        return self._rows

    def write(self, name: str, line: str) -> None:
        """Write a line, in place of the one with the same name; creates the file if there is none."""
        kept = []
        if self.path.exists():
            self.rows()
            kept = [old for old in self.path.read_text().splitlines() if old.partition(":")[0] != name]
        handle, new = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "w") as file:
                file.write("\n".join([*kept, line, ""]))
            Path(new).replace(self.path)  # mkstemp made it with mode 0600
        except BaseException:
            Path(new).unlink(missing_ok=True)
            raise

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise BadFile(f"{self.path} is not a file")
        if found.st_uid not in {0, os.geteuid()}:
            raise BadFile(f"{self.path} belongs to another user")
        if found.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            message = f"{self.path} can be read or changed by other users of this machine"
            raise BadFile(message, hint=f"run `chmod 600 {self.path}`")
        if found.st_size > _MAX_FILE:
            raise BadFile(f"{self.path} has more than {_MAX_FILE} bytes")

    def _parse(self, text: str) -> dict[str, Row]:
        rows: dict[str, Row] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            try:
                name, row = self.read(line)
                if _checked_name(name) in rows:
                    raise ValueError(f"{name!r} is there twice")
            except ValueError as error:
                raise BadFile(f"{self.path}, line {number}: {error}") from error
            rows[name] = row
        return rows


def _state(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mtime_ns, found.st_size, found.st_ino


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        message = f"invalid name {name!r}: 1 to 128 characters, no colon, no line break, no # in front"
        raise BadPolicy(message)
    return name


class User(NamedTuple):
    """A person who may log in with a password."""

    name: str
    role: Role
    hash: Hash

    @property
    def stamp(self) -> str:
        """A string that differs after each change of password or role."""
        return hashlib.sha256(f"{self.role.word}:{self.hash}".encode()).hexdigest()[:16]


class Users(SecretFile[User]):
    """A users file: lines of `name:role:scrypt$n$r$p$salt$hash`."""

    def read(self, line: str) -> tuple[str, User]:
        """Return a user and the name."""
        name, role, text = _fields(line, "name:role:hash")
        return name, User(name, Role.of(role), read_hash(text))

    def find(self, name: str) -> User | None:
        """Return the user of exactly this name, or None. Raises BadFile for an unsafe or invalid file."""
        return self.rows().get(name)

    def verified(self, name: str, password: str) -> User | None:
        """Return the user if the password is right, or None. Takes as long for an unknown name."""
        user = self.find(name)
        return user if fits(password, user.hash if user else None) else None

    def add(self, name: str, role: Role, password: str) -> None:
        """Write a user into the file, replacing one of the same name. Raises BadPolicy for a bad name or password."""
        self.write(name, f"{_checked_name(name)}:{role.word}:{hashed(password)}")


class Token(NamedTuple):
    """The credential of a program, in place of a password."""

    name: str
    role: Role
    expires: dt.date | None
    digest: bytes


class Tokens(SecretFile[Token]):
    """A tokens file: lines of `name:role:expires:sha256`, where expires is a date (UTC) or `never`."""

    def read(self, line: str) -> tuple[str, Token]:
        """Return a token and its name."""
        name, role, until, text = _fields(line, "name:role:expires:sha256")
        digest = bytes.fromhex(text)
        if len(digest) != hashlib.sha256().digest_size:
            raise ValueError("the hash of a token has 64 hexadecimal digits")
        expires = None if until == _NEVER else dt.date.fromisoformat(until)
        return name, Token(name, Role.of(role), expires, digest)

    def verified(self, shown: str) -> Token | None:
        """Return the token that was shown, or None if it is unknown or expired. Raises BadFile as for users."""
        digest = hashlib.sha256(shown.encode("utf-8", "surrogateescape")).digest()
        found = None
        for token in self.rows().values():
            if hmac.compare_digest(token.digest, digest):
                found = token
        today = dt.datetime.now(dt.UTC).date()
        return found if found and (found.expires is None or today < found.expires) else None

    def add(self, name: str, role: Role, expires: dt.date | None) -> str:
        """Make a token, write its hash into the file, and return the token itself, which is stored nowhere.

        It is valid until the day `expires` begins (UTC). One of the same name is replaced.
        """
        token = _TOKEN_START + secrets.token_urlsafe(32)
        until = expires.isoformat() if expires else _NEVER
        digest = hashlib.sha256(token.encode()).hexdigest()
        self.write(name, f"{_checked_name(name)}:{role.word}:{until}:{digest}")
        return token


def _fields(line: str, form: str) -> list[str]:
    fields = line.strip().split(":")
    if len(fields) != len(form.split(":")):
        raise ValueError(f"not of the form {form}")
    return fields
