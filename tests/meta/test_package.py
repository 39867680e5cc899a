"""The wheel and the sdist have what they need and nothing else, and their metadata works on a package index."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "conveyor"
REPOSITORY = "https://example.org/conveyor"
RELATIVE_LINK = re.compile(r"\]\((?![a-z]+:|#)")


@pytest.fixture(scope="module", params=["", REPOSITORY], ids=["no repository", "repository"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return the URL of the repository that was named, and the folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "release/build.py", str(folder), "--repository", request.param]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return request.param, folder


def wheel_in(folder: Path) -> ZipFile:
    (path,) = folder.glob("*.whl")
    return ZipFile(path)


def test_wheel_has_the_package_and_nothing_else(built: tuple[str, Path]) -> None:
    names = {name for name in wheel_in(built[1]).namelist() if ".dist-info/" not in name}
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert names == {str(path.relative_to(ROOT / "src")) for path in files}
    assert {Path(name).suffix for name in names} >= {".py", ".lua", ".html", ".js", ".css", ".typed"}


def test_sdist_has_what_make_needs(built: tuple[str, Path]) -> None:
    (path,) = built[1].glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        "Makefile",
        "requirements.txt",
        "README.md",
        "LICENSE",
        "docs/tasks.md",
        "tests/conftest.py",
    }


def test_metadata_works_on_an_index(built: tuple[str, Path]) -> None:
    repository, folder = built
    wheel = wheel_in(folder)
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = wheel.read(name).decode()
    assert RELATIVE_LINK.findall(metadata) == []
    assert metadata.count("Project-URL: ") == (4 if repository else 0)
    assert (f"]({REPOSITORY}/blob/v" in metadata) == bool(repository)
    assert "Provides-Extra: dashboard" in metadata
