"""Users limited to some queues cannot control the workers of others, and see nothing of their jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from visitor_kit import report, tell, worker

from conveyor.store import control_channel
from conveyor.wire import control_messages
from conveyor.wire.control_messages import Acknowledgement

if TYPE_CHECKING:
    from api_kit import Api

STACK = 'File "secret.py", line 1'


def crew(one_server: Any, queue: str, job: str = "job1") -> str:
    """Report as a consumer of one queue would, and return the name of its worker."""
    name = f"rack-{queue}"
    tell(one_server, report(name, [worker(f"{name}/1", queue=queue, job=job)], queues=[queue]))
    return f"{name}/1"


def answer(one_server: Any, order: str, target: str) -> None:
    """Reply to a request for a stack as a supervisor does."""
    told = Acknowledgement(target, "done", STACK)
    one_server.client.run(
        control_channel.acknowledge(order, control_messages.encode(told), target, told.last_word)
    )


def test_stack_is_shown_only_with_inspect_right_on_its_job(api: Api, one_server: Any) -> None:
    job = api.post("/jobs", {"task": "fail"})["jobs"][0]
    target = crew(one_server, "alpha", job)
    by_worker = api.post("/workers/tell", {"verb": "stack", "targets": [target]})["order"]
    by_job = api.post(f"/jobs/{job}/stack", {"queue": "alpha"})["order"]
    for order in (by_worker, by_job):
        answer(one_server, order, target)
    seen = {
        who: [api.get(f"/orders/{order}", who)["answers"][0]["detail"] for order in (by_worker, by_job)]
        for who in ("admin", "operator", "viewer")
    }
    assert seen == {
        "admin": [STACK, STACK],
        "operator": [STACK, STACK],
        "viewer": ["", ""],
    }
