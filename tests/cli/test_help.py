"""Help is quick: the list of all commands loads none of them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from conveyor.cli.commands import COMMANDS, load

if TYPE_CHECKING:
    from collections.abc import Callable

#: What the help of a command loads, since its function is loaded, but not the list of all commands.
CLIENT = {"redis", "hiredis"}
HEAVY = {
    "httpx",
    "numpy",
    "questionary",
    "prompt_toolkit",
    "selectolax",
    "imageio_ffmpeg",
    "matplotlib",
    "textual",
}
NAMES = [name for commands in COMMANDS.values() for name in commands]
LOADED = """
import json, sys
import conveyor
before = set(sys.modules)
from conveyor.cli.main import run
code = run(sys.argv[1:])
json.dump([code, sorted(set(sys.modules) - before)], sys.stderr)
"""


def loaded_by(*words: str) -> set[str]:
    """Return the modules that a help text loads."""
    done = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True, check=True)
    code, loaded = json.loads(done.stderr)
    assert code == 0
    assert "Usage: conveyor" in done.stdout
    return set(loaded)


def test_help_loads_no_heavy_modules_and_no_command() -> None:
    loaded = loaded_by("--help")
    assert (HEAVY | CLIENT) & {name.partition(".")[0] for name in loaded} == set()
    own = {name.removeprefix("conveyor.cli.") for name in loaded if name.startswith("conveyor.cli.")}
    assert own == {"commands", "exit_codes", "main"}


@pytest.mark.parametrize(
    "words", [["produce", "--help"], ["kill", "-h"], ["server", "status", "--help"], ["speedup", "--help"]]
)
def test_command_help_loads_no_heavy_modules(words: list[str]) -> None:
    loaded = loaded_by(*words)
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()
    others = {"produce", "kill", "server"} - set(words)
    assert {f"conveyor.cli.{name}" for name in others} & loaded == set()


def test_help_lists_every_command(conveyor: Callable[..., object]) -> None:
    listing = conveyor("--help").out
    assert [name for name in NAMES if f"│ {name} " not in listing] == []
    assert conveyor().out == listing


@pytest.mark.parametrize("name", NAMES)
def test_command_summary_is_its_docstrings(name: str) -> None:
    summary = next(commands[name][1] for commands in COMMANDS.values() if name in commands)
    assert load(name).help.partition("\n")[0] == summary


def test_version_is_printed(conveyor: Callable[..., object]) -> None:
    assert conveyor("--version").out.startswith("conveyor 0.")


def test_completion_script_is_printed(conveyor: Callable[..., object]) -> None:
    shown = conveyor("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "complete -o default -F _conveyor_completion conveyor" in shown.out
