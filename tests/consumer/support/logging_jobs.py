"""Tasks that log through Python's `logging` and print, plain ones and asynchronous ones that do the same."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import logging.config
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from conveyor import current_job, task
from conveyor.wire import redaction

log = logging.getLogger(__name__)


class Noisy:
    """An object that logs while it is formatted."""

    def __str__(self) -> str:
        log.info("formatting")
        return "noisy"


class Broken:
    """An object that cannot be formatted."""

    def __str__(self) -> str:
        message = "no text"
        raise ValueError(message)


def log_all(text: str) -> None:
    """Log on each level, an error with its traceback, and what cannot be formatted."""
    log.debug("debug %s", text)
    log.info("info %s", text)
    log.warning("warning %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("error %s", text)
    log.info("%d", text)
    log.info("%s", Broken())
    log.info("%s", Noisy())
    current_job().log(f"own {text}")


@task
def log_levels(text: str) -> str:
    """Log on each level."""
    log_all(text)
    return current_job().id


@task
async def log_levels_async(text: str) -> str:
    """Log likewise."""
    await asyncio.sleep(0)
    log_all(text)
    return current_job().id


@task
def log_beside(text: str, path: str, count: int) -> str:
    """Log while others do, also in another thread with this context."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")
    while len(Path(path).read_text().splitlines()) < count:
        time.sleep(0.01)
    for number in range(20):
        log.info("%s %d", text, number)
        asyncio.run(asyncio.to_thread(log.info, "%s thread %d", text, number))
    foreign = threading.Thread(target=log.info, args=("foreign %s", text))
    foreign.start()
    foreign.join()
    return text


@task
async def log_beside_async(text: str, path: str, count: int) -> str:
    """Log likewise."""
    with Path(path).open("a") as file:  # noqa: ASYNC230 - a test
        file.write(f"{text}\n")
    while len(Path(path).read_text().splitlines()) < count:  # noqa: ASYNC110, ASYNC240 - as above
        await asyncio.sleep(0.01)

    async def child(number: int) -> None:
        await asyncio.sleep(0)
        log.info("%s %d", text, number)

    for number in range(20):
        await asyncio.gather(child(number))
        await asyncio.to_thread(log.info, "%s thread %d", text, number)
    return text


@task
def log_many(count: int) -> int:
    """Log numbered lines as fast as possible."""
    for number in range(1, count + 1):
        log.info("line %d", number)
    return count


@task
async def log_many_async(count: int) -> int:
    """Log likewise."""
    return log_many.function(count)


@task
def log_and_hold(path: str) -> None:
    """Log a line, then wait for the file `path`.go."""
    log.info("before")
    Path(path).touch()
    while not Path(f"{path}.go").exists():
        time.sleep(0.01)


@task
async def log_and_hold_async(path: str) -> None:
    """Log likewise."""
    log.info("before")
    Path(path).touch()  # noqa: ASYNC240 - as above
    while not Path(f"{path}.go").exists():  # noqa: ASYNC110, ASYNC240 - as above
        await asyncio.sleep(0.01)


@task
def log_attempts() -> str:
    """Log, and fail in the first attempt."""
    log.info("attempt %d", current_job().attempt)
    if current_job().attempt == 1:
        message = "the first one fails"
        raise ValueError(message)
    return "done"


@task
async def log_attempts_async() -> str:
    """Log likewise."""
    return log_attempts.function()


@task
def configure(how: str) -> list[str]:
    """Configure logging as programs do, and return the handlers of the root logger."""
    if how == "basic":
        logging.basicConfig(format="basic %(levelname)s %(message)s")
    elif how == "level":
        logging.getLogger().setLevel(logging.WARNING)
    elif how == "dict":
        stream = {"class": "logging.StreamHandler", "formatter": "dict"}
        logging.config.dictConfig(
            {
                "version": 1,
                "formatters": {"dict": {"format": "dict %(levelname)s %(message)s"}},
                "handlers": {"stream": stream},
                "root": {"handlers": ["stream"], "level": "DEBUG"},
                "disable_existing_loggers": False,
            }
        )
    return [type(one).__name__ for one in logging.getLogger().handlers]


@task
def print_lines(text: str) -> None:
    """Print in various ways."""
    print("out", text)  # noqa: T201
    print("err", text, file=sys.stderr)  # noqa: T201
    print("10%\r50%\r100%")  # noqa: T201
    print("\n\n", end="")  # noqa: T201
    sys.stdout.write("windows\r")
    sys.stdout.write("\n")
    log.warning("logged %s", text)
    sys.stdout.flush()
    print("no", "line", "break", end="")  # noqa: T201


@task
async def print_lines_async(text: str) -> None:
    """Print likewise."""
    await asyncio.sleep(0)
    print_lines.function(text)


@task
def close_output() -> None:
    """Close what is printed to."""
    sys.stdout.close()
    sys.stderr.close()


@task
def log_in_child() -> int:
    """Log in a forked process that ends at once, and in this one."""
    log.info("parent")
    child = os.fork()
    if not child:
        signal.alarm(10)
        log.info("child")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@task
async def log_in_child_async() -> int:
    """Log likewise."""
    return log_in_child.function()


@task
def log_in_handler(count: int) -> int:
    """Log in a signal handler that interrupts lines of the task."""
    handled = 0

    def handle(*_: Any) -> None:
        nonlocal handled
        handled += 1
        log.info("handler")

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    while handled < count:
        log.info("task")
    signal.setitimer(signal.ITIMER_REAL, 0)
    return handled


class SlowHandler(logging.Handler):
    """A handler that catches everything, as those of the standard library do."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take long, in small steps."""
        try:
            for _ in range(100):
                time.sleep(0.001)
        except Exception:  # noqa: BLE001 - as they do
            self.handleError(record)


@task
def log_slowly(path: str) -> None:
    """Log for good, in a handler nearly all of the time."""
    logger = logging.getLogger("slow")
    logger.handlers = [SlowHandler()]
    Path(path).touch()
    while True:
        logger.warning("slow")


def log_value(name: str, value: Any) -> Any:
    """Format an argument, and log."""
    if name == "formatted":
        log.info("formatter")
    return value


@task
def log_secret(formatted: str, password: str) -> str:
    """Log a secret argument, while a formatter of this process logs as well."""
    redaction.register(log_value)
    log.info("the password is %s, not %s", password, formatted)
    return formatted


@task
def outlive(path: str) -> None:
    """Start a thread with this context that logs once the file `path`.go is there."""

    def late() -> None:
        while not Path(f"{path}.go").exists():
            time.sleep(0.01)
        log.info("late")

    threading.Thread(target=contextvars.copy_context().run, args=(late,), daemon=True).start()
    log.info("in time")
