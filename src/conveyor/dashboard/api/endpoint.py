"""What an endpoint is: one value, of which the route, the checks and the description are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.dashboard.access.problems import refused
from conveyor.dashboard.access.request import headers
from conveyor.dashboard.access.security import access_of, allowed
from conveyor.errors import BadCall
from conveyor.monitor.actions import Actions, Actor
from conveyor.wire import ids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conveyor.dashboard.access.request import Scope
    from conveyor.dashboard.access.rights import Access, Right
    from conveyor.dashboard.api.desk import ApiContext

#: Characters of an Idempotency-Key.
LONGEST_KEY = 200


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class Reply(NamedTuple):
    """An answer with another status than the endpoint's own."""

    answer: msgspec.Struct
    status: int


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as far as it is read and checked."""

    desk: ApiContext
    scope: Scope
    parts: Mapping[str, str]
    query: Any
    body: Any

    @property
    def queue(self) -> str:
        """The queue that the path names, else the query, else the body; empty where none does."""
        given = (getattr(place, "queue", "") for place in (self.query, self.body))
        return self.parts.get("queue") or next(filter(None, given), "")

    def allowed(self, right: Right) -> Access:
        """Return the client's access; raises Forbidden, which becomes 403, without the right."""
        return allowed(self.scope, right)

    def may(self, right: Right) -> bool:
        """Return True if the client has a right."""
        access = access_of(self.scope)
        return access is not None and access.may(right)

    @property
    def actions(self) -> Actions:
        """What the client can do, in its name."""
        access = self.allowed("look")
        place = self.desk.policy.proxies.client(self.scope) or "unknown"
        origin = f"api {place}" if access.source == "token" else f"page {place}"
        return Actions(self.desk.acting, Actor(access.who, origin))

    @property
    def key(self) -> str:
        """The request's Idempotency-Key; empty without one."""
        given = headers(self.scope, "idempotency-key")
        if not given:
            return ""
        if len(given) > 1 or not 0 < len(given[0]) <= LONGEST_KEY:
            raise refused(
                422, "bad-key", f"The Idempotency-Key is 1 to {LONGEST_KEY} characters, given once."
            )
        return given[0]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    """Below /api/v1, with parts in braces."""
    summary: str
    """One line, for the description and the manual."""
    right: Right
    do: Callable[[Asked], Any]
    """Gives an answer of the type `answer`, or a Reply."""
    answer: type[msgspec.Struct]
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    status: int = 200
    rows: str = ""
    """The answer's field whose rows `?fields=` narrows."""
    keyed: bool = False
    """It heeds the header Idempotency-Key."""
    typed: bool = False
    """The body is still being typed: what is wrong in it is the answer, no refusal, and `do` says it."""

    def read_query(self, given: Mapping[str, str]) -> Any:
        """Give the query's parameters; 422 where one is unknown or out of bounds."""
        try:
            return msgspec.convert(dict(given), self.query, strict=False)
        except (msgspec.ValidationError, ValueError) as error:
            raise refused(422, "bad-query", f"The query does not fit: {error}.") from None

    def read_body(self, data: bytes) -> Any:
        """Give the body; 400 where it is no JSON, 422 where it does not fit."""
        if self.body is None:
            return None
        try:
            return msgspec.json.decode(data or b"{}", type=self.body)
        except msgspec.ValidationError as error:
            raise refused(422, "bad-body", f"The body does not fit: {error}.") from None
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise refused(400, "bad-json", f"The body is no JSON: {error}.") from None

    def run(self, asked: Asked) -> tuple[bytes, int]:
        """Check the right, do it, and give the answer's JSON and status."""
        queue = asked.queue
        if queue and not self.typed:
            _check_queue(queue, in_path="queue" in asked.parts)
        asked.allowed(self.right)
        told = self.do(asked)
        answer, status = told if isinstance(told, Reply) else (told, self.status)
        if self.rows and asked.query.fields:
            answer = _narrowed(answer, self.rows, asked.query.fields)
        return msgspec.json.encode(answer), status


def _check_queue(queue: str, *, in_path: bool) -> None:
    try:
        ids.checked_queue(queue)
    except BadCall:
        if in_path:
            raise refused(404, "unknown-queue", f"There is no queue {queue!r:.110}.") from None
        raise


def _narrowed(answer: msgspec.Struct, rows: str, fields: str) -> Any:
    """Give the answer with only some fields of its rows."""
    wanted = set(fields.split(","))
    row: Any = next(one.type for one in msgspec.structs.fields(answer) if one.name == rows)
    known = {one.encode_name for one in msgspec.structs.fields(row.__args__[0])}
    if unknown := sorted(wanted - known):
        detail = f"There are no fields {', '.join(unknown)!r:.200}."
        raise refused(422, "bad-query", detail, f"The fields are {', '.join(sorted(known))}.")
    whole = msgspec.to_builtins(answer)
    return {**whole, rows: [{name: one[name] for name in one if name in wanted} for one in whole[rows]]}
