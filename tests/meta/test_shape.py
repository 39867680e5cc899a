"""Shape of the code: short parameter lists, and no module that is a bucket. Modules are split by idea, not size."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "tests", "benchmarks", "examples", "kill_thread")
SOURCE_KINDS = {".py", ".lua", ".js", ".css", ".html"}
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*kinds: str) -> Iterator[Path]:
    """Give the source files of some kinds, without what others wrote (folders named vendor)."""
    yield from (path for path in ROOT.glob("*.py") if path.suffix in kinds)
    for folder in FOLDERS:
        for path in sorted(ROOT.joinpath(folder).rglob("*")):
            if path.suffix in kinds and "vendor" not in path.parts:
                yield path


def functions() -> Iterator[tuple[str, Function]]:
    """Give every function of the Python sources, with the place where it is."""
    for path in sources(".py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Function):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def parameters(function: Function) -> int:
    """Count what a caller has to know about: all parameters but `self` and `cls`."""
    taken = function.args
    names = [parameter.arg for parameter in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)]
    return len([name for name in names if name not in {"self", "cls"}])


def test_no_function_takes_more_than_six_parameters() -> None:
    many = {place: parameters(function) for place, function in functions() if parameters(function) > 6}
    known = {place for place in many if re.match(r"src/conveyor/consumer/__init__\.py:\d+ __init__", place)}
    assert {place: many[place] for place in many.keys() - known} == {}
    assert len(known) == 1, "Consumer has an option for each of `conveyor consume`"


def test_no_module_or_folder_is_a_bucket() -> None:
    assert [
        str(path) for path in sources(*SOURCE_KINDS) if NAMES_THAT_SAY_NOTHING & {path.stem, path.parent.name}
    ] == []


def test_the_rules_look_at_something() -> None:
    """A moved folder must not make every rule above pass for lack of files."""
    assert {path.name for path in sources(*SOURCE_KINDS)} >= {"errors.py", Path(__file__).name}
    assert len(list(functions())) > 20
