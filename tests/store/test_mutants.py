"""Guards of the Lua scripts are removed one by one, and the test named for each must fail.

Among them are all that compare a token or a version, and all that remove something; the table has the others.

A guard that can be removed without a failing test is one that the next change may remove unnoticed.
"""

from __future__ import annotations

import inspect
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.errors import DuplicateJob, JobGone, ShutDown
from conveyor.store import scripts

from . import test_line, test_tally, test_versions
from .mutants import MUTANTS, Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lane, Server

#: How a test fails; any other error may be one of the mutant itself, which is then no proof.
FAILURES = (AssertionError, pytest.fail.Exception, ShutDown, DuplicateJob, JobGone)
READING = {"count", "due", "flow", "limits", "rows", "series", "state"} | {
    f"plain/{name}" for name in ("groups", "steps", "trail")
}
#: Code that compares a token or a version, or removes something that does not expire.
GUARD = re.compile(
    r"if [^\n]*\bis_(?:holder|foreign)\([^\n]*|(?<=\(')(?:HDEL|ZREM\w*|SREM|DEL|UNLINK|LTRIM|ZPOPMIN)\b"
)
ROWS = [(change, killer) for killer, changes in MUTANTS.items() for change in changes]

#: The lanes that the fixtures of those tests make.
FIXTURES = {
    "full": inspect.unwrap(test_line.full),
    "old": inspect.unwrap(test_versions.old),
    "newer": lambda lane: inspect.unwrap(test_versions.newer)(FIXTURES["old"](lane)),
}
#: The preparation of each test of a module, by its own fixture.
PREPARED = {test_tally.__name__: inspect.unwrap(test_tally.made)}


@pytest.fixture
def server(one_server: Server) -> Server:
    """Run on one kind of server, since the tests themselves run on all of them."""
    return one_server


@pytest.fixture
def lane(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lane]:
    """Return an empty queue, and load the real scripts again in the end."""
    yield lane
    lane.raw.flushall()
    monkeypatch.undo()
    forget_scripts()


def files() -> set[str]:
    """Return the names of all script files, including the shared parts."""
    folder = Path(scripts.__file__).parent
    return {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.lua")}


def forget_scripts() -> None:
    scripts.load.cache_clear()
    scripts.load_plain.cache_clear()


def load_mutant(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the mutant in place of the script in this process."""
    script, text, replacement = change
    file, read = f"{script}.lua", scripts._read
    assert read(file).count(text) == 1, f"{file} has changed: adapt its row in mutants.py"
    mutant = read(file).replace(text, replacement)
    monkeypatch.setattr(scripts, "_read", lambda name: mutant if name == file else read(name))
    forget_scripts()


def runs(test: Callable[..., None]) -> Iterator[dict[str, Any]]:
    """Yield the arguments of each run of a test, by its parameters."""
    choices = []
    for mark in getattr(test, "pytestmark", []):
        names, values = mark.args
        names = names.split(",") if isinstance(names, str) else names
        choices.append([dict(zip(names, one if len(names) > 1 else [one], strict=True)) for one in values])
    for choice in itertools.product(*choices):
        yield {name: value for arguments in choice for name, value in arguments.items()}


def run(killer: Callable[..., None], lane: Lane, request: pytest.FixtureRequest) -> None:
    """Run a test with each of its parameters, on an empty queue each time; raise its exception."""
    prepare = PREPARED.get(killer.__module__)
    for arguments in runs(killer):
        lane.raw.flushall()
        lane.tokens.clear()
        if prepare:
            prepare(lane)
        for name in inspect.signature(killer).parameters.keys() - arguments.keys():
            make = FIXTURES.get(name)
            arguments[name] = make(lane) if make else request.getfixturevalue(name)
        killer(**arguments)


def name_of(change: Change) -> str:
    return f"{change[0]}: {change[1][:40].strip()}"


@pytest.mark.parametrize(("change", "killer"), [pytest.param(*row, id=name_of(row[0])) for row in ROWS])
def test_mutant_is_killed(
    change: Change,
    killer: Callable[..., None],
    lane: Lane,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    load_mutant(change, monkeypatch)
    try:
        run(killer, lane, request)
    except FAILURES:
        return
    pytest.fail(f"{killer.__name__} passes all the same")


@pytest.mark.parametrize("killer", [pytest.param(killer, id=killer.__name__) for killer in MUTANTS])
def test_killer_passes_without_a_mutant(
    killer: Callable[..., None], lane: Lane, request: pytest.FixtureRequest
) -> None:
    """A failure here has another reason than a mutant."""
    run(killer, lane, request)


def test_mutants_cover_all_scripts_that_write() -> None:
    assert files() - {change[0] for change, _ in ROWS} == READING


@pytest.mark.parametrize("name", sorted(files() - READING))
def test_mutants_cover_each_token_version_and_removal(name: str) -> None:
    text = scripts._read(f"{name}.lua")
    spans = [(text.find(old), text.find(old) + len(old)) for (file, old, _), _ in ROWS if file == name]
    found = GUARD.finditer(text)
    missing = [
        one for one in found if not any(first < one.end() and one.start() < last for first, last in spans)
    ]
    assert [text[one.start() :].split("\n")[0] for one in missing] == []
