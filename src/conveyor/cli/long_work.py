"""A progress bar for work of many steps, on a terminal; nothing elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from conveyor.cli.output import is_lively, margin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Fewer steps than this are over before a bar could be read.
WORTH_A_BAR = 2_000


@contextmanager
def long_work(title: str, steps: int) -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs; it is given a function to call with the number of steps done since."""
    if steps < WORTH_A_BAR or not is_lively():
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=margin(), transient=True) as bars:
        bar = bars.add_task(title, total=steps)
        yield lambda number: bars.advance(bar, number)
