"""Every script is executed again: resent, late, or after a lost reply. It has no second effect.

The whole state of the server is compared: of a verb all keys of its queue, of a plain script all keys that there are.
`LATE` has the commands of which this does not hold: a copy that finds something to do has an effect of its own.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.conformance.test_model import SAFE_IF_LATE
from tests.store import lifecycle
from tests.store.conftest import Lane, packed_hook

from conveyor.store import commands, control_channel, forgetting, keys, records, schedules, scripts
from conveyor.store.client import Client
from conveyor.store.commands import Batch, PutParams, RowRange, Settlement, Terms
from conveyor.store.schedules import DueReply, DueSchedule, Entry, Fired, How, Put
from conveyor.torture.proxy import Mode, Proxy
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Server
    from conveyor.store.command import Command

LONG = 1000.0
MINE = "producer01"  # an inbox: the first ten characters of the ids of its producer
JOBS = [(f"{MINE}000{number}", b"bytes") for number in range(3)]
FIRST, SECOND, THIRD = (job_id for job_id, _ in JOBS)
HOOK = packed_hook(commands.HookJob("d", "", "", b"bytes"))
LIMITED_HOOK = packed_hook(commands.HookJob("d", "", "", b"bytes", limit_key="key", limit=(1, 0, 1.0, True)))


@pytest.fixture
def server(one_server: Server) -> Server:
    """Run on one kind of server: the tests of the scripts in tests/store repeat commands on all of them."""
    return one_server


def settlement(job_id: str = FIRST) -> Settlement:
    return Settlement(job_id, b"outcome", 600.0, b"note", b"attempt", "5af3")


def put(lane: Lane, **place: Any) -> None:
    lane.run(commands.put, JOBS, PutParams(**place))


def held(lane: Lane) -> str:
    """Put three jobs and take two, with every kind of waiter on them; return the token."""
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


def streaming(lane: Lane) -> str:
    token = held(lane)
    lane.run(commands.append, token, FIRST, 0, [b"\x01", b"\x02"])
    return token


def waiting(lane: Lane) -> str:
    token = held(lane)
    lane.run(commands.wait, token, FIRST, "wait", "go", LONG)
    return token


def suspended(lane: Lane) -> None:
    lane.run(commands.suspend, waiting(lane), FIRST, "wait", "go", b"attempt")


def signalled(lane: Lane) -> str:
    token = waiting(lane)
    lane.run(commands.signal, FIRST, "go", b"yes")
    return token


def lapsed(lane: Lane) -> None:
    held(lane)
    lane.let_leases_run_out()


def due(lane: Lane) -> None:
    put(lane, delay=LONG)
    lane.raw.zadd(lane.key("delayed"), {FIRST: 1, SECOND: 2})


REPORT, PAUSED = (Entry(name, "every 60", b"definition", 60.0) for name in ("report", "paused"))
DUE = DueSchedule("report", 60.0, b"definition", Fired())
INSTANTS = [Put(at, f"report:{at:.0f}", b"bytes", delay) for at, delay in ((60.0, 0.0), (120.0, LONG))]


def scheduled(lane: Lane) -> None:
    lane.run(schedules.schedule, "", 0.0, [REPORT])
    lane.run(schedules.schedule, "", 0.0, [PAUSED])
    lane.run(schedules.reschedule, "paused", "pause")


def full(lane: Lane) -> None:
    lane.put("first", maxsize=1)


def blocked(lane: Lane) -> None:
    full(lane)
    lane.put("blocked", waiter="ann")


def emptied(lane: Lane) -> None:
    lane.run(commands.finish, lane.take("over"), [Settlement("over", b"done", 600.0)])


def nothing(_: Lane) -> None:
    pass


def fail_first(lane: Lane) -> None:
    lane.run(commands.fail, lane.claim().token, settlement())


def dead_once(lane: Lane) -> None:
    put(lane)
    fail_first(lane)


def emptied_again(lane: Lane) -> None:
    lane.run(commands.finish, lane.take("more"), [Settlement("more", b"done", 600.0)])


def much_due(lane: Lane) -> None:
    ids = [f"job{number}" for number in range(70)]
    lane.put(*ids, delay=LONG)
    lane.raw.zadd(lane.key("delayed"), dict.fromkeys(ids, 1))


def much_lapsed(lane: Lane) -> None:
    lane.take(*(f"job{number}" for number in range(40)))
    lane.let_leases_run_out()


TERMS: Any = {"limit": "key", "limits": (1, 5, LONG, False), "unique": "key"}


def with_terms(**options: Any) -> tuple[Any, ...]:
    """Return the arguments of a put of the jobs with terms."""
    own, limit = {**TERMS, **options}, TERMS["limits"]
    packed = [
        commands.pack_terms(
            "key", f"key {place}" if place else "key", own.get("after", ()), own.get("policy", "d")
        )
        for place in range(len(JOBS))
    ]
    terms = Terms({job_id: one for (job_id, _), one in zip(JOBS, packed, strict=True)}, limit, (0.0, True))
    return JOBS, PutParams(terms=terms, maxsize=own.get("maxsize", 0), own_ids=own.get("own_ids", False))


def limited(lane: Lane) -> str:
    """Put jobs of one limit, and take the first."""
    lane.submit("limited", "second", "third", limit="key", limits=(1, 0, 1.0, True))
    return lane.claim().token


def resting(lane: Lane) -> None:
    """Make the queue rest."""
    lane.put("first")
    lane.run(commands.throttle, lane.claim().token, "first", LONG)


def unique(lane: Lane) -> None:
    lane.submit("holder", unique="key")


def followed(lane: Lane) -> str:
    """Put a job with many followers, here and elsewhere, and take it."""
    lane.put("before")
    lane.submit(*(f"follower{number}" for number in range(30)), after=[f"{lane.queue} before"], policy="di")
    lane.run(commands.follow, "before", "other", ["follower"], b"i")
    return lane.claim().token


def following(lane: Lane) -> None:
    lane.submit("follower", after=["other before"], policy="di")


def following_again(lane: Lane) -> None:
    lane.run(commands.cancel, "follower", b"away", 600.0)
    lane.raw.delete(lane.key("outcome:follower"))
    following(lane)


#: For each command: the preparation, which may return a token, and the arguments, made from the token.
CASES: dict[str, tuple[tuple[Callable[[Lane], Any], Callable[[str], tuple[Any, ...]]], ...]] = {
    "put": (
        (nothing, lambda _: (JOBS, PutParams())),
        (nothing, lambda _: (JOBS, PutParams(priority=3, delay=LONG))),
        (nothing, lambda _: (JOBS, PutParams(own_ids=True))),
        (nothing, lambda _: (JOBS, PutParams(maxsize=2))),
        (full, lambda _: (JOBS, PutParams(waiter="bob"))),
        (full, lambda _: ([], PutParams(waiter="bob", rest=3))),
    ),
    "submit": (
        (nothing, lambda _: with_terms()),
        (nothing, lambda _: with_terms(maxsize=2)),
        (nothing, lambda _: with_terms(own_ids=True)),
        (unique, lambda _: with_terms()),
        (nothing, lambda _: with_terms(after=["other before"], policy="di")),
        (limited, lambda _: with_terms()),
    ),
    "follow": (
        (put, lambda _: (FIRST, "other", ["follower", "second"], b"i")),
        (emptied, lambda _: ("over", "other", ["follower"])),
        (nothing, lambda _: ("gone", "other", ["follower"])),
    ),
    "go_on": (
        (following, lambda _: (["follower"], "other before", encode_settled("done"))),
        (following, lambda _: (["follower"], "other before", encode_settled("failed"))),
        (following, lambda _: (["follower", "gone"], "other before", encode_settled("done", bytes(5000)))),
    ),
    "hook": (
        (full, lambda _: ("hook", "other before", HOOK)),
        (limited, lambda _: ("hook", "other before", LIMITED_HOOK)),
    ),
    "throttle": (
        (limited, lambda token: (token, "limited", LONG, b"attempt")),
        (held, lambda token: (token, FIRST, LONG, b"attempt")),
        (cancelled, lambda token: (token, FIRST, LONG, b"attempt")),
    ),
    "limit": ((put, lambda _: (1, 2, LONG)),),
    "age": ((put, lambda _: (16,)),),
    "claim": (
        (limited, lambda _: ("bob", "bob.1", 2, LONG)),
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
        (limited, lambda token: (token, [settlement("limited")])),
        (followed, lambda token: (token, [Settlement("before", encode_settled("done"), 600.0)])),
    ),
    "retry": (
        (held, lambda token: (token, FIRST, LONG, b"note", b"attempt")),
        (held, lambda token: (token, FIRST, 0.0, b"note", b"attempt")),
        (cancelled, lambda token: (token, FIRST, LONG, b"note", b"attempt")),
        (limited, lambda token: (token, "limited", LONG, b"note", b"attempt")),
    ),
    "fail": (
        (held, lambda token: (token, settlement())),
        (followed, lambda token: (token, Settlement("before", encode_settled("failed"), 600.0))),
    ),
    "release": (
        (held, lambda token: (token, [FIRST, SECOND, THIRD], b"attempt")),
        (cancelled, lambda token: (token, [FIRST, SECOND])),
        (limited, lambda token: (token, ["limited"])),
    ),
    "lost": (
        (held, lambda token: (token, settlement(), b"cancelled")),
        (crashed_twice, lambda token: (token, settlement(), b"cancelled")),
        (cancelled, lambda token: (token, settlement(), b"cancelled")),
    ),
    "append": (
        (held, lambda token: (token, FIRST, 0, [b"\x01", b"\x02"])),
        (streaming, lambda token: (token, FIRST, 2, [b"\x03"])),
        (streaming, lambda token: (token, FIRST, 0, [b"\x04"])),
    ),
    "step": (
        (held, lambda token: (token, FIRST, "step one", b"value")),
        (held, lambda token: (token, FIRST, "cursor", b"value", 1)),
    ),
    "wait": (
        (held, lambda token: (token, FIRST, "sleep", "nap", LONG)),
        (held, lambda token: (token, FIRST, "wait", "go", 0.0)),
        (signalled, lambda token: (token, FIRST, "wait", "go", LONG)),
    ),
    "suspend": (
        (waiting, lambda token: (token, FIRST, "wait", "go", b"attempt")),
        (signalled, lambda token: (token, FIRST, "wait", "go", b"attempt")),
        (cancelled, lambda token: (token, FIRST, "wait", "go", b"attempt")),
    ),
    "signal": (
        (waiting, lambda _: (FIRST, "go", b"yes")),
        (suspended, lambda _: (FIRST, "go", b"yes")),
        (suspended, lambda _: (FIRST, "stop", b"yes")),
    ),
    "schedule": (
        (nothing, lambda _: ("module", 1.0, [REPORT, PAUSED])),
        (scheduled, lambda _: ("", 0.0, [REPORT._replace(timing="every 30")])),
        (scheduled, lambda _: ("module", 2.0, [])),
    ),
    "reschedule": (
        (scheduled, lambda _: ("report", "pause")),
        (scheduled, lambda _: ("paused", "resume", 60.0)),
        (scheduled, lambda _: ("report", "remove")),
    ),
    "due": ((scheduled, lambda _: ()),),
    "fire": (
        (scheduled, lambda _: (DUE, 180.0, INSTANTS, How())),
        (scheduled, lambda _: (DUE, 180.0, INSTANTS, How("skip", 3))),
        (scheduled, lambda _: (DUE, None, INSTANTS[:1], How("queue", 0, 1, 2))),
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
    "rows": ((held, lambda _: ("leased", RowRange(9))),),
    "flow": ((following, lambda _: (["follower"],)),),
    "limits": ((limited, lambda _: ()),),
    "end_rest": ((resting, lambda _: ()),),
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
#: Replies of a repeated command, from its first reply, if not the same.
OTHER_REPLIES: dict[str, Callable[[Any], Any]] = {
    # Its second execution has put nothing.
    "put": lambda reply: reply._replace(lineage=reply.lineage._replace(prior=reply.lineage.sequence)),
    "submit": lambda reply: reply._replace(lineage=reply.lineage._replace(prior=reply.lineage.sequence)),
    "throttle": lambda _: "STALE",
    "retry": lambda _: "STALE",  # the job is not held any more, so the worker lets go of it, as it should
    "lost": lambda _: "STALE",
    "suspend": lambda _: "STALE",
    "release": lambda _: 0,  # it counts its released jobs, like those below
    "promote": lambda _: 0,
    "end_rest": lambda _: 0,
    "reap": lambda _: 0,
    "revive": lambda _: 0,
    "discard": lambda _: 0,
    "purge": lambda _: 0,
    "fire": lambda _: "STALE",
    "reschedule": lambda _: "SAME",
    # The owner of a job that was only held is not named again: its next renewal reports the loss.
    "cancel": lambda _: ("cancelled", "", ""),
    # The inbox is open now; its owner polls every two seconds for missed outcomes.
    "listen": lambda reply: reply._replace(was_open=True),
}


class Late(NamedTuple):
    """A command whose copy has a separate effect."""

    before: Callable[[Lane], Any]
    make: Callable[[str], Command]
    meanwhile: Callable[[Lane], Any]
    """What is done between the command and its copy."""
    effect: dict[str, int]
    """What the copy adds to the figures of the queue."""


#: A copy that sets something, or acts on the jobs that it finds, does so once more.
LATE = {
    "pause": Late(nothing, commands.pause, lambda lane: lane.run(commands.resume), {"paused": 1}),
    "resume": Late(nothing, commands.resume, lambda lane: lane.run(commands.pause), {"paused": -1}),
    "shut": Late(nothing, commands.shut, lambda lane: lane.run(commands.resume), {"shutdown": 1}),
    "bound": Late(
        nothing,
        lambda queue: commands.bound(queue, 2),
        lambda lane: lane.run(commands.bound, 5),
        {"maxsize": -3},
    ),
    "limit": Late(
        lambda lane: lane.put("first", "second"),
        lambda queue: commands.limit(queue, 1, 0, 1.0),
        lambda lane: lane.run(commands.limit, 0, 0, 1.0),
        {},
    ),
    "age": Late(nothing, lambda queue: commands.age(queue, 5), lambda lane: lane.run(commands.age, 9), {}),
    # The follower is told once, even if it is noted once more: then by its own queue.
    "follow": Late(put, lambda queue: commands.follow(queue, FIRST, "other", ["follower"]), fail_first, {}),
    # Of a job put again under its id after the same job: that has ended indeed.
    "go_on": Late(
        following,
        lambda queue: commands.go_on(queue, ["follower"], "other before", encode_settled("done")),
        following_again,
        {"deferred": -1, "ready": 1},
    ),
    "hook": Late(
        nothing,
        lambda queue: commands.hook(queue, "hook", "other before", HOOK),
        lambda lane: lane.finish(lane.claim()),
        {},
    ),
    "submit": Late(
        nothing,
        lambda queue: commands.submit(queue, *with_terms(maxsize=2)),
        lambda lane: lane.claim(1),
        {"accepted": 1, "deferred": 1},
    ),
    "cancel": Late(
        nothing,
        lambda queue: commands.cancel(queue, FIRST, b"away", 600.0),
        put,
        {"ready": -1, "cancelled": 1},
    ),
    "revive": Late(
        dead_once,
        lambda queue: commands.revive(queue, [SECOND, FIRST]),
        lambda lane: lane.run(commands.fail, lane.claim(3).token, settlement()),
        {"dead": -1, "ready": 1},
    ),
    "discard": Late(
        put, lambda queue: commands.discard(queue, [FIRST]), fail_first, {"dead": -1, "discarded": 1}
    ),
    "purge": Late(
        put,
        lambda queue: commands.purge(queue, "ready", 2, b"away", 600.0, 3.0),
        nothing,
        {"ready": -1, "cancelled": 1},
    ),
    "purge-delayed": Late(
        due,
        lambda queue: commands.purge(queue, "delayed", 2, b"away", 600.0),
        lambda lane: lane.put("later", delay=LONG),
        {"delayed": -2, "cancelled": 2},
    ),
    "schedule": Late(
        nothing,
        lambda queue: schedules.schedule(queue, "", 0.0, [REPORT]),
        lambda lane: lane.run(schedules.reschedule, "report", "remove"),
        {},
    ),
    "reschedule": Late(
        scheduled,
        lambda queue: schedules.reschedule(queue, "report", "pause"),
        lambda lane: lane.run(schedules.reschedule, "report", "resume", 60.0),
        {},
    ),
    "fire": Late(
        scheduled,
        lambda queue: schedules.fire(queue, DUE, 180.0, INSTANTS, How()),
        lambda lane: lane.claim(2),
        {},
    ),
    "promote": Late(much_due, commands.promote, nothing, {"delayed": -6, "ready": 6}),
    "reap": Late(much_lapsed, commands.reap, nothing, {"leased": -8, "ready": 8, "lapsed": 8}),
    "forget": Late(
        emptied,
        lambda queue: commands.forget(queue, 0.0, remove=True),
        emptied_again,
        {"accepted": -1, "finished": -1},
    ),
    "put-full": Late(
        nothing,
        lambda queue: commands.put(queue, JOBS, PutParams(maxsize=2)),
        lambda lane: lane.claim(2),
        {"accepted": 1, "ready": 1},
    ),
}
#: Commands that only read, or note a waiter until it is silent for some time.
NOTING = {"due", "count", "series", "rows", "flow", "limits", "state", "listen", "join", "leave"}

#: For each plain script: the preparation, and the command that runs it on a queue.
PLAIN: dict[str, tuple[Callable[[Lane], Any], Callable[[str], Command]]] = {
    "answer": (nothing, lambda _: control_channel.acknowledge("order", b"done", "w/1", "done")),
    "clear": (held, lambda queue: forgetting.clear(f"{queue}s", [keys.key(queue, "bell")])),
    "groups": (dead, lambda queue: records.dead_groups(queue, 0)),
    "keep": (nothing, lambda _: records.keep_operation("operation", b"state", 9.0)),
    "note": (nothing, commands.note_queue),
    "progress": (held, lambda queue: records.set_progress(queue, [(FIRST, b"half"), (THIRD, b"half")])),
    "record": (nothing, lambda _: records.record(b"act", "pause", "done", "order")),
    "report": (nothing, lambda _: control_channel.report("w", b"report", 9.0)),
    "steps": (waiting, lambda queue: records.steps(queue, FIRST)),
    "tell": (nothing, lambda _: control_channel.send("w", b"stop")),
    "trail": (nothing, lambda _: records.audit_entries("", 9)),
}
#: Plain scripts that leave a message for each execution, and why: the key of the list. A copy cannot know whether the
#: first message was taken out meanwhile, so the reader tolerates it.
REPEATS = {
    "answer": (
        "reply",
        "what a target has come to is set, not counted: cli/orders.py; the last word on it is kept once",
    ),
    "tell": (
        "control",
        "consumer/test_stop_levels.py::test_command_that_arrives_twice_is_handled_once; a nudge only causes a poll",
    ),
}


def command_of(lane: Lane, verb: str, before: Callable[[Lane], Any], arguments: Any) -> Command:
    token = before(lane)
    return lifecycle.function_of(verb)(lane.queue, *arguments(token))


def run(lane: Lane, client: Client, command: Command) -> Any:
    """Run a command, and return its reply: a claim repeated for 0 jobs differs in its state."""
    reply = client.run(command)
    if isinstance(reply, DueReply):
        return reply.due  # without the time
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
    if "limits" in state and "" in state["limits"]:
        del state["bell"]  # a change of the queue's limit wakes a consumer each time
    shown = repr({name: value for name, value in state.items() if not str(value).endswith(".1 0")})
    return ast.literal_eval(shown.replace(lane.queue, "the queue"))


def test_each_command_has_a_resend_case() -> None:
    assert CASES.keys() == lifecycle.VERBS


@pytest.mark.parametrize(("verb", "before", "arguments"), ROWS)
def test_command_executed_again_has_no_second_effect(
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


def test_each_command_has_a_late_copy_case() -> None:
    """SAFE_IF_LATE commands arrive late in the model, and a tally in a separate test.

    A late `throttle` or `end_rest` begins or ends a rest, whichever it is.
    """
    late = {name.partition("-")[0] for name in LATE}
    assert late | SAFE_IF_LATE | {"throttle", "end_rest"} | NOTING | {"renew", "tally"} == CASES.keys()


@pytest.mark.parametrize("name", LATE)
def test_late_copy_acts_on_the_current_state(server: Server, name: str) -> None:
    lane, (before, make, meanwhile, effect) = Lane(server), LATE[name]
    before(lane)
    command = make(lane.queue)
    lane.client.run(command)
    meanwhile(lane)
    count = lane.count()
    lane.client.run(command)
    changes = {field: getattr(lane.count(), field) - value for field, value in count._asdict().items()}
    assert {field: change for field, change in changes.items() if change} == effect
    lane.dump()


def test_late_renewal_extends_only_a_current_lease(server: Server) -> None:
    lane = Lane(server)
    token = held(lane)
    renewal = commands.renew(lane.queue, [(FIRST, token, "S")], LONG)
    lane.client.run(renewal)
    lane.let_leases_run_out(FIRST)
    lane.client.run(renewal)
    assert lane.dump()["leased"][FIRST] == LONG
    lane.run(commands.release, token, [FIRST])
    lane.claim()
    before = lane.dump()
    assert lane.client.run(renewal).lost == [0]
    assert lane.changes(before) == {}


def test_each_plain_script_has_a_resend_case() -> None:
    folder = Path(scripts.__file__).parent / "plain"
    assert PLAIN.keys() == {file.stem for file in folder.glob("*.lua")}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_script_executed_again_has_no_second_effect(server: Server, name: str) -> None:
    before, make = PLAIN[name]
    lane = Lane(server)
    before(lane)
    was = everything(server, name)
    command = make(lane.queue)
    assert command.script == scripts.load_plain(name)
    reply = lane.client.run(command)
    once = changes(was, everything(server, name))
    assert bool(once) == ("no-writes" not in command.script.text)
    assert lane.client.run(command) == reply or name == "note"  # which counts its added jobs
    assert changes(was, everything(server, name)) == once
    server.raw.flushall()
    before(lane)
    was = everything(server, name)
    run_without_first_reply(lane, command)
    assert changes(was, everything(server, name)) == once


def changes(before: dict[bytes, Any], after: dict[bytes, Any]) -> dict[bytes, Any]:
    """Return the keys that differ from before with their content; None for removed ones."""
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


def run_without_first_reply(lane: Lane, command: Command) -> None:
    with Proxy(lane.server.url) as proxy:
        client = Client(proxy.url)
        client.run(commands.queue_names())  # connected, and so only the reply to the command is lost
        proxy.mode = Mode(lost_replies=1)
        run(lane, client, command)
        client.close()
        assert (proxy.replies_lost, proxy.connections_made) == (1, 2)
