"""The dashboard: every queue, worker and job, live, and controls to stop any of them.

    app = create_dashboard("redis://127.0.0.1:6379")      # an ASGI application; `conveyor dashboard` serves one

It needs the extra `dashboard`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conveyor.errors import MissingExtra
from conveyor.store import Client, connect

try:
    from conveyor.dashboard.access.policy import Policy, from_environment
    from conveyor.dashboard.access.security import SecurityMiddleware
    from conveyor.dashboard.app import application
except ModuleNotFoundError as error:
    raise MissingExtra("the dashboard", "dashboard", error.name) from error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.access.policy import Resolve

__all__ = ["Policy", "create_dashboard"]

#: Seconds that an action is retried while the server is unavailable, and that it waits for a hung server.
PATIENCE, WITHIN = 3.0, 4.0
#: Name of the dashboard's connections in the server's list of clients.
NAME = "conveyor-dashboard"


def create_dashboard(
    url: str | None = None,
    *,
    auth: Policy | Resolve | None = None,
    read_only: bool = False,
    no_kill: bool = False,
    tasks: Sequence[str] = (),
) -> SecurityMiddleware:
    """Return the dashboard as an ASGI application, to be served alone or mounted at any path of another.

    `url` is the server's URL, by default CONVEYOR_URL, or else the embedded server, which is started if need be.
    `auth` decides the access rights: a `Policy`, or a function that receives a request's ASGI scope and returns an
    `Access` or None. By default the variables CONVEYOR_DASHBOARD_* are read; without a login, only requests from this
    machine are let in. `read_only` and `no_kill` take rights from everyone. `tasks` are modules whose tasks can be
    enqueued, in addition to those found in the working folder. Raises BadPolicy for invalid settings, and
    StoreUnavailable if the embedded server cannot be started.
    """
    policy = auth if isinstance(auth, Policy) else from_environment()
    if auth is not None and not isinstance(auth, Policy):
        policy = replace(policy, resolve=auth)
    policy = replace(policy, read_only=policy.read_only or read_only, no_kill=policy.no_kill or no_kill)
    shared = connect(url)
    # Its own, so that its inbox and patience are not shared.
    client = Client(shared.url, patience=PATIENCE, within=WITHIN, revive=shared.revive, name=NAME)
    return SecurityMiddleware(application(client, policy, tuple(tasks)), policy)
