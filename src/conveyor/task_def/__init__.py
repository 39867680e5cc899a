"""The tasks that come with Conveyor: real work on real input, one file each.

Nothing is imported here: a worker that only cuts video needs no web library. `TASKS` says where each task lives.
"""

#: Task name to the module that registers it when imported.
TASKS: dict[str, str] = {
    "sleep": "conveyor.task_def.sleep",
    "csv_search": "conveyor.task_def.csv_search",
    "video_split": "conveyor.task_def.video_split",
    "web_scrape": "conveyor.task_def.web_scrape",
    "heavy_math": "conveyor.task_def.heavy_math",
    "count_primes": "conveyor.task_def.heavy_math",
    "digits_of_pi": "conveyor.task_def.heavy_math",
    "mandelbrot": "conveyor.task_def.heavy_math",
    "matrix_product": "conveyor.task_def.heavy_math",
}
