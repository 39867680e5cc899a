"""The graph around a job as a picture: a column for each level, from left to right, and lines between the jobs.

The picture is made of attributes only, no styles, since the pages forbid those. A list next to it has the same as text.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from conveyor.dashboard.page import job_path
from conveyor.dashboard.rendering import visible
from conveyor.monitor.flow import ENDED
from conveyor.monitor.format import count_of, duration, shorten
from conveyor.wire.call import ITEM_WORD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conveyor.monitor.flow import Flow, FlowNode, JobKey

#: Jobs that are drawn; of a larger graph, those of each level that are, and the others as a number for each state.
MAX_DRAWN, MAX_OF_LEVEL = 200, 8
#: Rows up to which the columns are centered: higher ones are seen only in part.
MAX_CENTERED = 12
#: Width and height of a job, and the gaps between two, in pixels.
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 172, 42, 52, 10, 6
#: Characters of a job's task.
ROOM = 19
#: The states in which jobs are of interest, the most first; others are left out first.
_ORDER = (
    "running",
    "failed",
    "lost",
    "waiting",
    "delayed",
    "deferred",
    "cancelled",
    "expired",
    "done",
    "gone",
)
#: The icon of each state.
ICONS = {
    "waiting": "box",
    "deferred": "chain",
    "delayed": "clock",
    "running": "play",
    "done": "ok",
    "failed": "bad",
    "lost": "warn",
    "cancelled": "hand",
    "expired": "clock",
}


_SVG = Markup(
    '<svg class="flow" viewBox="0 0 {} {}" width="{}" height="{}" role="group" aria-label="{}">'
    '<defs><marker id="flow-end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" '
    'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>{}{}</svg>'
)


class Box(NamedTuple):
    """A job, or several of one state and level as one."""

    state: str
    x: int
    y: int
    node: FlowNode | None = None
    """None for several."""
    jobs: int = 1

    @property
    def title(self) -> str:
        """What it is called: a job's task or, if that is unknown, the end of its id."""
        node = self.node
        if node is None:
            return f"{self.jobs:,} more {self.state}"
        return node.task or (ITEM_WORD if node.state not in ENDED else f"job …{node.id[-6:]}")

    @property
    def address(self) -> str:
        """The address of the job's page; "" for several."""
        return "" if self.node is None else job_path(self.node.queue, self.node.id)


class Line(NamedTuple):
    """From the right side of a box to the left side of another one."""

    start: Box
    end: Box
    kind: str
    """blocks: the second one waits for the first. stopped: it was cancelled for it. Otherwise passed."""


class Picture(NamedTuple):
    """What is drawn, and what is said of it."""

    of: JobKey
    """The job that is marked."""
    boxes: Sequence[Box]
    lines: Sequence[Line]
    width: int
    height: int
    words: str

    @property
    def levels(self) -> list[list[Box]]:
        """The boxes by column, from left to right."""
        found: dict[int, list[Box]] = {}
        for box in self.boxes:
            found.setdefault(box.x, []).append(box)
        return list(found.values())

    def draw(self, root: str) -> Markup:
        """Return it as SVG, with a link for each job."""
        lines = Markup("").join(map(_path, self.lines))
        boxes = Markup("").join(
            _several(one) if one.node is None else _job(one, root, self.of) for one in self.boxes
        )
        return _SVG.format(
            self.width, self.height, self.width, self.height, f"Graph: {self.words}", lines, boxes
        )


def picture_of(flow: Flow) -> Picture:
    """Return where everything is drawn."""
    columns = [list(_column(level, flow)) for level in flow.levels]
    rows = max(map(len, columns), default=0)
    place_of: dict[JobKey, Box] = {}
    boxes: list[Box] = []
    for number, column in enumerate(columns):
        shift = (rows - len(column)) * (HEIGHT + GAP_Y) // 2 if rows <= MAX_CENTERED else 0
        for row, (some, state) in enumerate(column):
            x, y = MARGIN + number * (WIDTH + GAP_X), MARGIN + shift + row * (HEIGHT + GAP_Y)
            box = Box(state, x, y, some[0] if len(some) == 1 else None, len(some))
            boxes.append(box)
            place_of.update((one.key, box) for one in some)
    return Picture(
        flow.of,
        boxes,
        list(dict.fromkeys(_lines(flow, place_of))),
        len(columns) * (WIDTH + GAP_X) - GAP_X + 2 * MARGIN,
        rows * (HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN,
        words_of(flow),
    )


def words_of(flow: Flow) -> str:
    """Return the graph as a sentence."""
    counts = Counter(one.state for one in flow.jobs)
    states = ", ".join(f"{counts[state]:,} {state}" for state in _ORDER if counts[state])
    text = f"{count_of(len(flow.jobs), 'job')} in {count_of(len(flow.levels), 'level')}: {states}"
    return f"{text}; {count_of(flow.left_out, 'more job')} next to these left out" if flow.left_out else text


def _column(level: Sequence[FlowNode], flow: Flow) -> Iterator[tuple[list[FlowNode], str]]:
    """Yield the jobs of each box of a column: one, or several of one state."""
    if len(flow.jobs) <= MAX_DRAWN or len(level) <= MAX_OF_LEVEL:
        for one in level:
            yield [one], one.state
        return

    def rank(one: FlowNode) -> tuple[bool, int]:
        return one.key != flow.of, _ORDER.index(one.state) if one.state in _ORDER else len(_ORDER)

    chosen = {one.key for one in sorted(level, key=rank)[:MAX_OF_LEVEL]}
    others: dict[str, list[FlowNode]] = {}
    for one in level:
        if one.key in chosen:
            yield [one], one.state
        else:
            others.setdefault(one.state, []).append(one)
    for state in sorted(others, key=lambda state: _ORDER.index(state) if state in _ORDER else len(_ORDER)):
        yield others[state], state


def _lines(flow: Flow, place_of: Mapping[JobKey, Box]) -> Iterator[Line]:
    states = {one.key: one.state for one in flow.jobs}
    for node in flow.jobs:
        for other in node.before:
            kind = "passed"
            if node.state == "deferred" and states[other] not in ENDED:
                kind = "blocks"
            elif node.state == "cancelled" and states[other] in {"failed", "lost", "cancelled", "expired"}:
                kind = "stopped"
            yield Line(place_of[other], place_of[node.key], kind)


def _path(line: Line) -> Markup:
    x, y = line.start.x + WIDTH, line.start.y + HEIGHT // 2
    end_x, end_y = line.end.x, line.end.y + HEIGHT // 2
    bend = max(GAP_X // 2, min((end_x - x) // 2, 90))
    return Markup('<path class="{}" d="M{} {}C{} {} {} {} {} {}" marker-end="url(#flow-end)"/>').format(
        line.kind, x, y, x + bend, y, end_x - bend, end_y, end_x, end_y
    )


def _job(box: Box, root: str, of: JobKey) -> Markup:
    node = box.node
    assert node is not None
    task = visible(box.title)
    facts = [node.state]
    if node.elapsed is not None:
        facts.append(duration(node.elapsed))
    label = f"{task}, {node.state}, {node.id} on {node.queue}"
    is_asked = node.key == of
    return Markup(
        '<a href="{}{}" class="job is-{}{}" id="flow-{}"{}><title>{}</title>'
        '<rect x="{}" y="{}" width="{}" height="{}" rx="6"/>{}'
        '<text x="{}" y="{}">{}</text><text class="under" x="{}" y="{}">{}</text></a>'
    ).format(
        *(root, box.address, node.state, " asked" if is_asked else ""),
        *(f"{node.queue}-{node.id}", Markup(' aria-current="true"') if is_asked else "", label),
        *(box.x, box.y, WIDTH, HEIGHT, _icon(box)),
        *(box.x + 30, box.y + 18, shorten(task, ROOM), box.x + 30, box.y + 34, " · ".join(facts)),
    )


def _several(box: Box) -> Markup:
    return Markup(
        '<g class="job several is-{}"><rect x="{}" y="{}" width="{}" height="{}" rx="6"/>{}'
        '<text x="{}" y="{}">{}</text></g>'
    ).format(
        *(box.state, box.x, box.y, WIDTH, HEIGHT, _icon(box)),
        *(box.x + 30, box.y + 26, box.title),
    )


def _icon(box: Box) -> Markup:
    return Markup('<use href="#i-{}" x="{}" y="{}" width="14" height="14"/>').format(
        ICONS.get(box.state, "dots"), box.x + 9, box.y + 14
    )
