"""Names, arguments, errors, lines and paths written by an attacker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pages_kit import TRACEBACK, Line, Visitor, call

if TYPE_CHECKING:
    from collections.abc import Callable

    from pages_kit import Seen

    Visit = Callable[..., Visitor]

CORPUS = [
    "<evil>",
    "</pre></main><evil evil=1>",
    '" evil="1',
    "' evil='1",
    "'\"><evil>",
    "<script>evil()</script>",
    "<img src=x onerror=evil()>",
    "javascript:evil()",
    "</title><evil>",
    "{{ evil }}{% evil %}",
    "&lt;evil&gt;<!--<evil>",
    "\u2028<evil>\u202e",
    "\x00<evil>",
    "`${evil}`<evil/>",
    "]]><evil>",
]


def assert_is_text(seen: Seen, text: str) -> None:
    """Hold that nothing in the page is an element, attribute, script or address that the templates did not write.

    `text` is what the attacker wrote, to be named if it fails.
    """
    assert seen.status < 500, text
    for node in seen.tree.css("*"):
        names = set(node.attributes)
        assert "evil" not in (node.tag or ""), (text, node.html)
        assert not any("evil" in name or name.startswith("on") for name in names), (text, node.html)
        assert "style" not in names, (text, node.html)
        for name in ("href", "src", "action", "data-act"):
            address = node.attributes.get(name) or "/"
            assert address.startswith(("/", "#")), (text, node.html)
            assert not address.startswith("//"), (text, node.html)
        if body := node.attributes.get("data-body"):
            assert set(json.loads(body)) <= {"queue", "kind", "matching"}, text
        if node.tag == "script":
            assert not node.text(), (text, node.html)
    assert len(seen.tree.css("main")) == 1, text


@pytest.mark.parametrize("text", CORPUS)
def test_texts_of_jobs_are_escaped(line: Line, visit: Visit, text: str) -> None:
    data = call(text, text, {text: [text]}, **{text: text})
    dead = line.die(
        data, text, f"{text}\n{text}", f'{TRACEBACK}  File "{text}", line 1, in {text}\n    {text}\n'
    )
    done = line.finish(data, {text: text})
    running = line.run(data, worker=f"h/{text}".replace(" ", ""))
    line.progress(running, 1, 2, text)
    line.log(running, text, f"\x1b]8;;{text}\x07{text}")
    line.put(data)
    visitor = visit()
    for job in (dead, done, running):
        assert_is_text(visitor.see(f"/queues/{line.name}/jobs/{job}"), text)
        assert_is_text(visitor.see("/jobs", id=job), text)
    for state in ("waiting", "running", "dead", "ended"):
        assert_is_text(visitor.see("/jobs", queue=line.name, state=state), text)
    assert_is_text(visitor.see("/failures"), text)
    assert_is_text(visitor.see("/failures", queue=line.name), text)


@pytest.mark.parametrize("name", ["queue", "state", "task", "worker", "text", "outcome", "id", "cursor"])
def test_texts_in_a_query_are_escaped(line: Line, visit: Visit, name: str) -> None:
    line.put(call("shop.prices", 1))
    visitor = visit()
    for text in CORPUS:
        for filters in ({"queue": line.name, "state": "waiting"}, {"queue": line.name, "state": "ended"}):
            assert_is_text(visitor.see("/jobs", **{**filters, name: text}), text)
        assert_is_text(visitor.see("/failures", **{name: text}), text)


def test_texts_in_a_path_are_escaped(line: Line, visit: Visit) -> None:
    line.put(call("shop.prices", 1))
    visitor = visit()
    for text in CORPUS:
        part = "".join(f"%{byte:02x}" for byte in text.encode())
        for path in (f"/jobs/{part}", f"/queues/{part}/jobs/x", f"/queues/{line.name}/jobs/{part}"):
            assert_is_text(visitor.see(path), text)


def test_control_characters_of_a_job_are_escaped(line: Line, visit: Visit) -> None:
    text = "a\u202eb\x07c"
    dead = line.die(call(text, text), text, text)
    running = line.run(call(text, text))
    line.progress(running, 1, 2, text)
    line.log(running, text)
    visitor = visit()
    for address in (*(f"/queues/{line.name}/jobs/{job}" for job in (dead, running)), "/failures"):
        html = visitor.see(address).html
        assert "a\\u202eb\\x07c" in html
        assert not {"\u202e", "\x07"} & set(html)


@pytest.mark.parametrize(
    ("done", "total"), [(1e308, 1e-308), (1e-308, 1e308), (float("inf"), 1.0), (float("nan"), float("nan"))]
)
def test_invalid_progress_is_limited_to_the_bar(line: Line, visit: Visit, done: float, total: float) -> None:
    job = line.run(call("shop.prices"))
    line.progress(job, done, total)
    seen = visit()
    for address in (f"/queues/{line.name}/jobs/{job}", f"/jobs?queue={line.name}&state=running"):
        page = seen.see(address)
        assert page.status == 200, address
        assert all(0 <= float(bar.attributes["value"]) <= 1 for bar in page.tree.css("main progress"))


@pytest.mark.parametrize("place", [f"{'9' * 20}-9999", "1-" + "9" * 20, "9-", "x", "٣-٣"])
def test_impossible_audit_cursor_shows_an_empty_page(visit: Visit, place: str) -> None:
    assert visit().see("/audit", before=place).status == 200
