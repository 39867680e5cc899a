"""Everything stays small enough to read in one go. There is no list of exceptions: what is too long is split."""

from __future__ import annotations

import ast
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


def length(function: Function) -> int:
    """Count a function's lines, from `def` to its last one, without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def parameters(function: Function) -> int:
    """Count what a caller has to know about: all parameters but `self` and `cls`."""
    taken = function.args
    names = [parameter.arg for parameter in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)]
    return len([name for name in names if name not in {"self", "cls"}])


def test_no_source_file_is_longer_than_300_lines() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources(*SOURCE_KINDS)
    }
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}


def test_no_function_is_longer_than_40_lines() -> None:
    assert {place: length(function) for place, function in functions() if length(function) > 40} == {}


def test_no_function_takes_more_than_six_parameters() -> None:
    assert {place: parameters(function) for place, function in functions() if parameters(function) > 6} == {}


def test_no_module_or_folder_is_a_bucket() -> None:
    assert [
        str(path) for path in sources(*SOURCE_KINDS) if NAMES_THAT_SAY_NOTHING & {path.stem, path.parent.name}
    ] == []


def test_the_rules_look_at_something() -> None:
    """A moved folder must not make every rule above pass for lack of files."""
    assert {path.name for path in sources(*SOURCE_KINDS)} >= {"errors.py", Path(__file__).name}
    assert len(list(functions())) > 20
