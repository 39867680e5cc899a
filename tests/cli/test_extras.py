"""A command or a module whose extra is not installed names that extra, in one sentence and without a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conveyor.cli.main import exit_code
from conveyor.cli.prompts import MenuPrompt

COMMANDS = {
    "status": ("typer", "cli"),
    "queues": ("rich", "cli"),
    "dashboard": ("starlette", "dashboard"),
    "top": ("textual", "top"),
    "tasks web_scrape": ("protego", "tasks"),
    "tasks video_split": ("imageio_ffmpeg", "tasks"),
    "tasks count_primes": ("numpy", "tasks"),
    "demo": ("httpx", "tasks"),
    "consume letters --reload": ("watchfiles", "reload"),
    "speedup sleep": ("numpy", "tasks"),
    "speedup sleep --plot speedup.png": ("matplotlib", "plots"),
}
MODULES = {
    "conveyor.dashboard": ("jinja2", "dashboard"),
    "conveyor.telemetry": ("opentelemetry", "otel"),
    "conveyor.dashboard.serve": ("uvicorn", "dashboard"),
    "conveyor.dashboard.wsgi": ("a2wsgi", "dashboard"),
    "conveyor.top": ("textual", "top"),
    "conveyor.task_def.web_scrape": ("selectolax", "tasks"),
    "conveyor.task_def.video_split": ("imageio_ffmpeg", "tasks"),
    "conveyor.task_def.heavy_math": ("numpy", "tasks"),
}


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_without_its_extra_exits_with_2(command: str) -> None:
    library, extra = COMMANDS[command]
    code = f"import sys; sys.modules[{library!r}] = None\nfrom conveyor.__main__ import main\nmain()"
    done = python(code, *command.split())
    said, hint = done.stderr.splitlines()
    assert done.returncode == 2
    assert said.endswith(f'needs the extra "{extra}": {library} is not installed')
    assert hint == f'  Hint: run pip install ".[{extra}]" in a checkout of Conveyor'


def test_menu_without_its_library_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "questionary", None)

    def prompt() -> int:
        MenuPrompt()
        return 0

    assert exit_code(prompt) == 2
    said, hint = capsys.readouterr().err.splitlines()
    assert said == 'conveyor: the command line needs the extra "cli": questionary is not installed'
    assert hint == '  Hint: run pip install ".[cli]" in a checkout of Conveyor'


@pytest.mark.parametrize(("command", "other"), [("dashboard", "textual"), ("top", "starlette")])
def test_command_needs_no_extra_of_another(command: str, other: str) -> None:
    code = f"import sys; sys.modules[{other!r}] = None\nfrom conveyor.__main__ import main\nmain()"
    done = python(code, command, "--help")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("module", MODULES)
def test_import_without_its_extra_raises_missing_extra(module: str) -> None:
    library, extra = MODULES[module]
    done = python(
        f"import sys; sys.modules[{library!r}] = None\n"
        "from conveyor import MissingExtra\n"
        f"try:\n    import {module}\n"
        "except MissingExtra as error:\n    print(error.name, error.hint, isinstance(error, ImportError))\n"
    )
    assert done.stdout == f'{library} run pip install ".[{extra}]" in a checkout of Conveyor True\n'
