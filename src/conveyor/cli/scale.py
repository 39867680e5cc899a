"""`conveyor scale`: change the number of workers of a running consumer, on any host."""

from __future__ import annotations

from typing import Annotated

from conveyor.cli import options
from conveyor.cli.connection import open_inspector
from conveyor.cli.control_targets import TargetSet, find_targets, send
from conveyor.cli.exit_codes import Usage
from conveyor.cli.options import Json, Reason, ReplyTimeout, argument
from conveyor.monitor.follow import Target
from conveyor.wire.control_messages import check_scale, consumer_of


def scale(
    name: Annotated[str, argument("CONSUMER", "Name as in `conveyor workers`.", options.workers)],
    number: Annotated[
        str, argument("N | +N | -N | auto", "Number of workers, or how many to add or to stop.")
    ],
    *,
    reason: Reason = "",
    timeout: ReplyTimeout = 10.0,
    as_json: Json = False,
) -> int:
    """Add workers to a running consumer, or stop some after their current jobs.

    Any unambiguous prefix of a name works. Free workers stop first. With 0, the consumer stays and waits for commands.
    A consumer that was started with --max keeps the number until `auto` lets it follow the waiting jobs again.
    """
    check_scale(number)
    if "/" in name:
        raise Usage(f"{name!r} is a worker", hint=f"name its consumer: {consumer_of(name)}")
    inspector = open_inspector(quiet=as_json)
    (consumer,) = find_targets(inspector.consumers(), [name]).names
    to = TargetSet([consumer], {consumer: Target(consumer)})
    return send(inspector.client, to, "scale", reason=reason, scale=number, timeout=timeout, as_json=as_json)
