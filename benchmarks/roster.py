"""The contestants of `contestants.toml`, and their environments, which are made on first use under `.bench/`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".bench"
_ADAPTERS = ROOT / "benchmarks" / "contestants"
_LIST = ROOT / "benchmarks" / "contestants.toml"


class Missing(Exception):
    """A program that this machine lacks, so that a contestant is left out."""


class Environment(msgspec.Struct, frozen=True):
    """What a contestant needs: packages of pip or npm, or a program of the system."""

    python: list[str] | None = None
    npm: list[str] = []
    system: str = ""
    package: str = ""
    """The system package that has the program."""

    @property
    def version(self) -> str:
        """What is installed, for the report."""
        told = ""
        if self.system:
            done = subprocess.run([self.system, "--version"], capture_output=True, text=True, check=False)
            told = f"{self.system} {done.stdout.strip().removeprefix('Sidekiq ')}"
        return ", ".join(filter(None, (*(self.python or self.npm), told)))


class Contestant(msgspec.Struct, frozen=True):
    """A contestant; the fields are described in contestants.toml."""

    name: str
    environment: str
    adapter: str
    worker: str
    ten: str
    results: str
    delivery: str
    jobs: int
    concurrency: int = 0
    settings: dict[str, Any] = {}
    variables: dict[str, str] = {}
    """Environment variables of its processes."""
    quick: list[str] = []
    trials: list[str] | None = None
    """The measurements that it takes part in; None for all."""
    folder: str = ""
    """Its environment; empty for the one that the roster makes."""

    @property
    def home(self) -> Path:
        """The folder of its environment."""
        if self.folder:
            return Path(self.folder)
        return Path(sys.prefix) if self.environment == "conveyor" else CACHE / self.environment

    @property
    def language(self) -> str:
        """The language that its adapter is in."""
        return {".js": "Node", ".rb": "Ruby"}.get(Path(self.adapter).suffix, "Python")

    def producer(self) -> list[str]:
        """Return the command line of its producer."""
        script = str(_ADAPTERS / self.adapter)
        match self.language:
            case "Node":
                return ["node", script, "produce"]
            case "Ruby":
                return ["ruby", script]
        return [str(self.home / "bin" / "python"), "-m", "benchmarks.contestants.produce", self.adapter]

    def workers(
        self, url: str, processes: int, concurrency: int = 0, queues: tuple[str, ...] = ("bench",)
    ) -> list[list[str]]:
        """Return the command lines that start its worker processes."""
        words = {
            "bin": self.home / "bin",
            "here": _ADAPTERS,
            "url": url,
            "processes": processes,
            "concurrency": concurrency or self.concurrency,
        }
        line = self.worker.replace("{queues}", " ".join(queues))
        commands = 1 if "{processes}" in self.worker else processes
        return [
            [word.format_map(words | {"index": index}) for word in line.split()] for index in range(commands)
        ]


def load() -> tuple[dict[str, Environment], list[Contestant]]:
    """Return the environments by name, and the contestants."""
    listed = tomllib.loads(_LIST.read_text())
    environments = msgspec.convert(listed["environments"], dict[str, Environment])
    return environments, msgspec.convert(listed["contestants"], list[Contestant])


def prepare(name: str, environment: Environment) -> None:
    """Install the packages of an environment unless they are there. Raises Missing if a program is not."""
    if environment.system:
        _require(environment.system, f"install {environment.package}")
    folder = CACHE / name
    packages = environment.python or environment.npm
    if not packages or (_mark(folder).is_file() and _mark(folder).read_text().splitlines() == packages):
        return
    shutil.rmtree(folder, ignore_errors=True)
    if environment.python:
        make_venv(folder, environment.python)
    else:
        _require("npm", "install Node.js with npm")
        folder.mkdir(parents=True)
        _run(["npm", "install", "--silent", "--no-package-lock", "--prefix", str(folder), *environment.npm])
    _mark(folder).write_text("\n".join(packages) + "\n")


def make_venv(folder: Path, packages: list[str]) -> None:
    """Make a virtual environment with some packages."""
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages])


def _mark(folder: Path) -> Path:
    return folder / "installed.txt"


def _require(program: str, hint: str) -> None:
    if shutil.which(program) is None:
        raise Missing(f"no {program} on this machine: {hint}")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{' '.join(command[:4])} failed: {done.stderr.strip()[-300:]}")
