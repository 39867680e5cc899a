"""CPython's own tests, from the newest Python with tests that is installed here. None of them is copied.

They are modules of this one, such as `cpython.test_queue`, also for workers and scripts that the tests start. Docker's
images of Python have none, and CPython's `make install` left out those of concurrent.futures from 3.11.6 to 3.12.1.
Debian has them in the package libpython3.13-testsuite.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def folders() -> list[str]:
    """Return the folders with tests, those of the newest Python first."""
    own = Path(sys.base_prefix)
    found = {
        folder.resolve(): int(folder.parent.name.removeprefix("python3."))
        for place in {own, *own.parent.glob("*"), Path("/usr"), Path("/usr/local")}
        for folder in place.glob("lib/python3.[1-9][0-9]/test")
        if (folder / "test_queue.py").is_file()
    }
    oldest = 11  # of the versions that Conveyor supports
    newest_first = sorted(found, key=lambda one: (found[one], str(one)), reverse=True)
    return [str(one) for one in newest_first if found[one] >= oldest]


__path__ = folders()

try:
    from test import support
except ImportError:  # this Python comes without even the aids of its tests
    sys.modules["test"] = ModuleType("test")
    sys.modules["test"].__path__ = __path__
    if __path__:
        from test import support


def same(*_: object, **__: object) -> Callable[[Any], Any]:
    """Return a decorator without effect."""
    return lambda decorated: decorated


if __path__:
    #: What tests of newer versions use at import, in the form that has no effect, for older versions.
    for name, value in {"Py_GIL_DISABLED": False, "requires_gil_enabled": same}.items():
        if not hasattr(support, name):
            setattr(support, name, value)
    if "thread" not in inspect.signature(support.skip_if_sanitizer).parameters:
        support.skip_if_sanitizer = same


def tests(name: str) -> Any:
    """Return a module of CPython's tests. If there is none, skip the module that asks for it, or fail in CI."""
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ImportError as error:
        reason = (
            f"CPython's own tests are not installed here: {error}; on Debian, install libpython3.13-testsuite"
        )
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)
