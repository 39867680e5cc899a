"""Which tasks a worker may run: those that come with Conveyor, those of the modules it was told, and the script's."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from conveyor import task_def, task_loading
from conveyor.errors import ConveyorError
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
    """Give the registry of this process: the tasks that come with Conveyor and those found in the working folder.

    Raises ConveyorError where a module cannot be imported.
    """
    here = os.getcwd()  # noqa: PTH109 - text is what the path holds
    if here not in sys.path:
        sys.path.insert(0, here)
    registry.promise(task_def.TASKS)
    names = modules or tuple(task_loading.found_modules())
    try:
        for module in names:
            registry.load(module)
    except ConveyorError:
        raise
    except Exception as error:
        message = f"the tasks cannot be imported: {type(error).__name__}: {error}"
        hint = f"python -c 'import {', '.join(names)}' shows where it fails"
        raise ConveyorError(message, hint=hint) from error
    return registry
