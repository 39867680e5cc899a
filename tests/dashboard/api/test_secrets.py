"""Hidden content of jobs is in no response of the API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from api_tasks import deliver
from visitor_kit import report, tell, worker

from conveyor.dashboard.page import PageRequest
from conveyor.dashboard.pages.enqueue import ENQUEUE
from conveyor.monitor.snapshot import NOTHING
from conveyor.wire.redaction import MASK

if TYPE_CHECKING:
    from collections.abc import Callable

    from api_kit import Api

    from conveyor import Queue

SECRET = "sk-9f3e7711"


def test_positional_secret_is_in_no_response(
    api: Api, queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    consume(workers=1, modules=("api_tasks",))
    dead = queue.submit(deliver, "to you", SECRET)
    eventually(lambda: api.get("/jobs", queue=queue.name, state="dead")["jobs"])
    api.post(f"/queues/{queue.name}/pause")
    queue.submit(deliver, "to you", SECRET)
    queue.submit(deliver, "to you", SECRET, "long " * 2000)
    seen = [api.get("/jobs", queue=queue.name, state="waiting", **more) for more in ({}, {"text": "deliver"})]
    assert [one["task"] for found in seen for one in found["jobs"]] == ["deliver"] * 4
    assert "address='to you', api_key=•••" in str(seen)
    seen += [
        api.get("/jobs", queue=queue.name, state="dead"),
        api.get("/jobs", queue=queue.name, state="ended"),
        api.get(f"/jobs/{dead.id}"),
        api.get(f"/jobs/{dead.id}/log"),
        api.get("/failures", queue=queue.name),
    ]
    assert "refused, api_key=•••" in str(seen[2])
    assert SECRET not in str(seen)


@pytest.mark.parametrize("queue_named", [True, False], ids=["one queue", "all queues"])
def test_search_does_not_match_hidden_text(api: Api, queue: Queue, *, queue_named: bool) -> None:
    where = {"queue": queue.name} if queue_named else {}
    lines = "line " * 50
    near = queue.submit(deliver, f"https://me:{SECRET}@example.org", SECRET)
    far = queue.submit(deliver, "to you", SECRET, f"{lines} FAR https://me:{SECRET}@example.org")
    queue.put({"text": "word " * 405 + f" https://me:{SECRET * 10}@example.org"})

    def found(text: str) -> list[str]:
        return [one["id"] for one in api.get("/jobs", state="waiting", text=text, **where)["jobs"]]

    assert [found(text) for text in ("example.org", " far ")] == [[near.id, far.id], [far.id]]
    assert [found(text) for text in ("sk-9", SECRET, SECRET[-4:], "me:sk")] == [[]] * 4
    assert len(found("word")) == 1


def test_secret_defaults_are_in_no_response_and_no_form(api: Api) -> None:
    told = api.get("/tasks/enter")
    assert {one["name"]: one["default"] for one in told["parameters"]} == {
        "door": f"https://me:{MASK}@example.org",
        "password": MASK,
        "pin": MASK,
    }
    wanted = PageRequest("/enqueue", {}, {"task": "enter"})
    form: Any = ENQUEUE.view(wanted, NOTHING, None)
    assert {
        one.name: (one.kind, one.default, one.value) for one in form.form.fields if one.name != "door"
    } == {
        "password": ("secret", "", ""),
        "pin": ("secret", "", ""),
    }
    assert not {"hunter2", "7007"} & set(re.findall(r"\w+", f"{told} {form}"))


def test_secret_in_a_worker_report_is_in_no_response(api: Api, one_server: Any) -> None:
    tell(one_server, report(workers=[worker("rack-0001/1", message=f"password={SECRET}")]))
    assert "password=•••" in str(api.get("/workers"))
    assert SECRET not in str(api.get("/workers"))
