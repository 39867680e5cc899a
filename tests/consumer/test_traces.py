"""Traces and metrics from the producer through queues and workers of each kind, as a collector receives them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import telemetry_jobs as jobs
from collector import Collector, collecting
from opentelemetry import baggage, context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from conveyor import Executor, JobCancelled, JobFailed, Queue, middleware, resources, telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Instrument this process, the producer, and return the spans that it has ended."""
    for kind in (middleware.whole_submits, middleware.runs):
        monkeypatch.setattr(kind, "functions", kind.functions)
    monkeypatch.setattr(resources.registered, "resources", resources.registered.resources)
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry.instrument(provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture
def start(
    consume: Callable[..., Any],
    kind: str,
    one_server: Any,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    """Return a function that starts a consumer of this kind, whose workers export to the collector."""
    monkeypatch.setenv("PLAIN_OTLP", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("TELEMETRY_SERVER", one_server.url)

    def consume_so(*queues: str, workers: int = 2, **changes: Any) -> Any:
        return consume(*queues, workers=workers, kind=kind, modules=("telemetry_jobs",), **changes)

    return consume_so


def test_one_trace_over_a_retry_and_two_queues(
    start: Any, style: str, queue: Queue, sent: InMemorySpanExporter, collector: Collector, eventually: Any
) -> None:
    other = f"{queue.name}b"
    running = start((queue.name, other))
    name = running.name
    token = context.attach(baggage.set_baggage("tenant", "7"))
    job = queue.submit(getattr(jobs, f"first{style}"), other)
    context.detach(token)
    trace_id, attempt, tenant = job.result(60)
    (span,) = sent.get_finished_spans()
    assert (f"{span.context.trace_id:032x}", attempt, tenant) == (trace_id, 2, "7")
    assert span.attributes["messaging.message.id"] == job.id
    Queue(other, store=queue.client).join(60)
    running.end()  # flushes
    eventually(lambda: len(collector.spans) == 4)
    assert {one.trace for one in collector.spans} == {trace_id}
    first, second = collector.named(f"process {queue.name}")
    assert first.parent == second.parent == f"{span.context.span_id:016x}"
    assert [one.attributes["conveyor.attempt"] for one in (first, second)] == [1, 2]
    assert [one.attributes["conveyor.outcome"] for one in (first, second)] == ["retry", "done"]
    assert [one.attributes.get("error.type") for one in (first, second)] == ["ValueError", None]
    assert (first.error, second.error) == (True, False)
    assert first.attributes["conveyor.waited"] >= 0
    assert first.attributes["messaging.client.id"].startswith(name)
    (submit,) = collector.named(f"send {other}")
    (last,) = collector.named(f"process {other}")
    assert (submit.parent, last.parent) == (second.id, submit.id)
    assert collector.total("messaging.client.consumed.messages") == 3
    assert collector.total("messaging.process.duration") == 3
    assert collector.total("messaging.client.sent.messages") == 1
    assert collector.total("messaging.client.operation.duration") == 1


def test_recycled_worker_has_exported_all_its_spans(
    start: Any, queue: Queue, collector: Collector, eventually: Any
) -> None:
    start(workers=1, max_jobs=2)
    for one in queue.submit_many(jobs.last, [()] * 6):
        one.result(60)
    eventually(lambda: len(collector.spans) == 6)
    assert len({one.resource["service.instance.id"] for one in collector.spans}) == 3
    assert all(not one.parent for one in collector.spans)  # this producer is not instrumented


def test_error_on_the_span_has_no_secrets(
    start: Any, queue: Queue, collector: Collector, eventually: Any
) -> None:
    running = start()
    with pytest.raises(JobFailed):
        queue.submit(jobs.fail, "swordfish").result(60)
    with pytest.raises(JobFailed):
        queue.submit(jobs.unserializable).result(60)
    running.end()
    eventually(lambda: len(collector.spans) == 2)
    assert "swordfish" not in repr(collector.spans)
    by_task = {one.attributes["conveyor.task"].rpartition(".")[2]: one for one in collector.spans}
    (event,) = by_task["fail"].events
    assert event["exception.message"].startswith("refused ")
    assert "telemetry_jobs.py" in event["exception.stacktrace"]
    assert [by_task[name].attributes["conveyor.outcome"] for name in ("fail", "unserializable")] == [
        "fail"
    ] * 2
    assert by_task["unserializable"].attributes["error.type"] == "BadCall"


def test_cancelled_and_released_runs_are_no_errors(
    start: Any, style: str, queue: Queue, path: Path, collector: Collector, eventually: Any
) -> None:
    running = start(workers=1, leave_grace=0.0)
    hold = getattr(jobs, f"hold{style}")
    job = queue.submit(hold, str(path))
    eventually(path.exists)
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(60)
    path.unlink()
    queue.submit(hold, str(path))
    eventually(path.exists)
    running.signal(signal.SIGTERM)
    eventually(running.has_left)
    eventually(lambda: len(collector.spans) == 2)
    assert [one.attributes["conveyor.outcome"] for one in collector.spans] == ["cancel", "release"]
    assert not any(one.error for one in collector.spans)


def test_silent_collector_does_not_keep_a_worker_from_its_end(
    start: Any,
    queue: Queue,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")
        running = start(workers=1)
        queue.submit(jobs.last).result(60)
        running.signal(signal.SIGTERM)
        eventually(running.has_left)
    assert running.status == 0
    assert "the exporters of OpenTelemetry took more than 4 s" in capfd.readouterr().err


def test_attempt_after_a_crash_belongs_to_the_same_trace(
    start: Any, style: str, queue: Queue, sent: InMemorySpanExporter, collector: Collector, path: Path
) -> None:
    running = start(workers=1)
    queue.submit(getattr(jobs, f"crash_once{style}"), str(path)).result(60)
    running.end()
    (send,), (process,) = sent.get_finished_spans(), collector.spans
    assert process.parent == f"{send.context.span_id:016x}"
    assert process.attributes["conveyor.attempt"] == 2
    assert "conveyor.waited" not in process.attributes


def test_batch_has_one_span_that_links_to_each_submit(
    start: Any, style: str, queue: Queue, sent: InMemorySpanExporter, collector: Collector, eventually: Any
) -> None:
    together = getattr(jobs, f"together{style}")
    made = [*queue.submit_many(together, [(1,), (-2,), (-3,)]), queue.submit(together, 4)]
    running = start(workers=1)
    assert [made[0].result(60), made[3].result(60)] == [1, 4]
    running.end()
    eventually(lambda: len(collector.spans) == 1)
    first, second = sent.get_finished_spans()
    (span,) = collector.spans
    assert span.parent == f"{first.context.span_id:016x}"
    assert span.links == [f"{second.context.span_id:016x}"]
    assert span.attributes["messaging.batch.message_count"] == 4
    assert (span.error, span.attributes["conveyor.outcome"]) == (True, "fail")
    assert [one["exception.message"] for one in span.events] == ["-2 is negative", "-3 is negative"]
    assert collector.total("messaging.client.consumed.messages") == 4
    assert collector.total("messaging.process.duration") == 1


def test_calls_of_an_executor_have_spans(
    sent: InMemorySpanExporter, one_server: Any, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEYOR_URL", one_server.url)
    with Executor(max_workers=1, initializer=jobs.last.function) as executor:
        assert [one.result(60) for one in [executor.submit(abs, -3), executor.submit(abs, 4)]] == [3, 4]
        list(executor.map(abs, [1, 2, 3]))
    counts = [one.attributes.get("messaging.batch.message_count") for one in sent.get_finished_spans()]
    assert counts == [None, None, 3]


@pytest.mark.usefixtures("alone")
def test_environment_alone_instruments_producer_and_consumer(
    kind: str, queue: Queue, one_server: Any, tmp_path: Path, collector: Collector, eventually: Any
) -> None:
    """The command opentelemetry-instrument sets up the SDK in each Python that starts, the supervisor included."""
    (tmp_path / "plain_jobs.py").write_text("def double(number: int) -> int:\n    return 2 * number\n")
    imports = "from conveyor import Queue\nfrom plain_jobs import double"
    produce = f"{imports}\nprint(Queue({queue.name!r}).submit(double, 21).result(60))"
    environment = {
        **os.environ,
        "CONVEYOR_URL": one_server.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "shop",
        "PYTHONPATH": str(tmp_path),
    }
    scripts = Path(sys.executable).parent
    command = [scripts / "opentelemetry-instrument", scripts / "conveyor", "consume", queue.name, "-n", "1"]
    with subprocess.Popen(
        [*command, "--kind", kind, "--tasks", "plain_jobs"], env=environment, cwd=tmp_path
    ) as consumer:
        try:
            done = subprocess.run(
                [scripts / "opentelemetry-instrument", sys.executable, "-c", produce],
                env=environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout == "42\n"
            consumer.terminate()
            assert consumer.wait(60) == 0
        finally:
            consumer.kill()
    eventually(lambda: len(collector.spans) == 2)
    send, process = sorted(collector.spans, key=lambda one: one.parent)
    assert (send.name, process.name) == (f"send {queue.name}", f"process {queue.name}")
    assert (process.trace, process.parent) == (send.trace, send.id)
    assert {one.resource["service.name"] for one in collector.spans} == {"shop"}
    assert collector.total("messaging.process.duration") == 1
    assert collector.total("messaging.client.sent.messages") == 1
