"""The environment variables set the policy, and invalid values are reported."""

from __future__ import annotations

from typing import Any

import pytest

from conveyor.dashboard.access.policy import from_environment
from conveyor.dashboard.access.rights import LOCAL, Access, BadPolicy, Role


def hook(_scope: Any) -> Access | None:
    """Grant local access to every caller; RESOLVE below names this hook."""
    return LOCAL


def _read(**given: str) -> Any:
    return from_environment({f"CONVEYOR_DASHBOARD_{name}": value for name, value in given.items()})


def test_empty_environment_is_the_safe_default() -> None:
    policy = _read()
    assert not policy.has_login
    assert not policy.insecure
    assert (policy.denied, policy.hosts, policy.proxies.networks) == (frozenset(), frozenset(), ())
    assert len(policy.secret) >= 32
    assert policy.secret != _read().secret


def test_full_environment_is_read(users: Any, tmp_path: Any) -> None:
    policy = _read(
        USERS=str(users.path),
        TOKENS=str(tmp_path / "tokens"),
        PROXIES="192.0.2.1, 10.0.0.0/8",
        PROXY_HEADER="X-Forwarded-User",
        PROXY_ROLES="ada@corp.com=admin; cn=Vera,dc=corp=viewer\n",
        HOSTS="queue.corp.com, queue:8080",
        READ_ONLY="yes",
        NO_KILL="1",
        SECRET="s" * 40,
        RESOLVE=f"{__name__}:hook",
    )
    assert policy.users.find("ada").role is Role.ADMIN
    assert policy.tokens.path == tmp_path / "tokens"
    assert [str(network) for network in policy.proxies.networks] == ["192.0.2.1/32", "10.0.0.0/8"]
    assert policy.identities.roles == {"ada@corp.com": Role.ADMIN, "cn=Vera,dc=corp": Role.VIEWER}
    assert policy.hosts == {"queue.corp.com", "queue:8080"}
    assert policy.denied == {"act", "kill", "purge"}
    assert policy.secret == b"s" * 40
    assert policy.resolve({}) == LOCAL


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("READ_ONLY", "ture"),
        ("INSECURE_NO_AUTH", "2"),
        ("PROXIES", "proxy"),
        ("PROXY_HEADER", "X-User"),
        ("PROXY_ROLES", "ada=admin"),
        ("HOSTS", "https://queue"),
        ("RESOLVE", "no.such.module:hook"),
        ("RESOLVE", "conveyor.clock"),
        ("RESOLVE", "conveyor.dashboard.access.policy:BODY_LIMIT"),
    ],
)
def test_invalid_variable_is_reported_by_name(name: str, value: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        _read(**{name: value})
    assert str(caught.value)


@pytest.mark.parametrize("roles", ["ada", "=admin", "ada=boss", "ada=Admin"])
def test_invalid_proxy_role_is_refused(roles: str) -> None:
    with pytest.raises(BadPolicy):
        _read(PROXY_HEADER="X-User", PROXY_ROLES=roles)


def test_secret_is_not_shown(users: Any) -> None:
    assert "ssss" not in repr(_read(SECRET="s" * 40, USERS=str(users.path)))
