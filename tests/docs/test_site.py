"""The site builds without a warning, and its reference has every public name."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import conveyor
from conveyor import dashboard, testing
from conveyor.dashboard import wsgi
from conveyor.store.commands import Count

from .test_examples import PAGES, blocks_of

ROOT = Path(__file__).parents[2]
_ANCHOR = re.compile(r'<h\d id="([\w.]+)"')
#: What calls of the public names return.
RETURNED = ("store.commands.Count", "wire.control_messages.Progress", "order.OrderProgress")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a site that was built in strict mode."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def documented(site: Path) -> set[str]:
    """Return the names that have an entry in the reference."""
    pages = [page.read_text() for page in site.glob("reference/*.html")]
    return {name.replace(".errors.", ".") for page in pages for name in _ANCHOR.findall(page)}


@pytest.mark.parametrize("module", [conveyor, dashboard, wsgi, testing], ids=lambda module: module.__name__)
def test_reference_has_every_public_name(module: object, documented: set[str]) -> None:
    assert {f"{module.__name__}.{name}" for name in module.__all__} - documented == set()


@pytest.mark.parametrize("name", ["Queue", "Consumer", "Task", "Job", "CurrentJob"])
def test_reference_has_every_method(name: str, documented: set[str]) -> None:
    members = inspect.getmembers(getattr(conveyor, name), callable)
    methods = {method for method, member in members if not method.startswith("_") and inspect.getdoc(member)}
    assert {f"conveyor.{name}.{method}" for method in methods} - documented == set()


def test_reference_has_what_the_guides_import(documented: set[str]) -> None:
    python = [
        ast.parse(block.text) for page in PAGES for block in blocks_of(page) if block.language == "python"
    ]
    imports = [one for tree in python for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)]
    imported = {
        f"{one.module}.{alias.name}"
        for one in imports
        if one.module and one.module.partition(".")[0] == "conveyor"
        for alias in one.names
    }
    assert imported >= {"conveyor.order.Order", "conveyor.dashboard.access.users.Users"}
    assert imported - documented == set()


def test_reference_has_what_calls_return(documented: set[str]) -> None:
    assert {f"conveyor.{name}" for name in RETURNED} - documented == set()


def test_reference_has_every_field_of_a_count(documented: set[str]) -> None:
    assert {f"conveyor.store.commands.Count.{name}" for name in Count._fields} - documented == set()


def test_site_has_every_page(site: Path, pages: dict[str, str]) -> None:
    built = {str(page.relative_to(site)) for page in site.rglob("*.html")}
    wanted = {path.removeprefix("docs/").replace("README.md", "index.md") for path in pages}
    assert {path.replace(".md", ".html") for path in wanted} - built == set()
