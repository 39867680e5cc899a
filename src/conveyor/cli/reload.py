"""`conveyor consume --reload`: run a consumer, and replace it by another one whenever a Python file has changed."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from conveyor import task_loading
from conveyor.cli.exit_codes import code_of, write_error
from conveyor.cli.output import note
from conveyor.consumer import Consumer
from conveyor.consumer.settings import STOP_SIGNALS
from conveyor.errors import ConveyorError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.consumer.settings import ConsumerSettings

try:
    import watchfiles
except ImportError as error:
    raise MissingExtra("conveyor consume --reload", "reload", error.name) from error

#: Seconds after a change until running jobs are interrupted and return to the queue, without --grace.
GRACE = 5.0
#: Milliseconds between two looks for the end of the program while nothing changes.
LOOK_EVERY = 250
#: Changed files that are named.
MAX_NAMED = 3


class Reloader:
    """A consumer, started again with new code after each change of a Python file.

    What runs ends as at a request to stop: the current jobs finish, and return to the queue after a grace, or at once
    after a second change. The supervisor of each consumer ends if this process does, even if that is killed.
    """

    def __init__(self, settings: ConsumerSettings, modules: tuple[str, ...]) -> None:
        grace = GRACE if settings.leave_grace is None else settings.leave_grace
        self.settings = structs.replace(settings, lifeline=True, leave_grace=grace)
        self._modules = modules
        self._consumer = Consumer(settings.queues)
        self._is_leaving = False
        self._wake_ups: queue.SimpleQueue[None] = queue.SimpleQueue()
        """One for each change of the code, and for each stop signal."""

    def run(self) -> int:
        """Run consumers until the last one is stopped, or exits. Return its exit code."""
        # The file of a module's bytecode is not renewed if its source changes twice in a second.
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        changes = self._watch()
        next(changes)  # so that no change is missed from here on
        with self._signals():
            threading.Thread(target=self._follow, args=(changes,), daemon=True).start()
            status = 0
            while not self._is_leaving:
                status, has_started = self._run_once()
                if self._wake_ups.empty():
                    if has_started:
                        break  # it was stopped by others, or the queues are empty
                    note("Waiting for a change of the code.")
                self._wake_ups.get()
        return status

    def _run_once(self) -> tuple[int, bool]:
        """Run one consumer to its end. Return its exit code, and False if it could not start."""
        consumer = Consumer(self.settings.queues)
        modules = self._modules or tuple(task_loading.found_modules())
        consumer.settings = structs.replace(self.settings, modules=modules)
        self._consumer = consumer
        while not self._wake_ups.empty():
            self._wake_ups.get()  # of what this one loads anyway
        try:
            consumer.start()
            if self._is_leaving:  # the signal may have come before there was anything to stop
                consumer.request_stop()
            elif consumer.pid is not None:
                count = self.settings.worker_count
                workers = "1 worker" if count == 1 else f"{count} workers"
                note(
                    f"{workers} on {', '.join(self.settings.queues)}, reloaded when code changes. Ctrl-C to exit."
                )
            return consumer.wait(), True
        except ConveyorError as error:
            hint = f"python -c 'import {', '.join(modules)}' shows where it fails" if modules else error.hint
            return write_error(str(error), hint, code_of(error), as_json=False), False

    def _watch(self) -> Iterator[set[tuple[Any, str]]]:
        """Return an iterator over the changes of Python files, which yields an empty set from time to time.

        Raises ConveyorError with the first one if the system allows no more watches.
        """
        try:
            yield from watchfiles.watch(
                *folders_of(self._modules),
                watch_filter=_is_code,
                rust_timeout=LOOK_EVERY,
                yield_on_timeout=True,
                ignore_permission_denied=True,
            )
        except OSError as error:
            message = f"cannot watch the code: {error}"
            hint = "raise the sysctl fs.inotify.max_user_watches, or start it in a folder with fewer files"
            raise ConveyorError(message, hint=hint) from error

    def _follow(self, changes: Iterator[set[tuple[Any, str]]]) -> None:
        """Report each change, and stop the running consumer, so that another one starts."""
        for changed in filter(None, changes):
            names = sorted({_shown(path) for _, path in changed})
            more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
            note(f"{', '.join(names[:MAX_NAMED])}{more} changed.")
            self._wake_ups.put(None)
            self._consumer.request_stop()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Pass on stop signals to the consumer: the one that follows a change as well."""

        def stop(*_: Any) -> None:
            self._is_leaving = True
            self._wake_ups.put(None)
            self._consumer.request_stop()

        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        try:
            for number, handler in before.items():
                if handler != signal.SIG_IGN:  # as under nohup
                    signal.signal(number, stop)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def folders_of(modules: tuple[str, ...]) -> list[str]:
    """Return the working folder and those of the modules, without installed packages and folders within others."""
    found = {Path.cwd()}
    for module in modules:
        with contextlib.suppress(ImportError, ValueError, AttributeError):
            spec = find_spec(module.partition(".")[0])
            if spec is not None:
                places = spec.submodule_search_locations or [str(Path(spec.origin or "").parent)]
                found |= {Path(place).resolve() for place in places}
    own = sorted(one for one in found if one.is_dir() and not _INSTALLED.intersection(one.parts))
    return [str(one) for one in own if not any(other in one.parents for other in own)]


_INSTALLED = frozenset({"site-packages", "dist-packages"})
_python_files = watchfiles.PythonFilter()


def _is_code(change: watchfiles.Change, path: str) -> bool:
    return _python_files(change, path) and not _INSTALLED.intersection(Path(path).parts)


def _shown(path: str) -> str:
    """Return a path as users name it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if here in Path(path).parents else path
