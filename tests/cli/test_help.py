"""Help is quick: it loads nothing that only the commands themselves need."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from conveyor.cli.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable

HEAVY = {
    "redis",
    "hiredis",
    "httpx",
    "numpy",
    "questionary",
    "prompt_toolkit",
    "selectolax",
    "imageio_ffmpeg",
    "textual",
}
COMMANDS = [entry.name for entry in TABLE]
LOADED = """
import json, sys
import conveyor
before = set(sys.modules)
from conveyor.cli.main import run
code = run(sys.argv[1:])
json.dump([code, sorted(set(sys.modules) - before)], sys.stderr)
"""


@pytest.mark.parametrize(
    "words", [["--help"], ["produce", "--help"], ["kill", "-h"], ["server", "status", "--help"]]
)
def test_help_loads_no_heavy_modules(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True, check=True)
    code, loaded = json.loads(done.stderr)
    assert code == 0
    assert "Usage: conveyor" in done.stdout
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()
    assert not [
        name
        for name in loaded
        if name in {"conveyor.cli.produce", "conveyor.cli.kill", "conveyor.cli.server"}
    ]


def test_help_lists_every_command(conveyor: Callable[..., object]) -> None:
    listing = conveyor("--help").out
    assert [name for name in COMMANDS if name.split()[0] not in listing] == []
    assert conveyor().out == listing


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_names_an_existing_function(name: str) -> None:
    entry = next(one for one in TABLE if one.name == name)
    module, _, function = entry.does.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert inspect.getdoc(entry.asks)


def test_version_is_printed(conveyor: Callable[..., object]) -> None:
    assert conveyor("--version").out.startswith("conveyor 0.")


def test_completion_script_is_printed(conveyor: Callable[..., object]) -> None:
    shown = conveyor("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "complete -o default -F _conveyor_completion conveyor" in shown.out
