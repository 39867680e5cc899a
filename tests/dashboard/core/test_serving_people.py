"""`conveyor dashboard` writes the files for logins: users with passwords, programs with tokens."""

from __future__ import annotations

import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pexpect
import pytest

from conveyor.dashboard.access.users import Users

from ..asgi_client import FORM  # noqa: TID252 - test folders are no packages
from .core_kit import put

if TYPE_CHECKING:
    from pathlib import Path


def test_user_is_added_on_a_terminal_and_can_log_in(
    environment: dict[str, str], tmp_path: Path, start: Any
) -> None:
    users = tmp_path / "users.toml"
    words = ["-m", "conveyor", "dashboard", "--users", str(users), "--add-user", "ada", "--role", "admin"]
    child = pexpect.spawn(sys.executable, words, env=environment, cwd=str(tmp_path), timeout=20)
    for prompt in ("Password of ada: ", "Again: "):
        child.expect_exact(prompt)
        child.waitnoecho()
        child.sendline("correct horse")
    child.expect_exact("ada may log in as admin")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert stat.S_IMODE(users.stat().st_mode) == 0o600
    assert "correct horse" not in users.read_text()
    page = start("--users", users)
    with httpx.Client(base_url=page.address, timeout=20) as http:
        assert http.get("queues").headers["location"].startswith("/login")
        wrong = {"name": "ada", "password": "wrong", "next": "/"}
        assert http.post("login", data=wrong, headers=FORM).status_code in {401, 403}
        reply = http.post("login", data={**wrong, "password": "correct horse"}, headers=FORM)
        assert reply.status_code == 303
        assert http.get("queues").status_code == 200


def test_token_is_created_shown_once_and_valid_until_its_expiry(
    run: Any, start: Any, tmp_path: Path, one_server: Any
) -> None:
    tokens = tmp_path / "tokens"
    made = run("--tokens", tokens, "--add-token", "ci", "--role", "operator", "--until", "2999-12-31")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert token.startswith("conveyor_")
    assert "ci, operator, valid until the start of 2999-12-31 (UTC)" in " ".join(made.stderr.split())
    assert token not in tokens.read_text()
    assert token not in made.stderr
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o600
    over = run("--tokens", tokens, "--add-token", "old", "--until", "2020-01-01").stdout.strip()
    queue = put(one_server, "video")
    page = start("--tokens", tokens)
    for shown, status in ((token, 200), (over, 401), ("conveyor_x", 401)):
        headers = {"authorization": f"Bearer {shown}"}
        reply = httpx.post(f"{page.address}api/v1/queues/video/pause", headers=headers, json={}, timeout=20)
        assert reply.status_code == status
    assert queue.count().paused


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--add-token", "ci"], "--add-token needs --tokens FILE"),
        (["--tokens", "t", "--add-token", "ci", "--until", "soon"], "write a date such as 2030-12-31"),
        (["--tokens", "t", "--add-token", "ci", "--role", "king"], "use viewer, operator or admin"),
        (["--tokens", "t", "--add-token", "a:b"], "a:b"),
    ],
)
def test_invalid_token_request_is_refused_with_the_reason(
    run: Any, tmp_path: Path, words: list[str], why: str
) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in " ".join(done.stderr.split())
    assert list(tmp_path.glob("t*")) == []


def test_password_is_read_from_standard_input_without_a_terminal(
    environment: dict[str, str], tmp_path: Path
) -> None:
    users = tmp_path / "users.toml"
    words = ["-m", "conveyor", "dashboard", "--users", str(users), "--add-user", "ada", "--role", "viewer"]

    def add(text: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, *words]
        return subprocess.run(
            program, env=environment, input=text, capture_output=True, check=False, text=True, timeout=30
        )

    empty = add("")
    assert empty.returncode == 2
    assert "no password on standard input" in empty.stderr
    assert not users.exists()
    done = add("correct horse\n")
    assert done.returncode == 0, done.stderr
    assert "ada may log in as viewer" in done.stderr
    assert "correct horse" not in users.read_text() + done.stdout + done.stderr
    assert Users(users).verified("ada", "correct horse") is not None
