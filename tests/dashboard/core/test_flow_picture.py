"""The picture of a graph: a column for each level, lines that say what waits for what, large graphs by numbers."""

from __future__ import annotations

import re
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from conveyor.dashboard.flow_picture import HEIGHT, MAX_DRAWN, WIDTH, picture_of
from conveyor.monitor.flow import Flow, FlowNode


def node(
    job: str, level: int = 0, state: str = "done", before: tuple[str, ...] = (), **facts: Any
) -> FlowNode:
    facts.setdefault("task", "step")
    return FlowNode(job, "q", state, before=tuple(("q", one) for one in before), level=level, **facts)


def graph(*nodes: FlowNode, of: str = "a", left_out: int = 0) -> Flow:
    return Flow(("q", of), nodes, left_out)


def test_levels_are_columns_from_left_to_right_without_overlap() -> None:
    picture = picture_of(
        graph(*[node(f"a{n}") for n in range(5)], node("b", 1, before=("a0", "a4")), node("c", 2))
    )
    assert [len(level) for level in picture.levels] == [5, 1, 1]
    places = {(box.x, box.y) for box in picture.boxes}
    assert len(places) == 7
    for one in picture.boxes:
        assert 0 <= one.x <= picture.width - WIDTH
        assert 0 <= one.y <= picture.height - HEIGHT
        close = [b for b in picture.boxes if b.x == one.x and b is not one and abs(b.y - one.y) < HEIGHT]
        assert close == []
    middle = picture.levels[1][0].y
    assert middle == picture.levels[0][2].y  # a short column is centered


def test_lines_say_what_waits_for_what() -> None:
    picture = picture_of(
        graph(
            *(node("a"), node("b", state="running"), node("x", state="failed")),
            node("c", 1, "deferred", before=("a", "b")),
            node("y", 1, "cancelled", before=("x",)),
            node("z", 2, "cancelled", before=("y",)),
        )
    )
    kinds = {
        (line.start.node.id, line.end.node.id): line.kind
        for line in picture.lines
        if line.start.node and line.end.node
    }
    assert kinds == {
        ("a", "c"): "passed",
        ("b", "c"): "blocks",
        ("x", "y"): "stopped",
        ("y", "z"): "stopped",
    }


def test_large_graph_counts_jobs_of_less_interest() -> None:
    jobs = [node(f"j{number:03}", state="done" if number % 30 else "failed") for number in range(MAX_DRAWN)]
    last = node("last", 1, "deferred", before=tuple(one.id for one in jobs))
    picture = picture_of(graph(*jobs, last, of="j001", left_out=3))
    first, second = picture.levels
    assert [box.node.id for box in second if box.node] == ["last"]
    assert sum(box.jobs for box in first) == MAX_DRAWN
    shown = [box.node.id for box in first if box.node]
    assert "j001" in shown
    assert [one for one in shown if one != "j001"] == [f"j{number:03}" for number in range(0, MAX_DRAWN, 30)]
    assert [box.title for box in first if box.node is None] == ["192 more done"]
    assert len(picture.lines) == len(first)
    assert (
        picture.words
        == "201 jobs in 2 levels: 7 failed, 1 deferred, 193 done; 3 more jobs next to these left out"
    )


def test_picture_escapes_what_users_wrote() -> None:
    bad = node("a", task='<script>"&\u202e' + "x" * 50)
    drawn = str(picture_of(graph(bad)).draw("/base"))
    assert "<script>" not in drawn
    assert "\u202e" not in drawn
    seen = LexborHTMLParser(drawn)
    (link,) = seen.css("a")
    assert link.attributes["href"] == "/base/queues/q/jobs/a"
    assert link.attributes["aria-current"] == "true"
    assert "style" not in drawn
    text = seen.css_first("text")
    assert text
    assert len(text.text()) <= 40


def test_every_state_has_a_sign_and_every_job_a_title() -> None:
    states = ("waiting", "deferred", "delayed", "running", "done", "failed", "lost", "cancelled", "gone")
    picture = picture_of(graph(*[node(f"job-{state}", state=state, task="") for state in states]))
    titles = {box.state: box.title for box in picture.boxes}
    assert (titles["gone"], titles["waiting"]) == ("job …b-gone", "item")
    drawn = str(picture.draw(""))
    assert len(set(re.findall(r"#i-(\w+)", drawn))) == len(states)
