"""The dashboard below WSGI: for Flask, and for Django if it is not served by ASGI.

    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/ops/q": create_wsgi_dashboard()})

A stream would hold one of the host's threads for each viewer. So there are none: open pages poll every five seconds.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from conveyor.dashboard import create_dashboard
from conveyor.errors import MissingExtra

try:
    from a2wsgi import ASGIMiddleware
except ModuleNotFoundError as error:
    raise MissingExtra("the dashboard", "dashboard", error.name) from error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conveyor.dashboard.access.policy import Policy, Resolve
    from conveyor.dashboard.access.request import App, Receive, Scope, Send

__all__ = ["WsgiDashboard", "create_wsgi_dashboard"]


class WsgiDashboard:
    """A WSGI application that is an ASGI application.

    Each process has a loop of its own, begun by its first request, so a server may load it before it forks.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._loops: dict[int, ASGIMiddleware] = {}

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """Handle one request, as WSGI has it."""
        if not environ.get("CONTENT_LENGTH"):  # some servers give an empty one
            environ = {name: value for name, value in environ.items() if name != "CONTENT_LENGTH"}
        adapter = self._loops.get(os.getpid())
        if adapter is None:
            adapter = self._loops.setdefault(os.getpid(), ASGIMiddleware(self._answer))  # type: ignore[arg-type]
        return adapter(environ, start_response)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = scope["wsgi_environ"].get("REMOTE_ADDR")
        if peer and not scope.get("client"):  # a2wsgi wants a port, too, which not every server tells
            scope["client"] = (peer, 0)
        await self._app(scope, receive, send)


def create_wsgi_dashboard(
    url: str | None = None,
    *,
    auth: Policy | Resolve | None = None,
    read_only: bool = False,
    no_kill: bool = False,
    tasks: Sequence[str] = (),
) -> WsgiDashboard:
    """Return the dashboard as a WSGI application; the arguments are those of `create_dashboard`.

    The host needs threads: a page, its parts and its polls are requested at the same time.
    """
    app = create_dashboard(url, auth=auth, read_only=read_only, no_kill=no_kill, tasks=tasks)
    return WsgiDashboard(app)
