"""Commands that the pages show exist, with their options; and the reference has all of them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from conveyor.cli.commands import COMMANDS, load
from conveyor.cli.main import run

ROOT = Path(__file__).parents[2]
GROUPS = {name: list(load(name).commands) for name in ("server", "schedule")}
NAMES = [
    " ".join(words)
    for commands in COMMANDS.values()
    for name in commands
    for words in ([[name, one] for one in GROUPS[name]] if name in GROUPS else [[name]])
]
ROOT_OPTIONS = {"--url", "-u", "--log-format", "--version", "-V", "--install-completion", "--show-completion"}
_SHOWN = (
    re.compile(r"^(conveyor .+)$", re.MULTILINE),  # a line of a console block
    re.compile(r"bin/(conveyor .+)$", re.MULTILINE),
    re.compile(r"`(conveyor [^`\n]+)`"),
)
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


@pytest.fixture
def options(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Return the options of every command as listed by its help."""
    for name, value in {"COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    found = {}
    for name in NAMES:
        assert run([*name.split(), "--help"]) == 0
        found[name] = set(_OPTION.findall(capsys.readouterr().out)) - {"--help", "-h"}
    return found


def shown_commands(text: str) -> list[str]:
    """Return the command lines shown on a page, without prose that begins with the name."""
    found = {line.strip() for pattern in _SHOWN for line in pattern.findall(text)}
    return sorted(line for line in found if not line.startswith("conveyor:"))


def command_of(line: str) -> tuple[str, list[str]]:
    """Return the command's name and the options used with it."""
    words = shlex.split(line.replace("…", " "))[1:]
    dashed = [word for word in words if word.startswith("-") and word != "--"]
    used = [word.partition("=")[0] for word in dashed if not word[1:].isdigit()]
    plain = [word for word in words if not word.startswith("-")]
    if not plain:
        return "", used
    return " ".join(plain[:2] if plain[0] in GROUPS else plain[:1]), used


def test_commands_shown_on_pages_exist(pages: dict[str, str], options: dict[str, set[str]]) -> None:
    wrong = []
    for page, text in pages.items():
        for line in shown_commands(text):
            name, used = command_of(line)
            known = options.get(name, set()) | ROOT_OPTIONS
            if (name and name not in options) or set(used) - known:
                wrong.append(f"{page}: {line}")
    assert wrong == []


def test_reference_has_a_section_for_every_command(pages: dict[str, str]) -> None:
    assert sorted(sections(pages)) == sorted(NAMES)


def test_reference_has_every_option(pages: dict[str, str], options: dict[str, set[str]]) -> None:
    told = sections(pages)
    untold = {name: some - set(_OPTION.findall(told[name])) for name, some in options.items()}
    assert {name: some for name, some in untold.items() if some} == {}
    assert "--wait" in options["produce"]


def test_reference_has_every_exit_code(pages: dict[str, str]) -> None:
    codes = re.findall(r"^\| (\d+) \|", pages["docs/command-line.md"], re.MULTILINE)
    assert codes == ["0", "1", "2", "3", "4", "5", "69", "130"]


def test_make_targets_shown_on_pages_exist(pages: dict[str, str]) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = re.findall(r"(?:^|`)make ([a-z]+)", "\n".join(pages.values()), re.MULTILINE)
    assert shown
    assert set(shown) - set(targets) == set()


def test_table_of_targets_has_all(pages: dict[str, str]) -> None:
    targets = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    told = re.findall(r"^\| `([a-z]+)` \|", pages["CONTRIBUTING.md"], re.MULTILINE)
    assert sorted(told) == sorted({*targets} - {"help"})


def test_tests_selected_by_name_on_pages_exist(pages: dict[str, str]) -> None:
    shown = re.findall(r"pytest ([\w/]+\.py) -k (\w+)", "\n".join(pages.values()))
    assert shown
    for file, word in shown:
        assert re.search(rf"def test_\w*{word}", (ROOT / file).read_text()), f"{file} -k {word}"


def test_scripts_shown_on_pages_exist(pages: dict[str, str]) -> None:
    shown = re.findall(r"python3? ([\w/]+\.py)", "\n".join(pages.values()))
    assert [file for file in shown if not (ROOT / file).is_file()] == []


def sections(pages: dict[str, str]) -> dict[str, str]:
    """Return the sections of the reference by command."""
    parts = re.split(r"^### `conveyor (.+)`$", pages["docs/command-line.md"], flags=re.MULTILINE)
    return {name: text.split("\n## ")[0] for name, text in zip(parts[1::2], parts[2::2], strict=True)}
