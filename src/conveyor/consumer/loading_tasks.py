"""Which tasks a worker may run: those that come with Conveyor, those of the modules it was told, and the script's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from conveyor import loading, task_def
from conveyor.tasks import registry

if TYPE_CHECKING:
    from conveyor.consumer.settings import ConsumerSettings
    from conveyor.tasks import Registry


def load(settings: ConsumerSettings) -> Registry:
    """Import what the settings name and give the registry; raises what the modules raise."""
    registry.promise(task_def.TASKS)
    if settings.script:
        sys.argv = list(settings.script_arguments)
        registry.promise_script(settings.script, settings.script_name)
    for module in settings.modules:
        if module != settings.script_name:
            registry.load(module)
    return registry


def known_here(modules: tuple[str, ...] = ()) -> Registry:
    """Give the registry of this process: the tasks that come with Conveyor and those found in the working folder."""
    registry.promise(task_def.TASKS)
    for module in modules or tuple(loading.found_modules()):
        registry.load(module)
    return registry
