"""`Executor`: the standard library's futures, for calls that workers on any machine run."""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import logging
import os
import shutil
import sys
import tempfile
import threading
import weakref
from collections import deque
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, TypeVar, cast, overload

from msgspec import structs

from conveyor import clock, task_loading
from conveyor.clock import Deadline
from conveyor.consumer import Consumer
from conveyor.consumer.settings import MAX_WORKERS
from conveyor.errors import (
    BadCall,
    JobCancelled,
    JobFailed,
    JobLost,
    NotEmpty,
    StoreError,
    StoreUnavailable,
    WaitTimeout,
)
from conveyor.job import cancel_jobs
from conveyor.queue import Queue, encoded_calls
from conveyor.task_loading import ExecutorFolder, main_name
from conveyor.tasks import Task
from conveyor.wire import call, ids
from conveyor.wire.call import PutOptions, RunOptions
from conveyor.wire.signed import PickledFunction

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
    from multiprocessing.context import BaseContext

    from conveyor.job import Job
    from conveyor.store import Client

P = ParamSpec("P")
R = TypeVar("R")

#: Max seconds of one wait for a call, after which it is checked if the workers have stopped.
POLL_AGAIN = 2.0
#: Jobs that are put, or cancelled, at a time.
MAX_JOBS = 5000
#: Max seconds until the jobs of crashed workers no longer keep a queue from being deleted; and between two attempts.
DELETE_WITHIN, DELETE_AGAIN = 20.0, 0.5

_log = logging.getLogger("conveyor")


class CallLost(JobLost, BrokenProcessPool):
    """The worker processes that ran a call crashed more often than the crash budget allows. Other calls go on."""


class JobFuture(futures.Future[R]):
    """A `concurrent.futures.Future` of a call that workers run."""

    def __init__(self, job: Job[R], calls: _Calls) -> None:
        super().__init__()
        self.job = job
        """The job of the call, for its progress and state, or to stop it while it runs."""
        self._calls = calls
        self._is_notified = False

    def cancel(self) -> bool:
        """Cancel the call and return True, or return False if a worker has taken it. Queries the server.

        `job.cancel()` also stops a running call.
        """
        if not self.done():
            self._calls.cancel([self])
        return self.cancelled()

    def running(self) -> bool:
        """Return True if a worker has taken the call, so that it cannot be cancelled. Queries the server."""
        return not self.done() and self.job.running()

    # --- called by _Calls

    def finish(self, job: Job[R]) -> None:
        """Set the outcome of the job, which has finished, unless another thread has done so."""
        with self._calls.finishing(self):
            try:
                result = job.result()
            except JobCancelled:
                self.finish_cancelled()
            except JobFailed as failed:
                self.set_exception(_raised_by_call(failed.with_traceback(None)))
            except KeyboardInterrupt as interrupt:  # of the thread that waits here
                with contextlib.suppress(futures.InvalidStateError):
                    self.set_exception(interrupt.with_traceback(None))
                raise
            except BaseException as unreadable:  # noqa: BLE001 - such as JobGone, or SystemExit of reading a pickle
                self.set_exception(unreadable.with_traceback(None))
            else:
                self.set_result(result)

    def finish_cancelled(self) -> None:
        """Set the state to cancelled, if the call has not finished, and notify all that wait for it."""
        with self._calls.finishing(self):
            if super().cancel():
                with self._calls.changed:
                    is_first, self._is_notified = not self._is_notified, True
                if is_first:
                    self.set_running_or_notify_cancel()

    def fail(self, reason: str) -> None:
        """Set an error if the call has not finished: no worker will run it."""
        with self._calls.finishing(self):
            self.set_exception(BrokenProcessPool(reason))

    def wait(self, seconds: float) -> None:
        """Wait for the job and set its outcome in this thread, if it has finished within the given time."""
        try:
            self.job.exception(seconds)
        except WaitTimeout:
            return
        except Exception:  # noqa: BLE001 - `finish` meets it again, unless no thread can be started to receive results
            if self.job.settled is None:
                clock.sleep(seconds)
                return
        self.finish(self.job)


class Executor(futures.Executor):
    """A `concurrent.futures.Executor` whose calls are jobs: workers on any machine run them.

    With a `queue`, calls are put there for all consumers of the queue, which have to know their functions, and with
    `max_workers` for as many worker processes that the executor starts. Without a queue, it makes one, deletes it on
    shutdown, and starts `max_workers` worker processes, by default one per core: a replacement for
    `ProcessPoolExecutor`. An int in the place of `queue` is `max_workers`.

    Its own workers start with the first call. They run whatever can be imported, and functions of the script. Each
    begins with `initializer(*initargs)`; if that raises, the executor is broken. A worker process is replaced after
    `max_tasks_per_child` calls. `tasks` names modules whose tasks they may run as well, for other producers of the
    queue. With the `serializer` "pickle", lambdas, closures, functions of a notebook and values that are not data
    travel, too, as with that of a `Queue`. `mp_context` may be any that starts fresh processes, as all workers are.
    `store` is a client or the URL of a server; by default CONVEYOR_URL, or else the embedded server.

    A call that kills its workers fails alone, with an error that is a `BrokenProcessPool`, after a few attempts.
    Thread-safe.

    Raises:
        ValueError: `max_workers` or `max_tasks_per_child` is less than 1.
        BadCall: the arguments do not fit together, or promise what workers cannot do.
    """

    def __init__(  # noqa: PLR0913 - those of ProcessPoolExecutor, and three
        self,
        queue: Queue | str | int | None = None,
        max_workers: int | None = None,
        *,
        serializer: Literal["msgpack", "pickle"] = "msgpack",
        store: Client | str | None = None,
        tasks: Iterable[str] = (),
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        max_tasks_per_child: int | None = None,
    ) -> None:
        if isinstance(queue, int | float):
            if max_workers is not None:
                raise BadCall(f"a queue must be a Queue or a name, got {queue!r}", hint="use max_workers=…")
            queue, max_workers = None, queue  # a float is refused below
        owns_queue = queue is None
        has_workers = owns_queue or max_workers is not None
        _check_workers(max_workers, mp_context, max_tasks_per_child, has_workers=has_workers)
        if not isinstance(queue, Queue):
            name = f"executor-{ids.unique()}" if queue is None else queue
            queue = Queue(name, serializer=serializer, store=store)
        elif store is not None or serializer != call.MSGPACK:
            raise BadCall(
                "a Queue object has its server already, and its serializer",
                hint="leave store and serializer out",
            )
        self.queue = queue
        """The queue that calls are put on."""
        first = _checked_first(queue, initializer, initargs, has_workers=has_workers)
        self._calls = _Calls(queue, owns_queue=owns_queue)
        if has_workers:
            modules = tuple(tasks) if owns_queue else tuple(tasks) or tuple(task_loading.found_modules())
            self._calls.workers = _Workers(self._calls, max_workers, max_tasks_per_child, modules, first)
        weakref.finalize(self, self._calls.close).atexit = False

    @overload
    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobFuture[R]: ...
    @overload
    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobFuture[R]: ...
    def submit(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobFuture[Any]:
        """Put a call and return its future. Waits for room while the queue is full.

        An exception of the call comes with its own type if that is built-in, and has the JobFailed as its cause;
        otherwise it comes as the JobFailed.

        Raises:
            RuntimeError: after `shutdown`, or while the interpreter exits.
            BrokenProcessPool: the executor's own workers have stopped, or did not start.
            BadCall: the function cannot be found by workers, or an argument does not fit or cannot be serialized.
        """
        with self._calls.putting():
            parts = _parts_of(fn, args, kwargs)
            job = self.queue.submit(self._calls.known(parts.function), *parts.args, **parts.kwargs)
            return self._calls.add([job])[0]

    @overload
    def map(
        self,
        fn: Callable[..., Coroutine[Any, Any, R]],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[R]: ...
    @overload
    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[R]: ...
    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Put a call for each item (or each row of several iterables) now, and return the results in that order.

        With `buffersize`, at most that number of calls is put ahead of the results that were taken, and the iterables
        are read accordingly. The iterator raises TimeoutError if a result is not there `timeout` seconds after this
        call, and what a call raised in its place; the calls behind it are cancelled then, unless a worker has taken
        them. `chunksize` has no effect, since calls are always put and claimed in batches.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        deadline = Deadline(timeout)
        rows = zip(*iterables, strict=False)
        waiting = deque(self._submit_all(fn, islice(rows, buffersize)))
        refill = None if buffersize is None else functools.partial(_submit_next, weakref.ref(self), fn, rows)
        return _results(self._calls, waiting, refill, deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the standard library
        """Accept no more calls, and stop the executor's own workers once all calls have finished.

        With `wait`, return only then. With `cancel_futures`, cancel the calls that no worker has taken. Whatever
        `wait` is, the interpreter does not exit before all calls have finished.
        """
        self._calls.close()
        if cancel_futures:
            self._calls.cancel(self._calls.unfinished_ones())
        if wait:
            self._calls.wait()

    def _submit_all(self, fn: Callable[..., R], rows: Iterator[tuple[Any, ...]]) -> list[JobFuture[R]]:
        """Put a call for each row. On an error, cancel those that were put, unless a worker has taken them."""
        made: list[JobFuture[R]] = []
        try:
            with self._calls.putting():
                parts = _parts_of(fn)
                function = self._calls.known(parts.function)
                calls = ((*parts.args, *row) for row in rows)
                if parts.kwargs:
                    for one in calls:
                        made += self._calls.add([self.queue.submit(function, *one, **parts.kwargs)])
                else:
                    while some := list(islice(calls, MAX_JOBS)):
                        made += self._calls.add(self.queue.submit_many(function, some))
        except BaseException as error:
            put = [*(one.job.id for one in made), *getattr(error, "ids", ())]
            with contextlib.suppress(StoreError):
                list(_cancel_waiting(self.queue, put))
            raise
        return made


class _Parts(NamedTuple):
    """A function, and the arguments of its call; a `functools.partial` is taken apart."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def _parts_of(
    function: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
) -> _Parts:
    if isinstance(function, functools.partial):
        return _Parts(function.func, (*function.args, *args), {**function.keywords, **(kwargs or {})})
    return _Parts(function, args, dict(kwargs or {}))


class _Calls:
    """The unfinished calls of an executor, which go on if the executor is no longer referenced."""

    def __init__(self, queue: Queue, *, owns_queue: bool) -> None:
        self.queue = queue
        self.owns_queue = owns_queue
        self.workers: _Workers | None = None
        self._broken = ""
        """Why no worker will run a call, if so."""
        self._is_closed = False
        self._forget()
        _all_calls.add(self)

    def _forget(self) -> None:
        """Forget all calls; a forked child has none of its parent's."""
        self.changed = threading.Condition()
        self._unfinished: set[JobFuture[Any]] = set()
        self._puts = 0
        self._finishing: list[int] = []
        """Threads that set an outcome, which includes to run callbacks."""

    def leave_to_parent(self) -> None:
        """Forget, in a forked child, what belongs to the parent."""
        self._forget()
        if self.workers is not None:
            self._broken = "this executor belongs to the parent process: make one in this process"
            self.workers = None

    @contextlib.contextmanager
    def putting(self) -> Iterator[None]:
        """Count a put, so that a shutdown waits for it. Start the executor's own workers if they have not started."""
        task_loading.stop_script()
        with self.changed:
            if self._broken:
                raise BrokenProcessPool(self._broken)
            if _is_exiting.is_set():
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            if self._is_closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._puts += 1
        try:
            if self.workers is not None:
                self.workers.start()
            yield
        finally:
            with self.changed:
                self._puts -= 1
                self.changed.notify_all()
            self._stop_if_idle()

    def known(self, function: Callable[..., R]) -> Callable[..., R]:
        """Return what to submit for a function so that the workers find it, or have it. Raises BadCall."""
        if self.workers is None:
            return function
        try:
            return self.workers.known(function)
        except BadCall:
            if self.queue.serializer != call.PICKLE:
                raise
            return cast("Callable[..., R]", PickledFunction(function))

    def add(self, jobs: Sequence[Job[R]]) -> list[JobFuture[R]]:
        """Return the futures of jobs that were put."""
        made = [JobFuture(job, self) for job in jobs]
        with self.changed:
            self._unfinished.update(made)
        if self._broken:  # before they learn that their queue is deleted, which cancels their jobs
            self._fail_all()
            if self.owns_queue:  # the put may have made it again
                with contextlib.suppress(NotEmpty, StoreError):
                    self.queue.delete(purge=True)
        for one in made:
            with contextlib.suppress(StoreUnavailable):  # the result arrives once the server is back
                one.job.add_done_callback(one.finish)
        return made

    @contextlib.contextmanager
    def finishing(self, future: JobFuture[Any]) -> Iterator[None]:
        """Set the outcome of a call, which no longer counts as unfinished then, unless another thread has done so."""
        thread = threading.get_ident()
        self._finishing.append(thread)
        try:
            with contextlib.suppress(futures.InvalidStateError):
                yield
        finally:
            self._finishing.remove(thread)
            with self.changed:
                self._unfinished.discard(future)
                self.changed.notify_all()
            self._stop_if_idle()

    def unfinished_ones(self) -> list[JobFuture[Any]]:
        """Return the futures of unfinished calls."""
        with self.changed:
            return list(self._unfinished)

    def cancel(self, some: Sequence[JobFuture[Any]]) -> None:
        """Cancel those of some calls that no worker has taken."""
        unfinished = [one for one in some if not one.done()]
        states = _cancel_waiting(self.queue, [one.job.id for one in unfinished])
        for one, state in zip(unfinished, states, strict=True):
            if state == "cancelled":
                one.finish_cancelled()

    def close(self) -> None:
        """Accept no more calls."""
        with self.changed:
            self._is_closed = True
        self._stop_if_idle()

    def wait(self) -> None:
        """Wait until all calls and their callbacks have ended and the executor's own workers have stopped.

        It sets outcomes itself: while the interpreter exits, no thread for callbacks can be started any more. Raises
        RuntimeError in a callback, which would wait for itself.
        """
        if threading.get_ident() in self._finishing:
            raise RuntimeError("a callback cannot wait for its executor: use shutdown(wait=False)")
        while True:
            for one in self.unfinished_ones():
                while not one.done():
                    one.wait(POLL_AGAIN)
            with self.changed:
                if not self._puts and not self._unfinished:
                    break
                self.changed.wait(POLL_AGAIN)  # a put goes on, or a callback
        if self.workers is not None:
            self.workers.join()

    def workers_ended(self, reason: str, *, had_started: bool) -> None:
        """Process the end of the executor's own workers; without a `reason` it was requested."""
        if reason and (self.owns_queue or not had_started):
            with self.changed:
                self._broken = reason
            self._fail_all()
        elif reason:
            _log.warning("%s; other consumers of the queue %s may run its calls", reason, self.queue.name)
        if self.owns_queue:
            self._delete_queue()

    def _fail_all(self) -> None:
        some = self.unfinished_ones()
        for one in some:
            one.fail(self._broken)
        with contextlib.suppress(StoreError):
            list(_cancel_waiting(self.queue, [one.job.id for one in some]))

    def _stop_if_idle(self) -> None:
        if self._is_closed and not self._puts and not self._unfinished and self.workers is not None:
            self.workers.stop()

    def _delete_queue(self) -> None:
        deadline = Deadline(DELETE_WITHIN)
        while True:
            try:
                self.queue.delete(purge=True)
            except NotEmpty as error:  # until the leases of killed workers have expired
                if not deadline.passed():
                    clock.sleep(DELETE_AGAIN)
                    continue
                _log.warning("%s", error)
            except StoreError as error:
                _log.warning("the queue %s is not deleted: %s", self.queue.name, error)
            return


class _Workers:
    """The workers of one executor, and the thread that starts them and waits for their end."""

    def __init__(
        self,
        calls: _Calls,
        count: int | None,
        tasks_per_child: int | None,
        modules: tuple[str, ...],
        first: _Parts | None,
    ) -> None:
        self.thread: threading.Thread | None = None
        self._calls = calls
        self._count = count
        self._tasks_per_child = tasks_per_child
        self._modules = modules
        self._first = first
        """What each worker runs when it starts."""
        self._lock = threading.RLock()
        self._consumer: Consumer | None = None
        self._folder = ""
        self._has_started = self._is_stopping = False
        self._known: dict[str, Task[..., Any]] = {}

    def start(self) -> None:
        """Start the workers, in a thread, if they have not been started."""
        with self._lock:
            if self.thread is not None:
                return
            queue = self._calls.queue
            self._consumer = Consumer(
                queue.name, self._count, store=queue.client, max_jobs=self._tasks_per_child
            )
            self._folder = tempfile.mkdtemp(prefix="conveyor-executor-")
            try:
                self._prepare(self._consumer)
                thread = threading.Thread(
                    target=self._run, args=(self._consumer,), name="conveyor-executor", daemon=True
                )
                thread.start()
            except BaseException:
                shutil.rmtree(self._folder, ignore_errors=True)
                raise
            self.thread = thread

    def _prepare(self, consumer: Consumer) -> None:
        consumer.settings = structs.replace(consumer.settings, modules=self._modules, executor=self._folder)
        if self._first is not None:
            function = self._calls.known(self._first.function)
            calls = encoded_calls(self._calls.queue, function, [self._first[1:]], surrounded=False)
            ExecutorFolder(self._folder).run_first(calls.jobs[0][1])

    def stop(self) -> None:
        """Request that the workers exit."""
        with self._lock:
            if not self._is_stopping and self._has_started and self._consumer is not None:
                self._consumer.request_stop()
            self._is_stopping = True

    def join(self) -> None:
        """Wait until the workers have exited, unless this is called by a callback of their end."""
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join()

    def known(self, function: Callable[..., R]) -> Task[..., R]:
        """Return a task for a function that the workers may run from now on. Raises BadCall if they cannot find it."""
        path = _path_of(function)
        with self._lock:
            if path not in self._known:
                self._known[path] = self._allow(function, path)
        return function if isinstance(function, Task) else self._known[path]

    def _allow(self, function: Callable[..., R], path: str) -> Task[..., R]:
        module, _, name = path.partition(":")
        if module == "__main__":
            assert self._consumer is not None
            if not self._consumer.settings.script:
                raise BadCall(
                    f"workers cannot load {name}: this program was not started from a file",
                    hint='define it in a module, or use serializer="pickle"',
                )
            module = main_name()
        task = function
        if not isinstance(task, Task):
            task = Task(function, f"{module}.{name}", PutOptions(), RunOptions())
        ExecutorFolder(self._folder).allow(task.name, f"{module}:{name}")
        return task

    def _run(self, consumer: Consumer) -> None:
        """Start the workers, wait for their end, and clean up."""
        reason = ""
        try:
            consumer.start()
        except Exception as error:  # noqa: BLE001 - reported by each call
            reason = f"the workers of this executor did not start: {error}"
        else:
            with self._lock:
                self._has_started = True
                if self._is_stopping:
                    consumer.request_stop()
            consumer.wait()
            if not self._is_stopping:
                reason = "the workers of this executor were stopped"
        try:
            self._calls.workers_ended(reason, had_started=self._has_started)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def _cancel_waiting(queue: Queue, names: Sequence[str]) -> Iterator[str]:
    """Cancel jobs that no worker has taken, and yield what `cancel_jobs` returns for each."""
    for first in range(0, len(names), MAX_JOBS):
        part = names[first : first + MAX_JOBS]
        yield from cancel_jobs(queue.client, queue.name, part, only_waiting=True)


def _path_of(function: Callable[..., Any]) -> str:
    """Return where a function is, as `module:name`. Raises BadCall if it is not found there."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type):  # a method of a class
        module, name = owner.__module__, f"{owner.__qualname__}.{function.__name__}"
    else:
        place = function if getattr(function, "__module__", None) else getattr(function, "__objclass__", None)
        module, name = getattr(place, "__module__", None) or "", getattr(function, "__qualname__", "")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None or getattr(found, "function", found) != getattr(function, "function", function):
        raise BadCall(
            f"workers cannot find {name or repr(function):.80} by its module and name",
            hint='define it with def at module level, and pass it data in arguments, or use serializer="pickle"',
        )
    return f"{module}:{name}"


def _check_workers(
    count: int | None, context: BaseContext | None, tasks_per_child: int | None, *, has_workers: bool
) -> None:
    """Raise ValueError, TypeError or BadCall for what workers of an executor cannot be."""
    if count is not None and type(count) is not int:
        raise BadCall(f"max_workers must be a whole number, got {count!r}")
    if count is not None and count <= 0:
        raise ValueError("max_workers must be greater than 0")
    if count is not None and count > MAX_WORKERS:
        raise BadCall(f"max_workers must be between 1 and {MAX_WORKERS}, got {count}")
    if context is not None and context.get_start_method() == "fork":
        raise BadCall(
            "workers cannot be forked from this process: they would inherit its threads' locks",
            hint='leave mp_context out, or use multiprocessing.get_context("spawn")',
        )
    if tasks_per_child is None:
        return
    if not has_workers:
        raise BadCall("max_tasks_per_child is for workers of the executor itself", hint="add max_workers=…")
    if type(tasks_per_child) is not int:
        raise TypeError("max_tasks_per_child must be an integer")
    if tasks_per_child <= 0:
        raise ValueError("max_tasks_per_child must be >= 1")


def _checked_first(
    queue: Queue, initializer: Callable[..., object] | None, args: Sequence[Any], *, has_workers: bool
) -> _Parts | None:
    """Return the call that each worker runs first, or None. Raises TypeError or BadCall if they cannot run it."""
    if initializer is None:
        return None
    if not callable(initializer):
        raise TypeError("initializer must be a callable")
    if not has_workers:
        raise BadCall("an initializer is for workers of the executor itself", hint="add max_workers=…")
    first = _parts_of(initializer, tuple(args))
    if queue.serializer != call.PICKLE:
        _path_of(first.function)
    return first


def _raised_by_call(failed: JobFailed) -> Exception:
    """Return the built-in exception that a call raised, with the JobFailed as its cause, or else the JobFailed."""
    if failed.traceback:
        failed.add_note(failed.traceback.rstrip())
    if isinstance(failed, JobLost):
        return CallLost(failed.kind, failed.reason)
    kind = getattr(builtins, failed.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        return failed
    argument: Any = failed.reason
    if kind is KeyError:  # whose message is the representation of the key
        with contextlib.suppress(Exception):
            argument = ast.literal_eval(failed.reason)
    try:
        error = kind(argument) if argument != "" else kind()
    except Exception:  # noqa: BLE001 - it takes other arguments
        return failed
    error.__cause__ = failed
    return error


def _submit_next(
    executor: weakref.ref[Executor], function: Callable[..., R], rows: Iterator[tuple[Any, ...]]
) -> list[JobFuture[R]]:
    """Put the next call of a map, if there is one and the executor is still referenced."""
    owner = executor()
    return [] if owner is None else owner._submit_all(function, islice(rows, 1))  # noqa: SLF001


def _results(
    calls: _Calls,
    waiting: deque[JobFuture[R]],
    refill: Callable[[], list[JobFuture[R]]] | None,
    deadline: Deadline,
) -> Iterator[R]:
    """Yield the results in order, and cancel what is left after an error. Keeps no reference to a result."""
    try:
        while waiting:
            if refill is not None:
                waiting.extend(refill())
            yield _result_of(waiting.popleft(), deadline)
    finally:
        with contextlib.suppress(StoreError):
            calls.cancel(list(waiting))


def _result_of(future: JobFuture[R], deadline: Deadline) -> R:
    """Return a result, or cancel the call if it does not come in time."""
    try:
        return future.result(None if deadline.at is None else deadline.left(float("inf")))
    except TimeoutError:
        future.cancel()  # no effect if the call itself raised it
        raise
    finally:
        del future  # or the traceback of an error would keep it


_all_calls: weakref.WeakSet[_Calls] = weakref.WeakSet()
_is_exiting = threading.Event()


def _finish_all() -> None:
    """Finish all calls of all executors, as those of the standard library do, before the interpreter exits."""
    _is_exiting.set()
    for calls in list(_all_calls):
        calls.close()
    for calls in list(_all_calls):
        calls.wait()


def _leave_all_to_parent() -> None:
    for calls in list(_all_calls):
        calls.leave_to_parent()


# The hook of the standard library's own executors: it runs before threads are joined, while all of Python still works.
threading._register_atexit(_finish_all)  # type: ignore[attr-defined] # noqa: SLF001
os.register_at_fork(after_in_child=_leave_all_to_parent)
