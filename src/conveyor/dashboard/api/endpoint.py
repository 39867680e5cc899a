"""An endpoint: a function with a method, a path, a right and types, which define its route."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.dashboard.access.policy import Policy
from conveyor.dashboard.access.problems import Problem
from conveyor.dashboard.access.request import headers
from conveyor.dashboard.access.security import access_of, allowed
from conveyor.dashboard.timings import TimedClient
from conveyor.errors import BadCall
from conveyor.monitor.actions import Actions, Actor
from conveyor.monitor.snapshot import EMPTY
from conveyor.wire import ids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conveyor.dashboard.access.request import Scope
    from conveyor.dashboard.access.rights import Access, Right
    from conveyor.dashboard.poller import PagePoller
    from conveyor.monitor.bulk import OperationRunner
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store import Client
    from conveyor.store.query import Query

#: Characters of an Idempotency-Key.
MAX_KEY = 200


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The context of all endpoints. `operations` is the thread that runs operations begun here."""

    client: Client
    poller: PagePoller
    operations: OperationRunner
    policy: Policy = field(default_factory=Policy)
    acting: Client = field(init=False)
    """The client for actions of people, which is timed separately."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "acting", TimedClient(self.client, self.poller.timings, "act"))

    def ask(self, query: Query[Any], *, costly: bool = False) -> Any:
        """Ask the server in one round trip. Raises StoreUnavailable soon if it is unavailable.

        A costly query, such as a search, waits for a slot. Raises Busy if too many want one.
        """
        with self.poller.searches.slot() if costly else nullcontext():
            return self.poller.ask(query)

    def snapshot(self) -> Snapshot:
        """Return the counts of all queues and the reports of all workers, at most one interval old."""
        return self.poller.fresh()

    def snapshot_with(self, queue: str) -> Snapshot:
        """Return a snapshot that has this queue. Refuses (404) one without jobs ever put and without workers."""
        snapshot = self.snapshot()
        if queue not in snapshot.queues:
            snapshot = self.poller.poll_snapshot().with_queue(queue)
        if queue not in snapshot.queues:
            raise Problem(404, "unknown-queue", f"Unknown queue {queue!r:.110}.")
        return snapshot

    def check_begun(self, queue: str) -> None:
        """Refuse (404) an unknown queue, and (409) one on which nothing was ever put."""
        if queue not in self.snapshot().queues and self.snapshot_with(queue).queues[queue] is EMPTY:
            hint = "put a job on it first"
            raise Problem(409, "wrong-state", f"Nothing was put on {queue!r:.110} yet.", hint)


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request, read and checked."""

    context: ApiContext
    scope: Scope
    parts: Mapping[str, str]
    query: Any
    body: Any

    @property
    def queue(self) -> str:
        """The queue in the path, or else in the query or the body; or ""."""
        given = (getattr(place, "queue", "") for place in (self.query, self.body))
        return self.parts.get("queue") or next(filter(None, given), "")

    def allowed(self, right: Right) -> Access:
        """Return the client's access. Raises Problem (403) without the right."""
        return allowed(self.scope, right)

    def may(self, right: Right) -> bool:
        """Return True if the client has a right."""
        access = access_of(self.scope)
        return access is not None and access.may(right)

    @property
    def actions(self) -> Actions:
        """Actions in the client's name."""
        access = self.allowed("look")
        address = self.context.policy.proxies.client(self.scope) or "unknown"
        origin = f"api {address}" if access.source == "token" else f"page {address}"
        return Actions(self.context.acting, Actor(access.who, origin))

    @property
    def key(self) -> str:
        """The request's Idempotency-Key, or ""."""
        given = headers(self.scope, "idempotency-key")
        if not given:
            return ""
        if len(given) > 1 or not 0 < len(given[0]) <= MAX_KEY:
            detail = f"The Idempotency-Key is 1 to {MAX_KEY} characters, given once."
            raise Problem(422, "bad-key", detail)
        return given[0]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class Reply(NamedTuple):
    """A response with another status than the endpoint's own."""

    response: msgspec.Struct
    status: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    """Below /api/v1, with parts in braces."""
    right: Right
    function: Callable[[ApiRequest], Any]
    """Returns a response of the type `response`, or a Reply."""
    response: type[msgspec.Struct]
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    status: int = 200
    rows: str = ""
    """The response's field whose rows `?fields=` narrows."""
    keyed: bool = False
    """It honors the header Idempotency-Key."""
    typed: bool = False
    """The body is still being typed: an invalid one is reported in the response, not refused."""

    @property
    def summary(self) -> str:
        """One line, for the description and the manual."""
        return (self.function.__doc__ or "").partition("\n")[0].rstrip(".")

    def read_query(self, given: Mapping[str, str]) -> Any:
        """Return the query's parameters. Refuses (422) an unknown one or one out of bounds."""
        try:
            return msgspec.convert(dict(given), self.query, strict=False)
        except (msgspec.ValidationError, ValueError) as error:
            raise Problem(422, "bad-query", f"The query does not fit: {error}.") from None

    def read_body(self, data: bytes) -> Any:
        """Return the body. Refuses (400) what is not JSON, and (422) what does not fit."""
        if self.body is None:
            return None
        try:
            return msgspec.json.decode(data or b"{}", type=self.body)
        except msgspec.ValidationError as error:
            raise Problem(422, "bad-body", f"The body does not fit: {error}.") from None
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise Problem(400, "bad-json", f"The body is not JSON: {error}.") from None

    def run(self, request: ApiRequest) -> tuple[bytes, int]:
        """Check the right, call the function, and return the JSON and the status of the response."""
        if request.queue and not self.typed:
            _check_queue(request.queue, in_path="queue" in request.parts)
        request.allowed(self.right)
        made = self.function(request)
        response, status = made if isinstance(made, Reply) else (made, self.status)
        if self.rows and request.query.fields:
            response = _narrowed(response, self.rows, request.query.fields)
        return msgspec.json.encode(response), status


def endpoint(
    method: str, path: str, right: Right, response: type[msgspec.Struct], **facts: Any
) -> Callable[[Callable[[ApiRequest], Any]], Endpoint]:
    """Return the decorator that makes an Endpoint of a function; its docstring begins with the summary."""
    return lambda function: Endpoint(method, path, right, function, response, **facts)


def _check_queue(queue: str, *, in_path: bool) -> None:
    try:
        ids.checked_queue(queue)
    except BadCall:
        if in_path:
            raise Problem(404, "unknown-queue", f"Unknown queue {queue!r:.110}.") from None
        raise


def _narrowed(response: msgspec.Struct, rows: str, fields: str) -> Any:
    """Return the response with only some fields of its rows."""
    wanted = set(fields.split(","))
    row: Any = next(one.type for one in msgspec.structs.fields(response) if one.name == rows)
    known = {one.encode_name for one in msgspec.structs.fields(row.__args__[0])}
    if unknown := sorted(wanted - known):
        detail = f"Unknown fields {', '.join(unknown)!r:.200}."
        raise Problem(422, "bad-query", detail, f"choose from {', '.join(sorted(known))}")
    whole = msgspec.to_builtins(response)
    return {**whole, rows: [{name: one[name] for name in one if name in wanted} for one in whole[rows]]}
