"""Where the page lives within its site: below a root path that a host, a proxy or the command line gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.dashboard.access import asgi

if TYPE_CHECKING:
    from conveyor.dashboard.access.asgi import App, Receive, Scope, Send
    from conveyor.dashboard.access.proxy import Proxies


def placed(scope: Scope, proxies: Proxies) -> Scope:
    """Give a request's scope as the page wants it; the host's own stays as it is.

    Its path begins with its root path, whichever server made it. A prefix that a trusted proxy tells of stands before
    both, unless the root path begins with it already.
    """
    root, inner, prefix = asgi.root(scope), _inner(scope), proxies.prefix(scope)
    if prefix and not _is_below(root, prefix):
        if not root and _is_below(inner, prefix):  # the proxy tells of it, and left it
            inner = inner[len(prefix) :] or "/"
        root = prefix + root
    return {**scope, "root_path": root, "path": root + inner, "state": {**scope.get("state", {})}}


def under(app: App, root: str) -> App:
    """Give the application as it is below a root path, whether or not that is in the paths that arrive."""
    if not root:
        return app

    async def below(scope: Scope, receive: Receive, send: Send) -> None:
        if "path" in scope:
            path = str(scope["path"])
            scope = {**scope, "root_path": root, "path": path if _is_below(path, root) else root + path}
        await app(scope, receive, send)

    return below


def _inner(scope: Scope) -> str:
    """Give the path below the root path, also where a mount's is in the path and that of its application is not.

    FastAPI(root_path="/api") sets one, and leaves the path as it came from the proxy.
    """
    path, root = str(scope["path"]), asgi.root(scope)
    mount = root.removeprefix(str(scope.get("app_root_path", "")).rstrip("/"))
    if mount and not _is_below(path, root) and _is_below(path, mount):
        return path[len(mount) :] or "/"
    return asgi.path(scope) or "/"


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")
