"""The site builds without a warning, and its reference has every public name."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import conveyor
from conveyor import dashboard
from conveyor.dashboard import wsgi

ROOT = Path(__file__).parents[2]
_ANCHOR = re.compile(r'<h\d id="([\w.]+)"')


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


@pytest.mark.parametrize("module", [conveyor, dashboard, wsgi], ids=lambda module: module.__name__)
def test_reference_has_every_public_name(module: object, documented: set[str]) -> None:
    assert {f"{module.__name__}.{name}" for name in module.__all__} - documented == set()


@pytest.mark.parametrize("name", ["Queue", "Consumer", "Task", "Job", "CurrentJob"])
def test_reference_has_every_method(name: str, documented: set[str]) -> None:
    members = inspect.getmembers(getattr(conveyor, name), callable)
    methods = {method for method, member in members if not method.startswith("_") and inspect.getdoc(member)}
    assert {f"conveyor.{name}.{method}" for method in methods} - documented == set()


def test_site_has_every_page(site: Path, pages: dict[str, str]) -> None:
    built = {str(page.relative_to(site)) for page in site.rglob("*.html")}
    wanted = {path.removeprefix("docs/").replace("README.md", "index.md") for path in pages}
    assert {path.replace(".md", ".html") for path in wanted} - built == set()
