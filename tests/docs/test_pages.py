"""Links have targets, tables match the code, and pages stay short enough to be read."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from tests.store.lifecycle import VERBS

import conveyor
from conveyor.store import keys
from conveyor.torture.faults import FAULTS
from conveyor.torture.judge import PROMISES

ROOT = Path(__file__).parents[2]
MAX_LINES = {"README.md": 200, "ARCHITECTURE.md": 400}
#: Modules and scripts that one has to read to follow a job.
MAX_HOPS = {"py": 20, "lua": 3}
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """Return the anchor of a heading as code hosts generate it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def marked(text: str, name: str) -> list[list[str]]:
    """Return the rows of the table between `<!-- name -->` and `<!-- /name -->`, without its head."""
    part = text.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")]
    return rows[2:]


def test_links_have_targets(pages: dict[str, str]) -> None:
    broken = []
    for page, text in pages.items():
        for link in _LINK.findall(_CODE.sub("", text)):
            path, _, fragment = link.partition("#")
            if "://" in link:
                continue
            target = (ROOT / page).parent / path if path else ROOT / page
            headings = (
                _HEADING.findall(target.read_text()) if target.suffix == ".md" and target.is_file() else []
            )
            if not target.exists() or (fragment and fragment not in map(anchor, headings)):
                broken.append(f"{page}: {link}")
    assert broken == []


def test_every_page_is_linked_from_the_readme(pages: dict[str, str]) -> None:
    linked = {link.partition("#")[0] for link in _LINK.findall(pages["README.md"])}
    assert set(pages) - linked - {"README.md"} == set()


def test_table_of_keys_matches_the_code(pages: dict[str, str]) -> None:
    told = [tuple(row) for row in marked(pages["docs/keys.md"], "keys")]
    wanted = [(f"`{name}`", kind, holds) for name, kind, holds in (*keys.QUEUE_KEYS, *keys.NAMED_KEYS)]
    assert told == wanted


def test_table_of_layers_matches_the_contract(pages: dict[str, str]) -> None:
    told = [set(re.findall(r"`(\w+)`", modules)) for modules, _ in marked(pages["ARCHITECTURE.md"], "layers")]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    package = ROOT / "src" / "conveyor"

    def there(name: str) -> bool:
        return (package / f"{name}.py").exists() or (package / name).is_dir()

    assert told == [
        names for layer in layers if (names := {name for name in re.findall(r"\w+", layer) if there(name)})
    ]


def test_table_of_faults_matches_the_code(pages: dict[str, str]) -> None:
    wanted = [[one.name, one.about, ", ".join(sorted(one.effects)) or "nothing"] for one in FAULTS.values()]
    assert marked(pages["docs/torture.md"], "faults") == wanted
    named = set(re.findall(r"^\| ([\w ]+) \|", pages["docs/torture.md"], re.MULTILINE))
    assert set(PROMISES) <= named


def test_life_of_a_job_has_every_verb(pages: dict[str, str]) -> None:
    section = pages["ARCHITECTURE.md"].split("## The life of a job")[1].split("\n## ")[0]
    assert VERBS - set(re.findall(r"\w+", section)) == set()


def test_files_named_by_the_architecture_page_exist(pages: dict[str, str]) -> None:
    named = set(re.findall(r"`((?:\w+/)*\w+\.(?:py|lua))`", pages["ARCHITECTURE.md"]))
    package = ROOT / "src" / "conveyor"
    places = (package, package / "store", package / "consumer")
    assert [name for name in sorted(named) if not any((place / name).is_file() for place in places)] == []


def test_way_of_a_job_is_short(pages: dict[str, str]) -> None:
    section = pages["ARCHITECTURE.md"].split("## The way of a job")[1].split("\n\n")[2]
    hops = set(re.findall(r"`([\w/]+)\.(py|lua)`", section))
    assert {kind: sum(kind == one for _, one in hops) for kind in MAX_HOPS} == MAX_HOPS


def test_changelog_begins_with_this_version(pages: dict[str, str]) -> None:
    versions = re.findall(r"^## \[([^\]]+)\]", pages["CHANGELOG.md"], re.MULTILINE)
    assert versions[0] == conveyor.__version__


def test_pages_stay_short(pages: dict[str, str]) -> None:
    lengths = {page: len(pages[page].splitlines()) for page in MAX_LINES}
    assert {page: lines for page, lines in lengths.items() if lines > MAX_LINES[page]} == {}


def test_documented_rights_are_sufficient(pages: dict[str, str], one_server: Any, tmp_path: Path) -> None:
    """A user with just these rights can put, work, cancel and examine."""
    one_server.raw.execute_command(*_acl_line(pages))
    try:
        url = one_server.url_of("conveyor", "a-long-password")
        script = tmp_path / "script.py"
        script.write_text(
            "import sys, time\n"
            "from conveyor import Consumer, Queue\n"
            "def add(a: int, b: int) -> int:\n"
            "    return a + b\n"
            "queue = Queue('sums', maxsize=10, store=sys.argv[1])\n"
            "with Consumer('sums', workers=1, store=sys.argv[1]):\n"
            "    print(queue.submit(add, 2, 3).result(timeout=20))\n"
            "    queue.pause()\n"
            "    print(queue.submit(add, 2, 3).cancel())\n"
        )
        run = [sys.executable, str(script), url]
        assert _printed(run) == "5\nTrue\n"
        assert "noeviction" in _printed([sys.executable, "-m", "conveyor", "--url", url, "doctor"])
    finally:
        one_server.raw.execute_command("ACL", "DELUSER", "conveyor")


def _acl_line(pages: dict[str, str]) -> list[str]:
    line = re.search(r"^ACL SETUSER .+$", pages["docs/running.md"], re.MULTILINE)
    assert line
    return line[0].split()


def _printed(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
