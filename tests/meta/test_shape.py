"""No module or folder has a vague name. Modules are split by idea, not by size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "tests", "benchmarks", "release", "kill_thread")
SOURCE_KINDS = {".py", ".lua", ".js", ".css", ".html"}
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def sources(*kinds: str) -> Iterator[Path]:
    """Return the source files of some kinds, without third-party ones (folders named vendor)."""
    yield from (path for path in ROOT.glob("*.py") if path.suffix in kinds)
    for folder in FOLDERS:
        for path in sorted(ROOT.joinpath(folder).rglob("*")):
            if path.suffix in kinds and "vendor" not in path.parts:
                yield path


def test_no_module_or_folder_has_a_vague_name() -> None:
    assert [
        str(path) for path in sources(*SOURCE_KINDS) if NAMES_THAT_SAY_NOTHING & {path.stem, path.parent.name}
    ] == []


def test_rule_covers_sources() -> None:
    """A moved folder must not make the rule above pass for lack of files."""
    assert {path.name for path in sources(*SOURCE_KINDS)} >= {"errors.py", Path(__file__).name}
