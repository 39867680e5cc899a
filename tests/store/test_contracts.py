"""Each verb exists four times: as script, as function, as moves, and in a header. They must agree."""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.store import lifecycle
from tests.store.conftest import packed_hook

from conveyor.errors import LeaseLost
from conveyor.store import commands, keys, schedules, scripts
from conveyor.store.client import Listener
from conveyor.store.command import PROTOCOL
from conveyor.store.commands import PutParams, RowRange, Settlement, Terms, pack_terms
from conveyor.store.schedules import DueSchedule, Entry, Fired, How, Put
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from types import ModuleType

    from conftest import Server

FOLDER = Path(scripts.__file__).parent
ONE = Settlement("id", b"outcome", 1.0, b"note")
#: Of each verb the arguments of one call, with one job wherever there may be several.
SAMPLES: dict[str, tuple[Any, ...]] = {
    "put": ([("id", b"bytes")], PutParams()),
    "submit": ([("id", b"bytes")], PutParams(terms=Terms({"id": pack_terms("key", "key", ["queue other"])}))),
    "follow": ("id", "other", ["follower"], b"i"),
    "go_on": (["id"], "other before", encode_settled("done")),
    "hook": ("id", "other before", packed_hook(commands.HookJob("d", "", "", b"bytes"))),
    "throttle": ("token", "id", 1.0, b"attempt"),
    "limit": (1, 2, 60.0),
    "age": (16,),
    "claim": ("owner", "nonce", 1, 1.0),
    "renew": ([("id", "token", "S")], 1.0),
    "finish": ("token", [ONE]),
    "retry": ("token", "id", 1.0, b"note"),
    "fail": ("token", ONE),
    "release": ("token", ["id"]),
    "lost": ("token", ONE, b"cancelled"),
    "append": ("token", "id", 0, []),
    "step": ("token", "id", "cursor", b"value"),
    "wait": ("token", "id", "sleep", "name", 1.0),
    "suspend": ("token", "id", "sleep", "name"),
    "signal": ("id", "name", b"value"),
    "cancel": ("id", b"outcome", 1.0, b"note", True),
    "revive": (["id"],),
    "discard": (["id"],),
    "promote": (),
    "reap": (),
    "purge": ("ready", 1, b"outcome", 1.0),
    "count": (),
    "bound": (1,),
    "pause": (),
    "resume": (),
    "shut": (),
    "forget": (1.0,),
    "join": ("joiner",),
    "leave": ("waiter",),
    "listen": ("inbox", 1.0, ["id"]),
    "state": ("id",),
    "tally": ("owner", 1, 1.0, [("task", "b=1 s=1")]),
    "series": ("minute", 1, 2, ["*"]),
    "rows": ("ready", RowRange(1)),
    "flow": (["id"], ["known"]),
    "limits": ("key",),
    "end_rest": ("key",),
    "due": (),
    "fire": (DueSchedule("report", 60.0, b"", Fired()), 120.0, [Put(60.0, "id", b"bytes", 0.0)], How()),
    "schedule": ("module", 1.0, [Entry("report", "every 60", b"definition", 60.0)]),
    "reschedule": ("report", "pause"),
}
#: Commands a full server must refuse: all that bring work in. The others help to drain it.
REFUSED_WITHOUT_MEMORY = {"put", "submit", "revive", "append", "fire", "step", "signal"}
READING = {"count", "state", "series", "rows", "flow", "limits", "due"}


def header(verb: str) -> list[str]:
    """Return the comment at the start of a script, a line for each entry."""
    shebang, *lines = (FOLDER / f"{verb}.lua").read_text().splitlines()
    assert shebang.startswith("#!lua")
    entries: list[str] = []
    for line in lines:
        if not line.startswith("-- "):
            break
        if re.match(r"-- \S", line):
            entries.append(line[3:])
        else:
            entries[-1] += " " + line[3:].strip()
    return entries


def entry(verb: str, word: str) -> str:
    """Return a single entry of the header."""
    found = [line for line in header(verb) if line.startswith(word)]
    assert len(found) == 1, f"{verb}.lua says {word!r} {len(found)} times"
    return found[0].removeprefix(word).strip()


#: Functions in store/commands.py and store/schedules.py that are no verbs.
WITHOUT_VERB = {
    *("note_scheduled", "scheduled_queues", "scheduled_among", "declared", "setting", "stored", "stored_one"),
    *("schedule_clock", "set_ahead", "read_fired"),
    *(
        "settlement_of_failure",
        "key_priority",
        "read_tries",
        "valid_names",
        "note_queue",
        "queue_names",
        "is_there",
        "was_deleted",
        "pack_terms",
        "outbox",
        "delivered",
        "postpone",
        "links",
        *("inputs", "shared_input"),
        "waits_for",
        "count_waits_for",
        "place_in_lane",
        "unique_key",
        "holder_of_key",
    ),
    *("await_outcomes", "nudge", "await_bell", "await_wake", "any_work", "load_scripts", "server_time"),
}


def public_functions(module: ModuleType) -> set[str]:
    return {
        name
        for name, one in vars(module).items()
        if inspect.isfunction(one) and one.__module__ == module.__name__ and not name.startswith("_")
    }


def test_each_verb_has_a_script_and_function_and_a_known_effect() -> None:
    moves = {move.verb for move in lifecycle.TRANSITIONS}
    assert moves & lifecycle.NOT_MOVES == set()
    assert set(scripts.names()) == moves | lifecycle.NOT_MOVES == lifecycle.VERBS
    functions = public_functions(commands) | public_functions(schedules)
    assert functions - WITHOUT_VERB == lifecycle.VERBS
    assert SAMPLES.keys() == lifecycle.VERBS


def test_each_move_is_listed_once_and_changes_the_state() -> None:
    assert len(set(lifecycle.TRANSITIONS)) == len(lifecycle.TRANSITIONS)
    assert [move for move in lifecycle.TRANSITIONS if move.source == move.target] == []
    assert lifecycle.may_move("claim", "ready", "leased")
    assert not lifecycle.may_move("claim", "leased", "ready")
    assert not lifecycle.may_move("count", "ready", "leased")


@pytest.mark.parametrize("verb", sorted(SAMPLES))
def test_script_starts_with_its_contract(verb: str) -> None:
    assert header(verb)[0].startswith(f"{verb}: ")
    assert entry(verb, "ARGV")
    assert entry(verb, "reply")


@pytest.mark.parametrize("verb", sorted(SAMPLES))
def test_script_header_numbers_the_arguments_of_its_function(verb: str) -> None:
    command = lifecycle.function_of(verb)("queue", *SAMPLES[verb])
    documented = entry(verb, "ARGV")
    numbers = [int(number) for number in re.findall(r"(?:^|; ?| )(\d+)(?:\.\.)? [a-z]", f"; {documented}")]
    sent = len(command.words) - 2
    assert command.script.name == verb
    assert command.words[:2] == (1, keys.key("queue", "meta"))
    if documented == "none":
        assert sent == 0
    else:
        listed = [number for number in numbers if number == 1 or number - 1 in numbers]
        assert listed == [*range(1, len(listed) + 1)]
        repeated = re.search(r"\d+\.\. ([^;]*)", documented)
        each = len(re.sub(r"\(.*?\)", "", repeated[1]).split(", ")) if repeated else 1
        assert sent == len(listed) - 1 + each


@pytest.mark.parametrize("verb", sorted(SAMPLES))
def test_verbs_do_not_contain_the_time_of_the_client(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose clock is wrong by a day has the same effect as the others."""
    sent = []
    for shift in (0.0, 86_400.0, -86_400.0):
        with monkeypatch.context() as shifted:
            for name in ("time.time", "conveyor.clock.wall"):
                shifted.setattr(name, lambda shift=shift: 1_700_000_000.0 + shift)
            sent.append(lifecycle.function_of(verb)("queue", *SAMPLES[verb]).words)
    assert sent[0] == sent[1] == sent[2]


@pytest.mark.parametrize("verb", sorted(SAMPLES))
def test_script_flags_match_its_use_on_a_full_server(verb: str) -> None:
    shebang = scripts.load(verb).text.partition("\n")[0]
    flags = set(shebang.removeprefix("#!lua").removeprefix(" flags=").split(",")) - {""}
    if verb in READING:
        assert flags == {"no-writes", "allow-stale"}
    else:
        assert flags == (set() if verb in REFUSED_WITHOUT_MEMORY else {"allow-oom"})


@pytest.mark.parametrize("verb", sorted(SAMPLES))
def test_shared_parts_of_a_script_exist_and_precede_their_use(verb: str) -> None:
    text = scripts.load(verb).text
    for part in FOLDER.joinpath("shared").glob("*.lua"):
        for name in re.findall(r"^local function (\w+)", part.read_text(), re.MULTILINE):
            uses = [place.start() for place in re.finditer(rf"\b{name}\(", text)]
            if uses:
                assert f"local function {name}(" in text, (
                    f"{verb}.lua calls {name} of {part.name} without `use`"
                )
                assert text.index(f"local function {name}(") <= uses[0]


def test_scripts_name_their_keys_in_table_order() -> None:
    text = FOLDER.joinpath("shared", "queue.lua").read_text()
    names, others = zip(*re.findall(r"^local ([A-Z, ]+) = (BASE .*)$", text, re.MULTILINE), strict=True)
    derived = re.findall(r"BASE \.\. '(\w+)'", " ".join(others))
    assert re.findall(r"\w+", " ".join(names).lower()) == derived
    assert ["meta", *derived] == [name for name, _, _ in keys.QUEUE_KEYS]


def test_removal_of_a_queue_names_all_its_keys() -> None:
    removed = re.search(r"redis.call\('UNLINK', (.*?)\)", scripts.load("forget").text, re.DOTALL)
    assert removed
    assert re.findall(r"\w+", removed[1].lower()) == [name for name, _, _ in keys.QUEUE_KEYS]


def test_all_keys_of_a_queue_are_in_the_same_slot() -> None:
    names = [keys.key("films", name) for name in ("meta", "ready", "outcome:1")]
    assert {re.search(r"\{(.*?)\}", name)[1] for name in names} == {"films"}


def test_protocol_version_is_equal_in_lua_and_python() -> None:
    assert f"local PROTOCOL = '{PROTOCOL}'" in FOLDER.joinpath("shared", "queue.lua").read_text()


@pytest.mark.parametrize("verb", sorted(SAMPLES))
def test_unknown_script_is_loaded_automatically(server: Server, verb: str) -> None:
    server.raw.script_flush()
    command = lifecycle.function_of(verb)("films", *SAMPLES[verb])
    with suppress(LeaseLost):
        server.client.run(command)
    assert server.raw.script_exists(command.script.sha) == [True]


def test_forgotten_scripts_are_loaded_again_in_a_pipeline(server: Server) -> None:
    place = PutParams()
    server.client.run(commands.put("films", [("a", b"")], place))
    server.raw.script_flush()
    told = [
        commands.put("films", [("b", b"")], place),
        commands.count("films"),
        commands.put("films", [("c", b"")], place),
        commands.claim("films", "ann", "n", 1, 9.0),
    ]
    answers = server.client.run_all(told)
    assert [answers[0].accepted, answers[2].accepted, answers[3].jobs[0].id] == [1, 1, "a"]
    assert server.client.run(commands.count("films")).accepted == 3


def test_listener_loads_unknown_scripts(server: Server) -> None:
    server.raw.script_flush()
    listener = Listener(server.client)
    listener.ask(commands.count("films"))
    assert listener.reply().accepted == 0
    listener.close()
