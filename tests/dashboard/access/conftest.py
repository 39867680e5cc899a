"""Shared fixtures of the access tests: users with passwords, and a guarded page."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING

import pytest
from asgi_client import PASSWORD

from conveyor.dashboard.access.policy import Policy
from conveyor.dashboard.access.users import Users, hashed

from .guarded_page import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def _known_hashes() -> Iterator[None]:
    """Compute each hash once: the same password, salt and cost have the same hash, which takes 0.2 s by design."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashlib, "scrypt", functools.cache(hashlib.scrypt))
        yield


@pytest.fixture(scope="session")
def _lines() -> str:
    people, word = {"vera": "viewer", "otto": "operator", "ada": "admin"}, hashed(PASSWORD)
    return "".join(f"{name}:{role}:{word}\n" for name, role in people.items())


@pytest.fixture
def users(tmp_path: Path, _lines: str) -> Users:
    """Return a users file with vera, a viewer, otto, an operator, and ada, an admin, who share a password."""
    path = tmp_path / "users"
    path.touch(0o600)
    path.write_text(_lines)
    return Users(path)


@pytest.fixture
def page() -> Callable[..., Page]:
    """Return a function that makes a dashboard by the settings of its policy."""
    return lambda **settings: Page(Policy(**settings))
