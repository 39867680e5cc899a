"""Calls with the types that type checkers infer, and calls that they refuse.

A line that they refuse ends with the code of mypy's error and the rules of pyright's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from conveyor import (
    CurrentJob,
    Executor,
    Job,
    JobCancelled,
    JobEnd,
    JobFailed,
    Limit,
    Queue,
    Retry,
    SubmittedCall,
    Task,
    Throttle,
    Unique,
    aio,
    around_run,
    around_submit,
    from_worker,
    resource,
    result_of,
    results_of,
    task,
    webhook,
)
from conveyor.executor import JobFuture


@task
def ping() -> None: ...


@task(queue="numbers", priority=9, retries=3, timeout=timedelta(minutes=5), wait=0)
def count(limit: int, low: int = 2, *, slow: bool = False) -> int:
    return limit - low - slow


@task(name="fetch", redact=["token"], keep=timedelta(days=1), first_delay=0.5, durability="fsync")
async def fetch(url: str) -> bytes:
    return url.encode()


def growing(retry: int, error: Exception) -> float:
    return 2.0 * retry


@task(retries=5, retry_on=(ConnectionError, TimeoutError), give_up_on=ValueError, backoff=growing)
def sync(order: str) -> int:
    if not order:
        raise Retry(after=timedelta(seconds=30))
    raise Retry(30, "busy")


def name_of(first: str, last: str, *, title: str = "") -> str:
    return f"{title} {first} {last}"


async def later(value: int) -> float:
    return value / 2


def three(first: int, second: str, third: bytes) -> list[int]:
    return [first, len(second), len(third)]


def anything(value: Any) -> Any:
    return value


def rows(count: int) -> Iterator[int]:
    yield from range(count)


def pages(count: int) -> Generator[bytes, None, str]:
    yield b"page"
    return "all"


async def lines(path: str) -> AsyncIterator[str]:
    yield path


class Client: ...


@resource
def client() -> Iterator[Client]:
    yield Client()


@resource
async def pool(client: Client = from_worker()) -> AsyncIterator[str]:
    yield f"{client}"


@around_submit
def send(call: SubmittedCall) -> Iterator[None]:
    call.headers["tenant"] = "7"
    call.headers["tenant"] = 7  # refused: assignment; reportArgumentType
    yield


@around_run
def receive(job: CurrentJob) -> Generator[None]:
    assert_type(job.headers, dict[str, str])
    yield


async def take_steps(job: CurrentJob) -> None:
    assert_type(job.step("count", count, 5, low=3), int)
    assert_type(await job.step("fetch", fetch, "x"), bytes)
    assert_type(job.cursor(3), int)
    job.step("count", count, "x")  # refused: call-overload; reportArgumentType reportCallIssue
    job.sleep(timedelta(days=1))


@around_run  # refused: type-var; reportArgumentType reportUntypedFunctionDecorator
def plain(job: CurrentJob) -> int:
    return len(job.id)


@task(headers={"tenant": "7"})
def use(url: str, client: Client = from_worker()) -> int:
    return len(url)


@task(batch=100, wait=0.5, retries=3)
def insert(rows: list[tuple[str, int]]) -> list[int]:
    return [age for _, age in rows]


@task(batch=100)
async def embed(texts: Sequence[str], sizes: list[int]) -> list[bytes | Exception]:
    return [text.encode()[:size] or ValueError(text) for text, size in zip(texts, sizes, strict=True)]


@task(batch=100, wait=timedelta(seconds=1))
def note(texts: list[str], client: Client = from_worker()) -> None: ...


@task(batch=10)
def label(images: list[bytes], widths: list[int], heights: list[int]) -> tuple[str | Exception, ...]:
    return ("",) * len(images)


@task(batch=10)  # refused: arg-type; reportCallIssue reportArgumentType reportUntypedFunctionDecorator
def no_list(row: str) -> list[int]:
    return [len(row)]


@task(batch=10)  # refused: arg-type; reportCallIssue reportArgumentType reportUntypedFunctionDecorator
def no_results(rows: list[str]) -> int:
    return len(rows)


QUEUE = Queue("numbers")
ASYNC_QUEUE: aio.Queue[Any] = aio.Queue("numbers")
EXECUTOR = Executor("numbers")


# --- what a task is

assert_type(count(5, low=3), int)
_: Callable[..., Coroutine[Any, Any, bytes]] = fetch
count("5")  # refused: arg-type; reportArgumentType
count.options(priority=3)(5, fast=True)  # refused: call-arg; reportCallIssue


# --- submit

assert_type(count.submit(5, slow=True), Job[int])
assert_type(count.submit(5).result(timeout=1), int)
assert_type(fetch.submit("x"), Job[bytes])
assert_type(fetch.submit("x").result(), bytes)
assert_type(fetch.options(delay=60).submit("x"), Job[bytes])
assert_type(ping.submit(), Job[None])
assert_type(task(anything).submit(5), Job[Any])
count.submit("5")  # refused: arg-type; reportArgumentType
count.submit()  # refused: call-arg; reportCallIssue
count.submit(5, fast=True)  # refused: call-arg; reportCallIssue
fetch.submit(5)  # refused: call-overload; reportArgumentType reportCallIssue

assert_type(QUEUE.submit(name_of, "Ada", last="Lovelace"), Job[str])
assert_type(QUEUE.submit(later, 5), Job[float])
assert_type(QUEUE.submit(count, 5), Job[int])
assert_type(QUEUE.submit(fetch, "x"), Job[bytes])
assert_type(QUEUE.submit(anything, 5), Job[Any])
QUEUE.submit(name_of, "Ada")  # refused: call-overload; reportCallIssue
QUEUE.submit(later, "5")  # refused: call-overload; reportArgumentType reportCallIssue
QUEUE.submit(count, 5, wait=0)  # refused: arg-type call-arg; reportCallIssue


async def wait() -> None:
    assert_type(await fetch("x"), bytes)
    assert_type(await fetch.submit("x"), bytes)
    assert_type(await count.submit(5), int)
    assert_type(await QUEUE.submit(later, 5), float)


# --- stream

assert_type(QUEUE.submit(rows, 5).stream(), Iterator[int])
assert_type(task(pages).submit(5).stream(start=3), Iterator[bytes])
assert_type(QUEUE.submit(lines, "x").stream(), Iterator[str])
assert_type(QUEUE.submit(rows, 5).stream_async(), AsyncIterator[int])
assert_type(task(pages).submit(5).stream_async(), AsyncIterator[bytes])
assert_type(QUEUE.submit(lines, "x").stream_async(start=3), AsyncIterator[str])
assert_type(QUEUE.submit(anything, 5).stream(), Iterator[Any])
QUEUE.submit(rows, 5).stream("3")  # refused: call-overload; reportArgumentType reportCallIssue


# --- many

assert_type(count.submit_many([(1,), (2,)]), list[Job[int]])
assert_type(count.submit_many(zip(range(5), range(5), strict=True)), list[Job[int]])
assert_type(fetch.submit_many((f"x/{n}",) for n in range(5)), list[Job[bytes]])
assert_type(ping.submit_many([()] * 5), list[Job[None]])
assert_type(task(name_of).submit_many([("Ada", "Lovelace")]), list[Job[str]])
assert_type(task(anything).submit_many([(5,)]), list[Job[Any]])
assert_type(task(three).submit_many([(1, "2", b"3")]), list[Job[list[int]]])
count.submit_many([1, 2])  # refused: list-item; reportArgumentType reportCallIssue
count.submit_many([("1",)])  # refused: list-item; reportArgumentType reportCallIssue
count.submit_many([(1, "2")])  # refused: list-item; reportArgumentType reportCallIssue
task(later).submit_many([(1, 2)])  # refused: list-item; reportArgumentType reportCallIssue
task(name_of).submit_many([("Ada",)])  # refused: list-item; reportArgumentType
ping.submit_many([(1,)])  # refused: list-item; reportArgumentType

assert_type(QUEUE.submit_many(count, [(1,), (2,)]), list[Job[int]])
assert_type(QUEUE.submit_many(later, [(1,), (2,)]), list[Job[float]])
assert_type(QUEUE.submit_many(name_of, zip(["Ada"], ["Lovelace"], strict=True)), list[Job[str]])
assert_type(QUEUE.submit_many(anything, [(5,)]), list[Job[Any]])
assert_type(QUEUE.submit_many(three, [(1, "2", b"3")]), list[Job[list[int]]])
QUEUE.submit_many(three, [(1, "2", 3)])  # refused: arg-type; reportArgumentType reportCallIssue
QUEUE.submit_many(count, [1, 2])  # refused: arg-type list-item; reportArgumentType reportCallIssue
QUEUE.submit_many(later, [("1",)])  # refused: arg-type; reportArgumentType reportCallIssue
QUEUE.submit_many(name_of, [("Ada",)])  # refused: arg-type; reportArgumentType reportCallIssue

assert_type(QUEUE.submit_parts(count, [{"limit": 5}]), list[Job[int]])
assert_type(QUEUE.submit_parts(fetch, [{"url": "x"}]), list[Job[bytes]])
QUEUE.submit_parts(count, [5])  # refused: arg-type list-item; reportArgumentType reportCallIssue

assert_type(QUEUE.map(count, range(5)), Iterator[int])
assert_type(QUEUE.map(count, range(5), [2]), Iterator[int])
assert_type(QUEUE.map(fetch, ["x"], timeout=5), Iterator[bytes])
assert_type(QUEUE.map(name_of, ["Ada"], ["Lovelace"]), Iterator[str])
assert_type(QUEUE.map(anything, [5]), Iterator[Any])
assert_type(QUEUE.map(three, [1], ["2"], [b"3"]), Iterator[list[int]])
QUEUE.map(count, ["5"])  # refused: arg-type; reportArgumentType reportCallIssue
QUEUE.map(later, [1], [2])  # refused: arg-type; reportArgumentType reportCallIssue
QUEUE.map(name_of, ["Ada"], [1])  # refused: arg-type; reportArgumentType reportCallIssue

assert_type(ASYNC_QUEUE.map(count, range(5)), AsyncIterator[int])
assert_type(ASYNC_QUEUE.map(fetch, ["x"], buffersize=5), AsyncIterator[bytes])
assert_type(ASYNC_QUEUE.map(name_of, ["Ada"], ["Lovelace"]), AsyncIterator[str])
assert_type(ASYNC_QUEUE.map(anything, [5]), AsyncIterator[Any])
ASYNC_QUEUE.map(count, ["5"])  # refused: arg-type; reportArgumentType reportCallIssue
ASYNC_QUEUE.map(later, [1], [2])  # refused: arg-type; reportArgumentType reportCallIssue


# --- batches

assert_type(insert.submit(("Ada", 36)), Job[int])
assert_type(insert(("Ada", 36)), int)
assert_type(embed.submit("text", 3), Job[bytes])
assert_type(note.submit("text"), Job[None])
assert_type(label.submit(b"", 3, 4), Job[str])
assert_type(embed.submit_many([("text", 3)]), list[Job[bytes]])
assert_type(insert.options(wait=0.5).submit(("Ada", 36)), Job[int])
assert_type(QUEUE.submit(label, b"", 3, 4), Job[str])
assert_type(QUEUE.map(note, ["a", "b"]), Iterator[None])
assert_type(EXECUTOR.submit(embed, "text", 3), JobFuture[bytes])
insert.submit("Ada", 36)  # refused: arg-type call-arg; reportCallIssue
insert.submit([("Ada", 36)])  # refused: arg-type; reportArgumentType
embed.submit("text")  # refused: call-overload; reportCallIssue
task(batch="3")  # refused: call-overload; reportArgumentType


# --- executor

assert_type(EXECUTOR.submit(name_of, "Ada", last="Lovelace"), JobFuture[str])
assert_type(EXECUTOR.submit(later, 5), JobFuture[float])
assert_type(EXECUTOR.submit(fetch, "x").result(), bytes)
assert_type(EXECUTOR.submit(count, 5), JobFuture[int])
assert_type(EXECUTOR.submit(anything, 5), JobFuture[Any])
assert_type(EXECUTOR.map(later, [5]), Iterator[float])
assert_type(EXECUTOR.map(fetch, ["x"], timeout=5), Iterator[bytes])
assert_type(EXECUTOR.map(name_of, ["Ada"], ["Lovelace"]), Iterator[str])
assert_type(EXECUTOR.map(anything, [5]), Iterator[Any])
EXECUTOR.submit(later, "5")  # refused: call-overload; reportArgumentType reportCallIssue


# --- options

assert_type(
    count.options(queue="other", id="a", retries=1, timeout=None, durability=None).submit(5), Job[int]
)
assert_type(fetch.options(wait=0.5, keep=60).submit("x"), Job[bytes])
count.options(delay=timedelta(hours=1), first_delay=timedelta(seconds=1), wait=timedelta(seconds=1))
count.options(delay=datetime(2030, 1, 1, tzinfo=UTC))
count.options(eta=datetime(2030, 1, 1, tzinfo=UTC), expires=timedelta(hours=1))
count.options(expires=datetime(2030, 1, 1, tzinfo=UTC)).options(expires=None)
task(expires=60)
count.options(eta=60)  # refused: arg-type; reportArgumentType
count.options(expires="60")  # refused: arg-type; reportArgumentType
task(eta=datetime(2030, 1, 1, tzinfo=UTC))  # refused: call-overload; reportCallIssue
count.options(retires=3)  # refused: call-arg; reportCallIssue
count.options(retries="3")  # refused: arg-type; reportArgumentType
count.options(delay="tomorrow")  # refused: arg-type; reportArgumentType
count.options(redact=["limit"])  # refused: call-arg; reportCallIssue
assert_type(sync.submit("a"), Job[int])
task(retries=1, retry_on={OSError}, backoff=lambda retry, error: timedelta(seconds=retry))
task(retries=1, backoff=[1, 2.5, timedelta(minutes=1)])
task(retries=1, backoff=(1, 2))
Retry(after="soon")  # refused: arg-type; reportArgumentType
sync.options(retry_on=OSError)  # refused: call-arg; reportCallIssue
task(retry_on="OSError")  # refused: arg-type; reportArgumentType
task(give_up_on=[int])  # refused: list-item; reportArgumentType
task(backoff=5)  # refused: call-overload; reportArgumentType
task(delay=5)  # refused: call-overload; reportCallIssue
task(retires=5)  # refused: call-overload; reportCallIssue
task(priority="high")  # refused: call-overload; reportArgumentType


def names(made: Task[..., Any]) -> list[str]:
    return [made.name, made.put.queue]


names(count)
names(fetch)


def with_resources(fake: Client) -> None:
    assert_type(use.submit("a"), Job[int])
    assert_type(use("a", client=fake), int)
    assert_type(use("a", fake), int)
    assert_type(use.options(headers={"a": "b"}).submit("a"), Job[int])
    assert_type(use.submit_many([("a",), ("b",)]), list[Job[int]])
    assert_type(QUEUE.submit(use, "a"), Job[int])
    assert_type(client(), Iterator[Client])
    assert_type(pool(fake), AsyncIterator[str])
    use.submit(1)  # refused: arg-type; reportArgumentType
    use("a", client="text")  # refused: arg-type; reportArgumentType
    use.options(headers=[("a", "b")])  # refused: arg-type; reportArgumentType


# Flow

some_count = count.submit(5)
assert_type(result_of(some_count), int)
assert_type(results_of([some_count, some_count]), list[int])
assert_type(count.submit(result_of(some_count)), Job[int])
assert_type(some_count.then(count), Job[int])
assert_type(some_count.then(count, 3, slow=True), Job[int])
assert_type(some_count.then(ping), Job[None])
some_count.then(three)  # refused: arg-type; reportArgumentType
fetch.submit(result_of(some_count))  # refused: call-overload; reportArgumentType reportCallIssue
count.options(after=[some_count], when="ended").submit(5)
count.options(after=some_count)  # refused: arg-type; reportArgumentType
count.options(when="later")  # refused: arg-type; reportArgumentType


def told(end: JobEnd) -> None:
    assert_type(end.error, JobFailed | JobCancelled | None)


@task(
    limit=Limit(running=2, starts=10, per=timedelta(minutes=1), by="user"), unique=Unique(by=("user", "day"))
)
def report(user: str, day: str) -> str:
    return user + day


report.options(limit=None, unique=True, on_failure=told, on_success=webhook("https://example.com"))
report.options(limit=3)  # refused: arg-type; reportArgumentType
Limit(running="2")  # refused: arg-type; reportArgumentType
Unique(until="never")  # refused: arg-type; reportArgumentType
raise Throttle(timedelta(seconds=5), whole_queue=True)
