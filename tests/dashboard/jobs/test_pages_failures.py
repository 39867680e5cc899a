"""The page of failures: groups of similar failures, their number, location, and remedies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pages_kit import TRACEBACK, Line, Role, Visitor, call

if TYPE_CHECKING:
    from collections.abc import Callable

    Visit = Callable[..., Visitor]

TIMEOUT = TRACEBACK.replace("KeyError", "TimeoutError").replace("prices", "ask")


def test_similar_failures_are_grouped_with_the_latest_first(line: Line, visit: Visit) -> None:
    for number in range(3):
        line.die(call("shop.prices", number), message=f"'price' of {number}")
    last = line.die(call("shop.stock", 1), "TimeoutError", "no answer", TIMEOUT)
    seen = visit().see("/failures")
    assert seen.words(".failure h2") == ["TimeoutError in shop.stock", "KeyError in shop.prices"]
    assert seen.words(".failure-count") == ["1 job", "3 jobs"]
    assert seen.words(".failure code") == ["shop.py:12 ask", "shop.py:12 prices"]
    assert f"/queues/{line.name}/jobs/{last}" in seen.links()
    assert "'price' of 2" in seen.text
    assert "4 dead jobs" in seen.text


def test_group_is_retried_and_discarded_by_its_name(line: Line, visit: Visit) -> None:
    line.die(call("shop.prices", 1))
    retry, discard = visit().see("/failures").all("[data-act]")
    bodies = [json.loads(node.attributes["data-body"] or "") for node in (retry, discard)]
    assert [body["kind"] for body in bodies] == ["retry", "discard"]
    assert bodies[0]["queue"] == line.name
    assert len(bodies[0]["matching"]["group"]) == 8
    assert retry.attributes["data-ask"] == "Retry 1 job?"
    assert not visit(Role.OPERATOR).see("/failures").all("[data-act]")


def test_failures_can_be_limited_to_a_queue(line: Line, visit: Visit) -> None:
    other = Line(line.client)
    other.die(call("shop.stock", 1))
    line.die(call("shop.prices", 1))
    assert len(visit().see("/failures").all(".failure")) == 2
    assert visit().see("/failures", queue=other.name).words(".failure h2") == ["KeyError in shop.stock"]
    assert visit().see("/failures", queue="nowhere").status == 404


def test_messages_require_the_right_to_inspect(line: Line, visit: Visit) -> None:
    line.die(call("shop.prices", 1), message="hunter")
    assert "hunter" in visit(Role.OPERATOR).see("/failures").html
    seen = visit(Role.VIEWER).see("/failures")
    assert seen.words(".failure h2") == ["KeyError in shop.prices"]
    assert "hunter" not in seen.html


def test_all_groups_are_on_pages_of_results(line: Line, visit: Visit) -> None:
    for number in range(53):
        line.die(call(f"shop.task{number}", 1))
    first = visit().see("/failures")
    assert len(first.all(".failure")) == 50
    assert "50 of 53 groups" in first.text
    (following,) = (link for link in first.links() if "after=" in link)
    rest = visit().see(following)
    assert rest.words(".failure h2") == [f"KeyError in shop.task{number}" for number in (2, 1, 0)]
    assert "First page" in rest.text
    assert "3 of 53 groups" in rest.text


def test_group_of_several_queues_is_retried_everywhere(line: Line, visit: Visit) -> None:
    others = [line, *(Line(line.client) for _ in range(4))]
    for number, one in enumerate(others):
        one.die(call("shop.prices", number))
        one.die(call("shop.prices", number))
    line.die(call("shop.stock", 1), "TimeoutError", "no answer", TIMEOUT)
    seen = visit().see("/failures")
    assert seen.words(".failure-count") == ["1 job", "10 jobs"]
    assert "in 5 queues: " in seen.text
    assert "and 2 more" in seen.text
    retry = seen.all("[data-act]")[2]
    assert retry.attributes["data-ask"] == "Retry 10 jobs in 5 queues?"
    body = json.loads(retry.attributes["data-body"] or "")
    assert sorted(body["queues"]) == sorted(one.name for one in others)
    assert (body["kind"], len(body["matching"]["group"])) == ("retry", 8)


def test_empty_failure_list_explains_itself(line: Line, visit: Visit) -> None:
    line.put(call("shop.prices", 1))
    assert "No dead jobs" in visit().see("/failures").text
