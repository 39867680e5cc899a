"""Users files: private, read when they change, and no help in guessing."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest
from asgi_client import PASSWORD

from conveyor.dashboard.access import users as passwords
from conveyor.dashboard.access.rights import BadPolicy, Role
from conveyor.dashboard.access.users import BadFile, Users


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Return the cost of each scrypt that is computed from now on."""
    seen: list[tuple[int, int, int]] = []
    real = hashlib.scrypt

    def counted(password: bytes, **options: Any) -> bytes:
        seen.append((options["n"], options["r"], options["p"]))
        return real(password, **options)

    monkeypatch.setattr(passwords.hashlib, "scrypt", counted)
    return seen


def test_only_the_right_password_matches(users: Users) -> None:
    found = users.verified("ada", PASSWORD)
    assert found
    assert found.role is Role.ADMIN
    assert users.verified("ada", PASSWORD + "!") is None
    assert users.verified("ada", "") is None


def test_unknown_user_costs_the_same_work(users: Users, costs: list[Any]) -> None:
    users.verified("ada", "wrong password")
    users.verified("nobody", "wrong password")
    assert len(costs) == 2
    assert costs[0] == costs[1]
    assert 128 * costs[0][0] * costs[0][1] >= 2**24, "less memory than OWASP's least"


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Users:
    """Return a file with users of like names."""
    users = Users(tmp_path_factory.mktemp("users") / "users")
    for name in ("ada", "ada@corp.com"):
        users.add(name, Role.ADMIN, PASSWORD)
        assert users.verified(name, PASSWORD)
    return users


@pytest.mark.parametrize(
    "name", ["ad", "ada ", "ADA", "ada@corp.com.evil.com", ".*", "ad.", "ada\n", "a*", "ada\0", "^ada$", ""]
)
def test_user_names_are_matched_whole(alike: Users, name: str) -> None:
    assert alike.verified(name, PASSWORD) is None


def test_equal_passwords_have_unequal_hashes() -> None:
    assert passwords.hashed(PASSWORD) != passwords.hashed(PASSWORD)
    assert PASSWORD not in passwords.hashed(PASSWORD)


def test_password_matches_in_any_unicode_composition() -> None:
    composed = passwords.read_hash(passwords.hashed("caf\u00e9 au lait"))
    assert passwords.fits("cafe\u0301 au lait", composed)


def test_short_passwords_and_odd_names_are_refused(users: Users) -> None:
    with pytest.raises(BadPolicy, match="8 characters"):
        users.add("eve", Role.ADMIN, "1234567")
    for name in ("a:admin", "a\nroot", "", " a", "#a", "a" * 129):
        with pytest.raises(BadPolicy, match="invalid name"):
            users.add(name, Role.ADMIN, PASSWORD)


def test_created_file_is_private_and_adding_again_replaces(tmp_path: Any) -> None:
    users = Users(tmp_path / "users")
    users.add("ada", Role.VIEWER, "first password")
    users.add("bob", Role.VIEWER, "other password")
    users.add("ada", Role.ADMIN, "second password")
    assert users.path.stat().st_mode & 0o777 == 0o600
    assert users.verified("ada", "first password") is None
    found = users.verified("ada", "second password")
    assert found
    assert found.role is Role.ADMIN
    assert set(users.rows()) == {"ada", "bob"}
    assert list(tmp_path.iterdir()) == [users.path]


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o666, 0o602, 0o601])
def test_file_open_to_other_users_admits_no_one(users: Users, mode: int) -> None:
    assert users.verified("ada", PASSWORD)
    users.path.chmod(mode)
    with pytest.raises(BadFile, match="other users of this machine") as caught:
        users.verified("ada", PASSWORD)
    assert "chmod 600" in caught.value.hint
    users.path.chmod(0o640)
    assert users.verified("ada", PASSWORD)


def test_missing_or_irregular_file_admits_no_one(tmp_path: Any) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadFile):
            Users(path).verified("ada", PASSWORD)


@pytest.mark.parametrize(
    "line",
    [
        "ada",
        "ada:admin",
        "ada:root:{hash}",
        "ada:admin:{hash}:more",
        "ada:admin:secret",
        "ada:admin:bcrypt$1$2$3$4$5",
        "ada:admin:scrypt$2$8$1$YWFhYWFhYWFhYWFhYWFhYQ$YWFh",
        "ada:admin:scrypt$1073741824$8$1$YWFhYWFhYWFhYWFhYWFhYQ$YWFh",
        "ada:admin:{hash}\nada:viewer:{hash}",
        "ada\u0000:admin:{hash}",
    ],
)
def test_file_with_an_invalid_line_admits_no_one(users: Users, line: str) -> None:
    good = users.path.read_text().splitlines()[0].split(":")[2]
    users.path.write_text("# people\n\n" + line.format(hash=good) + "\n")
    with pytest.raises(BadFile, match=r"users, line [34]:"):
        users.verified("ada", PASSWORD)


def test_changed_file_takes_effect_immediately(users: Users) -> None:
    assert users.find("vera")
    path = users.path
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("vera")))
    os.utime(path, ns=(1, 1))
    assert users.find("vera") is None
    assert users.find("ada")
