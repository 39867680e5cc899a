"""The torture bench as a whole, for some seconds: `make torture` and `conveyor torture` run longer."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conveyor.store.address import shown
from conveyor.torture import __main__
from conveyor.torture.judge import PROMISES

# Many processes start here, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(400)


def report_of(*words: object) -> list[str]:
    """Run a command that tortures, and return its report; the promises are held, or the report is the failure."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def held(report: list[str]) -> dict[str, int]:
    """Return the promises that were held, and the number of checks."""
    found = re.findall(r"^held\s+(.+) \((\d+) checked", "\n".join(report), re.MULTILINE)
    return {promise: int(count) for promise, count in found}


def test_each_promise_is_held_under_many_faults(
    tmp_path: Path, torture_seed: str, torture_server: str
) -> None:
    words = ("--seconds", 60, "--seed", torture_seed, "--rate", 300, "--server", torture_server)
    report = report_of("conveyor.torture", *words, "--keep", tmp_path / "kept")
    kinds = int(re.findall(r"\d+ faults of (\d+) kinds", "\n".join(report))[0])
    assert kinds >= 20
    assert set(held(report)) == set(PROMISES)
    assert held(report)["no accepted job is lost"] > 1_000
    assert f" -m conveyor.torture --seconds 60 --seed {torture_seed}" in report[-1]
    assert list((tmp_path / "kept" / "history").glob("*.events"))


def test_printed_command_repeats_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    python = Path(sys.executable)
    monkeypatch.chdir(python.parents[1])
    monkeypatch.setattr(sys, "argv", ["torture", "--help"])
    command = __main__.replay()
    assert command == f"bin/{python.name} -m conveyor.torture --help"
    assert subprocess.run(shlex.split(command), capture_output=True, check=False).returncode == 0


def test_torture_command_leaves_no_keys_on_the_server_of_a_user(one_server: Any) -> None:
    one_server.raw.set("mine", "left alone")
    report = report_of("conveyor", "--url", one_server.url, "torture", "--seconds", 2, "--seed", 9)
    names = {name.decode() for name in one_server.raw.keys("*") if b"torture" in name}
    assert {name.rpartition(":")[2] for name in names} <= {"deleted"}
    assert one_server.raw.get("mine") == b"left alone"
    url = shlex.quote(shown(one_server.url))
    assert report[-1] == f"again: conveyor torture --url {url} --seconds 2 --seed 9 --durability memory"
    one_server.raw.delete("mine")
