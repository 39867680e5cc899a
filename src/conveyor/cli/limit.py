"""`conveyor limit`: how many jobs of a queue run at a time, and start within a period; and the keys at their limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from rich.text import Text

from conveyor.cli.connection import existing_queue, open_actions, open_inspector
from conveyor.cli.exit_codes import Usage
from conveyor.cli.options import Json, QueueName, Reason, flag, option
from conveyor.cli.output import document, note, screen, table
from conveyor.monitor import waits
from conveyor.monitor.format import count_of, utc
from conveyor.wire.terms import MAX_PERIOD, MAX_STARTS

if TYPE_CHECKING:
    from conveyor.store.commands import Limits, LimitState


def limit(
    queue: QueueName,
    *,
    running: Annotated[
        int | None, option("N", "Jobs that run at a time; 0 for no limit.", min=0, max=1_000_000)
    ] = None,
    starts: Annotated[
        int | None,
        option("N", "Jobs that start within a period; 0 for no limit.", min=0, max=MAX_STARTS),
    ] = None,
    per: Annotated[
        float | None, option("SECONDS", "Seconds of the period; 60 at first.", min=0.001, max=MAX_PERIOD)
    ] = None,
    off: Annotated[bool, flag("Remove the limit of the queue.", "--off")] = False,
    end_rest: Annotated[
        bool, flag("End the rest that a task has asked for: of the queue, or of --key.", "--end-rest")
    ] = False,
    key: Annotated[str, option("KEY", "Key of a limit, for --end-rest.")] = "",
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Show or set how many jobs of a queue run at a time, and start within a period.

    Without options it shows the limit of the queue, and the keys of its tasks' limits that jobs wait for.
    """
    sets = off or not (running is None and starts is None and per is None)
    if off and not (running is None and starts is None and per is None):
        raise Usage("--off removes the limit, so it takes no numbers", hint="use one of them")
    if key and not end_rest:
        raise Usage("--key goes with --end-rest", hint="a limit of a key is set by the task")
    inspector = open_inspector(quiet=as_json)
    existing_queue(inspector, queue)
    actions = open_actions(inspector.client)
    if end_rest:
        listed = waits.limits(queue).ask(inspector.client).keys if key else []
        key = next((one.key for one in listed if waits.key_text(one.key) == key), key)
        rested = actions.end_rest(queue, key, reason).changed
        if not as_json:
            whose = f"{queue}, {waits.key_text(key)}" if key else queue
            print(f"{whose}: {'jobs start again.' if rested else 'it did not rest.'}")
    if sets:
        now = None if off else waits.limits(queue).ask(inspector.client).queue
        wanted = (
            (now.max_running if now else 0) if running is None else running,
            (now.max_starts if now else 0) if starts is None else starts,
            ((now.period if now else 0.0) or 60.0) if per is None else per,
        )
        if per is not None and not wanted[1]:
            raise Usage("--per goes with --starts", hint="add --starts N")
        actions.limit_queue(queue, *(0, 0, 60.0) if off else wanted, reason)
    if as_json or sets or not end_rest:
        _show(
            queue, waits.limits(queue).ask(inspector.client), existing_queue(inspector, queue).rest, as_json
        )


def _show(queue: str, found: Limits, rest: int, as_json: bool) -> None:  # noqa: FBT001
    if as_json:
        document(
            "limit/v1",
            queue=queue,
            limit=None if found.queue is None else _document(found.queue),
            rests_until=utc(rest / 1000) if rest else None,
            keys=[{"key": waits.key_text(one.key), **_document(one)} for one in found.keys],
            known_keys=found.known,
            read_keys=found.read,
        )
        return
    own = "no limit" if found.queue is None else waits.limit_text(found.queue)
    screen().print(f"{queue}: {own}")
    if rest:
        until = waits.clock_time(rest / 1000)
        screen().print(
            Text(f"No job starts until {until}: a task raised Throttle. --end-rest ends it.", "yellow")
        )
    if found.keys:
        screen().print()
        table([_row(one) for one in found.keys], numbers=("WAITING",), may_shrink=("KEY", "LIMIT"))
    if found.read < found.known:
        note(
            f"Of {count_of(found.known, 'key')}, those of {found.read:,} were read: of random deferred jobs."
        )
    elif found.known and not found.keys:
        note(f"{count_of(found.known, 'key')} with a limit; no job waits for one.")


def _row(one: LimitState) -> dict[str, str]:
    return {
        "KEY": waits.key_text(one.key),
        "LIMIT": waits.limit_text(one),
        "WAITING": f"{one.waiting:,}",
        "NOW": f"until {waits.clock_time(one.until)}: {waits.reason(one)}"
        if one.until
        else waits.reason(one),
    }


def _document(one: LimitState) -> dict[str, Any]:
    return {**waits.figures(one), "until": utc(one.until) if one.until else None}
