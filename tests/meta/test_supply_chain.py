"""The contents of the distribution: few packages, all at known versions, no code that runs at installation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
_NAME = re.compile(r"[\w.-]+")
_EXACT = re.compile(r"[\w.-]+(\[\w+\])?==[\w.]+( *;.+)?")


def names(requirements: list[str]) -> set[str]:
    return {found[0].lower() for one in requirements if (found := _NAME.match(one))}


def required() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-e "))]


def test_core_has_three_dependencies() -> None:
    assert len(PROJECT["project"]["dependencies"]) <= 3


def test_versions_of_all_packages_are_exact() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    used = [one for extra, packages in extras.items() if extra != "dev" for one in packages]
    others = names([*PROJECT["project"]["dependencies"], *used]) - {PROJECT["project"]["name"]}
    assert names(required()) == others
    assert [one for one in [*required(), *extras["dev"]] if not _EXACT.fullmatch(one)] == []


def test_installation_runs_no_project_code() -> None:
    assert not (ROOT / "setup.py").exists()
    assert PROJECT["build-system"]["build-backend"] == "hatchling.build"
    assert names(PROJECT["build-system"]["requires"]) == {"hatchling"}
    hatch = PROJECT["tool"]["hatch"]
    assert (set(hatch), set(hatch["build"]), set(hatch["build"]["targets"]["wheel"])) == (
        {"build"},
        {"targets"},
        {"packages"},
    )


def test_repeated_builds_make_identical_wheels(tmp_path: Path) -> None:
    if find_spec("hatchling") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("hatchling is not installed")
    wheels = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        (wheel,) = folder.iterdir()
        wheels.append(wheel.read_bytes())
    assert wheels[0] == wheels[1]


def test_ci_runs_pinned_actions_on_every_python() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    used = [step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step]
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == []
    named = [one.rpartition(" ")[2] for one in PROJECT["project"]["classifiers"] if ":: Python :: 3." in one]
    assert jobs["linux"]["strategy"]["matrix"]["python"] == named
    assert {*jobs["macos"]["strategy"]["matrix"]["python"]} >= {named[0], named[-1]}
