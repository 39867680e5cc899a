"""`conveyor flow`: the graph of jobs around a job, in the terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

from rich.text import Text

from conveyor.cli import options
from conveyor.cli.connection import open_inspector
from conveyor.cli.jobs import known_job
from conveyor.cli.options import Json, OnlyQueue, argument
from conveyor.cli.output import document, note, table
from conveyor.monitor import flow as flows
from conveyor.monitor.format import STATE_COLORS, count_of, duration, safe, utc
from conveyor.store import commands
from conveyor.wire.call import ITEM_WORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.monitor.flow import Flow, FlowNode, JobKey

#: The sign of a job in each state.
SIGNS = {
    "done": "✔",
    "running": "▶",
    "waiting": "▪",
    "deferred": "◇",
    "delayed": "◷",
    "failed": "✘",
    "lost": "✘",
    "cancelled": "■",
    "expired": "◷",
    "gone": "·",
}
#: Levels of indentation; what is deeper has that of the deepest.
MAX_DEPTH = 12


def flow(
    job_id: Annotated[str, argument("JOB", "Id of a job of the graph.", options.jobs)],
    *,
    queue: OnlyQueue = "",
    as_json: Json = False,
) -> None:
    """Show the jobs before and after a job, and which waits for which.

    It follows them over all queues, 300 jobs at most, the nearest ones.
    """
    inspector = open_inspector(quiet=as_json)
    found = known_job(inspector, job_id, queue)
    graph: Flow = flows.flow(found.queue, job_id).ask(inspector.client)
    now: float = inspector.client.run(commands.server_time())
    if as_json:
        jobs = [_document(one) for one in graph.jobs]
        document("flow/v1", job=job_id, queue=found.queue, left_out=graph.left_out, jobs=jobs)
        return
    rows = [_row(one, depth, graph, now) for one, depth in _in_order(graph)]
    several = len({one.queue for one in graph.jobs}) > 1
    left_out = {"TIME", "WAITS FOR"} - {title for row in rows for title, cell in row.items() if str(cell)}
    left_out |= set() if several else {"QUEUE"}
    table(
        [{title: cell for title, cell in row.items() if title not in left_out} for row in rows],
        numbers=("TIME",),
        may_shrink=("TASK", "QUEUE", "WAITS FOR"),
    )
    note(_summary(graph))


def _in_order(graph: Flow) -> Iterator[tuple[FlowNode, int]]:
    """Yield each job below all that it comes after, close to one of them, and its level."""
    nodes = {one.key: one for one in graph.jobs}
    shown: set[JobKey] = set()
    left = {one.key: len(one.before) for one in graph.jobs}
    line = [one.key for one in reversed(graph.jobs) if not one.before]
    while line or len(shown) < len(nodes):
        key = line.pop() if line else next(key for key in nodes if key not in shown)
        shown.add(key)
        yield nodes[key], nodes[key].level
        for other in reversed(nodes[key].after):
            left[other] -= 1
            if not left[other] and other not in shown:
                line.append(other)


def _row(node: FlowNode, depth: int, graph: Flow, now: float) -> dict[str, str | Text]:
    task = safe(node.task) or ("" if node.state in flows.ENDED else ITEM_WORD)
    is_asked = node.key == graph.of
    style = STATE_COLORS.get(node.state, "")
    branch = "  " * min(depth, MAX_DEPTH) + ("└ " if node.before else "")
    state = Text.assemble(branch, (f"{SIGNS.get(node.state, '·')} {node.state}", style))
    return {
        "STATE": state,
        "TASK": Text(task, "bold" if is_asked else ""),
        "JOB": Text(node.id, "bold" if is_asked else ""),
        "QUEUE": node.queue,
        "TIME": _time(node, now),
        "WAITS FOR": node.waits_text(),
    }


def _time(node: FlowNode, now: float) -> str:
    if node.since is not None:
        return f"for {duration(now - node.since)}"
    return "" if node.elapsed is None else duration(node.elapsed)


def _summary(graph: Flow) -> str:
    states = Counter(one.state for one in graph.jobs)
    parts = ", ".join(f"{number:,} {state}" for state, number in states.most_common())
    text = f"{count_of(len(graph.jobs), 'job')}: {parts}."
    if len(graph.jobs) == 1 and not graph.left_out:
        text = "No jobs come before or after it; links are kept for a week."
    if graph.left_out:
        text += f" {count_of(graph.left_out, 'more job')} next to these, and those beyond, are left out."
    return text


def _document(node: FlowNode) -> dict[str, Any]:
    return {
        "id": node.id,
        "queue": node.queue,
        "state": node.state,
        "task": node.task,
        "level": node.level,
        "before": [_key_document(one) for one in node.before],
        "after": [_key_document(one) for one in node.after],
        "waits_for": node.waits_text() or None,
        "since": None if node.since is None else utc(node.since),
        "ended": None if node.ended is None else utc(node.ended),
        "took": node.elapsed,
    }


def _key_document(key: JobKey) -> dict[str, str]:
    return {"queue": key[0], "id": key[1]}
