"""Serving the dashboard on a port, in a process of its own or in a thread."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from typing import TYPE_CHECKING

from conveyor import logs
from conveyor.dashboard import live
from conveyor.dashboard.access.policy import SERVER_OPTIONS
from conveyor.dashboard.access.request import under
from conveyor.errors import ConveyorError, MissingExtra

try:
    import uvicorn
except ModuleNotFoundError as error:
    raise MissingExtra("the dashboard", "dashboard", error.name) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from conveyor.dashboard.access.request import App
    from conveyor.dashboard.access.security import SecurityMiddleware

#: Also rq-dashboard's port, so that its users find the dashboard there.
PORT = 9181
#: Addresses that a browser on this machine reaches as localhost.
_HERE = ("0.0.0.0", "::", "127.0.0.1", "::1")  # noqa: S104 - to recognize, not to listen there
#: Concurrent connections; further requests get 503 before the process is out of file descriptors.
MAX_CONNECTIONS = 800
#: Seconds that the server has to begin and to end.
BEGIN, END = 10.0, 2


class CannotListen(ConveyorError):
    """The address cannot be listened on: it is in use, or not of this machine."""


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 takes any free one. Raises CannotListen."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # Without the protocol asyncio leaves Nagle's delay on, and every answer on a kept connection takes 40 ms.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        message = f"invalid address to listen on {host!r}: {error.strerror or error}"
        raise CannotListen(message, hint="use --host 127.0.0.1 for this machine only") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise _reason(host, port, error) from error
    return listening


def address_of(listening: socket.socket, root_path: str = "") -> str:
    """Return the URL for a browser."""
    host, port = listening.getsockname()[:2]
    name = "localhost" if host in _HERE else host
    return f"http://{f'[{name}]' if ':' in name else name}:{port}{root_path}/"


def serve(
    app: SecurityMiddleware, listening: socket.socket, *, root_path: str = "", ready: Callable[[], None]
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called when requests are served.

    `root_path` is the prefix that a proxy in front has before all paths; it may take that off or leave it.
    """
    server = _Server(under(app, root_path), ready)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn has ended in good order, and says so once more
        server.run(sockets=[listening])


@contextlib.contextmanager
def served(app: SecurityMiddleware, listening: socket.socket) -> Iterator[str]:
    """Serve in a thread while the block runs; yields the URL. Raises CannotListen if it does not begin in time."""
    ready = threading.Event()
    server = _Server(app, ready.set)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listening]}, daemon=True, name="conveyor-dashboard"
    )
    thread.start()
    if not ready.wait(BEGIN):
        message = f"the dashboard did not start within {BEGIN:g} s"
        raise CannotListen(message, hint="run `conveyor dashboard` to see why")
    try:
        yield address_of(listening)
    finally:
        live.end_all()
        server.should_exit = True
        thread.join(END + 1)


class _Server(uvicorn.Server):
    """Calls `ready` in a thread when it serves, and ends the open streams first when it exits.

    They would last as long as their viewers do.
    """

    def __init__(self, app: App, ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                # Without its own handlers, its loggers write as all others do.
                log_config=None if logs.is_json() else uvicorn.config.LOGGING_CONFIG,
                lifespan="off",
                timeout_graceful_shutdown=END,
                limit_concurrency=MAX_CONNECTIONS,
                proxy_headers=bool(SERVER_OPTIONS["proxy_headers"]),
                server_header=bool(SERVER_OPTIONS["server_header"]),
            )
        )
        self._ready = threading.Thread(target=ready, daemon=True)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        self._ready.start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle the signal that ends the server."""
        live.end_all()
        super().handle_exit(sig, frame)


def _reason(host: str, port: int, error: OSError) -> CannotListen:
    if error.errno != errno.EADDRINUSE:
        what = error.strerror or str(error)
        return CannotListen(
            f"cannot listen on {host}:{port}: {what.lower()}", hint="choose another with --host or --port"
        )
    hint = f"choose another port: --port {port + 1}, or --port 0 for any free one"
    if port == PORT:
        hint += "; rq-dashboard and ClickHouse Keeper use this port too"
    return CannotListen(f"port {port} is in use", hint=hint)
