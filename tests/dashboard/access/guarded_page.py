"""A small application behind the guard, and a client that can send whatever an attacker would."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from asgi_client import FORM, PASSWORD, ask_all
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from conveyor.dashboard.access.security import SecurityMiddleware, access_of, allowed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    from starlette.requests import Request
    from starlette.responses import Response

    from conveyor.dashboard.access.policy import Policy


class Page:
    """The guarded page. `done` has the changes that reached its handlers."""

    def __init__(self, policy: Policy) -> None:
        self.done: list[str] = []
        everything = ["GET", "POST", "DELETE", "PUT", "PATCH"]
        app = Starlette(
            routes=[
                Route("/", self._hello),
                Route("/static/style.css", self._style),
                Route("/api/who", self._who),
                Route("/api/stream", self._stream),
                Route("/api/fault", self._fault),
                Route("/api/cors", self._cors),
                Route("/api/echo", self._echo, methods=everything),
                Route("/api/do/{right}", self._do, methods=everything),
                Route("/do/{right}", self._do),
            ]
        )
        self.guard = SecurityMiddleware(app, policy)

    async def _hello(self, _request: Request) -> Response:
        return PlainTextResponse("the page")

    async def _style(self, _request: Request) -> Response:
        return PlainTextResponse("a {}", headers={"cache-control": "max-age=3600"})

    async def _who(self, request: Request) -> Response:
        access = access_of(request.scope)
        assert access
        return JSONResponse([access.who, access.role.word, access.source])

    async def _stream(self, _request: Request) -> Response:
        async def pieces() -> AsyncIterator[str]:
            for number in range(3):
                yield f"data: {number}\n\n"

        return StreamingResponse(pieces(), media_type="text/event-stream")

    async def _fault(self, _request: Request) -> Response:
        message = "a secret of the inside"
        raise RuntimeError(message)

    async def _cors(self, _request: Request) -> Response:
        headers = {"Access-Control-Allow-Origin": "*", "Content-Security-Policy": "default-src *"}
        return PlainTextResponse("", headers=headers)

    async def _echo(self, request: Request) -> Response:
        body = await request.body()
        self.done.append(f"echo {len(body)}")
        return PlainTextResponse(body)

    async def _do(self, request: Request) -> Response:
        right: Any = request.path_params["right"]
        allowed(request.scope, right)
        self.done.append(right)
        return PlainTextResponse("done")

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request, as `ask_all`."""
        return self.ask_all([(method, path, options)])[0]

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Send a GET."""
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Send a POST."""
        return self.ask("POST", path, **options)

    def log_in(self, name: str, password: str = PASSWORD, **options: Any) -> httpx.Response:
        """Send the login form."""
        return self.post("/login", data={"name": name, "password": password}, headers=FORM, **options)

    def ask_all(self, requests: list[tuple[str, str, dict[str, Any]]]) -> list[httpx.Response]:
        """Send requests at the same time; an error of the page is a response."""
        return ask_all(
            self.guard, [(method, path, {"faults": False, **options}) for method, path, options in requests]
        )


def session_of(response: httpx.Response) -> dict[str, str]:
    """Return the session cookie that a response sets."""
    return {name: value for name, value in response.cookies.items() if name.startswith("conveyor_session")}


def code_of(response: httpx.Response) -> str:
    """Return the code of a problem document after a check of its form."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = json.loads(response.text)
    assert problem["status"] == response.status_code
    assert {"type", "title", "detail", "code"} <= problem.keys()
    return str(problem["code"])
