"""A queue whose jobs are put into any state by hand, and a visitor of the pages about them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from asgi_client import ask
from selectolax.lexbor import LexborHTMLParser

from conveyor.consumer.settlement import Settler
from conveyor.dashboard import Policy, create_dashboard
from conveyor.dashboard.access.rights import Access, Role
from conveyor.store import commands, keys, records
from conveyor.store.command import Command
from conveyor.store.commands import PutParams, Settlement, Terms
from conveyor.tasks import registry
from conveyor.wire import codec, ids
from conveyor.wire.call import decode_call
from conveyor.wire.control_messages import Progress, encode
from conveyor.wire.outcome import Done, Fail, Retry, describe_text, encode_settled
from conveyor.wire.redaction import preview

if TYPE_CHECKING:
    import httpx
    from selectolax.lexbor import LexborNode

    from conveyor.store import Client
    from conveyor.wire.call import Call

_numbers = itertools.count(1)
TRACEBACK = """Traceback (most recent call last):
  File "/usr/lib/python3.11/site-packages/conveyor/consumer/execution.py", line 77, in run
    value = runnable.function(*args)
  File "/srv/app/shop.py", line 12, in prices
    return page["price"]
KeyError: 'price'
"""


def call(task: str, *args: Any, **kwargs: Any) -> bytes:
    """Return the bytes of a job of any task name."""
    options = codec.encode([2, 1.0, None, 3600.0])
    parts = (task, list(args), kwargs, 1_790_000_000.0)
    return b"\x95" + b"".join(codec.encode(part) for part in parts) + options


def preview_as_worker(job: Call) -> str:
    """Return the preview that a worker keeps, which knows the task."""
    labels = registry.labels(job.task)
    return preview(job, labels)


class Line:
    """A queue; each method puts a job into a state and returns its id."""

    def __init__(self, client: Client, name: str = "") -> None:
        self.client = client
        self.name = name or f"shown{next(_numbers)}"
        client.run(commands.note_queue(self.name))

    def put(self, data: bytes, job_id: str = "", delay: float = 0.0) -> str:
        """Put bytes that may be a job or not."""
        job_id = job_id or ids.new_ids(1)[0]
        place = PutParams(delay=delay)
        self.client.run(commands.put(self.name, [(job_id, data)], place))
        return job_id

    def defer(self, data: bytes, before: str = "") -> str:
        """Put a job that comes after another one, by default a new one that is delayed."""
        before = before or self.put(data, delay=1000.0)
        (job_id,) = ids.new_ids(1)
        own = {job_id: commands.pack_terms(after=[f"{self.name} {before}"])}
        self.client.run(commands.put(self.name, [(job_id, data)], PutParams(terms=Terms(own))))
        return job_id

    def put_many(self, data: bytes, count: int) -> list[str]:
        """Put many alike."""
        names = ids.new_ids(count)
        self.client.run(commands.put(self.name, [(one, data) for one in names], PutParams()))
        return names

    def run(self, data: bytes, job_id: str = "", worker: str = "host-ab12/3") -> str:
        """Put a job and take it; no other may wait."""
        job_id = self.put(data, job_id)
        self._take(worker)
        return job_id

    def progress(self, job_id: str, done: float, total: float, message: str = "") -> None:
        """Report the progress of a running job."""
        key = keys.key(self.name, "progress")
        self.client.run(Command(("HSET", key, job_id, encode(Progress(done, total, message)))))

    def log(self, job_id: str, *texts: str) -> None:
        """Log lines."""
        for text in texts:
            self.client.run_all(records.log(self.name, job_id, text))

    def die(
        self, data: bytes, kind: str = "KeyError", message: str = "'price'", trace: str = TRACEBACK
    ) -> str:
        """Put a job and make it fail for the last time."""
        return self._end(data, Fail(describe_text(kind, message, trace)))

    def retry(self, data: bytes) -> str:
        """Put a job and make it fail, to be retried in a minute."""
        return self._end(data, Retry(describe_text("OSError", "no answer", TRACEBACK), 60.0))

    def finish(self, data: bytes, result: Any) -> str:
        """Put a job and make it return a value."""
        return self._end(data, Done(codec.encode(result)))

    def finish_in_a_flood(self, data: bytes) -> str:
        """Put a job and make it return None; its run is not kept."""
        job_id = self.put(data)
        batch = self._take("host-ab12/3")
        settled = Settlement(job_id, encode_settled("done", codec.encode(None), 0.01), 600.0)
        self.client.run(commands.finish(self.name, batch.token, [settled]))
        return job_id

    def _end(self, data: bytes, outcome: Any) -> str:
        job_id = self.put(data)
        batch = self._take("host-ab12/3")
        settler = Settler("host-ab12/3", preview_as_worker)
        settler.begin(self.name, batch.token, count=1)
        job = decode_call(data)
        settler.add(job_id, job, outcome, 0.25, 0)
        self.client.run_all(settler.commands())
        return job_id

    def _take(self, worker: str) -> Any:
        batch = self.client.run(commands.claim(self.name, worker, ids.unique(8), 1, 60.0))
        assert len(batch.jobs) == 1
        return batch


class Seen:
    """A page as received."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.html = response.text
        self.tree = LexborHTMLParser(response.text)

    @property
    def text(self) -> str:
        """The text of the main part, with single spaces."""
        main = self.tree.css_first("main")
        assert main is not None
        return " ".join(main.text(separator=" ").split())

    def all(self, selector: str) -> list[LexborNode]:
        """Return elements of the main part."""
        return self.tree.css(f"main {selector}")

    def words(self, selector: str) -> list[str]:
        """Return the text of each such element."""
        return [" ".join(node.text(separator=" ").split()) for node in self.all(selector)]

    def links(self) -> list[str]:
        """Return the links of the main part."""
        return [node.attributes.get("href") or "" for node in self.all("a")]


class Visitor:
    """A visitor with a role."""

    def __init__(self, url: str, role: Role) -> None:
        self._access = Access.of("somebody", role)
        self._app = create_dashboard(url, auth=Policy(resolve=lambda _: self._access))

    def allow(self, access: Access) -> None:
        """Set the visitor's rights to exactly these."""
        self._access = access

    def see(self, address: str, **filters: Any) -> Seen:
        """Ask for a page."""
        return Seen(ask(self._app, "GET", address, params=filters or None))


__all__ = ["TRACEBACK", "Line", "Role", "Seen", "Visitor", "call"]
