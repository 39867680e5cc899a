"""Rights the server's user lacks are done without, or reported with what to grant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asgi_client import ask

from conveyor import Queue
from conveyor.dashboard import create_dashboard
from conveyor.errors import StoreRefused
from conveyor.store import Client, commands, fitness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The rights of docs/running.md, without the optional ones of a page.
RIGHTS = "resetchannels ~conveyor:* +@read +@write +@connection -@dangerous +evalsha +script|load +time"


@pytest.fixture
def user(one_server: Any) -> Iterator[Callable[..., str]]:
    """Return a function that creates a user with reduced rights and returns the URL."""

    def make(*words: str) -> str:
        one_server.raw.execute_command("ACL", "SETUSER", "carl", "on", ">pass", *RIGHTS.split(), *words)
        return str(one_server.url_of("carl", "pass"))

    Queue("mail", store=one_server.client).put("job")
    yield make
    one_server.raw.execute_command("ACL", "DELUSER", "carl")


def test_dashboard_works_without_the_right_to_info(user: Callable[..., str]) -> None:
    page = create_dashboard(user())
    overview = ask(page, "GET", "/")
    assert overview.status_code == 200
    assert "mail" in overview.text
    system = ask(page, "GET", "/system")
    assert system.status_code == 200
    assert "refuses: its user may not run INFO" in system.text
    assert "ACL SETUSER … +info" in system.text
    assert "Append-only file" not in system.text, "of what is not known nothing is said"
    assert ask(page, "GET", "/api/v1/system").json()["queues"] == 1
    allowed = ask(create_dashboard(user("+info")), "GET", "/system").text
    assert "refuses" not in allowed
    assert "Append-only file" in allowed


def test_missing_server_right_is_named_with_the_acl_to_grant(user: Callable[..., str]) -> None:
    response = ask(create_dashboard(user("-hgetall", "-xrevrange", "-evalsha")), "GET", "/audit")
    assert response.status_code == 502
    words = "The server refuses: User carl has no permissions to run the &#39;evalsha&#39; command"
    assert f"<h1>{words}</h1>" in response.text
    assert "ACL SETUSER carl +evalsha" in response.text
    assert "is unavailable" not in response.text


def test_refusal_names_missing_key_patterns(user: Callable[..., str]) -> None:
    client = Client(user("resetkeys"))
    with pytest.raises(StoreRefused) as refusal:
        client.run(commands.queue_names())
    assert "~conveyor:*" in refusal.value.hint
    client.close()


def test_optional_command_does_not_fail_its_round_trip(user: Callable[..., str]) -> None:
    client = Client(user())
    names, facts = client.run_all([commands.queue_names(), fitness.info("memory", optional=True)])
    assert (names, facts) == (["mail"], {})
    with pytest.raises(StoreRefused) as refusal:
        client.run(fitness.info("memory"))
    assert "ACL SETUSER carl +info" in refusal.value.hint
    client.close()
