"""Resources in jobs that run in the test's process: opened when they are needed, closed at the end, or replaced."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from conveyor import (
    BadCall,
    CurrentJob,
    Queue,
    around_run,
    from_worker,
    middleware,
    resource,
    resources,
    task,
)
from conveyor.testing import inline, override, run_jobs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

events: list[str] = []


class Pool: ...


class Client: ...


class Unused: ...


class Fake(Pool): ...


@resource
def pool() -> Iterator[Pool]:
    events.append("pool opened")
    yield Pool()
    events.append("pool closed")


@resource
async def client(pool: Pool = from_worker()) -> AsyncIterator[Client]:
    async with asyncio.timeout(None):
        events.append("client opened")
        yield Client()
    events.append("client closed")


@resource
def unused() -> Unused:
    events.append("unused")
    return Unused()


@task
def use(number: int, pool: Pool = from_worker()) -> str:
    return f"{number} {type(pool).__name__}"


@task
async def use_async(number: int, client: Client = from_worker()) -> str:
    await asyncio.sleep(0)
    return f"{number} {type(client).__name__}"


@pytest.fixture(autouse=True)
def no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware.runs, "functions", ())
    monkeypatch.setattr(resources.registered, "resources", resources.registered.resources)
    events.clear()


def test_run_jobs_opens_what_is_needed_and_closes_it(queue: Queue) -> None:
    jobs = [queue.submit(use, 1), queue.submit(use_async, 2), queue.submit(use, 3)]
    assert run_jobs(queue) == 3
    assert [one.result(10) for one in jobs] == ["1 Pool", "2 Client", "3 Pool"]
    assert events == ["pool opened", "client opened", "client closed", "pool closed"]
    queue.submit(use_async, 4)
    run_jobs(queue)
    assert events[4:] == ["pool opened", "client opened", "client closed", "pool closed"]


def test_run_jobs_in_a_coroutine_closes_resources(queue: Queue) -> None:
    async def run() -> None:
        queue.submit(use_async, 1)
        run_jobs(queue)

    asyncio.run(run())
    assert events == ["pool opened", "client opened", "client closed", "pool closed"]


def test_failure_closes_resources(queue: Queue) -> None:
    @around_run
    def fail(_: CurrentJob) -> Iterator[None]:
        yield
        raise LookupError("no")

    queue.submit(use, 1)
    with pytest.raises(LookupError):
        run_jobs(queue)
    assert events == ["pool opened", "pool closed"]


def test_inline_keeps_resources_open_until_its_end(queue: Queue) -> None:
    with inline(raise_failures=True):
        assert queue.submit(use, 1).result(10) == "1 Pool"
        assert list(queue.map(use_async, range(2))) == ["0 Client", "1 Client"]
        assert run_jobs(queue) == 0
        assert events == ["pool opened", "client opened"]
    assert events[2:] == ["client closed", "pool closed"]


def test_override_takes_the_place_of_a_resource(queue: Queue) -> None:
    with override(pool, Fake()), inline(raise_failures=True):
        assert queue.submit(use, 1).result(10) == "1 Fake"
        with override(client, Client()):
            assert queue.submit(use_async, 1).result(10) == "1 Client"
    assert events == []
    assert resources.overrides == {}


def test_override_is_for_resources_only() -> None:
    with pytest.raises(BadCall, match="use is not a resource"), override(use, 1):
        pass


def test_error_while_closing_is_logged(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    @resource
    def careless() -> Iterator[bytearray]:
        yield bytearray()
        raise OSError("cannot close")

    @task(name="careless.take")
    def take(careless: bytearray = from_worker()) -> int:
        return len(careless)

    queue.submit(take)
    run_jobs(queue)
    assert "test_resources.test_error_while_closing_is_logged.<locals>.careless was not closed" in caplog.text
    assert "OSError: cannot close" in caplog.text
