"""The table of the built-in tasks, and their common properties."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from typing import Annotated, get_origin, get_type_hints

import pytest

from conveyor.task_def import TASKS
from conveyor.tasks import registry
from conveyor.wire.call import encode_calls

QUEUES = {
    "sleep": "queue_zero",
    "csv_search": "queue_one",
    "video_split": "queue_two",
    "web_scrape": "queue_three",
    "heavy_math": "queue_four",
    **dict.fromkeys(["count_primes", "digits_of_pi", "mandelbrot", "matrix_product"], "queue_four"),
}


def test_table_has_every_task_with_its_queue() -> None:
    for module in TASKS.values():
        importlib.import_module(module)
    own = {name: task for name, task in registry.tasks.items() if name in TASKS}
    assert {name: task.put.queue for name, task in own.items()} == QUEUES
    assert {name: task.__module__ for name, task in own.items()} == TASKS


@pytest.mark.parametrize("name", TASKS)
def test_every_order_has_defaults_and_parameter_descriptions(name: str) -> None:
    importlib.import_module(TASKS[name])
    task = registry.tasks[name]
    assert task.summary.endswith(".")
    hints = get_type_hints(task.order_function, include_extras=True)
    for parameter in inspect.signature(task.order_function).parameters.values():
        assert parameter.default is not parameter.empty
        assert task.split is None or get_origin(hints[parameter.name]) is Annotated


@pytest.mark.parametrize("arguments", [("sleep", {}), ("heavy_math", {}), ("web_scrape", {"pages": 3})])
@pytest.mark.usefixtures("shared_documentation")
def test_parts_of_an_order_are_within_the_size_limit(arguments: tuple[str, dict[str, object]]) -> None:
    name, chosen = arguments
    importlib.import_module(TASKS[name])
    task = registry.tasks[name]
    assert task.split
    parts = task.split(**chosen)
    assert len(encode_calls(task.function, name, [((), part) for part in parts])) == len(parts)


def test_table_imports_no_large_library() -> None:
    large = {"numpy", "httpx", "selectolax", "imageio_ffmpeg"}
    program = f"import sys, conveyor.task_def; print({large} & set(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "set()"
