"""CPython's own tests of concurrent.futures, from this Python or else from another one installed beside it.

Debian's Python lacks them, and so do those that CPython's `make install` made from 3.11.6 to 3.12.1. Importing this
package raises ImportError if there are none. It can also be imported by workers and scripts that the tests start.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from test import support

NAME = "test_concurrent_futures"


def folders() -> Iterator[Path]:
    """Yield the folders with the tests, this Python's first, then those of the nearest newer version."""
    yield Path(support.__file__).parents[1] / NAME
    beside = Path(sys.base_prefix).parent.glob(f"*/lib/python3.*/test/{NAME}")
    versions = {one: int(one.parts[-3].removeprefix("python3.")) for one in beside}
    yield from sorted((one for one in versions if versions[one] >= sys.version_info.minor), key=versions.get)


def same(*_: object, **__: object) -> Callable[[Any], Any]:
    """Return a decorator without effect."""
    return lambda decorated: decorated


found = [one for one in folders() if (one / "executor.py").is_file()]
if not found:
    raise ImportError("no Python with the package test.test_concurrent_futures is installed here")
__path__.append(str(found[0]))

#: What tests of newer versions use at import, in the form that has no effect, for older versions.
for name, value in {"Py_GIL_DISABLED": False, "requires_gil_enabled": same}.items():
    if not hasattr(support, name):
        setattr(support, name, value)
if "thread" not in inspect.signature(support.skip_if_sanitizer).parameters:
    support.skip_if_sanitizer = same
