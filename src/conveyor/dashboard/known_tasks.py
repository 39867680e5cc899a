"""The tasks that this process knows, for those who enqueue from the page."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from conveyor import tasks
from conveyor.consumer import loading_tasks
from conveyor.errors import ConveyorError, UnknownTask

if TYPE_CHECKING:
    from conveyor.tasks import Registry, Task
    from conveyor.wire.redaction import Labels

#: What to try where a task is not known here, though a consumer may have it.
UNKNOWN = "start this page with --tasks MODULE (conveyor dashboard; `tasks=` of create_dashboard), or correct the name"
_lock = threading.Lock()


class _Known:
    modules: tuple[str, ...] = ()
    registry: Registry | None = None


def use(modules: tuple[str, ...]) -> None:
    """Say which modules have tasks, besides those named before. Without any, those in the working folder have."""
    with _lock:
        _Known.modules = tuple(dict.fromkeys((*_Known.modules, *modules)))
        _Known.registry = None
    _loaded.cache_clear()


def registry() -> Registry:
    """Give the tasks, imported when first asked for; raises ConveyorError where a module cannot be imported."""
    with _lock:
        if _Known.registry is None:
            _Known.registry = loading_tasks.known_here(_Known.modules)
        return _Known.registry


def task_named(name: str) -> Task[..., Any]:
    """Give a task by its name; raises UnknownTask, or ConveyorError where it cannot be imported."""
    known = registry()
    try:
        with _lock:
            return known.find(name)
    except UnknownTask as error:  # its own hint is for those who start consumers
        raise UnknownTask(error.message, hint=UNKNOWN) from error


def labels(name: str) -> Labels:
    """Give by which names the arguments of a task are known, so that those that are secret can be told."""
    _loaded()
    return tasks.registry.labels(name)


@functools.cache
def _loaded() -> bool:
    """Load the tasks that this process was told of; tried once, since what cannot be imported will not be later."""
    try:
        registry()
    except ConveyorError:
        return False
    return True


def one_job_of(task: Task[..., Any]) -> Task[..., Any]:
    """Give the same task without its split: what is put is one job, with the parameters of the function itself."""
    single = task.options()
    single.split = single.join = None
    return single


def modules() -> tuple[str, ...]:
    """Give the modules that were named to have the tasks."""
    return _Known.modules
