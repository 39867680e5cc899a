"""Guessing gets slow, and costs other users nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asgi_client import FORM, PASSWORD

from conveyor.dashboard.access import login as module
from conveyor.dashboard.access.login import Throttle

if TYPE_CHECKING:
    from conveyor.dashboard.access.users import Users


class Clock:
    """A clock that the test advances."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_each_failure_from_the_fifth_on_doubles_the_wait(clock: Clock) -> None:
    throttle, waits = Throttle(clock), []
    for _ in range(13):
        waits.append(throttle.wait("ada", "192.0.2.1"))
        clock.now += waits[-1]
        throttle.failed("ada", "192.0.2.1")
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_throttle_applies_per_user_and_per_address(clock: Clock) -> None:
    throttle = Throttle(clock)
    for number in range(5):
        throttle.failed("ada", f"192.0.2.{number}")
        throttle.failed(f"user{number}", "198.51.100.1")
    assert throttle.wait("ada", "203.0.113.9")
    assert throttle.wait("somebody", "198.51.100.1")
    assert not throttle.wait("somebody", "203.0.113.9")


def test_throttle_applies_to_a_whole_ipv6_network(clock: Clock) -> None:
    throttle = Throttle(clock)
    for number in range(5):
        throttle.failed(f"user{number}", f"2001:db8::{number:x}")
    assert throttle.wait("ada", "2001:db8::ffff")
    assert not throttle.wait("ada", "2001:db8:0:1::1")


def test_known_address_of_a_user_is_not_throttled_by_others(clock: Clock) -> None:
    throttle = Throttle(clock)
    throttle.succeeded("ada", "192.0.2.1")
    for _ in range(20):
        throttle.failed("ada", "203.0.113.9")
    assert throttle.wait("ada", "203.0.113.9")
    assert not throttle.wait("ada", "192.0.2.1")
    for _ in range(5):
        throttle.failed("ada", "192.0.2.1")
    assert throttle.wait("ada", "192.0.2.1"), "there, too, guessing is slow"


def test_successful_logins_do_not_reset_the_address_throttle(clock: Clock) -> None:
    throttle = Throttle(clock)
    for number in range(8):
        throttle.failed(f"victim{number}", "192.0.2.1")
        throttle.succeeded(f"mallory{number}", "192.0.2.1")
    assert throttle.wait("victim9", "192.0.2.1")


def test_failed_logins_are_forgotten_after_a_while(clock: Clock) -> None:
    throttle = Throttle(clock)
    for _ in range(9):
        throttle.failed("ada", "192.0.2.1")
    clock.now += 901
    throttle.failed("ada", "192.0.2.1")
    assert not throttle.wait("ada", "192.0.2.1")


def test_throttle_memory_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_KEYS", 100)
    throttle = Throttle(clock)
    for number in range(1000):
        throttle.failed("x" * 10_000 + str(number), f"192.0.{number // 250}.{number % 250}")
        throttle.succeeded(str(number), "192.0.2.1")
    assert len(throttle._failures) == len(throttle._known) == 100
    assert max(len(key[1]) for key in throttle._failures) <= 128


def test_parallel_attempts_gain_nothing(page: Any, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(users, "verified", lambda name, _password: tried.append(name))
    form = {"data": {"name": "ada", "password": "guess"}, "headers": FORM}
    responses = page(users=users).ask_all([("POST", "/login", dict(form)) for _ in range(40)])
    codes = [response.status_code for response in responses]
    assert set(codes) == {401, 429}
    assert len(tried) == codes.count(401) <= 6, "the fifth failure may find one attempt under way"


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_brute_force_is_throttled_and_the_wait_reported(page: Any, users: Users, name: str) -> None:
    guarded = page(users=users)
    for _ in range(5):
        assert guarded.log_in(name, "guess").status_code == 401
    response = guarded.log_in(name, PASSWORD)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    assert "Too many" in response.text
    assert not response.cookies


def test_throttle_applies_to_basic_login(page: Any, users: Users) -> None:
    guarded = page(users=users)
    for _ in range(5):
        assert guarded.get("/api/who", auth=("ada", "guess")).status_code == 401
    assert guarded.get("/api/who", auth=("ada", PASSWORD)).status_code == 429


def test_forged_forwarding_header_does_not_evade_the_throttle(page: Any, users: Users) -> None:
    guarded = page(users=users)
    for number in range(5):
        form = {"name": f"user{number}", "password": "guess"}
        headers = {**FORM, "x-forwarded-for": f"203.0.113.{number}"}
        assert guarded.post("/login", data=form, headers=headers).status_code == 401
    assert guarded.log_in("ada").status_code == 429
