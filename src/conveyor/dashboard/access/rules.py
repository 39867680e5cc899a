"""The rules that every request must keep, from any client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request

from conveyor.dashboard.access import request
from conveyor.dashboard.access.problems import Problem

if TYPE_CHECKING:
    from conveyor.dashboard.access.policy import Policy
    from conveyor.dashboard.access.request import Receive, Scope

READS = frozenset({"GET", "HEAD", "OPTIONS"})
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
#: Seconds within which a body has to be there.
BODY_TIMEOUT = 30.0


def check_host(scope: Scope, policy: Policy) -> None:
    """Refuse a request for a name that is not ours: a page of another site may have made it point here."""
    text = policy.proxies.host(scope)
    host = request.split_host(text) if text else None
    if host is None:
        raise Problem(400, "bad-host", "The request does not name one host.")
    name, port = host
    # Any port is fine, unless the list has one.
    if {name, f"{name}:{port}"}.isdisjoint(request.LOCAL_HOSTS | policy.hosts):
        hint = "if this is a name of the dashboard, add it to the allowed hosts (CONVEYOR_DASHBOARD_HOSTS)"
        raise Problem(421, "wrong-host", "The dashboard is not served under that name.", hint)


def check_shape(scope: Scope) -> None:
    """Refuse paths that mean another path, and bodies that do not belong there."""
    segments = str(scope["path"]).replace("\\", "/").split("/")
    if "." in segments or ".." in segments or "\0" in scope["path"]:
        raise Problem(400, "bad-path", "The path has segments that lead elsewhere.")
    if scope["method"] in READS and request.has_body(scope):
        raise Problem(400, "unwanted-body", f"A {scope['method']} request has no body.")


def check_origin(scope: Scope, policy: Policy) -> None:
    """Refuse a change that a page of another site asks for, or that does not say which page does."""
    other_site = "Changes are accepted only from the dashboard's own pages, not from other sites."
    sites = request.headers(scope, "sec-fetch-site")
    if sites:
        if sites != ["same-origin"]:
            raise Problem(403, "cross-site", other_site)
        return
    ours = request.origin_of(policy.proxies.scheme(scope), policy.proxies.host(scope) or "")
    theirs = request.header(scope, "origin")
    if theirs is None:
        hint = "send a token: Authorization: Bearer …"
        if not policy.has_login:
            hint = f"send the dashboard's own origin, since no login is set up: Origin: {ours}"
        raise Problem(403, "no-origin", "The request does not name its origin.", hint)
    if theirs != ours:
        hint = f"use {ours}, or list the proxy in front of the dashboard (CONVEYOR_DASHBOARD_PROXIES)"
        raise Problem(403, "cross-site", other_site, hint)


def check_reader(scope: Scope) -> None:
    """Refuse what a page of another site asks for in the background, such as a search; following a link is fine."""
    site, mode = request.headers(scope, "sec-fetch-site"), request.header(scope, "sec-fetch-mode")
    if site and site[0] in {"cross-site", "same-site"} and mode != "navigate":
        raise Problem(403, "cross-site", "Other sites may not read the dashboard's data.")


async def checked_body(scope: Scope, receive: Receive, kind: str, limit: int) -> bytes:
    """Return a change's whole body if it is of the right kind and size, and refuse it as soon as it is too large.

    A DELETE may come without a kind, if it has no body: other sites cannot send one unasked.
    """
    wrong_type = Problem(415, "wrong-type", f"The body must be {kind}.")
    without = scope["method"] == "DELETE" and not request.headers(scope, "content-type")
    sent = (request.header(scope, "content-type") or "").partition(";")[0].strip().lower()
    if not without and sent != kind:
        raise wrong_type
    detail = f"The body has more than {limit} bytes."
    too_large = Problem(413, "too-large", detail, headers=(("connection", "close"),))
    announced = request.header(scope, "content-length")
    if announced and announced.isdecimal() and int(announced[:20]) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for part in Request(scope, receive).stream():
                body += part
                if len(body) > limit:
                    raise too_large
    except (TimeoutError, ClientDisconnect):
        raise Problem(408, "no-body", "The body did not come to its end.") from None
    if body and without:
        raise wrong_type
    return bytes(body)
