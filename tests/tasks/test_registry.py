"""The registry: which functions may be run by name, and which not."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from conveyor import UnknownTask
from conveyor.tasks import Registry, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MODULE = """
import os
from functools import partial
from os import system
from conveyor import task

@task(name="named")
def anything(): ...

@task
def plain_name(): ...

def own(): return "own"
class Own: ...
half = partial(own)
number = 5
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """Return a function that writes an importable module and returns its name."""
    made: list[str] = []
    before = dict(registry.tasks)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        made.append(name)
        return name

    yield write
    for name in made:
        sys.modules.pop(name, None)
    registry.tasks.clear()
    registry.tasks.update(before)


def test_tasks_of_a_module_are_found_by_their_names(module: Callable[[str, str], str]) -> None:
    registry.load(module("letters_a", MODULE))
    assert registry.find("named").function.__name__ == "anything"
    assert registry.find("letters_a.plain_name").name == "letters_a.plain_name"


def test_plain_function_of_a_loaded_module_is_found(module: Callable[[str, str], str]) -> None:
    own = Registry()
    own.load(module("letters_b", MODULE))
    found = own.find("letters_b.own")
    assert found.function() == "own"
    assert own.find("letters_b.own") is found


@pytest.mark.parametrize(
    "name",
    ["system", "os", "partial", "Own", "half", "number", "missing", "os.system", "__builtins__", "", "own."],
)
def test_imported_or_private_names_of_a_module_cannot_be_run(
    name: str, module: Callable[[str, str], str]
) -> None:
    own = Registry()
    own.load(module("letters_c", MODULE))
    with pytest.raises(UnknownTask, match="unknown task"):
        own.find(f"letters_c.{name}")


@pytest.mark.parametrize(
    "name", ["os.system", "subprocess.run", "builtins.eval", "shutil.rmtree", "posix.system"]
)
def test_undeclared_module_has_no_tasks_even_if_imported(name: str) -> None:
    with pytest.raises(UnknownTask):
        Registry().find(name)


def test_declared_task_is_imported_only_when_requested(
    module: Callable[[str, str], str],
) -> None:
    name = module("letters_d", MODULE)
    registry.promise({"named": name})
    try:
        assert "named" in registry.names()
        assert name not in sys.modules
        assert registry.find("named").name == "named"
        assert name in sys.modules
    finally:
        registry.lazy.pop("named")


def test_script_is_read_if_a_name_is_otherwise_unknown(
    module: Callable[[str, str], str], tmp_path: Path
) -> None:
    own = Registry()
    told = module("letters_e", "def known(): ...")
    module(
        "letters_script", "import pathlib\npathlib.Path(__file__ + '.read').touch()\ndef job(): return 7\n"
    )
    read = tmp_path / "letters_script.py.read"
    own.load(told)
    own.promise_script(str(tmp_path / "letters_script.py"), "letters_script")
    own.find("letters_e.known")
    assert not read.exists()
    assert own.find("letters_script.job").function() == 7
    assert read.exists()


def test_script_is_read_once_if_two_threads_need_it(
    tmp_path: Path, module: Callable[[str, str], str], eventually: Callable[..., object]
) -> None:
    name = module("letters_twice", "")
    file = tmp_path / f"{name}.py"
    file.write_text(
        "from pathlib import Path\nfrom conveyor import clock\n"
        "with Path(__file__ + '.read').open('a') as file: file.write('x')\n"
        "until = clock.Deadline(0.3)\n"
        "while Path(__file__ + '.read').read_text() == 'x' and not until.passed(): clock.sleep(0.005)\n"
        "def job(): return 7\n"
    )
    own, read = Registry(), tmp_path / f"{name}.py.read"
    own.promise_script(str(file), name)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(own.find, f"{name}.job")
        eventually(read.exists)
        second = pool.submit(own.find, f"{name}.job")
        assert [one.result(20).function() for one in (first, second)] == [7, 7]
    assert read.read_text() == "x"


def test_unreadable_script_raises_its_error_each_time(
    module: Callable[[str, str], str], tmp_path: Path
) -> None:
    own = Registry()
    module("letters_f", "raise OSError('needs a terminal')")
    own.promise_script(str(tmp_path / "letters_f.py"), "letters_f")
    for _ in range(2):
        with pytest.raises(OSError, match="needs a terminal"):
            own.find("letters_f.job")
