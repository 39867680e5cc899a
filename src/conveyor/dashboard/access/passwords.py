"""Passwords: hashed with scrypt, and compared without telling anything by the time it takes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import unicodedata
from typing import NamedTuple

from conveyor.dashboard.access.faults import BadPolicy

# 16 MiB and about a seventh of a second for one attempt: what OWASP names for little memory.
_N, _R, _P = 2**14, 8, 5
_SALT_BYTES, _HASH_BYTES = 16, 32
_SHORTEST = 8
#: Bytes. A file must not make one login take all the memory.
_MOST_MEMORY = 128 * 2**20


class Hash(NamedTuple):
    """A password's hash, with what it takes to make it again."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def __str__(self) -> str:
        return f"scrypt${self.n}${self.r}${self.p}${_text(self.salt)}${_text(self.digest)}"


def hashed(password: str) -> str:
    """Give the hash of a new password, as a users file has it; BadPolicy if it has fewer than 8 characters."""
    if len(password) < _SHORTEST:
        message = f"a password needs at least {_SHORTEST} characters"
        raise BadPolicy(message)
    salt = os.urandom(_SALT_BYTES)
    return str(Hash(_N, _R, _P, salt, _scrypt(password, _N, _R, _P, salt)))


def read_hash(text: str) -> Hash:
    """Read what `hashed` gave; ValueError if it is something else or costs more than it may."""
    kind, *rest = text.split("$")
    if kind != "scrypt" or len(rest) != 5:  # noqa: PLR2004  (n, r, p, salt, hash)
        message = "not of the form scrypt$n$r$p$salt$hash"
        raise ValueError(message)
    n, r, p = (int(number) for number in rest[:3])
    if n < _N or n & (n - 1) or r < 1 or not 1 <= p <= 16 or 128 * n * r > _MOST_MEMORY:  # noqa: PLR2004
        message = "its cost is out of bounds"
        raise ValueError(message)
    found = Hash(n, r, p, _bytes(rest[3]), _bytes(rest[4]))
    if len(found.salt) < _SALT_BYTES or len(found.digest) != _HASH_BYTES:
        message = "salt or hash has the wrong length"
        raise ValueError(message)
    return found


def fits(password: str, against: Hash | None) -> bool:
    """Tell whether this is the password; takes as long for None, which no password fits."""
    wanted = against or _DECOY
    made = _scrypt(password, wanted.n, wanted.r, wanted.p, wanted.salt)
    return hmac.compare_digest(made, wanted.digest) and against is not None


def _scrypt(password: str, n: int, r: int, p: int, salt: bytes) -> bytes:
    # The same password may be typed with composed or with combined letters.
    secret = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=2 * _MOST_MEMORY, dklen=_HASH_BYTES)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        message = "salt or hash is not base64"
        raise ValueError(message) from None


_DECOY = Hash(_N, _R, _P, os.urandom(_SALT_BYTES), os.urandom(_HASH_BYTES))
