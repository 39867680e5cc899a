"""List prose that reads badly; fail only above a ceiling that is never raised."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CEILING = {"opening": 0, "test name": 0, "phrase": 0}
OPENING = re.compile(r"(Give|Tell|Answer|Say|What|Whether|Which|How|Who|Mean|Wish|Take in|Have|Let)\b")
PHRASE = re.compile(
    r"\b(work(ed|s)? off|heard of|(is|are) told|(is|are) no (?!longer|more|other|such)|for want of|anew|manners"
    r"|for ever|makes? no sense|came (of|to) |come along|(where|if) (nobody|none)|whom?ever|the means to|so many at"
    r"|(ran|waited) up to|still to give|brought up to date|count above is of|hold(s|ing) still"
    r"|heed(s|ed)?|no news|does not answer|no bound|lifts it|somebody else|answers? at once)\b",
    re.IGNORECASE,
)


def findings() -> Iterator[tuple[Path, int, str, str]]:
    """Yield file, line, kind and text of each finding."""
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("benchmarks/*.py"), *ROOT.glob("tests/**/test_*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name.startswith("test_") and len(node.name) > 60:
                    yield path, node.lineno, "test name", node.name
                is_property = any("property" in ast.unparse(one) for one in node.decorator_list)
                if not is_property and OPENING.match(text := ast.get_docstring(node) or ""):
                    yield path, node.lineno, "opening", text.partition("\n")[0]
    for pattern in (
        "Makefile",
        "*.md",
        "docs/*.yml",
        "docs/*.json",
        "benchmarks/*.py",
        "release/*.py",
        "docs/*.md",
        "src/**/*.py",
        "src/**/*.html",
        "src/**/*.lua",
        "src/**/static/*.js",
        "src/**/static/*.css",
    ):
        for path in ROOT.glob(pattern):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if found := PHRASE.search(line):
                    yield path, number, "phrase", found[0]


found = sorted(findings())
counts = Counter(kind for _, _, kind, _ in found)
if any(counts[kind] > most for kind, most in CEILING.items()):
    for path, line, kind, text in found:
        print(f"{path.relative_to(ROOT)}:{line}: {kind}: {text}")
    sys.exit(1)
