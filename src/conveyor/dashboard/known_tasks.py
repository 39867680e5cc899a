"""The tasks that this process knows, for enqueuing from the dashboard."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from conveyor import consumer, tasks
from conveyor.errors import ConveyorError, UnknownTask

if TYPE_CHECKING:
    from conveyor.tasks import Registry, Task
    from conveyor.wire.redaction import Labels

#: Hint for a task that is unknown here, though a consumer may have it.
UNKNOWN = "start the dashboard with --tasks MODULE (or `tasks=` of create_dashboard), or correct the name"
_lock = threading.Lock()


class _Known:
    modules: tuple[str, ...] = ()
    registry: Registry | None = None


def use(modules: tuple[str, ...]) -> None:
    """Add modules that have tasks. Without any, those in the working folder are used."""
    with _lock:
        _Known.modules = tuple(dict.fromkeys((*_Known.modules, *modules)))
        _Known.registry = None
    _loaded.cache_clear()


def registry() -> Registry:
    """Return the tasks, imported at the first call. Raises ConveyorError if a module cannot be imported."""
    with _lock:
        if _Known.registry is None:
            _Known.registry = consumer.known_tasks(_Known.modules)
        return _Known.registry


def task_named(name: str) -> Task[..., Any]:
    """Return a task by its name. Raises UnknownTask, or ConveyorError if it cannot be imported."""
    known = registry()
    try:
        with _lock:
            return known.find(name)
    except UnknownTask as error:  # its own hint is for those who start consumers
        raise UnknownTask(error.message, hint=UNKNOWN) from error


def labels(name: str) -> Labels:
    """Return the names of a task's arguments, by which secret ones are recognized."""
    _loaded()
    return tasks.registry.labels(name)


@functools.cache
def _loaded() -> bool:
    """Load the tasks, once: a module that cannot be imported now cannot be imported later."""
    try:
        registry()
    except ConveyorError:
        return False
    return True


def one_job_of(task: Task[..., Any]) -> Task[..., Any]:
    """Return the same task without its split: one job, with the parameters of the function itself."""
    single = task.options()
    single.split = single.join = None
    return single


def modules() -> tuple[str, ...]:
    """Return the modules that were added."""
    return _Known.modules
