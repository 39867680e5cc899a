"""The doctor's verdict on a server's version: too old, with known vulnerabilities, or fine."""

from __future__ import annotations

import pytest

from conveyor.cli.doctor import check_version


@pytest.mark.parametrize(
    ("kind", "version", "verdict", "hint"),
    [
        ("redis", "6.2.24", "bad", "use Redis 7.4"),
        ("redis", "7.2.16", "bad", "use Redis 7.4"),
        ("redis", "7.4.0", "warn", "update to Redis 7.4.11"),
        ("redis", "7.4.10", "warn", "update to Redis 7.4.11"),
        ("redis", "7.4.11", "ok", ""),
        ("redis", "8.0.6", "warn", "update to Redis 8.2.9"),
        ("redis", "8.6.2", "warn", "update to Redis 8.6.6"),
        ("redis", "8.8.2", "ok", ""),
        ("redis", "8.10.1", "ok", ""),
        ("valkey", "7.2.13", "bad", "use Redis 7.4 or Valkey 8.1"),
        ("valkey", "8.0.8", "bad", "use Redis 7.4 or Valkey 8.1"),
        ("valkey", "8.1.6", "warn", "update to Valkey 8.1.7"),
        ("valkey", "8.1.7", "ok", ""),
        ("valkey", "9.0.4", "warn", "update to Valkey 9.0.5"),
        ("valkey", "9.1.2", "ok", ""),
        ("valkey", "10.0.0", "ok", ""),
        ("redis", "?", "bad", "use Redis 7.4"),
    ],
)
def test_doctor_knows_the_patch_floor(kind: str, version: str, verdict: str, hint: str) -> None:
    facts = {"redis_version": version if kind == "redis" else "7.2.4"}
    if kind == "valkey":
        facts["valkey_version"] = version
    found = check_version(facts)
    assert found.verdict == verdict
    assert found.hint.startswith(hint)
    assert ("known vulnerabilities" in found.text) == (verdict == "warn")
