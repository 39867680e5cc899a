"""Style sheets, scripts and icons, served from the package under a URL that changes when any of them does."""

from __future__ import annotations

import functools
import hashlib
import mimetypes
from importlib import resources
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response

if TYPE_CHECKING:
    from starlette.requests import Request

_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".LICENSE": "text/plain"}


@functools.cache
def files() -> dict[str, bytes]:
    """Return all assets by their path below `static`."""
    found: dict[str, bytes] = {}
    root = resources.files("conveyor.dashboard").joinpath("static")
    for entry in root.iterdir():
        if entry.is_file():
            found[entry.name] = entry.read_bytes()
        elif entry.is_dir():
            found |= {
                f"{entry.name}/{one.name}": one.read_bytes() for one in entry.iterdir() if one.is_file()
            }
    return found


@functools.cache
def version() -> str:
    """Return a string that changes when any asset does; it is part of their URL, so browsers may keep them forever."""
    digest = hashlib.blake2b(digest_size=6)
    for name, data in sorted(files().items()):
        digest.update(name.encode() + b"\0" + data)
    return digest.hexdigest()


async def asset(request: Request) -> Response:
    """Return one asset; only names that are in the package exist."""
    data = files().get(request.path_params["name"])
    if data is None:
        return PlainTextResponse("there is no such asset\n", status_code=404)
    name = request.path_params["name"]
    kind = _KINDS.get(name[name.rfind(".") :]) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = _FOREVER if request.path_params["version"] == version() else {"cache-control": "no-cache"}
    return Response(data, media_type=kind, headers=headers)
