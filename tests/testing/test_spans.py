"""Spans and metrics of submits and runs, as an SDK in memory receives them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from conveyor import BadCall, Full, Queue, aio, around_submit, current_job, middleware, resources, telemetry
from conveyor.tasks import task
from conveyor.testing import inline, run_jobs
from conveyor.wire.call import MAX_HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from conveyor import SubmittedCall


def double(number: int) -> int:
    """Return twice a number."""
    return 2 * number


def headers() -> dict[str, str]:
    """Return the headers of the job."""
    return current_job().headers


class Recorded:
    """What the SDK has received."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._metrics], shutdown_on_exit=False)

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in this order."""
        return list(self._spans.get_finished_spans())

    def points(self, name: str) -> list[Any]:
        """Return the points of a metric."""
        data = self._metrics.get_metrics_data()
        of = [
            metric for one in data.resource_metrics for scope in one.scope_metrics for metric in scope.metrics
        ]
        return [point for metric in of if metric.name == name for point in metric.data.data_points]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """Instrument this process until the end of the test."""
    for kind in (middleware.whole_submits, middleware.submits, middleware.runs):
        monkeypatch.setattr(kind, "functions", kind.functions)
    monkeypatch.setattr(resources.registered, "resources", resources.registered.resources)
    found = Recorded()
    telemetry.instrument(found.tracers, found.meters)
    yield found
    found.tracers.shutdown()
    found.meters.shutdown()


@pytest.fixture
def queue(one_server: Any) -> Queue:
    return Queue("spans", store=one_server.client)


def test_span_of_one_submit_names_its_job(recorded: Recorded, queue: Queue) -> None:
    job = queue.submit(double, 1)
    (span,) = recorded.spans
    assert (span.name, span.kind) == ("send spans", trace.SpanKind.PRODUCER)
    assert span.attributes == {
        "messaging.system": "conveyor",
        "messaging.operation.type": "send",
        "messaging.operation.name": "send",
        "messaging.destination.name": "spans",
        "messaging.message.id": job.id,
        "conveyor.task": f"{__name__}.double",
    }


def test_many_jobs_share_one_span(recorded: Recorded, queue: Queue) -> None:
    jobs = queue.submit_many(double, ((number,) for number in range(2000)))
    (span,) = recorded.spans
    assert span.attributes["messaging.batch.message_count"] == 2000
    assert "messaging.message.id" not in span.attributes
    run_jobs(queue, limit=3)
    assert [one.parent.span_id for one in recorded.spans[1:]] == [span.context.span_id] * 3
    assert {one.attributes["messaging.message.id"] for one in recorded.spans[1:]} <= {one.id for one in jobs}
    (point,) = recorded.points("messaging.client.sent.messages")
    assert point.value == 2000
    (point,) = recorded.points("messaging.process.duration")
    assert (point.count, point.attributes["conveyor.outcome"]) == (3, "done")


def test_submit_within_a_span_belongs_to_its_trace(recorded: Recorded, queue: Queue) -> None:
    with recorded.tracers.get_tracer("shop").start_as_current_span("order") as order:
        queue.submit(double, 1)
        assert trace.get_current_span() is order
    assert recorded.spans[0].parent == order.get_span_context()


def test_async_submit_belongs_to_its_trace(recorded: Recorded, queue: Queue) -> None:
    async def order(name: str) -> tuple[str, int]:
        with recorded.tracers.get_tracer("shop").start_as_current_span(name) as span:
            jobs = await aio.Queue(queue.name, store=queue.client).submit_many(double, [(1,), (2,)])
            assert trace.get_current_span() is span
            return jobs[0].id, span.get_span_context().span_id

    async def orders() -> dict[str, int]:
        return dict(await asyncio.gather(*map(order, "abcdef")))

    spans = asyncio.run(orders())
    sent = [one for one in recorded.spans if one.name == "send spans"]
    assert sorted(one.parent.span_id for one in sent) == sorted(spans.values())
    assert [one.attributes["messaging.batch.message_count"] for one in sent] == [2] * 6


def test_full_queue_and_bad_call_are_errors_of_the_span(recorded: Recorded, one_server: Any) -> None:
    queue = Queue("spans", maxsize=3, store=one_server.client)
    with pytest.raises(Full):
        queue.submit_many(task(double).options(wait=0), [(number,) for number in range(5)])
    with pytest.raises(BadCall):
        queue.submit(double, "two")  # type: ignore[arg-type]
    full, bad = recorded.spans
    assert full.attributes["messaging.batch.message_count"] == 3
    assert [one.attributes["error.type"] for one in (full, bad)] == [
        "conveyor.errors.Full",
        "conveyor.errors.BadCall",
    ]
    assert {one.status.status_code for one in (full, bad)} == {trace.StatusCode.ERROR}
    assert not trace.get_current_span().get_span_context().is_valid


def test_links_give_each_run_a_trace_of_its_own(recorded: Recorded, queue: Queue) -> None:
    telemetry.instrument(recorded.tracers, recorded.meters, links=True)
    queue.submit(double, 1)
    run_jobs(queue)
    send, process = recorded.spans
    assert process.parent is None
    assert process.context.trace_id != send.context.trace_id
    assert [one.context.span_id for one in process.links] == [send.context.span_id]


def test_headers_without_room_travel_without_the_trace(recorded: Recorded, queue: Queue) -> None:
    full = {str(number): "x" for number in range(MAX_HEADERS)}
    with inline():
        assert queue.submit(task(headers).options(headers=full)).result(60) == full
    send, process = recorded.spans
    assert process.parent is None
    assert send.attributes["messaging.message.id"] == process.attributes["messaging.message.id"]


def test_middleware_around_each_submit_runs_within_the_span(recorded: Recorded, queue: Queue) -> None:
    seen = []

    @around_submit
    def look(call: SubmittedCall) -> Iterator[None]:
        seen.append((trace.get_current_span(), call.headers["traceparent"]))
        yield
        seen.append((trace.get_current_span(), ""))

    queue.submit_many(double, [(1,), (2,)])
    (span,) = recorded.spans
    assert {one.get_span_context().span_id for one, _ in seen} == {span.context.span_id}
    assert {parent.split("-")[2] for _, parent in seen if parent} == {f"{span.context.span_id:016x}"}


def test_error_of_middleware_ends_the_span(recorded: Recorded, queue: Queue) -> None:
    @around_submit
    def refuse(call: SubmittedCall) -> Iterator[None]:
        raise LookupError("no tenant")
        yield

    with pytest.raises(LookupError):
        queue.submit(double, 1)
    (span,) = recorded.spans
    assert span.attributes["error.type"] == "LookupError"
    assert queue.qsize() == 0


def test_instrumenting_twice_makes_no_second_span(recorded: Recorded, queue: Queue) -> None:
    telemetry.Instrumentor().instrument()
    telemetry.instrument(recorded.tracers, recorded.meters)
    queue.submit(double, 1)
    run_jobs(queue)
    assert [one.name for one in recorded.spans] == ["send spans", "process spans"]


def test_without_an_sdk_nothing_is_recorded_and_jobs_run(recorded: Recorded, queue: Queue) -> None:
    telemetry.instrument(trace.NoOpTracerProvider())
    with inline():
        assert queue.submit(double, 1).result(60) == 2
        assert queue.submit(headers).result(60) == {}
    assert recorded.spans == []


def test_library_imports_nothing_of_opentelemetry_by_itself() -> None:
    code = """
import sys, conveyor.consumer.__main__, conveyor.testing, conveyor.cli.main, conveyor.dashboard
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
