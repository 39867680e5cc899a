"""Every script is executed again: sent twice, late, or since its reply was lost. It has the effect of one.

The whole state of the server is compared: of a verb all keys of its queue, of a plain script all keys that there are.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.store.conftest import Lane

from conveyor.store import acts, commands, keys, plain, records, scripts
from conveyor.store.answers import Batch, PutPlace, RowsPlace, Settlement
from conveyor.store.client import Client
from conveyor.torture.proxy import Mode, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Server

LONG = 1000.0
MINE = "producer01"  # an inbox: the first ten characters of the ids of its producer
JOBS = [(f"{MINE}000{number}", b"bytes") for number in range(3)]
FIRST, SECOND, THIRD = (job_id for job_id, _ in JOBS)


def settlement(job_id: str = FIRST) -> Settlement:
    return Settlement(job_id, b"outcome", 600.0, b"note", b"attempt", "5af3")


def put(lane: Lane, **place: Any) -> None:
    lane.run(commands.put, JOBS, PutPlace(**place))


def held(lane: Lane) -> str:
    """Put three jobs and take two, with everybody who can wait for them; return the token."""
    lane.run(commands.listen, MINE, LONG, [])
    put(lane, maxsize=3)
    lane.run(commands.listen, "producer02", LONG, [FIRST, SECOND])
    lane.run(commands.join, "joe")
    lane.put("blocked", waiter="ann")
    return lane.claim(2).token


def dead(lane: Lane) -> None:
    token = held(lane)
    for job_id in (FIRST, SECOND):
        lane.run(commands.fail, token, settlement(job_id))


def crashed_twice(lane: Lane) -> str:
    put(lane)
    for _ in range(2):
        lane.run(commands.lost, lane.claim().token, settlement(), b"cancelled")
    return lane.claim().token


def cancelled(lane: Lane) -> str:
    token = held(lane)
    lane.run(commands.cancel, FIRST, b"away", 600.0, b"ada")
    return token


def lapsed(lane: Lane) -> None:
    held(lane)
    lane.let_leases_run_out()


def due(lane: Lane) -> None:
    put(lane, delay=LONG)
    lane.raw.zadd(lane.key("delayed"), {FIRST: 1, SECOND: 2})


def full(lane: Lane) -> None:
    lane.put("first", maxsize=1)


def blocked(lane: Lane) -> None:
    full(lane)
    lane.put("blocked", waiter="ann")


def emptied(lane: Lane) -> None:
    lane.run(commands.finish, lane.take("over"), [Settlement("over", b"done", 600.0)])


def nothing(_: Lane) -> None:
    pass


#: Of each command: what is done before, which may return a token, and the arguments, made from the token.
CASES: dict[str, tuple[tuple[Callable[[Lane], Any], Callable[[str], tuple[Any, ...]]], ...]] = {
    "put": (
        (nothing, lambda _: (JOBS, PutPlace())),
        (nothing, lambda _: (JOBS, PutPlace(priority=3, delay=LONG))),
        (nothing, lambda _: (JOBS, PutPlace(own_ids=True))),
        (nothing, lambda _: (JOBS, PutPlace(maxsize=2))),
        (full, lambda _: (JOBS, PutPlace(waiter="bob"))),
        (full, lambda _: ([], PutPlace(waiter="bob", rest=3))),
    ),
    "claim": (
        (put, lambda _: ("ann", "ann.1", 2, LONG)),
        (lapsed, lambda _: ("bob", "bob.1", 2, LONG)),
        (due, lambda _: ("bob", "bob.1", 2, LONG)),
        (nothing, lambda _: ("ann", "ann.1", 2, LONG)),
    ),
    "renew": (
        (held, lambda token: ([(FIRST, token, "S"), (SECOND, token, "L"), (THIRD, token, "S")], LONG)),
        (cancelled, lambda token: ([(FIRST, token, "S"), (SECOND, "1", "S")], LONG)),
    ),
    "finish": (
        (held, lambda token: (token, [settlement(FIRST), settlement(SECOND), settlement(THIRD)])),
        (cancelled, lambda token: (token, [settlement()], "cancelled")),
    ),
    "retry": (
        (held, lambda token: (token, FIRST, LONG, b"note", b"attempt")),
        (held, lambda token: (token, FIRST, 0.0, b"note", b"attempt")),
        (cancelled, lambda token: (token, FIRST, LONG, b"note", b"attempt")),
    ),
    "fail": ((held, lambda token: (token, settlement())),),
    "release": (
        (held, lambda token: (token, [FIRST, SECOND, THIRD], b"attempt")),
        (cancelled, lambda token: (token, [FIRST, SECOND])),
    ),
    "lost": (
        (held, lambda token: (token, settlement(), b"cancelled")),
        (crashed_twice, lambda token: (token, settlement(), b"cancelled")),
        (cancelled, lambda token: (token, settlement(), b"cancelled")),
    ),
    "promote": ((due, lambda _: ()),),
    "reap": ((lapsed, lambda _: ()),),
    "cancel": (
        (held, lambda _: (FIRST, b"away", 600.0, b"ada")),
        (held, lambda _: (SECOND, b"away", 600.0, b"ada")),
        (held, lambda _: (THIRD, b"away", 600.0, b"ada")),
    ),
    "revive": ((dead, lambda _: ([FIRST, SECOND, THIRD],)),),
    "discard": ((dead, lambda _: ([FIRST, SECOND, THIRD],)),),
    "purge": (
        (held, lambda _: ("ready", 9, b"away", 600.0)),
        (due, lambda _: ("delayed", 9, b"away", 600.0)),
    ),
    "bound": ((blocked, lambda _: (2,)), (nothing, lambda _: (2,))),
    "pause": ((held, lambda _: ()),),
    "resume": ((lambda lane: lane.run(commands.pause), lambda _: ()),),
    "shut": ((blocked, lambda _: ()),),
    "forget": ((emptied, lambda _: (LONG,)), (put, lambda _: (0.0,))),
    "count": ((held, lambda _: ()),),
    "tally": ((held, lambda _: ("ann", 7, None, [("cut", "s=1 M=9")])),),
    "series": ((held, lambda _: ("minute", 1, 2)),),
    "rows": ((held, lambda _: ("leased", RowsPlace(9))),),
    "state": ((held, lambda _: (FIRST,)),),
    "listen": (
        (held, lambda _: ("producer03", LONG, [FIRST])),
        (dead, lambda _: (MINE, 0.0)),
    ),
    "join": ((put, lambda _: ("jim",)), (emptied, lambda _: ("jim",))),
    "leave": ((blocked, lambda _: ("ann",)),),
}
ROWS = [
    pytest.param(verb, *case, id=f"{verb}-{number}")
    for verb, cases in CASES.items()
    for number, case in enumerate(cases)
]
#: What a command may reply that was executed before, from its first reply, if not the same.
OTHER_REPLIES: dict[str, Callable[[Any], Any]] = {
    "retry": lambda _: "STALE",  # the job is not held any more, so the worker lets go of it, as it should
    "lost": lambda _: "STALE",
    "release": lambda _: 0,  # it counts what it released, as those below count what they did
    "promote": lambda _: 0,
    "reap": lambda _: 0,
    "revive": lambda _: 0,
    "discard": lambda _: 0,
    "purge": lambda _: 0,
    # The owner of a job that was only held is not named again: its next renewal reports the loss.
    "cancel": lambda _: ("cancelled", ""),
    # The inbox is open now; its owner asks again every two seconds for what it may have missed.
    "listen": lambda reply: reply._replace(was_open=True),
}

#: Of each plain script: what is done before, and the command that runs it on a queue.
PLAIN: dict[str, tuple[Callable[[Lane], Any], Callable[[str], commands.Command]]] = {
    "answer": (nothing, lambda _: plain.answer("order", b"done", "w/1", "done")[0]),
    "clear": (held, lambda queue: plain.clear(f"{queue}s", [keys.key(queue, "bell")])),
    "groups": (dead, lambda queue: records.dead_groups(queue, 0)),
    "keep": (nothing, lambda _: acts.keep_operation("operation", b"state", 9.0)),
    "note": (nothing, plain.note_queue),
    "progress": (held, lambda queue: plain.set_progress(queue, [(FIRST, b"half"), (THIRD, b"half")])),
    "record": (nothing, lambda _: acts.record(b"act", "pause", "done", "order")),
    "report": (nothing, lambda _: plain.report("w", b"report", 9.0)[0]),
    "tell": (nothing, lambda _: plain.control("w", b"stop")[0]),
    "trail": (nothing, lambda _: acts.acts("", 9)),
}
#: Plain scripts that leave a message once for each time that they are executed, and why: the key of the list. Whether
#: one was taken out meanwhile cannot be known, so it is the reader who does not mind.
REPEATS = {
    "answer": (
        "reply",
        "what a target has come to is set, not counted: cli/orders.py; the last word on it is kept once",
    ),
    "tell": (
        "control",
        "consumer/test_kill_ladder.py::test_order_that_arrives_twice_is_obeyed_once; a nudge only has a producer look",
    ),
}


def command_of(lane: Lane, verb: str, before: Callable[[Lane], Any], arguments: Any) -> commands.Command:
    token = before(lane)
    return getattr(commands, verb)(lane.queue, *arguments(token))


def run(lane: Lane, client: Client, command: commands.Command) -> Any:
    """Run a command, and return what its reply brings: a claim repeated for nothing says so in another word."""
    reply = client.run(command)
    if not isinstance(reply, Batch):
        return reply
    if reply.jobs and reply.token not in lane.tokens:
        lane.tokens.append(reply.token)
    return [*reply.jobs]


def state_of(lane: Lane) -> dict[str, Any]:
    """Return all that the server holds of a queue, but for moments, and notes of claims that brought nothing."""
    state = {re.sub(r"^(minute|hour|day):\d+", r"\1", name): value for name, value in lane.dump().items()}
    if "meta.unused" in state:
        state["meta.unused"] = state["meta.unused"].rpartition(" ")[0]
    return {name: value for name, value in state.items() if value != "ann.1 0"}


def test_resend_is_tried_for_every_command() -> None:
    functions = {name for name in commands.__all__ if inspect.isfunction(getattr(commands, name))}
    assert CASES.keys() == functions


@pytest.mark.parametrize(("verb", "before", "arguments"), ROWS)
def test_command_executed_again_has_the_effect_of_one(
    server: Server, verb: str, before: Callable[[Lane], Any], arguments: Any
) -> None:
    lane = Lane(server)
    command = command_of(lane, verb, before, arguments)
    reply = run(lane, lane.client, command)
    once = state_of(lane)
    for copy in (command.resent(), command) if command.again else (command,):
        assert run(lane, lane.client, copy) in (reply, OTHER_REPLIES.get(verb, lambda same: same)(reply))
        assert state_of(lane) == once
    other = Lane(server)
    run_without_first_reply(other, command_of(other, verb, before, arguments))
    assert state_of(other) == once


def test_resend_is_tried_for_every_plain_script() -> None:
    folder = Path(scripts.__file__).parent / "plain"
    assert PLAIN.keys() == {file.stem for file in folder.glob("*.lua")}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_script_executed_again_has_the_effect_of_one(server: Server, name: str) -> None:
    before, make = PLAIN[name]
    lane = Lane(server)
    before(lane)
    was = everything(server, name)
    command = make(lane.queue)
    assert command.script == scripts.load_plain(name)
    reply = lane.client.run(command)
    once = changes(was, everything(server, name))
    assert bool(once) == ("no-writes" not in command.script.text)
    assert lane.client.run(command) == reply or name == "note"  # which counts what it added
    assert changes(was, everything(server, name)) == once
    server.raw.flushall()
    before(lane)
    was = everything(server, name)
    run_without_first_reply(lane, command)
    assert changes(was, everything(server, name)) == once


def changes(before: dict[bytes, Any], after: dict[bytes, Any]) -> dict[bytes, Any]:
    """Return the keys that are not as before, with what they hold now; None for what is gone."""
    return {key: after.get(key) for key in {*before, *after} if before.get(key) != after.get(key)}


def everything(server: Server, name: str) -> dict[bytes, Any]:
    """Return all that a server holds, but for moments, and repeated messages of a plain script that may repeat them."""
    state = {}
    for key in server.raw.scan_iter(count=1000):
        kind = server.raw.type(key)
        value: Any = {
            b"string": server.raw.get,
            b"list": lambda key: server.raw.lrange(key, 0, -1),
            b"hash": server.raw.hgetall,
            b"set": server.raw.smembers,
            b"zset": lambda key: server.raw.zrange(key, 0, -1),
            b"stream": lambda key: [fields for _, fields in server.raw.xrange(key)],
        }[kind](key)
        if name in REPEATS and key.startswith(f"conveyor:{REPEATS[name][0]}:".encode()):
            assert len(value) <= 2
            value = set(value)
        state[key] = value
    return state


def run_without_first_reply(lane: Lane, command: commands.Command) -> None:
    with Proxy(lane.server.url) as proxy:
        client = Client(proxy.url)
        client.run(plain.queues())  # connected, and so only the reply to the command is lost
        proxy.mode = Mode(lost_replies=1)
        run(lane, client, command)
        client.close()
        assert (proxy.replies_lost, proxy.connections_made) == (1, 2)
