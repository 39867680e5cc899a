"""The live page: every queue, worker and job, and the means to stop any of them.

    app = create_dashboard("redis://127.0.0.1:6379")      # an ASGI application; `conveyor dashboard` serves one

It needs the extra `dashboard`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conveyor.dashboard.access.policy import Policy, from_environment
from conveyor.errors import MissingExtra
from conveyor.store import Client, connect

try:
    from conveyor.dashboard.access.security import SecurityMiddleware
    from conveyor.dashboard.app import application
except ModuleNotFoundError as error:
    raise MissingExtra("the dashboard", "dashboard", error.name) from error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.access.policy import Resolve

__all__ = ["Policy", "create_dashboard"]

#: Seconds that what somebody does is tried for while the server is away, and that it waits for a server that hangs.
PATIENCE, WITHIN = 3.0, 4.0
#: How the page's connections are called in the server's list of clients.
NAME = "conveyor-dashboard"


def create_dashboard(
    url: str | None = None,
    *,
    auth: Policy | Resolve | None = None,
    read_only: bool = False,
    no_kill: bool = False,
    tasks: Sequence[str] = (),
) -> SecurityMiddleware:
    """Give the page as an ASGI application, to be served alone or mounted at any path of another.

    `url` is the server's address; else CONVEYOR_URL, else the embedded server, which is started if need be. `auth`
    says who may do what: a `Policy`, or a function that gets a request's ASGI scope and gives an `Access` or None;
    without it the variables CONVEYOR_DASHBOARD_* are read, and where they name no login, only requests from this
    machine itself are let in. `read_only` and `no_kill` take rights from everybody. `tasks` are modules whose tasks
    can be enqueued, besides those found in the working folder. Raises BadPolicy for settings that make no sense,
    StoreUnavailable where the embedded server cannot be started.
    """
    policy = auth if isinstance(auth, Policy) else from_environment()
    if auth is not None and not isinstance(auth, Policy):
        policy = replace(policy, resolve=auth)
    policy = replace(policy, read_only=policy.read_only or read_only, no_kill=policy.no_kill or no_kill)
    shared = connect(url)
    # Its own, so that its inbox and patience concern nobody else.
    client = Client(shared.url, patience=PATIENCE, within=WITHIN, revive=shared.revive, name=NAME)
    return SecurityMiddleware(application(client, policy, tuple(tasks)), policy)
