"""Modules import each other in one direction only, imports for annotations (TYPE_CHECKING) included."""

from __future__ import annotations

import ast
import functools
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2] / "src"


def modules() -> dict[str, Path]:
    """Return the files of all modules by name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Return the modules of ours that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{one.name}" for one in node.names}
            found |= {name if name in known else node.module for name in names}
    return found & known.keys()


@functools.cache
def graph() -> dict[str, set[str]]:
    """Return the imports of each module, without the package's own module: that imports every public name lazily."""
    known = {name: path for name, path in modules().items() if name != "conveyor"}
    return {name: imports(path, known) - {name} for name, path in known.items()}


def cycle_in(imports_of: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(imports_of).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_imports_have_no_cycle() -> None:
    assert cycle_in(graph()) == []


def test_cycle_for_annotations_is_detected(tmp_path: Path) -> None:
    known = {"conveyor.a": tmp_path / "a.py", "conveyor.b": tmp_path / "b.py"}
    known["conveyor.a"].write_text("if TYPE_CHECKING:\n    from conveyor.b import B\n")
    known["conveyor.b"].write_text("from conveyor import a\n")
    assert cycle_in({name: imports(path, known) for name, path in known.items()})


def test_rule_covers_consumer() -> None:
    assert "conveyor.consumer.settings" in graph()["conveyor.consumer.supervisor"]
