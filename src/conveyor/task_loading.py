"""Loading of modules with tasks into a worker, including the script that the consumer was started from.

And of the functions that an executor lets its own workers run.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import pathlib
import pkgutil
import sys
import threading
from typing import Any

from conveyor.errors import BadCall

#: Exit code of a script that a worker has read as far as necessary: up to its first use of a queue. A SystemExit ends
#: a thread without a message, and an event loop whatever its coroutines wait for.
READ_ENOUGH = "a worker has read enough of this script"


class _Loading:
    active = False
    importing = False
    """True while a worker imports the module of a function that its executor allows."""
    script = ("", "")
    """File and name of the script that was read, or empty strings."""
    threads: frozenset[threading.Thread] = frozenset()
    """Those that a script had started when it was read."""


def stop_script() -> None:
    """Stop reading a script here, if this process is a worker that reads one for its functions.

    A script that is producer and consumer in one defines its functions, then uses queues. A worker needs
    the functions and must not do the rest again, not even later in a thread of the script.
    """
    if _Loading.active or (_Loading.threads and threading.current_thread() in _Loading.threads):
        raise SystemExit(READ_ENOUGH)


def refuse_consumers() -> None:
    """Raise BadCall if an executor's worker imports a module here: workers that it starts would do the same."""
    if _Loading.importing:
        raise BadCall(
            "a module that workers import cannot start workers while it is imported",
            hint="start them in a function",
        )


def load_script(file: str, name: str) -> None:
    """Read the functions of a script as the module `name`, without output, up to its first use of a queue."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(pathlib.Path(file).resolve().parent))
    before = threading.enumerate()
    _Loading.active, _Loading.script = True, (file, name)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            spec.loader.exec_module(module)
    except SystemExit as error:
        if error.code is not READ_ENOUGH:
            raise
    finally:
        _Loading.threads |= frozenset(threading.enumerate()).difference(before)
        _Loading.active = False


def script_read() -> tuple[str, str]:
    """Return file and name of the script that this worker has read, or empty strings."""
    return _Loading.script


def found_modules(folder: str | None = None) -> list[str]:
    """Return the modules with tasks in the working folder: `tasks.py` or a package `task_def`."""
    place = pathlib.Path(folder) if folder else pathlib.Path.cwd()
    found = []
    if (place / "tasks.py").is_file():
        found.append("tasks")
    if (place / "task_def" / "__init__.py").is_file() and not (place / "conveyor").is_dir():
        found.append("task_def")
    return found


class ExecutorFolder:
    """A private folder by which an executor tells its own workers, on the same host, what they may run.

    Never by the server: what others write there cannot name a function. Each line of the file `functions` is the name
    of a task and, as `module:name`, where its function is. The file `first_call` has the bytes of a call.
    """

    def __init__(self, folder: str) -> None:
        self._functions = pathlib.Path(folder, "functions")
        self._first_call = pathlib.Path(folder, "first_call")

    def allow(self, name: str, path: str) -> None:
        """Allow a function in calls that are put from now on. Does nothing once the workers have ended."""
        with contextlib.suppress(FileNotFoundError), self._functions.open("a") as file:
            file.write(f"{name} {path}\n")

    def find(self, name: str) -> Any:
        """Return the function of a name, or None if it is not allowed. Raises what the import of its module raises."""
        if self._functions.exists():
            for line in self._functions.read_text().splitlines():
                listed, _, path = line.partition(" ")
                if listed == name:
                    _Loading.importing = True
                    try:
                        return pkgutil.resolve_name(path)
                    finally:
                        _Loading.importing = False
        return None

    def run_first(self, call: bytes) -> None:
        """Make each worker run this call when it starts."""
        self._first_call.write_bytes(call)

    def first_call(self) -> bytes:
        """Return the call that each worker runs when it starts, or b"" if there is none."""
        return self._first_call.read_bytes() if self._first_call.exists() else b""


def main_file(module: str = "__main__") -> str | None:
    """Return the file of this process's script, or None without one, as for an interactive session."""
    file = getattr(sys.modules[module], "__file__", None)
    return None if file is None or _is_session(file) else str(file)


def main_name(module: str = "__main__") -> str:
    """Return the name by which other processes can import this process's script."""
    main = sys.modules[module]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return _stem(file) if file else "__main__"


@functools.lru_cache(maxsize=4)
def _stem(file: str) -> str:
    return pathlib.Path(file).stem


@functools.lru_cache(maxsize=4)
def _is_session(file: str) -> bool:
    return file == "<stdin>" or pathlib.Path(file).parent.name == "_pyrepl"  # with Python 3.13
