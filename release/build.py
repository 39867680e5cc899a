"""Build the sdist and the wheel with metadata that works outside the repository, and check both.

A package index shows the README alone, so its relative links must go. With the URL of the public repository they become
absolute and the package gets its project URLs. Without one they become plain text.
"""

import argparse
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)]+)\)")


def portable(readme: str, repository: str, tag: str) -> str:
    """Return the README with absolute links into the repository, or without relative links if there is none."""

    def replaced(link: re.Match[str]) -> str:
        image, text, path = link.groups()
        if repository:
            return f"{image}[{text}]({repository}/{'raw' if image else 'blob'}/{tag}/{path})"
        return "" if image else text

    return _LINK.sub(replaced, readme)


def project_urls(repository: str, tag: str) -> str:
    """Return the table `[project.urls]`, or "" without a repository."""
    if not repository:
        return ""
    return f"""
[project.urls]
Repository = "{repository}"
Documentation = "{repository}/tree/{tag}/docs"
Changelog = "{repository}/blob/{tag}/CHANGELOG.md"
Issues = "{repository}/issues"
"""


def build(folder: Path, repository: str = "") -> list[Path]:
    """Write the sdist and the wheel to the folder and return their paths."""
    with tempfile.TemporaryDirectory() as temporary:
        _run("build", "--no-isolation", "--sdist", "--outdir", temporary, str(ROOT))
        (archive,) = Path(temporary).glob("*.tar.gz")
        with tarfile.open(archive) as source:
            source.extractall(temporary, filter="data")
        tree = Path(temporary, archive.name.removesuffix(".tar.gz"))
        readme, project = tree / "README.md", tree / "pyproject.toml"
        tag = "v" + tomllib.loads(project.read_text())["project"]["version"]
        readme.write_text(portable(readme.read_text(), repository, tag))
        project.write_text(project.read_text() + project_urls(repository, tag))
        _run("build", "--no-isolation", "--outdir", str(folder), str(tree))
    made = sorted(folder.glob(f"{archive.name.split('-')[0]}-{tag[1:]}*"))
    _run("twine", "check", "--strict", *map(str, made))
    return made


def _run(module: str, *words: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{module} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repository", default="", help="URL of the public repository")
    arguments = parser.parse_args()
    for path in build(arguments.folder, arguments.repository.rstrip("/")):
        print(path)
